"""Cells of the field against torchrecurrent's: values and gradients with the same weights."""

from typing import NamedTuple

import jax
import numpy as np
import pytest
from oracles import assert_close, pair

import rnnjax

from . import KNOWN
from .known import D, H

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
peers = pytest.importorskip("torchrecurrent", reason="torchrecurrent is not installed")
pytestmark = pytest.mark.usefixtures("x64")
T, B = 4, 2


class Peer(NamedTuple):
    """Its class, and which of our gates its blocks are."""

    name: str
    inputs: tuple[int, ...]
    recurrent: tuple[int, ...]
    options: dict = {}  # noqa: RUF012


PEERS = {
    "mgu": Peer("MGUCell", (0, 1), (0, 1)),
    "ligru": Peer("LiGRUCell", (0, 1), (0, 1)),
    "ran": Peer("RANCell", (2, 0, 1), (0, 1)),
    "ugrnn": Peer("UGRNNCell", (1, 0), (1, 0)),
    "cfn": Peer("CFNCell", (0, 1, 2), (0, 1)),
    "brc": Peer("BRCell", (0, 1, 2), (0, 1)),
    "nbrc": Peer("NBRCell", (0, 1, 2), (0, 1)),
    # Its documentation has the gate's sigmoid as the default, its code tanh.
    "fast_grnn": Peer("FastGRNNCell", (0,), (0,), {"nonlinearity": "sigmoid"}),
    "atr": Peer("ATRCell", (0,), (0,)),
}


def blocks(w, order):
    """The gates of w in another order, as PyTorch keeps them: [G H, ...]."""
    return np.concatenate([w[..., g * H : (g + 1) * H] for g in order], axis=-1).T


def as_theirs(peer, params):
    """Our parameters, or gradients, by their names. One of their two biases is ours."""
    fields = params._asdict()
    theirs = {
        "weight_ih": blocks(params.w_x, peer.inputs),
        "weight_hh": blocks(fields.get("w_h", fields.get("diagonal_h")), peer.recurrent),
    }
    if "b" in fields:
        gates = peer.recurrent if len(params.b) == len(peer.recurrent) * H else (0, 1)
        theirs["bias_hh"] = blocks(params.b, gates)
    for name in ("zeta", "nu"):
        if f"logit_rate_{name}" in fields:
            theirs[name] = np.reshape(fields[f"logit_rate_{name}"], 1)
    return theirs


@pytest.mark.parametrize("name", PEERS)
def test_torchrecurrent(name):
    cell, peer, rng = KNOWN[name].cell, PEERS[name], np.random.default_rng(0)
    shapes = jax.eval_shape(lambda: cell.init(jax.random.key(0), D))
    params = jax.tree.map(lambda a: rng.normal(0, 1, a.shape), shapes)
    xs, bars = rng.normal(0, 1, (T, B, D)), rng.normal(0, 1, (T, B, H))
    fresh = jax.eval_shape(lambda: cell.initial_state(params, (B,)))
    state = jax.tree.map(lambda a: rng.normal(0, 1, a.shape), fresh)

    def loss(params, state, xs):
        ys = rnnjax.unroll(cell, params, state, xs)[1]
        return pair(ys, bars), ys

    grads, ys = jax.jit(jax.grad(loss, (0, 1, 2), has_aux=True))(params, state, xs)

    theirs = getattr(peers, peer.name)(D, H, dtype=torch.float64, **peer.options)
    copied = as_theirs(peer, params)
    with torch.no_grad():
        for key, value in theirs.named_parameters():
            value.copy_(torch.tensor(copied[key]) if key in copied else torch.zeros_like(value))
    leaves = [torch.tensor(a, requires_grad=True) for a in (*jax.tree.leaves(state), xs)]
    *h, steps = leaves
    outputs = []
    carry = tuple(h) if len(h) > 1 else h[0]
    for x in steps:
        carry = theirs(x, carry)
        outputs.append(carry[0] if isinstance(carry, tuple) else carry)
    (torch.stack(outputs) * torch.tensor(bars)).sum().backward()

    assert_close(ys, torch.stack(outputs).detach().numpy())
    ours = [*jax.tree.leaves(grads[1]), grads[2]]
    assert_close(ours, [leaf.grad.numpy() for leaf in leaves])
    found = dict(theirs.named_parameters())
    want = {key: found[key].grad.numpy() for key in copied}
    assert_close(as_theirs(peer, jax.tree.map(np.asarray, grads[0])), want)
