"""Sources: every example once a pass, the same batch for the same step, and what will not do."""

import numpy as np
import pytest

from rnnjax.train import (
    sliding_windows,
    streams,
)

# --- one long sequence ---------------------------------------------------------------------------


def test_windows_continue_each_other_and_targets_are_one_ahead():
    M, B, T = 103, 4, 5
    source = streams(np.arange(M), B, T)
    assert source.steps_per_pass == 4  # 25 symbols a stream: 24 targets, 4 whole windows
    batches = [source.batch(step) for step in range(source.steps_per_pass)]
    xs = np.concatenate([inputs for inputs, _, _ in batches])
    targets = np.concatenate([targets for _, targets, _ in batches])
    np.testing.assert_array_equal(targets, xs + 1)
    np.testing.assert_array_equal(xs, np.arange(B) * 25 + np.arange(20)[:, None])
    assert [restart for _, _, restart in batches] == [True, False, False, False]


def test_a_new_pass_starts_over():
    source = streams(np.arange(26), 2, 4)
    assert source.steps_per_pass == 3
    for step in range(9):
        inputs, targets, restart = source.batch(step)
        first, one_on, _ = source.batch(step % 3)
        np.testing.assert_array_equal(inputs, first)
        np.testing.assert_array_equal(targets, one_on)
        assert restart == (step % 3 == 0)


def test_the_shortest_text_that_will_do():
    assert streams(np.arange(10), 2, 4).steps_per_pass == 1
    with pytest.raises(ValueError, match=r"9 tokens, need at least B \* \(T \+ 1\) = .* = 10: use"):
        streams(np.arange(9), 2, 4)


@pytest.mark.parametrize(
    ("batch_size", "window", "error", "message"),
    [
        (0, 4, ValueError, "batch_size must be a positive int, got 0"),
        (2, 0, ValueError, "window must be a positive int, got 0"),
        (2, -1, ValueError, "window must be a positive int, got -1"),
        (2.0, 4, TypeError, r"batch_size must be a positive int, got 2\.0"),
    ],
)
def test_sizes_that_will_not_do(batch_size, window, error, message):
    with pytest.raises(error, match=message):
        streams(np.arange(100), batch_size, window)


def test_sliding_windows_are_each_taken_once_a_pass():
    M, N, n, stride = 40, 3, 4, 2
    source = sliding_windows(np.arange(M), N, n, stride)
    assert source.steps_per_pass == 6  # windows start at 0, 2, .. 34: 18 of them
    passes = []
    for step in range(2 * source.steps_per_pass):
        xs, targets, restart = source.batch(step)
        assert xs.shape == targets.shape == (n, N)
        np.testing.assert_array_equal(xs, xs[0] + np.arange(n)[:, None])
        np.testing.assert_array_equal(targets, xs + 1)
        assert restart == (step % source.steps_per_pass == 0)
        passes.append(xs[0])
    first, second = (np.concatenate(part) for part in (passes[:6], passes[6:]))
    assert sorted(first) == sorted(second) == list(range(0, 35, stride))
    assert first.tolist() != second.tolist()
    # The order is a function of the step alone: a resumed run takes the same windows.
    again = sliding_windows(np.arange(M), N, n, stride).batch(7)[0]
    np.testing.assert_array_equal(again[0], passes[7])


def test_the_shortest_text_for_sliding_windows():
    assert sliding_windows(np.arange(9), 3, 4, 2).steps_per_pass == 1
    with pytest.raises(ValueError, match=r"8 tokens, need at least n \+ 1 \+ .* = 9: use a longer"):
        sliding_windows(np.arange(8), 3, 4, 2)
    with pytest.raises(ValueError, match="stride must be a positive int, got 0"):
        sliding_windows(np.arange(9), 3, 4, 0)
