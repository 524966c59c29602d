"""Run by test_devices.py in a process of its own with two CPU devices; prints what failed as JSON.

Each check compares a run spread over the batch with the same run on one device.
"""

import json
import sys
import traceback

import cases
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from oracles import assert_close

from rnnjax import unroll
from rnnjax.tasks.language_model import next_symbol_loss
from rnnjax.train import fit, init_train_state, make_train_step, placement, streams

T, B = 4, 4
OPTIONS = {
    "lengths": np.array([T, 0, 2, 3]),
    "mask": np.ones((T, B), bool) & (np.arange(T * B).reshape(T, B) % 5 != 0),
    "resets": np.arange(T * B).reshape(T, B) % 3 == 0,
}
ROWS = {
    "lengths": PartitionSpec("rows"),
    **dict.fromkeys(("mask", "resets"), PartitionSpec(None, "rows")),
}


def value_and_gradient(name, params, state, xs, options, reverse):
    """Final state and outputs, and the gradient for params of a sum over both."""

    def loss(params):
        result = unroll(cases.CELLS[name][0], params, state, xs, **options, reverse=reverse)
        floats = [a for a in jax.tree.leaves(result) if jnp.issubdtype(a.dtype, jnp.floating)]
        return sum((a * a).sum() for a in floats), result[1]

    return jax.grad(loss, has_aux=True)(params)


def setup(name):
    params, xs = cases.parameters(name), cases.inputs(name, (T, B))
    return params, xs, cases.state(name, params, (B,), jax.random.key(0))


def check_mesh(name, kind, given_state, reverse):
    """unroll under an Auto or an Explicit mesh: the batch is spread, the params are everywhere."""
    params, xs, state = setup(name)
    state = state if given_state else None
    want = value_and_gradient(name, params, state, xs, OPTIONS, reverse)
    with jax.set_mesh(jax.make_mesh((2,), ("rows",), axis_types=(kind,))) as _:
        mesh = jax.sharding.get_mesh()

        def put(a, spec):
            return jax.device_put(a, NamedSharding(mesh, spec))

        options = {name: put(a, ROWS[name]) for name, a in OPTIONS.items()}
        xs = put(xs, PartitionSpec(None, "rows"))
        state = jax.tree.map(lambda a: put(a, PartitionSpec("rows")), state)
        got = value_and_gradient(name, params, state, xs, options, reverse)
        assert got[1].sharding.is_equivalent_to(
            NamedSharding(mesh, PartitionSpec(None, "rows")), got[1].ndim
        ), f"ys came back as {got[1].sharding}"
    assert_close(jax.device_get(got), jax.device_get(want))


def check_shard_map(name, given_state, reverse):
    """unroll inside shard_map with its default checks; the gradient is summed by them too."""
    params, xs, state = setup(name)
    state = state if given_state else None
    want = value_and_gradient(name, params, state, xs, OPTIONS, reverse)
    mesh = jax.make_mesh((2,), ("rows",), axis_types=(AxisType.Auto,))
    rows = PartitionSpec("rows")
    run = jax.shard_map(
        lambda params, state, xs, options: value_and_gradient(
            name, params, state, xs, options, reverse
        ),
        mesh=mesh,
        in_specs=(PartitionSpec(), rows, PartitionSpec(None, "rows"), ROWS),
        out_specs=(PartitionSpec(), PartitionSpec(None, "rows")),
    )
    assert_close(jax.device_get(run(params, state, xs, OPTIONS)), jax.device_get(want))


def check_fit():
    """Training with the rows of each batch and of what is carried spread, the rest everywhere."""
    model = cases.CELLS["language-model"][0]
    params, tx = cases.parameters("language-model"), optax.sgd(0.1)
    step = make_train_step(next_symbol_loss(model), tx)
    source = streams(np.arange(4 * 11) % 5, B, T)

    def begin():
        carried = model.initial_state(params, (B,))
        return init_train_state(params, tx, jax.random.key(0), carried)

    where = placement(B)
    batch = where.batch(source.batch(0), source.axes)
    assert batch.xs.sharding.spec == PartitionSpec(None, "rows")
    assert batch.fresh.sharding.is_fully_replicated
    carried = where.carried((jnp.zeros((B, 3)), jnp.zeros(()), jnp.zeros((3, B))))
    assert [leaf.sharding.is_fully_replicated for leaf in carried] == [False, True, True]
    want = begin()
    for k in range(3):
        want, _ = step(want, source.batch(k))
    got = fit(step, begin(), source, steps=3)
    assert all(len(leaf.devices()) == 1 for leaf in jax.tree.leaves(got.params))
    assert_close(jax.device_get(got.params), jax.device_get(want.params))
    assert_close(jax.device_get(got.carried), jax.device_get(want.carried))


def main():
    assert jax.device_count() == 2
    failures = {}
    with jax.numpy_dtype_promotion("strict"):
        try:
            check_fit()
            failures["fit"] = None
        except Exception:
            failures["fit"] = traceback.format_exc()
        for name in ("gru-before", "language-model"):
            given = name == "language-model"
            for check, arguments in {
                "auto": (check_mesh, (AxisType.Auto, given, False)),
                "explicit": (check_mesh, (AxisType.Explicit, given, False)),
                "explicit-reverse": (check_mesh, (AxisType.Explicit, not given, True)),
                "shard_map": (check_shard_map, (given, False)),
                "shard_map-reverse": (check_shard_map, (not given, True)),
            }.items():
                try:
                    arguments[0](name, *arguments[1])
                    failures[f"{check} {name}"] = None
                except Exception:
                    failures[f"{check} {name}"] = traceback.format_exc()
    json.dump(failures, sys.stdout)


if __name__ == "__main__":
    main()
