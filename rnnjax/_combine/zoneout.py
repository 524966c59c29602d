"""Zoneout: units that keep their value for a step."""

from __future__ import annotations

from typing import Annotated, Any

import jax
import jax.numpy as jnp

from rnnjax._cell import Array, Cell, Params, PyTree, State, joined, parted
from rnnjax._combine._common import Inner, require_output_of
from rnnjax._combine._noise import noisy
from rnnjax._dtypes import is_floating
from rnnjax._factory import _rate, cell_factory
from rnnjax._fields import field_names
from rnnjax._noise import beside, draw, fold_in, folded


def _rates(what: str, value: Any) -> Any:
    return jax.tree.map(lambda rate: _rate(what, rate), value)


Rates = Annotated[Any, _rates]  # None stays None


@cell_factory
def zoneout(cell: Inner, rates: Rates = None, *, h: Rates = None, c: Rates = None) -> Cell:
    """Lets units of the state keep their previous value, each with a probability.

        s̃_t, _ = cell(s_{t-1}, x_t)
        m_t ~ Bernoulli(rate), from the row's key and t
        s_t = m_t ⊙ s_{t-1} + (1 - m_t) ⊙ s̃_t             training
        s_t = rate · s_{t-1} + (1 - rate) · s̃_t           evaluation: the expectation
        y_t = output_of(s_t)

    Keys, counters and what the state holds are left alone.

    Args:
      cell: a cell that declares `output_of`.
      rates: the probability of keeping a value, in [0, 1): one number, or a pytree prefix of the
        state, such as `LSTMState(h=0.1, c=0.5)`. They are held in the state: `set_rates`.
      h: the rate of the leaves named h, wherever they are in the state, instead of `rates`.
      c: the rate of the leaves named c. A leaf without a rate is left alone.

    Returns:
      A Cell with the cell's parameters and `NoisyState`.

    Raises:
      TypeError: `cell` is not a Cell or declares no `output_of`; rates are given both ways or
        not at all, or are not numbers; or, in a step, are not a prefix of the state, or the state
        has no leaf of that name.
      ValueError: a rate is outside [0, 1).

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.zoneout(rnnjax.lstm(4), h=0.1, c=0.5)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> state = cell.initial_state(params, (2,), key=jax.random.key(1))
      >>> state, ys = rnnjax.unroll(cell, params, state, jnp.ones((5, 2, 3)))
      >>> bool((ys[-1] == state.cell.h).all())
      True

    Reference:
      Krueger et al., Zoneout: Regularizing RNNs by Randomly Preserving Hidden Activations, ICLR
      2017, arXiv:1606.01305.
    """
    named = {field: rate for field, rate in (("h", h), ("c", c)) if rate is not None}
    if (rates is None) == (not named):
        raise TypeError(
            "zoneout needs rates, or h= and c=, and not both: zoneout(cell, 0.1) or "
            "zoneout(lstm(256), h=0.1, c=0.5)"
        )
    shown = [str(rates)] if rates is not None else [f"{k}={v}" for k, v in named.items()]
    name = f"zoneout({cell.name}, {', '.join(shown)})"
    output_of = require_output_of(name, cell)

    def step(
        key: Array | None, rate: PyTree, params: Params, state: State, x: PyTree
    ) -> tuple[State, PyTree]:
        new, _ = cell.step(params, state, x)
        (old_state, _), (new, held) = parted(state), parted(new)
        olds, tree = jax.tree.flatten_with_path(old_state)
        news = []
        each = _leaf_rates(name, rate, bool(named), old_state)
        for p, (path, old), leaf in zip(each, olds, jax.tree.leaves(new), strict=True):
            if p is None or not is_floating(old):
                news.append(leaf)
            elif key is None:
                news.append(beside(p, old) * old + beside(1 - p, old) * leaf)
            else:
                kept = draw(fold_in(key, folded(path)), p, old.shape[key.ndim :])
                news.append(jnp.where(kept, old, leaf))
        new = joined(tree.unflatten(news), held)
        return new, output_of(new)

    return noisy(cell, name, step, rate=named or rates, fresh=True)


def _leaf_rates(name: str, rates: Any, named: bool, state: State) -> list[Array | None]:
    """The rate of each leaf of the state, from a prefix of it or by names; None without one."""
    if not named:
        try:
            return jax.tree.leaves(jax.tree.broadcast(rates, state))
        except ValueError:
            raise TypeError(
                f"{name}: rates has the tree {jax.tree.structure(rates)}, which is no prefix of "
                f"the state's: {jax.tree.structure(state)}"
            ) from None
    fields = [field_names(path) for path, _ in jax.tree.leaves_with_path(state)]
    for field in rates:
        if not any(field in path for path in fields):
            raise TypeError(
                f"{name}: the state, {type(state).__name__}, has no leaf named {field}: give "
                "rates, one number or a prefix of the state"
            )
    return [next((rates[f] for f in reversed(path) if f in rates), None) for path in fields]
