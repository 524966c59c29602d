"""Every transformation keeps the contract, alone and inside another."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from transformations import TRANSFORMATIONS, D, H

import rnnjax
from rnnjax.testing import LAWS, check_cell

CELLS = [rnnjax.elman(H), rnnjax.lstm(H), rnnjax.gru(H)]
NAMES = list(TRANSFORMATIONS)
# Other options of one that is there: their equations have tests of their own.
OTHERS = ("parallel-mean", "input_dropout-variational", "leaky-scalar")


def keeps_the_contract(cell, names):
    # A clipped gradient is no slope.
    skip = ["finite differences"] if "clip_gradient" in names else []
    report = check_cell(cell, D, batch_shape=(2,), skip=skip)
    assert [outcome.law for outcome in report.outcomes] == list(LAWS)
    assert {outcome.outcome for outcome in report.outcomes} <= {
        "holds",
        "no noise",
        "holds nothing",
        "skipped",
    }


@pytest.mark.parametrize(("name", "cell"), [
    pytest.param(
        name, cell, id=f"{name}-{cell.name}",
        # Over one cell each in turn, over the two others in the long version.
        marks=[] if (i + j) % 3 == 0 and name not in OTHERS else pytest.mark.slow,
    )
    for i, name in enumerate(NAMES) for j, cell in enumerate(CELLS)
])  # fmt: skip
def test_alone(name, cell):
    keeps_the_contract(TRANSFORMATIONS[name](cell), [name])


def pair(seed):
    """A random pair that can be: the inner one declares what the outer needs, and sizes fit."""
    rng = np.random.default_rng(seed)
    while True:
        names = outer, inner = [NAMES[i] for i in rng.integers(len(NAMES), size=2)]
        try:
            cell = TRANSFORMATIONS[outer](TRANSFORMATIONS[inner](CELLS[rng.integers(3)]))
            with jax.enable_x64(True):
                params = jax.eval_shape(lambda key, cell=cell: cell.init(key, D), jax.random.key(0))
                state = jax.eval_shape(cell.initial_state, params)
                jax.eval_shape(cell.step, params, state, jnp.zeros(D))
        except (TypeError, ValueError):
            continue
        return names, cell


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(i, marks=pytest.mark.slow) for i in range(1, 60))]
)
def test_pairs(seed):
    names, cell = pair(seed)
    keeps_the_contract(cell, names)
