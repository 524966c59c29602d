"""Linear recurrences against other libraries, where these are installed: values and gradients."""

import jax
import numpy as np
import pytest
from oracles import assert_close, pair

import rnnjax

from .known import D, H

T, B = 6, 2
pytestmark = pytest.mark.usefixtures("x64")


def draw(seed, *shape):
    return np.random.default_rng(seed).normal(0, 0.7, shape)


def ours(cell, params, state, xs, bar):
    """ys, and the gradients of Σ ys ⊙ bar for params and xs."""

    def loss(params, xs):
        ys = rnnjax.unroll(cell, params, state, xs)[1]
        return pair(ys, bar), ys

    gradients, ys = jax.jit(jax.grad(loss, (0, 1), has_aux=True))(params, xs)
    return ys, *gradients


def theirs(torch, run, bar, *arrays):
    """ys of a PyTorch function, and the gradients of Σ ys ⊙ bar for its arguments."""
    tensors = [torch.tensor(a, requires_grad=True) for a in arrays]
    ys = run(*tensors)
    gradients = torch.autograd.grad((ys * torch.tensor(bar)).sum(), tensors)
    return ys.detach().numpy(), *(g.resolve_conj().numpy() for g in gradients)


def test_min_gru_in_logarithms():
    torch = pytest.importorskip("torch")
    peer = pytest.importorskip("minGRU_pytorch.minGRU", reason="needs minGRU-pytorch")
    w_x, xs, h0, bar = draw(0, D, 2 * H), draw(1, T, B, D), abs(draw(2, B, H)), draw(3, T, B, H)
    cell = rnnjax.min_gru(H, candidate="positive")
    got, got_params, got_xs = ours(cell, rnnjax.MinGRUParams(w_x, np.zeros(2 * H)), h0, xs, bar)

    def run(w_x, xs):
        z, n = torch.chunk(xs @ w_x, 2, -1)
        layer = peer.minGRU(H).double()  # its weights [n, z] take what is projected already
        with torch.no_grad():
            layer.to_hidden_and_gate.weight.copy_(torch.eye(2 * H)[:, :H])
        layer.to_hidden_and_gate = torch.nn.Identity()
        projected = torch.cat([n, z], -1).transpose(0, 1)
        return layer(projected, torch.tensor(h0)[:, None]).transpose(0, 1)

    want, want_w, want_xs = theirs(torch, run, bar, w_x, xs)
    assert_close((got, got_params.w_x, got_xs), (want, want_w, want_xs))


def test_s5():
    torch = pytest.importorskip("torch")
    peer = pytest.importorskip("s5.s5_model", reason="needs s5-pytorch")
    w_x, w_y, d = draw(0, D, 2 * H), draw(1, 2 * H, D), draw(2, D)
    eig = np.concatenate([-np.exp(draw(3, H)), draw(4, H)])
    log_step, xs, bar = draw(5, H), draw(6, T, D), draw(7, T, D)
    params = rnnjax.S5Params(w_x, w_y, d, eig, log_step)
    got, got_params, got_xs = ours(rnnjax.s5(H), params, None, xs, bar)

    def run(w_x, w_y, d, eig, log_step, xs):
        def pairs(parts, axis):  # with the conjugates that a real system has
            a = torch.complex(*torch.chunk(parts, 2, axis))
            return torch.cat([a, a.conj()], axis)

        step = torch.exp(torch.cat([log_step, log_step]))
        B, C = pairs(w_x, 1).T, pairs(w_y, 0).T
        A_bar, B_bar = peer.discretize_zoh(pairs(eig, 0), B, step)
        return peer.apply_ssm(A_bar, B_bar, C, d, xs)[0]

    assert_close((got, *got_params, got_xs), theirs(torch, run, bar, *params, xs))
