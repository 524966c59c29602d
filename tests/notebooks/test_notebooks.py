"""Every notebook runs in its quick form without a warning, and is committed as it ran in full."""

import jupytext
import nbformat
import pytest
from scripts import ROOT, script

execute = script("notebooks/execute.py")
each = pytest.mark.parametrize("path", execute.PAGES, ids=lambda path: path.stem)


@each
def test_runs_quickly_and_without_a_warning(path, monkeypatch):
    monkeypatch.setenv("RNNJAX_QUICK", "1")
    execute.executed(path)


@each
def test_what_is_committed_is_what_ran(path):
    text, ran = jupytext.read(path), nbformat.read(path.with_suffix(".ipynb"), as_version=4)
    assert [cell.source for cell in ran.cells] == [cell.source for cell in text.cells], (
        f"run `make notebooks ARGS={path.relative_to(ROOT)}`"
    )
    code = [cell for cell in ran.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert any("image/png" in output.get("data", ()) for cell in code for output in cell.outputs)


@each
def test_topics_name_it(path):
    assert f"({path.stem}.ipynb)" in (path.parent / "README.md").read_text(encoding="utf-8")


WARNS = """# %%
import warnings

warnings.warn("a trap")
"""


def test_a_warning_is_an_error(tmp_path):
    page = tmp_path / "page.py"
    page.write_text(WARNS, encoding="utf-8")
    with pytest.raises(ValueError, match=r"(?s)page\.py warns:.*a trap"):
        execute.executed(page)


FITS = """# %%
import jax, jax.numpy as jnp, optax
from rnnjax import train

def loss(w, carried, batch, key):
    return jnp.square(w - batch).mean(), (carried, {})

sgd = optax.sgd(0.1)
state = train.init_train_state(jnp.zeros(()), sgd, jax.random.key(0))
batches = [jnp.ones(3)] * 40
train.fit(train.make_train_step(loss, sgd), state, batches, steps=40);
"""


def test_training_shows_one_line_that_changes(tmp_path):
    page = tmp_path / "page.py"
    page.write_text(FITS, encoding="utf-8")
    (output,) = execute.executed(page).cells[0].outputs
    assert output.data["text/plain"].startswith("step 40/40 · loss")
