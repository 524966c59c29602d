"""`scan` composes with every transformation of JAX, as plain `lax.scan` does."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.experimental import io_callback
from tracing import traces

from rnnjax._compile import plan, scan

from .common import (
    QUICK_COMPILE,
    assert_same,
    backward,
    both,
    check,
    check_step,
    deferred,
    normal,
    plain,
    probe,
    scans,
    slow,
)

D, H, B, T = 3, 4, 2, 5


# --- steps ----------------------------------------------------------------------------------------


def elman(params, h, x):
    w_x, w_h, b = params
    h = jnp.tanh(x @ w_x + h @ w_h + b)
    return h, h


def lstm(params, state, x):
    """Written as in the paper: product of a concatenation, split, gates."""
    w, b = params
    h, c = state
    i, f, g, o = jnp.split(jnp.concatenate([x, h], -1) @ w + b, 4, -1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    h = jax.nn.sigmoid(o) * jnp.tanh(c)
    return (h, c), h


def gru(params, h, x):
    """The shared weight `u` in two places, and a bias inside the loop as in cuDNN's GRU."""
    w, u, b = params
    r = jax.nn.sigmoid(x @ w + h @ u + b)
    n = jnp.tanh(x @ w + r * ((h * h) @ u + b))
    return r * h + (1 - r) * n, (n, h)


def layers(params, state, x):
    """Embedding, two layers, a readout: falls apart into products and loops."""
    table, lower, upper, readout = params
    h, low = elman(lower, state[0], jnp.asarray(table)[x])
    top, high = lstm(upper, state[1], low)
    return (h, top), (high @ readout, low)


def conv_elman(params, h, x):
    w_x, w_h = params
    convolve = functools.partial(
        lax.conv_general_dilated,
        window_strides=(1, 1),
        padding="SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    h = jnp.tanh(convolve(x, w_x) + convolve(h, w_h))
    return h, h.mean((1, 2))


def heads(params, h, x):
    """Block-diagonal recurrence: a product with a batch axis, the weight on the left."""
    w_x, w_h = params
    h = jnp.tanh(jnp.einsum("bnd,ndh->bnh", x, w_x) + jnp.einsum("nhk,bnk->bnh", w_h, h))
    return h, h


def linear_rnn(params, h, x):
    decay, w = params
    h = decay * h + x @ w
    return h, h


def delayed(params, state, x):
    """A delay line of two, read through products: no recurrence at all."""
    w1, w2 = params
    before, before_that = state
    return (x, before), before @ w1 + before_that @ w2 + x @ w1


def normalised(params, h, x):
    """Weights made from params; one of them also used outside its product."""
    w_x, w_h, g = params
    w_h = g * w_h / jnp.linalg.norm(w_h, axis=0)
    h = jnp.tanh(x @ jnp.where(w_x > 0.1234, w_x, 0.5 * w_x) + h @ w_h + w_h[0])
    return h, h + jnp.sum(w_x)


# The fixture that turns float64 on is not there yet when a module is imported.
with jax.enable_x64(True):
    ELMAN = (normal(1, D, H), normal(2, H, H, scale=0.5), normal(3, H))
    LSTM = (normal(4, D + H, 4 * H, scale=0.5), normal(5, 4 * H))
    GRU = (normal(6, D, H), normal(7, H, H, scale=0.5), normal(8, H))
    UPPER = (normal(4, 2 * H, 4 * H, scale=0.5), normal(5, 4 * H))
    LAYERS = (normal(9, 7, D), ELMAN, UPPER, normal(10, H, 2))
    H0, C0 = normal(11, B, H), normal(12, B, H)
    XS = normal(13, T, B, D)
    TOKENS = jnp.asarray(np.random.default_rng(14).integers(0, 7, (T, B)), jnp.int32)

    CASES = {
        "elman": (elman, ELMAN, H0, XS),
        "lstm": (lstm, LSTM, (H0, C0), XS),
        "gru": (gru, GRU, H0, XS),
        "layers": (layers, LAYERS, (H0, (H0 + 1, C0)), TOKENS),
        "conv": (
            conv_elman,
            (normal(15, 3, 3, 2, 2, scale=0.3), normal(16, 3, 3, 2, 2, scale=0.3)),
            normal(17, B, 3, 4, 2),
            normal(18, T, B, 3, 4, 2),
        ),
        "heads": (
            heads,
            (normal(19, 2, D, H), normal(20, 2, H, H, scale=0.5)),
            normal(21, B, 2, H),
            normal(22, T, B, 2, D),
        ),
        "linear": (linear_rnn, (jax.nn.sigmoid(normal(23, H)), normal(24, D, H)), H0, XS),
        "delayed": (
            delayed,
            (normal(25, D, H), normal(26, D, H)),
            (normal(27, B, D), normal(28, B, D)),
            XS,
        ),
        "normalised": (normalised, (*ELMAN[:2], normal(29, H)), H0, XS),
    }

# "layers" holds an LSTM.
SMALL = ("elman", pytest.param("lstm", marks=slow), "layers")

case = pytest.mark.parametrize("name", CASES)
small_case = pytest.mark.parametrize("name", SMALL)


def pair(step, **options):
    """The compiled scan and the oracle, as functions of params, state, xs."""
    return [functools.partial(s, step, **options) for s in (scan, plain)]


def agree(transform, step, *args, jit=True, backward="auto"):
    """`transform(f)(*args)` is the same for our scans and the oracle."""
    fns = [transform(functools.partial(s, step)) for s in scans(scan, backward)]

    def every(*args):
        return [f(*args) for f in fns]

    if jit:
        every = jax.jit(every, compiler_options=QUICK_COMPILE)
    *ours, want = every(*args)
    for got in ours:
        assert_same(got, want)


def differentiable(name):
    """params, state and a function of both: some xs are integers."""
    step, params, state, xs = CASES[name]

    def loss_of(run):
        return lambda params, state: probe(run(params, state, xs))

    return step, params, state, loss_of


# --- values and first derivatives -----------------------------------------------------------------


@case
@both
def test_values_and_gradients(name, backward):
    check_step(scan, *CASES[name], backward=backward)


@pytest.mark.parametrize("name", ["lstm", "layers"])
def test_eager_is_jitted(name):
    step, params, state, xs = CASES[name]
    assert_same(scan(step, params, state, xs), plain(step, params, state, xs))
    agree(
        lambda run: jax.grad(lambda p, s, x: probe(run(p, s, x)), (0, 1)),
        step, params, state, xs, jit=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "options"),
    [
        *((name, {"reverse": True}) for name in ("elman", "layers")),
        ("lstm", {"loop_unroll": 2}),
        ("elman", {"loop_unroll": T}),
        ("layers", {"length": T, "reverse": True, "loop_unroll": 3, "backward": "autodiff"}),
    ],
    ids=str,
)
def test_options(name, options):
    check_step(scan, *CASES[name], **options)


@small_case
@pytest.mark.parametrize(
    "options",
    [
        {"save": "states"},
        {"block": 2},
        pytest.param({"save": "all"}, marks=slow),
        pytest.param({"block": T + 3}, marks=slow),
    ],
    ids=str,
)
def test_save_and_block_are_exact_or_refused(name, options):
    try:
        check_step(scan, *CASES[name], **options)
    except NotImplementedError as refusal:
        pytest.skip(f"refused: {refusal}")


@small_case
@pytest.mark.parametrize("reverse", [False, True])
def test_no_steps(name, reverse):
    step, params, state, xs = CASES[name]
    check_step(scan, step, params, state, np.asarray(xs)[:0], reverse=reverse)


@pytest.mark.parametrize("name", [*SMALL, "conv", "delayed"])
def test_one_step(name):
    step, params, state, xs = CASES[name]
    check_step(scan, step, params, state, np.asarray(xs)[:1])


@pytest.mark.parametrize("name", [*SMALL, "conv", "heads"])
@deferred
def test_no_rows(name, backward):
    step, params, state, xs = CASES[name]
    state = jax.tree.map(lambda s: np.asarray(s)[:0], state)
    check_step(scan, step, params, state, np.asarray(xs)[:, :0], backward=backward)


@small_case
def test_no_batch_axis(name):
    step, params, state, xs = CASES[name]
    state = jax.tree.map(lambda s: np.asarray(s)[0], state)
    check_step(scan, step, params, state, np.asarray(xs)[:, 0])


@both
def test_without_xs(backward):
    def step(params, h, x):
        assert x is None
        h = jnp.tanh(h @ params)
        return h, h[..., 0]

    check_step(scan, step, ELMAN[1], H0, None, length=T, backward=backward)
    check_step(scan, step, ELMAN[1], H0, None, length=0, backward=backward)


def test_without_state_or_outputs():
    check_step(scan, lambda p, s, x: ((), jnp.tanh(x @ p)), ELMAN[0], (), XS)
    check_step(scan, lambda p, h, x: (elman(p, h, x)[0], None), ELMAN, H0, XS)
    check_step(scan, lambda p, s, x: (None, ()), (), None, XS)
    check_step(scan, lambda p, s, x: (s, x), (), H0, XS)
    check_step(scan, lambda p, s, x: (s, (s, p, 1.0, 2, True)), ELMAN, H0, XS)


# --- transformations ------------------------------------------------------------------------------


@small_case
@deferred
def test_vmap_over_batch(name, backward):
    step, params, state, xs = CASES[name]

    def rows(run):
        run = jax.vmap(run, in_axes=(None, 0, 1), out_axes=(0, 1))

        def loss(params, state, xs):
            result = run(params, state, xs)
            return probe(result), result

        return jax.grad(loss, (0, 1), has_aux=True)

    agree(rows, step, params, state, xs, backward=backward)


@small_case
@deferred
def test_vmap_over_params(name, backward):
    step, params, state, xs = CASES[name]
    several = jax.tree.map(lambda p: np.stack([p, 0.5 * p, -p]), params)

    def grads(run):
        per_model = jax.grad(lambda p, s: probe(run(p, s, xs)), (0, 1))

        def loss(params):
            result = jax.vmap(run, (0, None, None))(params, state, xs)
            return probe(result), result

        # Gradient of vmap is not vmap of gradient to the compiler.
        return lambda p, s: (
            jax.vmap(per_model, (0, None))(p, s),
            jax.grad(loss, has_aux=True)(p),
        )

    agree(grads, step, several, state, backward=backward)


@small_case
@both
def test_jvp(name, backward):
    step, params, state, xs = CASES[name]

    def forward(run):
        return lambda *args: jax.jvp(
            lambda p, s: run(p, s, xs), args, jax.tree.map(lambda a: 0.3 * a + 0.1, args)
        )

    agree(forward, step, params, state, backward=backward)


@small_case
@both
def test_jvp_for_params_alone(name, backward):
    """Other arguments have symbolic zeros for tangents."""
    step, params, state, xs = CASES[name]

    def forward(run):
        return lambda p: jax.jvp(lambda p: run(p, state, xs), (p,), (p,))

    agree(forward, step, params, backward=backward)


@backward
def test_linearize_and_transpose_agree(backward):
    """<u, J v> = <Jᵀ u, v>, from one linearisation."""

    def f(params):
        return probe(scan(lstm, params, (H0, C0), XS, backward=backward))

    v = jax.tree.map(lambda p: jnp.cos(p), LSTM)
    _, jv = jax.linearize(f, LSTM)
    (jt,) = jax.vjp(f, LSTM)[1](1.0)
    dot = sum(jnp.vdot(a, b) for a, b in zip(jax.tree.leaves(jt), jax.tree.leaves(v), strict=True))
    assert_same(dot, jv(v))


@pytest.mark.parametrize("name", ["lstm", "layers"])
@deferred
def test_jacobian(name, backward):
    step, params, state, xs = CASES[name]

    def jac(run):
        def outputs(state):
            return run(params, state, xs)[1]

        return lambda s: (jax.jacfwd(outputs)(s), jax.jacrev(outputs)(s))

    agree(jac, step, state, backward=backward)


@deferred
@pytest.mark.parametrize("name", ["elman", "gru"])
def test_hessian(name, backward):
    step, params, state, loss_of = differentiable(name)

    def hessian(run):
        return jax.hessian(lambda u: loss_of(run)((params[0], u, params[2]), state))

    agree(hessian, step, params[1], backward=backward)


@deferred
@small_case
def test_grad_of_grad(name, backward):
    step, params, state, loss_of = differentiable(name)

    def twice(run):
        def first(params, state):
            return sum(map(probe, jax.grad(loss_of(run), (0, 1))(params, state)))

        return jax.grad(first, (0, 1))

    agree(twice, step, params, state, backward=backward)


@deferred
def test_hessian_vector_products(backward):
    """Forward over reverse, and reverse over forward."""
    v = jax.tree.map(jnp.sin, LSTM)

    def forward_over_reverse(run):
        grad = jax.grad(lambda p: probe(run(p, (H0, C0), XS)))
        return lambda p: jax.jvp(grad, (p,), (v,))

    def reverse_over_forward(run):
        def slope(p):
            return jax.jvp(lambda p: probe(run(p, (H0, C0), XS)), (p,), (v,))[1]

        return jax.grad(slope)

    def ways(run):
        return lambda p: (forward_over_reverse(run)(p), reverse_over_forward(run)(p))

    agree(ways, lstm, LSTM, backward=backward)


@pytest.mark.parametrize(
    ("name", "policy"), [("elman", "dots_saveable"), ("lstm", None), ("layers", "dots_saveable")]
)
@deferred
def test_checkpoint(name, backward, policy):
    step, params, state, loss_of = differentiable(name)
    how = {} if policy is None else {"policy": getattr(jax.checkpoint_policies, policy)}

    def remat(run):
        return jax.value_and_grad(jax.checkpoint(loss_of(run), **how), (0, 1))

    agree(remat, step, params, state, backward=backward)


@both
def test_checkpointed_step(backward):
    check_step(scan, jax.checkpoint(lstm), LSTM, (H0, C0), XS, backward=backward)


@backward
def test_scan_inside_scan(backward):
    """Inner sequences, the outer step made of one whole inner scan; both ours, or either."""
    xs = normal(30, 3, T, B, D)

    def outer(inner):
        def step(params, h, x):
            h, ys = inner(elman, params, h, x)
            return h, ys.sum(0)

        return step

    ours = functools.partial(scan, backward=backward)
    for inner, outermost in [(ours, ours), (ours, plain), (plain, ours)]:

        def both(params, h):
            return [
                jax.value_and_grad(lambda p, h: probe(o(outer(i), p, h, xs)), (0, 1))(params, h)
                for i, o in [(inner, outermost), (plain, plain)]
            ]

        assert_same(*jax.jit(both)(ELMAN, H0))


@both
def test_grad_inside_the_step(backward):
    """A step that differentiates (fast weights, meta-learning)."""

    def step(params, w, x):
        loss, g = jax.value_and_grad(lambda w: jnp.mean(jnp.tanh(x @ w @ params) ** 2))(w)
        return w - 0.1 * g, loss

    check_step(scan, step, normal(31, H, 2), normal(32, D, H), XS, backward=backward)


@both
def test_scan_inside_the_differentiated_scan_closes_over_tracers(backward):
    def make(closed):
        w, shift = closed

        def step(params, h, x):
            h = jnp.tanh(x @ params + h @ w + shift)
            return h, h @ w

        return step

    check(scan, make, ELMAN[0], H0, XS, (ELMAN[1], ELMAN[2]), backward=backward)


def test_closed_over_values_in_one_branch_of_a_cond():
    def run(s, flag, w):
        return lax.cond(
            flag, lambda w: probe(s(elman, (ELMAN[0], w, ELMAN[2]), H0, XS)), jnp.sum, w
        )

    for flag in (True, False):
        got, want = [jax.grad(lambda w: run(s, flag, w))(ELMAN[1]) for s in (scan, plain)]
        assert_same(got, want)


def test_donated_buffers():
    """A streaming caller donates its state; the given buffers may be gone, the result is right."""
    wanted = plain(lstm, LSTM, (H0, C0), XS)

    @functools.partial(jax.jit, donate_argnums=1)
    def advance(params, state, xs):
        return scan(lstm, params, state, xs)

    state = (jnp.array(H0, copy=True), jnp.array(C0, copy=True))
    for _ in range(2):
        got = advance(LSTM, state, XS)
        assert_same(got, wanted)
        state = (jnp.array(H0, copy=True), jnp.array(C0, copy=True))
    scan(lstm, LSTM, state, XS)
    assert not any(leaf.is_deleted() for leaf in state), "an eager call must not donate"


@backward
def test_integer_arguments_have_float0_gradients(backward):
    def loss(run):
        return lambda p, s, x: probe(run(layers, p, s, x))

    got, want = [
        jax.grad(loss(f), (0, 2), allow_int=True)(LAYERS, (H0, (H0, C0)), TOKENS)
        for f in (functools.partial(scan, backward=backward), plain)
    ]
    assert_same(got[0], want[0])
    assert got[1].dtype == jax.dtypes.float0
    assert got[1].shape == TOKENS.shape


def test_unused_param_has_zero_gradient():
    params = {"w": ELMAN, "unused": normal(33, 2, 2)}
    check_step(scan, lambda p, h, x: elman(p["w"], h, x), params, H0, XS)


@backward
def test_large_values_stay_where_they_are(backward):
    """Zeros made by the compiler multiply nothing: inf in one row leaves the other rows finite."""
    xs = XS.at[1, 0].set(jnp.inf)

    def grads(run):
        return jax.grad(lambda x: probe(run(ELMAN, H0, x)[1][:, 1]))

    got = [jax.jit(grads(f))(xs)[:, 1] for f in pair(elman, backward=backward)]
    assert np.isfinite(got[1]).all()
    assert_same(*got)


# --- dtypes ---------------------------------------------------------------------------------------


def weak_types(tree):
    return jax.tree.map(lambda leaf: leaf.weak_type, tree)


@pytest.mark.parametrize(
    ("step", "state"),
    [
        (lambda p, c, x: (c + 1, c), 0),
        (lambda p, c, x: (c * 0.5, c), 1.0),
        (lambda p, c, x: (c + x[0, 0], c), 0.0),  # a weak carry becomes strong
        (lambda p, c, x: ((c[0] + 1, jnp.tanh(c[1] + x[0, 0])), 2 * c[0]), (0, 0.5)),
        (lambda p, c, x: ((c[1], c[0] + x[0, 0]), c), (0.0, 0.0)),  # promoted in two rounds
    ],
    ids=["int", "float", "promoted", "both", "exchanged"],
)
def test_weak_typed_carry(step, state):
    got, want = [
        jax.jit(lambda state: jax.tree.map(jnp.asarray, f((), state, XS)))(state)
        for f in pair(step)
    ]
    assert_same(got, want)
    shapes = [jax.eval_shape(lambda s: f((), s, XS), state) for f in pair(step)]
    assert weak_types(shapes[0]) == weak_types(shapes[1])
    assert_same(scan(step, (), state, XS), plain(step, (), state, XS))


def test_weak_typed_outputs_and_inputs():
    def step(p, c, x):
        return c, (x, 1.0, 3, p)

    xs = jnp.broadcast_to(jnp.asarray(2.0), (T,))  # arrays of Python scalars may be weak
    shapes = [jax.eval_shape(lambda p: f(p, 1.0, xs), 2.0) for f in pair(step)]
    assert weak_types(shapes[0]) == weak_types(shapes[1])
    assert_same(scan(step, 2.0, 1.0, xs), plain(step, 2.0, 1.0, xs))


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        *((name, jnp.bfloat16) for name in ("elman", "layers")),
        ("lstm", jnp.float16),
        # No zero, tap or counter the compiler makes takes x64's default dtype.
        ("layers", jnp.float32),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
@deferred
def test_low_precision(name, dtype, backward):
    """Same dtypes; numbers within the precision's rounding of plain scan's own."""
    args = jax.tree.map(
        lambda a: jnp.asarray(a, dtype if a.dtype == jnp.float64 else a.dtype), CASES[name][1:]
    )
    tol = {jnp.bfloat16: 5e-2, jnp.float16: 1e-2, jnp.float32: 1e-5}[dtype]
    check_step(scan, CASES[name][0], *args, backward=backward, tol=tol, quick=False)


def test_mixed_precision():
    """bf16 products inside a float32 recurrence, as mixed policies write it."""

    def step(params, h, x):
        w_x, w_h = (w.astype(jnp.bfloat16) for w in params)
        z = x.astype(jnp.bfloat16) @ w_x + h.astype(jnp.bfloat16) @ w_h
        h = jnp.tanh(z.astype(jnp.float32))
        return h, h.astype(jnp.bfloat16)

    args = jax.tree.map(lambda a: a.astype(jnp.float32), (ELMAN[:2], H0, XS))
    check_step(scan, step, *args, tol=5e-2, backward=("deferred", "autodiff"), quick=False)


@both
def test_preferred_element_type(backward):
    """Products that accumulate wider than their operands: the gradients have the operands' type."""

    def step(params, h, x):
        z = jnp.matmul(x, params[0], preferred_element_type=jnp.float64)
        z = z + jnp.matmul(h, params[1], preferred_element_type=jnp.float64)
        h = jnp.tanh(z).astype(jnp.float32)
        return h, z

    args = jax.tree.map(lambda a: a.astype(jnp.float32), (ELMAN[:2], H0, XS))
    check_step(scan, step, *args, tol=1e-5, backward=backward)


def test_x64_can_change_between_calls():
    """A plan made with x64 is not used without it."""

    def step(params, h, x):
        h = jnp.tanh(h @ params + jnp.arange(2.0).sum() + x)
        return h, jnp.arange(3)

    for x64 in (True, False, True):
        with jax.enable_x64(x64):
            args = [np.asarray(a) for a in (ELMAN[1], H0, XS[..., :1])]
            assert_same(scan(step, *args), plain(step, *args), 1e-10 if x64 else 1e-5)


def unitary(params, h, x):
    """Phases, a product, and a nonlinearity of the modulus."""
    w_x, w_h, angle = params
    z = (h * jnp.exp(1j * angle)) @ w_h + x.astype(w_x.dtype) @ w_x
    h = z * (jnp.tanh(jnp.abs(z)) / (1 + jnp.abs(z))).astype(z.dtype)
    return h, h.real


def complex_gates(params, h, x):
    """Complex weights, a real state."""
    w_x, w_h, _ = params
    z = x.astype(w_x.dtype) @ w_x + h.astype(w_h.dtype) @ w_h
    return jnp.tanh(z.real) * jax.nn.sigmoid(z.imag), z


@pytest.mark.parametrize("step", [linear_rnn, unitary, complex_gates])
@both
def test_complex(step, backward):
    """Complex weights, by complex and by real inputs and states."""
    w_x, w_h, angle = (lax.complex(w, w[::-1]) for w in ELMAN)
    params = (jnp.exp(1j * angle), w_x) if step is linear_rnn else (w_x, w_h, angle)
    state = H0 if step is complex_gates else H0.astype(complex)
    xs = XS.astype(complex) if step is linear_rnn else XS
    check_step(scan, step, params, state, xs, backward=backward)


# --- random keys ----------------------------------------------------------------------------------


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg", "unsafe_rbg"])
@deferred
def test_keys(impl, backward):
    """Keys in the carry (split), in xs (one a step), in params (folded with a counter)."""

    def step(params, state, x):
        w, key = params
        h, carried, count = state
        carried, here = jax.random.split(carried)
        noise = jax.random.uniform(here, h.shape)
        drop = jax.random.bernoulli(jax.random.fold_in(key, count), 0.7, h.shape)
        h = jnp.tanh(jnp.where(drop, h, 0.0) @ w + noise + jax.random.normal(x["key"], h.shape))
        return (h, carried, count + 1), (h, noise, jax.random.uniform(x["key"], (2,)) @ w[:2])

    keys = jax.random.split(jax.random.key(1, impl=impl), T)
    params = (ELMAN[1], jax.random.key(2, impl=impl))
    state = (H0, jax.random.key(3, impl=impl), jnp.zeros((), jnp.int32))
    check_step(scan, step, params, state, {"key": keys}, backward=backward)


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
def test_keys_per_row(impl):
    def step(params, state, x):
        h, key = state
        pairs = jax.vmap(jax.random.split)(key)
        h = jnp.tanh(x @ params + h * jax.vmap(lambda k: jax.random.normal(k, (H,)))(pairs[:, 0]))
        return (h, pairs[:, 1]), key

    keys = jax.random.split(jax.random.key(4, impl=impl), B)
    check_step(scan, step, ELMAN[0], (H0, keys), XS)


def test_raw_keys():
    def step(params, state, x):
        h, key = state
        key, here = jax.random.split(key)
        return (jnp.tanh(h @ params + jax.random.normal(here, h.shape)), key), here

    check_step(scan, step, ELMAN[1], (H0, jax.random.PRNGKey(5)), XS)


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
def test_random_bits_from_time_indexed_keys_alone(impl):
    """Everything here may be done for all of time at once; rbg's vmap draws other numbers."""

    def step(params, state, x):
        return state, jax.random.uniform(x, (3,)) @ params

    keys = jax.random.split(jax.random.key(6, impl=impl), T)
    check_step(scan, step, ELMAN[0], (), keys)


# --- steps a compiler may misread -----------------------------------------------------------------


@both
def test_fibonacci_of_carries(backward):
    """Carries that feed each other without a product: a, b = b, tanh(a + b)."""
    check_step(
        scan, lambda p, s, x: ((s[1], jnp.tanh(s[0] + s[1]) * p), s[0]), 0.9, (0.1, 0.2), None,
        length=T, backward=backward,
    )  # fmt: skip


@both
def test_exchanged_layers(backward):
    """Each of two recurrences reads the other's old state: one component, not two."""

    def step(params, state, x):
        a, b = state
        return (jnp.tanh(x @ params[0] + b @ params[1]), jnp.tanh(a @ params[1])), a - b

    check_step(scan, step, ELMAN, (H0, C0), XS, backward=backward)


@both
def test_upper_layer_reads_the_lower_layers_old_state(backward):
    """One way: the upper loop needs the lower carry before the step, not after."""

    def step(params, state, x):
        a, b = state
        new_a = jnp.tanh(x @ params[0] + a @ params[1])
        new_b = jnp.tanh(a @ params[1] + 0.5 * new_a + b @ params[1].T)
        return (new_a, new_b), (a, new_b)

    for reverse in (False, True):
        check_step(scan, step, ELMAN, (H0, C0), XS, backward=backward, reverse=reverse)


@both
def test_one_weight_in_four_places(backward):
    """In a loop, before it, after it, and outside any product."""

    def step(params, h, x):
        w = params["w"]
        h = jnp.tanh(x @ w + h @ w.T + w[0])
        return h, jnp.einsum("bh,kh->bk", h, w) + jnp.trace(w)

    xs = normal(37, T, B, H)
    check_step(scan, step, {"w": ELMAN[1]}, H0, xs, backward=backward)


@both
def test_weight_against_itself(backward):
    """Both operands of a product are weights; then a product of the same activation twice."""

    def step(params, h, x):
        square = params @ params
        return jnp.tanh(h @ square + x[..., :1]), jnp.einsum("bi,bi->b", h, h)

    check_step(scan, step, ELMAN[1], H0, XS, backward=backward)


@both
def test_weight_scaled_by_the_carry(backward):
    def step(params, state, x):
        h, scale = state
        h = jnp.tanh(x @ params[0] + h @ (params[1] * scale))
        return (h, 0.9 * scale + 0.1), h

    check_step(scan, step, ELMAN, (H0, 0.5), XS, backward=backward)


@both
def test_weight_that_changes_with_x(backward):
    """x selects the weight: no single product over time has this gradient."""

    def step(params, h, x):
        w = jnp.where(x[0, 0] > 0.01234, params[1], params[1].T)
        return jnp.tanh(h @ w + x[..., :1]), h

    check_step(scan, step, ELMAN, H0, XS, backward=backward)


@both
def test_fast_weights(backward):
    """The carry is a matrix written by outer products and read by products."""

    def step(params, m, x):
        q, k = x @ params, jnp.tanh(x @ params)
        return 0.9 * m + jnp.einsum("bi,bj->bij", k, q), jnp.einsum("bij,bj->bi", m, q)

    check_step(scan, step, ELMAN[0], normal(38, B, H, H), XS, backward=backward)


@both
def test_batch_norm_over_rows(backward):
    """A reduction over the batch axis must not become one over time."""

    def step(params, h, x):
        z = x @ params[0]
        z = (z - z.mean(0)) / jnp.sqrt(z.var(0) + 0.1)
        return jnp.tanh(z + h @ params[1]), z

    check_step(scan, step, ELMAN, H0, XS, backward=backward)


@both
def test_whole_array_operations_on_x(backward):
    """Sorts, flips, cumulative sums, reshapes, transposes of x: axis 0 is not time."""

    def step(params, h, x):
        y = jnp.cumsum(x, 0) + x[::-1] + jnp.sort(x, 0) + x.T.reshape(x.shape) + jnp.roll(x, 1, 0)
        y = jnp.concatenate([y, jnp.flip(y, 0)], 0)[: x.shape[0]]
        return jnp.tanh(y @ params[0] + h @ params[1]), (
            y.sum(),
            jnp.argmax(x, 0),
            jnp.dot(x[0], x[1]),
        )

    check_step(scan, step, ELMAN, H0, XS, backward=backward)


@both
def test_dynamic_index_by_a_counter(backward):
    def step(params, state, x):
        h, n = state
        row = lax.dynamic_index_in_dim(params[1], n % H, keepdims=False)
        h = h.at[:, n % H].set(jnp.tanh(x @ params[0] + row)[:, 0])
        return (h, n + 1), (lax.dynamic_slice_in_dim(h, n % 2, 2, axis=1), n)

    check_step(scan, step, ELMAN, (H0, jnp.int32(0)), XS, backward=backward)


@both
def test_select_hides_nothing(backward):
    """A masked step: the state holds; gradients flow by the branch that was taken."""

    def step(params, state, x):
        x, keep = x
        new, _ = lstm(params, state, x)
        state = jax.tree.map(lambda n, s: jnp.where(keep[:, None], n, s), new, state)
        return state, jnp.where(keep[:, None], state[0], 0.0)

    keep = jnp.asarray(np.random.default_rng(39).integers(0, 2, (T, B)), bool)
    check_step(scan, step, LSTM, (H0, C0), (XS, keep), backward=backward)


@both
def test_step_with_jitted_and_shared_helper(backward):
    """One jitted function called twice: its variables must not be confused when inlined."""

    @jax.jit
    def dense(w, a):
        return jnp.tanh(a @ w)

    def step(params, h, x):
        h = dense(params[1], dense(params[1], h)) + dense(params[0], x)
        return jax.jit(jnp.tanh)(h), dense(params[1], h)

    check_step(scan, step, ELMAN, H0, XS, backward=backward)


@both
def test_batching_rule_inside_a_derivative_rule(backward):
    """The primal may be mapped over time; its derivative rule may not."""

    @jax.custom_batching.custom_vmap
    def slope(a):
        return jnp.cos(a)

    slope.def_vmap(lambda size, batched, a: (100 * a, True))

    @jax.custom_jvp
    def f(a):
        return jnp.tanh(a)

    f.defjvp(lambda primals, tangents: (f(primals[0]), tangents[0] * slope(primals[0])))

    def step(params, h, x):
        return jnp.tanh(f(x) @ params[0] + h @ params[1]), h

    check_step(scan, step, ELMAN, H0, XS, backward=backward)


@pytest.mark.parametrize("where", ["forward", "backward"])
@both
def test_callback_inside_a_derivative_rule(where, backward):
    def half(a):
        return jax.pure_callback(lambda a: 0.5 * a, jax.ShapeDtypeStruct(a.shape, a.dtype), a)

    @jax.custom_vjp
    def f(a):
        return jnp.tanh(a)

    if where == "forward":
        f.defvjp(lambda a: (f(a), half(a)), lambda kept, ct: (ct * kept,))
    else:
        f.defvjp(lambda a: (f(a), None), lambda _, ct: (half(ct),))

    def step(params, h, x):
        return jnp.tanh(f(x) @ params[0] + h @ params[1]), h

    check_step(scan, step, ELMAN, H0, XS, backward=backward)


@both
def test_rbg_bits_inside_a_derivative_rule(backward):
    """Mapped over time, rbg keys give other bits than one by one."""
    key = jax.random.key(3, impl="rbg")

    @jax.custom_vjp
    def f(a, key):
        return jnp.tanh(a)

    def pull(key, ct):
        return ct * jax.random.uniform(key, ct.shape, ct.dtype), None

    f.defvjp(lambda a, key: (f(a, key), key), pull)

    def step(params, h, x):
        key, x = x
        return jnp.tanh(f(x, key) @ params[0] + h @ params[1]), h

    check_step(scan, step, ELMAN, H0, (jax.random.split(key, T), XS), backward=backward)


@pytest.mark.parametrize(
    "function",
    [jax.nn.relu, jax.nn.silu, jax.nn.logsumexp, jax.nn.softmax],
    ids=lambda f: f.__name__,
)
def test_calls_with_ordinary_derivative_rules_leave_the_loop(function):
    def step(params, h, x):
        a = jnp.atleast_1d(function(x @ params[0])) * 2
        return jnp.tanh((a + x @ params[0]) @ params[1] + h @ params[1]), h

    loops = [c for c in plan(step, ELMAN, H0, XS).components if c.kind in ("loop", "plain")]
    assert [c.products for c in loops] == [1]


@both
def test_one_input_added_to_two_products(backward):
    """What is added to several products carries each one's weight gradient."""

    def step(params, h, x):
        p = x @ params[0]
        a, b = p + h @ params[1], p + jnp.sin(h) @ params[1].T
        return jnp.tanh(a) * jnp.cos(b + p), (a, p)

    check_step(scan, step, ELMAN, H0, XS, backward=backward)


def test_default_blocks_where_arrays_are_large():
    """Large enough for blocks by default; no block divides a prime T."""
    params = (normal(46, 96, 256, scale=0.1), normal(47, 256))
    state, xs = (normal(48, 16, 64), normal(49, 16, 64)), normal(50, 211, 16, 32)
    for reverse in (False, True):
        check_step(scan, lstm, params, state, xs, reverse=reverse)


def test_while_loop_in_the_step():
    """Not reverse-differentiable; values and forward mode as lax.scan has them."""

    def step(params, h, x):
        h = lax.while_loop(
            lambda c: jnp.max(jnp.abs(c)) > 1.0123, lambda c: 0.5 * c, h + x @ params
        )
        return h, h

    agree(lambda run: run, step, ELMAN[0], H0, XS)
    agree(lambda run: lambda h: jax.jvp(lambda h: run(ELMAN[0], h, XS), (h,), (h,)), step, H0)


@both
def test_pure_callback(backward):
    def step(params, h, x):
        shift = jax.pure_callback(lambda a: np.sin(a), jax.ShapeDtypeStruct((B, D), x.dtype), x)
        return jnp.tanh(lax.stop_gradient(shift) @ params[0] + h @ params[1]), h

    xs = lax.stop_gradient(XS)
    agree(lambda run: run, step, ELMAN, H0, xs, backward=backward)


def test_numpy_arguments_and_python_scalars():
    args = jax.tree.map(np.asarray, (ELMAN, H0, XS))
    assert_same(scan(elman, *args), plain(elman, *args))
    assert_same(
        scan(lambda p, s, x: (s * p + x, s), 0.5, 1.0, np.arange(3.0)),
        plain(lambda p, s, x: (s * p + x, s), 0.5, 1.0, np.arange(3.0)),
    )


def test_params_that_are_no_arrays():
    """Functions, strings, sizes, types and flags reach the step as they are."""

    def step(params, h, x):
        assert (type(params["n"]), params["name"], params["flag"]) == (int, "elman", True)
        z = x.reshape(params["n"], -1) @ params["w"] + h @ params["u"]
        h = params["act"](params["gain"] * z).astype(params["dtype"])
        return h, h

    params = {"w": ELMAN[0], "u": ELMAN[1], "n": B, "name": "elman", "flag": True}
    params |= {"act": jnp.tanh, "gain": 0.5, "dtype": jnp.float64}
    kinds = [c.kind for c in plan(step, params, H0, XS).components]
    assert kinds == ["parallel", "loop"]  # the gain is a number, as in plain scan
    for act in (jnp.tanh, jnp.sin):
        params["act"] = act
        assert_same(scan(step, params, H0, XS), plain(step, params, H0, XS))

    def loss(run, weights):
        return probe(run(step, {**params, "w": weights}, H0, XS))

    got, want = (jax.grad(functools.partial(loss, run))(ELMAN[0]) for run in (scan, plain))
    assert_same(got, want)


def test_equal_numbers_of_different_type_are_different_params():
    def step(n, h, x):
        return h + x, h if n is True else x

    for n in (1, True, 1):
        assert_same(scan(step, n, H0, C0[None]), plain(step, n, H0, C0[None]))


def test_a_param_that_cannot_be_compared_is_refused_by_name():
    with pytest.raises(TypeError, match=r"params\['names'\] is a set"):
        scan(lambda p, h, x: (h + x, h), {"names": {"a"}}, H0, H0[None])


# --- tracing once ---------------------------------------------------------------------------------


def renewed(step):
    """The same step as a function of its own, for which nothing has been traced yet."""
    return lambda *args: step(*args)


def test_second_eager_call_does_not_trace():
    step, doubled = renewed(lstm), XS * 2
    with traces(anything=True):
        scan(step, LSTM, (H0, C0), XS)
    with traces(anything=False):
        scan(step, LSTM, (C0, H0), doubled)
    with traces(anything=True):
        scan(step, LSTM, (H0, C0), XS[:-1])


def test_a_call_traces_a_step_as_often_as_plain_scan_does():
    calls = []

    def counting(*args):
        calls.append(1)
        return lstm(*args)

    scan(counting, LSTM, (H0, C0), XS)
    assert len(calls) <= 2


def test_second_gradient_does_not_trace():
    step = renewed(lstm)
    grad = jax.grad(lambda p: probe(scan(step, p, (H0, C0), XS)))
    grad(LSTM)
    with traces(anything=False):
        grad(LSTM)


def test_second_jitted_call_does_not_trace():
    step, further = renewed(lstm), XS + 1
    run = jax.jit(lambda p, s, x: jax.grad(lambda p: probe(scan(step, p, s, x)))(p))
    run(LSTM, (H0, C0), XS)
    with traces(anything=False):
        run(LSTM, (H0, C0), further)


def test_closed_over_array_is_read_again():
    """A plan is kept by step, but not the values the step closes over at the first trace."""
    weights = []

    def step(params, h, x):
        return jnp.tanh(h @ weights[-1]), h

    def run(w):
        weights.append(w)
        return scan(lambda p, h, x: step(p, h, x), (), H0, XS)

    for w in (ELMAN[1], ELMAN[1].T):
        assert_same(run(w), plain(step, (), H0, XS))
    jitted = jax.jit(run)
    assert_same(jitted(ELMAN[1]), plain(lambda p, h, x: (jnp.tanh(h @ ELMAN[1]), h), (), H0, XS))


def test_closed_over_tracer_does_not_leak():
    """The same step object, closing over a tracer, in two traces."""
    w = ELMAN[1]

    @jax.jit
    def first(w):
        step = lambda p, h, x: (jnp.tanh(h @ w), h)  # noqa: E731
        return scan(step, (), H0, XS), scan(step, (), H0 + 1, XS)

    with jax.checking_leaks():
        got = first(w)
    want = [plain(lambda p, h, x: (jnp.tanh(h @ w), h), (), h, XS) for h in (H0, H0 + 1)]
    assert_same(got, tuple(want))


def test_unhashable_step():
    class Step:
        __hash__ = None

        def __call__(self, params, h, x):
            return elman(params, h, x)

    assert_same(scan(Step(), ELMAN, H0, XS), plain(elman, ELMAN, H0, XS))


# --- effects --------------------------------------------------------------------------------------


def test_debug_print_is_in_order(capfd):
    def step(params, h, x):
        h, y = elman(params, h, x)
        jax.debug.print("at {n}", n=x[0, 0] * 0 + jnp.round(h.sum() * 1e6), ordered=True)
        return h, y

    printed = []
    for f in pair(step):
        jax.block_until_ready(f(ELMAN, H0, XS))
        jax.effects_barrier()
        printed.append(capfd.readouterr().out)
    assert printed[0] == printed[1]
    assert printed[0].count("at ") == T


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("reverse", [True, False])
def test_io_callback_runs_once_a_step_in_order(ordered, reverse):
    def step(params, h, x):
        x, n = x
        h, y = elman(params, h, x)
        io_callback(lambda n: log.append(int(n)), None, n, ordered=ordered)
        return h, (y, n)

    logs = []
    for f in pair(step, reverse=reverse):
        log = []
        jax.block_until_ready(f(ELMAN, H0, (XS, jnp.arange(T))))
        jax.effects_barrier()
        logs.append(log)
    assert logs[0] == logs[1] if ordered else sorted(logs[0]) == sorted(logs[1])
    assert sorted(logs[0]) == list(range(T))


def test_effect_that_depends_on_nothing():
    """Neither dead code nor done once."""

    def step(params, h, x):
        io_callback(lambda: log.append(1), None, ordered=True)
        return elman(params, h, x)

    log = []
    jax.block_until_ready(scan(step, ELMAN, H0, XS))
    jax.effects_barrier()
    assert len(log) == T


@pytest.mark.parametrize("place", ["jit", "cond", "scan"])
def test_nested_effects_are_seen(place):
    def tell(a):
        io_callback(lambda: log.append(1), None, ordered=True)
        return a

    inside = {
        "jit": jax.jit(tell),
        "cond": lambda a: lax.cond(a.sum() > -1e9, tell, lambda a: a, a),
        "scan": lambda a: lax.scan(lambda c, _: (tell(c), None), a, None, 1)[0],
    }[place]

    def step(params, h, x):
        return elman(params, h, inside(x))

    log = []
    jax.block_until_ready(scan(step, ELMAN, H0, XS))
    jax.effects_barrier()
    assert len(log) == T


def test_effects_survive_the_gradient():
    """As often as plain scan: what does not depend on params runs once in a gradient."""

    def step(params, h, x):
        jax.debug.callback(lambda h: log.append(1), h)
        return elman(params, h, x)

    logs = []
    for f in pair(step):
        log = []
        logs.append(log)
        jax.block_until_ready(
            jax.grad(functools.partial(lambda f, p: probe(f(p, H0, XS)), f))(ELMAN)
        )
        jax.effects_barrier()
    assert len(logs[0]) == len(logs[1]) >= T


def test_refs():
    """A mutable array, written by the step in order."""

    def total(run):
        ref = jax.new_ref(jnp.zeros((B, H)))

        def step(params, h, x):
            h, y = elman(params, h, x)
            ref[...] = 0.5 * ref[...] + h
            return h, y

        run(step, ELMAN, H0, XS)
        return ref[...]

    assert_same(*[jax.jit(functools.partial(total, f))() for f in (scan, plain)])


def test_checkify():
    from jax.experimental import checkify

    def step(params, h, x):
        checkify.check(x.sum() < 1e3, "too large at {s}", s=x.sum())
        return elman(params, h, x)

    checked = checkify.checkify(lambda xs: scan(step, ELMAN, H0, xs))
    error, out = jax.jit(checked)(XS)
    error.throw()
    assert_same(out, plain(elman, ELMAN, H0, XS))
    error, _ = jax.jit(checked)(XS.at[2].set(1e4))
    with pytest.raises(checkify.JaxRuntimeError, match="too large"):
        error.throw()


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "state", "xs", "options"),
    [
        (lambda p, h, x: (h[:1], h), H0, XS, {}),
        (lambda p, h, x: (h.astype(jnp.float32), h), H0, XS, {}),
        (lambda p, h, x: ((h, h), h), H0, XS, {}),
        (lambda p, h, x: h, H0, XS, {}),
        (elman, H0, XS, {"length": T + 1}),
        (elman, H0, (XS, XS[:-1]), {}),
        (elman, H0, None, {}),
        (elman, H0, 3.0, {}),
        (elman, H0, XS[..., :2], {}),
    ],
    ids=["shape", "dtype", "tree", "no pair", "length", "unequal T", "no length", "scalar", "step"],
)
def test_what_lax_refuses_is_refused(step, state, xs, options):
    with pytest.raises((TypeError, ValueError)) as ours:
        scan(step, ELMAN, state, xs, **options)
    with pytest.raises((TypeError, ValueError)) as theirs:
        plain(step, ELMAN, state, xs, **options)
    assert ours.type is theirs.type or ours.type in (TypeError, ValueError)
    assert str(ours.value).strip()


def test_an_error_of_the_step_reaches_the_caller():
    class MineError(Exception):
        pass

    def step(params, h, x):
        raise MineError("here")

    for xs in (XS, XS[:0]):
        with pytest.raises(MineError, match="here"):
            scan(step, ELMAN, H0, xs)


@pytest.mark.parametrize(
    "options",
    [{"backward": "fast"}, {"save": "some"}, {"block": 0}, {"block": "big"}, {"loop_unroll": -1}],
    ids=str,
)
def test_unknown_options_are_refused(options):
    with pytest.raises((TypeError, ValueError), match=next(iter(options)).removeprefix("loop_")):
        scan(elman, ELMAN, H0, XS, **options)
