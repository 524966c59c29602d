"""Floor 4: where a run's arrays are: rows of the batch on all devices, the rest on each."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax

PyTree = Any


class Placement(NamedTuple):
    """Shardings of a batch that is spread over devices; None where there is nothing to spread.

    Attributes:
      whole: of what every device has: parameters, optimizer state, keys.
      rows: of what the rows of a batch have, leaves [B, ...].
      one: of what comes out of it again: the first device.
      size: B.
    """

    whole: jax.sharding.NamedSharding | None = None
    rows: jax.sharding.NamedSharding | None = None
    one: jax.sharding.Sharding | None = None
    size: int = 0

    def batch(self, batch: PyTree, axes: PyTree) -> PyTree:
        """A batch with its rows spread; `axes` as `Source.axes` has them."""
        if self.rows is None:
            return batch
        mesh, (name,) = self.rows.mesh, self.rows.spec

        def spread(axis: int | None, part: PyTree) -> PyTree:
            if axis is None:
                return placed(part, self.whole)
            return placed(part, jax.NamedSharding(mesh, jax.P(*[None] * axis, name)))

        return jax.tree.map(spread, axes, batch, is_leaf=lambda axis: axis is None)

    def carried(self, carried: PyTree) -> PyTree:
        """What passes from batch to batch: leaves [B, ...] spread, the others whole."""
        if self.rows is None:
            return carried

        def spread(leaf: Any) -> Any:
            rows = leaf.ndim and leaf.shape[0] == self.size
            return placed(leaf, self.rows if rows else self.whole)

        return jax.tree.map(spread, carried)


def placement(batch_size: int) -> Placement:
    """Spreads a batch over all devices: accelerators, or cores after `host.use_cpu_devices`.

    Args:
      batch_size: B.

    Returns:
      A `Placement`; of Nones when there is one device, or B is no multiple of their number.

    Example:
      >>> from rnnjax.train import placed, placement
      >>> placement(1).rows is None
      True
      >>> placed({"w": 1.0}, placement(1).whole)
      {'w': 1.0}
    """
    devices = jax.device_count()
    if devices == 1 or batch_size % devices:
        return Placement()
    mesh = jax.make_mesh((devices,), ("rows",), axis_types=(jax.sharding.AxisType.Auto,))
    return Placement(
        whole=jax.NamedSharding(mesh, jax.P()),
        rows=jax.NamedSharding(mesh, jax.P("rows")),
        one=jax.sharding.SingleDeviceSharding(jax.devices()[0]),
        size=batch_size,
    )


def placed(tree: PyTree, sharding: jax.sharding.Sharding | None) -> PyTree:
    """The tree with its leaves where `sharding` says; as it is for None."""
    return tree if sharding is None else jax.device_put(tree, sharding)
