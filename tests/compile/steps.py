"""Named steps for tests: how equations are written in the wild."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from .common import normal

T, B, H = 6, 3, 4


def elman(p, h, x):
    w_x, w_h, b = p
    h = jnp.tanh(x @ w_x[:, :H] + h @ w_h[:, :H] + b[:H])
    return h, h


def lstm(p, state, x):
    w_x, w_h, b = p
    h, c = state
    i, f, g, o = jnp.split(x @ w_x + h @ w_h + b, 4, axis=-1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    h = jax.nn.sigmoid(o) * jnp.tanh(c)
    return (h, c), h


def concatenated_lstm(p, state, x):
    """Haiku's way: one product of [x, h]."""
    w_x, w_h, b = p
    both = jnp.concatenate([x, state[0]], axis=-1) @ jnp.concatenate([w_x, w_h])
    return _gates(both + b, state)


def sliced_lstm(p, state, x):
    w_x, w_h, b = p
    return _gates((b + x @ w_x) + state[0] @ w_h, state)


def _gates(z, state):
    i, f, g, o = (z[..., k * H : (k + 1) * H] for k in range(4))
    c = jax.nn.sigmoid(f) * state[1] + jax.nn.sigmoid(i) * jnp.tanh(g)
    h = jax.nn.sigmoid(o) * jnp.tanh(c)
    return (h, c), h


def gru(p, h, x):
    """Reset after: the candidate's recurrent part is a piece of its own."""
    w_x, w_h, b = (leaf[..., : 3 * H] for leaf in p)
    b_n = p[2][3 * H :]
    x_r, x_z, x_n = jnp.split(x @ w_x + b, 3, -1)
    h_r, h_z, h_n = jnp.split(h @ w_h, 3, -1)
    r, z = jax.nn.sigmoid(x_r + h_r), jax.nn.sigmoid(x_z + h_z)
    h = (1 - z) * jnp.tanh(x_n + r * (h_n + b_n)) + z * h
    return h, h


def overlapping(p, h, x):
    """Pieces of one product that share columns."""
    w_x, w_h, b = p
    u, z = x @ w_x + b, h @ w_h[:, : 3 * H]
    left, right = jnp.tanh(z[:, : 2 * H] + u[:, : 2 * H]), jnp.tanh(z[:, H:] + u[:, 2 * H :])
    h = jnp.sum((left * right).reshape(*h.shape, 2), axis=-1)
    return h, h


def exposed(p, h, x):
    """The recurrent part of the gates leaves the loop, too."""
    w_x, w_h, b = (leaf[..., : 2 * H] for leaf in p)
    z = h @ w_h
    (u, v), (r, n) = jnp.split(x @ w_x + b, 2, -1), jnp.split(z, 2, -1)
    h = jax.nn.sigmoid(r + u) * jnp.tanh(n + v)
    return h, z


def masked_stack(p, state, x):
    """Two masked LSTM layers and a readout, as `unroll` makes them."""
    x, valid = x
    keep = valid[:, None]
    x = jnp.where(keep, x, 0)
    lower, y = lstm(p[0], state[0], x)
    upper, y = lstm(p[1], state[1], y)
    new = jax.tree.map(lambda n, o: jnp.where(keep, n, o), (lower, upper), state)
    return new, jnp.where(keep, y @ p[2], 0)


def embedded(p, h, token):
    return elman(p[1], h, p[0][token])


def delayed(p, state, x):
    """Reads the input of the step before last through a delay line."""
    h, before, last = state
    h, y = elman(p, h, before)
    return (h, last, x), y


def shared(p, h, x):
    """One weight, used three times: before, in and after the recurrence."""
    w = p[1][:, :H]
    h = jnp.tanh(x @ w + h @ w)
    return h, h @ w


def twice(p, state, x):
    """One weight, used twice within the loop, and the state before the step read out."""
    w = p[1][:, :H]
    h, c = state
    h = jnp.tanh(x + h @ w + jnp.sin(c @ w))
    return (h, c * 0.5 + h), state[0] @ p[0]


def normalised(p, h, x):
    """A weight that is computed from the parameters, as in weight_drop."""
    w = p[1][:, :H]
    h = jnp.tanh(x @ p[0][:, :H] + h @ (w / jnp.linalg.norm(w)))
    return h, h


def upcast(p, h, x):
    """Weights kept in fewer bits than they are used in."""
    w_x, w_h = (w[:, :H].astype(h.dtype) for w in p[:2])
    h = jnp.tanh(x @ w_x + h @ w_h)
    return h, h


def leaky(p, h, x):
    """A parameter that the loop reads at every step, beside a product."""
    h = p[2][:H] * h + jnp.tanh(x @ p[0][:, :H] + h @ p[1][:, :H])
    return h, h


def twofold(p, h, x):
    """A product of the input on either side of that of the state, then a bias."""
    w_x, w_h, b = p
    z = x @ w_x[:, :H] + h @ w_h[:, :H] + jnp.sin(x) @ w_x[:, H : 2 * H]
    h = jnp.tanh(z + b[:H])
    return h, h


def unweighted(p, h, x):
    """The input itself is added to the state's product, then a bias, which stays where it is."""
    h = jnp.tanh((h @ p[1][:, :H] + x) + p[2][:H])
    return h, h


def feedforward(p, state, x):
    return state, jax.nn.relu(x @ p[0] + p[2])


def attention(p, memory, x):
    """Products of two things that change: nothing to hoist but the query."""
    query = x @ p[0][:, :H]
    weights = jax.nn.softmax(jnp.einsum("bd,bkd->bk", query, memory))
    read = jnp.einsum("bk,bkd->bd", weights, memory)
    return memory * 0.9 + read[:, None], read


def column(p, h, x):
    """Equinox's way: weights to the left of vectors."""
    h = jnp.tanh(p[0][:H] @ x + p[1][:H] @ h + p[2][:H])
    return h, h


def rows(p, h, x):
    """A cell written for one row, and mapped over rows."""

    def row(h, x):
        z = p[0] @ x + jnp.einsum("hg,h->g", p[1], h) + p[2]
        r, n = jax.nn.sigmoid(z[:H]), jnp.tanh(z[H : 2 * H])
        return r * n + (1 - r) * h

    h = jax.vmap(row)(h, x)
    return h, h


def lstm_params(seed: int):
    w_x, w_h = (normal(10 * seed + i, H, 4 * H, scale=0.5) for i in (1, 2))
    return w_x, w_h, normal(seed, 4 * H)


with jax.enable_x64(True):
    XS = normal(1, T, B, H)
    H0, C0 = normal(2, B, H), normal(3, B, H)
    VALID = jnp.asarray([[True, False, True], [True, True, True]] * 3)
    P = lstm_params(1)
    LOW = tuple(w.astype(jnp.float32) for w in P)
    STACK = (P, lstm_params(2), normal(5, H, 5))
    TABLE, MEMORY = normal(7, 7, H), normal(8, B, 5, H)
    TOKENS = jnp.arange(T * B).reshape(T, B) % 7

# name: (step, params, state, xs, products in loops, products that plain scan runs in its loop)
STEPS = {
    "elman": (elman, P, H0, XS, 1, 2),
    "lstm": (lstm, P, (H0, C0), XS, 1, 2),
    "concatenated_lstm": (concatenated_lstm, P, (H0, C0), XS, 1, 1),
    "sliced_lstm": (sliced_lstm, P, (H0, C0), XS, 1, 2),
    "gru": (gru, P, H0, XS, 1, 2),
    "overlapping": (overlapping, P, H0, XS, 1, 2),
    "exposed": (exposed, P, H0, XS, 1, 2),
    "masked_stack": (masked_stack, STACK, ((H0, C0), (C0, H0)), (XS, VALID), 2, 5),
    "embedded": (embedded, (TABLE, P), H0, TOKENS, 1, 2),
    "delayed": (delayed, P, (H0, C0, C0), XS, 1, 2),
    "shared": (shared, P, H0, XS, 1, 3),
    "twice": (twice, P, (H0, C0), XS, 2, 3),
    "normalised": (normalised, P, H0, XS, 1, 2),
    "upcast": (upcast, LOW, H0, XS, 1, 2),
    "leaky": (leaky, P, H0, XS, 1, 2),
    "twofold": (twofold, P, H0, XS, 1, 3),
    "unweighted": (unweighted, P, H0, XS, 1, 1),
    "feedforward": (feedforward, P, (), XS, 0, 1),
    "attention": (attention, P, MEMORY, XS, 2, 3),
    "rows": (rows, (P[0].T, *P[1:]), H0, XS, 1, 2),
    "column": (column, tuple(p.T for p in P), H0[0], XS[:, 0], 1, 2),
}
