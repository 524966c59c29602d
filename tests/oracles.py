"""What the tests compare with: equations as float64 NumPy loops, and "the same" as one function.

The loops take one row and one step at a time and only ever see real steps, so there is no masking
to get wrong. Derivatives are taken by the complex step, Im f(x + ih) / h with h = 1e-30: exact to
rounding, and without a line of differentiation to share a mistake with autodiff.
"""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np


def is_key(x):
    return jnp.issubdtype(jnp.result_type(x), jax.dtypes.prng_key)


def is_counter(x):
    return jnp.issubdtype(jnp.result_type(x), jnp.integer)


def numpy(tree):
    """The tree's arrays, except keys, as NumPy's: there an operation is no compilation."""
    return jax.tree.map(lambda a: a if is_key(a) else np.asarray(a), tree)


def assert_close(got, want):
    """Asserts that two trees are the same: max|a - b| <= tol * max(1, max|b|), leaf by leaf."""
    assert jax.tree.structure(got) == jax.tree.structure(want)
    for (path, a), b in zip(jax.tree.leaves_with_path(got), jax.tree.leaves(want), strict=True):
        where = jax.tree_util.keystr(path)
        if is_key(a):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        a, b = np.asarray(a), np.asarray(b)
        assert a.shape == b.shape, f"{where}: {a.shape} against {b.shape}"
        if b.dtype == jax.dtypes.float0:  # the derivative for a counter
            assert a.dtype == b.dtype, where
            continue
        inexact = np.issubdtype(a.dtype, np.inexact)
        bits = np.finfo(a.dtype).bits if inexact else 8 * a.dtype.itemsize
        tol = 1e-10 if bits == 64 else 1e-5
        wide = complex if np.iscomplexobj(a) or np.iscomplexobj(b) else float
        a, b = a.astype(wide), b.astype(wide)
        bound = tol * max(1.0, np.abs(b).max(initial=0))
        assert np.abs(a - b).max(initial=0) <= bound, f"{where}: off by {np.abs(a - b).max()}"


def assert_bitwise(got, want):
    """Asserts that two trees hold the same bits."""
    assert jax.tree.structure(got) == jax.tree.structure(want)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        if is_key(a):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        a, b = np.asarray(a), np.asarray(b)
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        assert a.tobytes() == b.tobytes()


# --- equations -----------------------------------------------------------------------------------
# step(params, state, x) -> (state, y) for one row; params as stored by rnnjax, gates split here.


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


ACTIVATIONS = {"tanh": np.tanh, "relu": lambda a: a * (a.real > 0), "identity": lambda a: a}


def elman(activation="tanh"):
    def step(params, h, x):
        w_x, w_h, b = params
        h = ACTIVATIONS[activation](x @ w_x + h @ w_h + b)
        return h, h

    return step


def lstm(params, state, x):
    (w_x, w_h, b), (h, c) = params, state
    H = len(h)
    W_i, W_f, W_g, W_o = (w_x[:, k * H : (k + 1) * H] for k in range(4))
    U_i, U_f, U_g, U_o = (w_h[:, k * H : (k + 1) * H] for k in range(4))
    b_i, b_f, b_g, b_o = (b[k * H : (k + 1) * H] for k in range(4))
    i = sigmoid(x @ W_i + h @ U_i + b_i)
    f = sigmoid(x @ W_f + h @ U_f + b_f)
    g = np.tanh(x @ W_g + h @ U_g + b_g)
    o = sigmoid(x @ W_o + h @ U_o + b_o)
    c = f * c + i * g
    h = o * np.tanh(c)
    return type(state)(h, c), h


def gru(reset):
    def step(params, h, x):
        w_x, w_h, b, b_n = params
        H = len(h)
        W_r, W_z, W_n = (w_x[:, k * H : (k + 1) * H] for k in range(3))
        U_r, U_z, U_n = (w_h[:, k * H : (k + 1) * H] for k in range(3))
        b_r, b_z, b_c = (b[k * H : (k + 1) * H] for k in range(3))
        r = sigmoid(x @ W_r + h @ U_r + b_r)
        z = sigmoid(x @ W_z + h @ U_z + b_z)
        if reset == "after":
            n = np.tanh(x @ W_n + b_c + r * (h @ U_n + b_n))
        else:
            n = np.tanh(x @ W_n + b_c + (r * h) @ U_n)
        h = (1 - z) * n + z * h
        return h, h

    return step


# --- sequences -----------------------------------------------------------------------------------


def real_steps(row, T, lengths=None, mask=None):
    """The times of a row's real steps, in order."""
    return [
        t
        for t in range(T)
        if (lengths is None or t < lengths[row]) and (mask is None or mask[(t, *row)])
    ]


def visits(row, T, lengths=None, mask=None, resets=None, reverse=False):
    """(t, restart) for each step a row takes: `restart` says the state is fresh before it."""
    steps = real_steps(row, T, lengths, mask)
    first = [resets is not None and bool(resets[(t, *row)]) for t in steps]
    if not reverse:
        return list(zip(steps, first, strict=True))
    # Backwards a segment is entered at its end: at the step before one that starts a segment.
    after = [*first[1:], False][: len(steps)]
    return list(zip(steps, after, strict=True))[::-1]


def run(step, params, fresh, state, xs, **options):
    """Runs `step` over [T, *B, ...], each row alone; `fresh` is one row's initial state.

    Returns (state, ys) as `unroll` defines them.
    """
    leaf = jax.tree.leaves(state)[0]
    batch = leaf.shape[: leaf.ndim - jax.tree.leaves(fresh)[0].ndim]
    T = jax.tree.leaves(xs)[0].shape[0]
    final = jax.tree.map(np.array, state)
    ys = {}
    for row in itertools.product(*map(range, batch)):
        s = jax.tree.map(lambda a, row=row: a[row], state)
        for t, restart in visits(row, T, **options):
            s, y = step(params, fresh if restart else s, jax.tree.map(lambda a: a[(t, *row)], xs))
            ys[t, row] = y
        for whole, part in zip(jax.tree.leaves(final), jax.tree.leaves(s), strict=True):
            whole[row] = part
    y = np.zeros((T, *batch, *next(iter(ys.values())).shape), np.asarray(leaf).dtype)
    for (t, row), value in ys.items():
        y[(t, *row)] = value
    return final, y


def pair(result, cotangents):
    """Σ result ⊙ cotangents: a loss whose gradient sees every output with its own weight.

    Counters have no part in it.
    """
    both = zip(jax.tree.leaves(result), jax.tree.leaves(cotangents), strict=True)
    return sum((a * b).sum() for a, b in both if not is_counter(a))


def gradient(loss, tree):
    """d loss / d tree by the complex step, for a tree of real arrays; nothing for counters."""
    leaves, structure = jax.tree.flatten(
        jax.tree.map(lambda a: a if is_counter(a) else np.asarray(a, complex), tree)
    )
    nothing = jax.dtypes.float0
    grads = [np.zeros(leaf.shape, nothing if is_counter(leaf) else float) for leaf in leaves]
    for leaf, grad in zip(leaves, grads, strict=True):
        if is_counter(leaf):
            continue
        for index in np.ndindex(leaf.shape):
            leaf[index] += 1e-30j
            grad[index] = loss(structure.unflatten(leaves)).imag * 1e30
            leaf[index] -= 1e-30j
    return structure.unflatten(grads)
