"""Tasks whose data are generated: what is in them, and what their baselines are worth."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.tasks.adding import Adding
from rnnjax.tasks.copying import BLANK, GO, LENGTH, LETTERS, Copy
from rnnjax.train import cross_entropy, run_task

N = 20_000


@pytest.mark.parametrize("steps", [2, 7])
def test_adding_marks_a_number_of_each_half(steps):
    xs, sums = map(np.asarray, Adding(T=steps).draw(jax.random.key(1), 50))
    numbers, marks = xs[..., 0], xs[..., 1]
    assert set(np.unique(marks)) <= {0, 1}
    assert (marks[: steps // 2].sum(0) == 1).all()
    assert (marks[steps // 2 :].sum(0) == 1).all()
    np.testing.assert_allclose(sums, (numbers * marks).sum(0), rtol=1e-6)
    places = marks[steps // 2 :].argmax(0)
    assert set(places) == set(range(steps - steps // 2))


def test_the_baseline_of_adding_is_what_a_constant_comes_to():
    task = Adding(T=4)
    _, sums = task.draw(jax.random.key(2), N)
    found = np.square(np.asarray(sums) - 1).mean()
    assert task.baselines(task.data()) == {"always 1": 1 / 6}
    assert found == pytest.approx(1 / 6, abs=4 * np.sqrt(7 / 180 / N))  # var of (s - 1)^2: 7/180
    assert min(np.square(np.asarray(sums) - c).mean() for c in (0.9, 1.1)) > found


def test_copy_reads_waits_and_wants():
    task = Copy(T=3)
    xs, targets = map(np.asarray, task.draw(jax.random.key(1), 6))
    assert xs.shape == targets.shape == (3 + 2 * LENGTH, 6)
    assert (xs[:LENGTH] < len(LETTERS)).all()
    np.testing.assert_array_equal(xs[LENGTH:, 0], [BLANK] * 2 + [GO] + [BLANK] * LENGTH)
    np.testing.assert_array_equal(targets[-LENGTH:], xs[:LENGTH])
    assert (targets[:-LENGTH] == BLANK).all()


@pytest.mark.parametrize("delay", [1, 30])
def test_the_baseline_of_copy_is_what_one_comes_to_that_forgets(delay):
    task = Copy(T=delay)
    _, targets = task.draw(jax.random.key(2), 100)
    # It knows when: blanks for sure, then each of the letters with the same probability.
    chance = np.full((BLANK + 1,), 1 / len(LETTERS))
    chance[BLANK] = 0
    sure = np.eye(BLANK + 1)[BLANK]
    guess = np.concatenate([np.tile(sure, (delay + LENGTH, 1)), np.tile(chance, (LENGTH, 1))])
    logits = jnp.log(jnp.asarray(guess, jnp.float32) + 1e-30)[:, None].repeat(100, 1)
    (baseline,) = task.baselines(task.data()).values()
    np.testing.assert_allclose(cross_entropy(logits, targets).mean, baseline, rtol=1e-5)


def test_a_request_is_answered_of_the_tasks_own_kind(tmp_path):
    adding, copy = Adding.tiny(tmp_path), Copy.tiny(tmp_path)
    system = adding.system({})
    params = system.init(jax.random.key(0))
    (answer,) = system.predict(params, "0.25 0.5")
    assert answer.startswith("0.25 0.5, marked among 6 numbers: ")
    assert answer.endswith(", right 0.750")
    for request in ("0.5", "0.5 1.5", "a b", "0.1 nan"):
        with pytest.raises(ValueError, match="a request is two numbers"):
            [*system.predict(params, request)]
    system = copy.system({})
    (answer,) = system.predict(system.init(jax.random.key(0)), "ABCDEFGHAB")
    assert len(answer) == LENGTH
    assert set(answer) <= set(LETTERS) | {"-"}
    for request in ("ABC", "ABCDEFGHAZ"):
        with pytest.raises(ValueError, match="a request is 10 letters of ABCDEFGH"):
            [*system.predict(params, request)]


def test_a_task_that_takes_no_files_says_so():
    with pytest.raises(ValueError, match="adding takes no files: its data are generated"):
        Adding().read("numbers.csv", {})


def test_held_out_data_are_no_training_data_and_those_of_every_seed():
    task = Adding(T=5, batch_size=1000, steps=1)
    data = task.data()
    other = Adding(T=5, seed=7).data()
    np.testing.assert_array_equal(data.test[1], other.test[1])
    batch = task.source(data).batch(0)
    for a, b in ((data.test, data.validation), (data.test, batch), (data.validation, batch)):
        assert not np.isin(np.asarray(a[1]), np.asarray(b[1])).all()


def test_it_learns_to_add_a_short_sequence(tmp_path):
    task = Adding(T=4, hidden_size=12, steps=120, batch_size=32, learning_rate=0.03, patience=1)
    result = run_task(task, tmp_path / "run")
    assert result.scores["model"] < 0.05 < 1 / 6 == result.scores["always 1"]
