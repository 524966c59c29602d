"""Floor 4: where a run's arrays are: rows of the batch on all devices, the rest on each."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax

PyTree = Any


class Placement(NamedTuple):
    """Shardings of a batch that is spread over devices; None where there is nothing to spread.

    Attributes:
      whole: of what every device has: parameters, optimizer state, keys.
      rows: of a state, leaves [B, ...].
      windows: of a window, leaves [T, B, ...].
      one: of what comes out of it again: the first device.
    """

    whole: jax.sharding.Sharding | None = None
    rows: jax.sharding.Sharding | None = None
    windows: jax.sharding.Sharding | None = None
    one: jax.sharding.Sharding | None = None


def placement(batch_size: int) -> Placement:
    """Spreads a batch over all devices: accelerators, or cores after `host.use_cpu_devices`.

    Args:
      batch_size: B.

    Returns:
      A `Placement`; of Nones when there is one device, or B is no multiple of their number.

    Example:
      >>> from rnnjax.train import placement
      >>> placement(1).rows is None
      True
    """
    devices = jax.device_count()
    if devices == 1 or batch_size % devices:
        return Placement()
    mesh = jax.make_mesh((devices,), ("rows",), axis_types=(jax.sharding.AxisType.Auto,))
    return Placement(
        whole=jax.NamedSharding(mesh, jax.P()),
        rows=jax.NamedSharding(mesh, jax.P("rows")),
        windows=jax.NamedSharding(mesh, jax.P(None, "rows")),
        one=jax.sharding.SingleDeviceSharding(jax.devices()[0]),
    )


def placed(tree: PyTree, sharding: jax.sharding.Sharding | None) -> PyTree:
    """The tree with its leaves where `sharding` says; as it is for None."""
    return tree if sharding is None else jax.device_put(tree, sharding)
