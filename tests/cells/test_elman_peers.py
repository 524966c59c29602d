"""Other people's cells with our weights, differential equations solved by SciPy, and first values.

The `SCRNCell` of torchrecurrent 0.2.5 feeds its readout back, which the paper does not.
"""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
from oracles import assert_close, pair

import rnnjax

from .irregular import K, spans
from .known import D, H, floats

T, B = 4, 3
x64 = pytest.mark.usefixtures("x64")


def needed(package):
    return pytest.importorskip(package, reason=f"{package} is the oracle here")


def compare(cell, module, weights, *, inputs=floats, call=None):
    """Compares values and gradients with a PyTorch cell `module`, `weights(params)` put into it."""
    torch, random = importlib.import_module("torch"), np.random.default_rng(0)
    xs = inputs(random, (T, B))
    spec = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[2:], a.dtype), xs)
    params = jax.jit(lambda key: cell.init(key, spec))(jax.random.key(0))
    params = jax.tree.map(lambda a: np.asarray(a) + random.normal(0, 0.3, a.shape), params)
    draw = lambda tree: jax.tree.map(lambda a: random.normal(0, 0.7, a.shape), tree)  # noqa: E731
    state = draw(cell.initial_state(params, (B,)))
    bars = draw(jax.eval_shape(lambda: rnnjax.unroll(cell, params, state, xs)))

    def loss(params, state, xs):
        result = rnnjax.unroll(cell, params, state, xs)
        return pair(result, bars), result

    gradients, result = jax.jit(jax.grad(loss, (0, 1, 2), has_aux=True))(params, state, xs)

    leaves, structure = jax.tree.flatten((params, state, xs))
    leaves = [torch.tensor(np.asarray(a), requires_grad=True) for a in leaves]
    p, s, x = structure.unflatten(leaves)
    given, ys = weights(p), []
    for t in range(T):
        now = jax.tree.map(lambda a, t=t: a[t], x)
        arguments = (now, s) if call is None else call(now, s)
        s = torch.func.functional_call(module.double(), given, arguments)
        s = s[0] if call else s
        ys.append(s[0] if isinstance(s, tuple) else s)
    want = jax.tree.structure(state).unflatten(jax.tree.leaves(s)), torch.stack(ys)
    plain = jax.tree.map(lambda a: a.detach().numpy(), want)
    assert_close(result, plain)
    total = sum(
        (a * torch.tensor(b)).sum()
        for a, b in zip(jax.tree.leaves(want), jax.tree.leaves(bars), strict=True)
    )
    theirs = [g.numpy() for g in torch.autograd.grad(total, leaves)]
    assert_close(gradients, structure.unflatten(theirs))


@x64
@pytest.mark.parametrize("name", ["irnn", "clockwork"])
def test_torch(name):
    torch = needed("torch")
    if name == "irnn":
        cell, nonlinearity = rnnjax.irnn(H), "relu"
    else:  # one module that always steps is a simple network
        cell, nonlinearity = rnnjax.clockwork(H, (1,)), "tanh"
    module = torch.nn.RNNCell(D, H, nonlinearity=nonlinearity)

    def weights(p):
        bias = {"bias_ih": p.b, "bias_hh": torch.zeros_like(p.b)}
        return {"weight_ih": p.w_x.T, "weight_hh": p.w_h.T, **bias}

    if name == "irnn":
        compare(cell, module, weights)
        return
    # The same, but for the counter.
    alone = rnnjax.Cell(
        name="alone",
        init=cell.init,
        initial_state=lambda params, batch=(), *, key=None: cell.initial_state(params, batch).h,
        step=lambda p, h, x: (
            (cell.step(p, rnnjax.ClockworkState(h, jnp.zeros(h.shape[:-1], jnp.int32)), x)[1],) * 2
        ),
    )
    compare(alone, module, weights)


@x64
@pytest.mark.parametrize("name", ["ind_rnn", "antisymmetric", "gated_antisymmetric", "cornn"])
def test_torchrecurrent(name):
    needed("torch")
    theirs = needed("torchrecurrent")
    steps = {"epsilon": 0.2, "gamma": 0.1}
    oscillators = {"dt": 0.3, "gamma": 2.0, "epsilon": 1.5}
    cell, module = {
        "ind_rnn": (rnnjax.ind_rnn(H), lambda: theirs.IndRNNCell(D, H, nonlinearity="relu")),
        "antisymmetric": (
            rnnjax.antisymmetric(H, **steps),
            lambda: theirs.AntisymmetricRNNCell(D, H, **steps),
        ),
        "gated_antisymmetric": (
            rnnjax.gated_antisymmetric(H, **steps),
            lambda: theirs.GatedAntisymmetricRNNCell(D, H, **steps),
        ),
        "cornn": (rnnjax.cornn(H, **oscillators), lambda: theirs.coRNNCell(D, H, **oscillators)),
    }[name]

    def weights(p):
        zero = 0 * p.b[:H]
        given = {"weight_ih": p.w_x.T, "bias_ih": p.b, "bias_hh": zero}
        given |= {"vector_u": p.diagonal} if name == "ind_rnn" else {"weight_hh": p.w_h.T}
        return given | ({"weight_ch": p.w_z.T, "bias_ch": zero} if name == "cornn" else {})

    compare(cell, module(), weights)


@x64
def test_torchrecurrent_lem():
    """Their h reads the old memory (0.2.5), unlike their docstring and the paper: called again with
    the new one, it reads that."""
    torch = needed("torch")
    theirs = needed("torchrecurrent")

    class Twice(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.cell = theirs.LEMCell(D, H, dt=0.8)

        def forward(self, x, state):
            h, z = state
            _, z = self.cell(x, (h, z))
            h, _ = self.cell(x, (h, z))
            return h, z

    def weights(p):
        def swapped(a):  # theirs: ā, a, z, h
            return torch.cat([a[H : 2 * H], a[:H], a[2 * H :]])

        zero = 0 * p.b
        given = {"weight_ih": swapped(p.w_x.T), "bias_ih": swapped(p.b), "bias_hh": zero[: 3 * H]}
        given |= {"weight_hh": swapped(p.w_h.T)[: 3 * H], "weight_ch": p.w_h[:, 3 * H :].T}
        return {f"cell.{k}": v for k, v in (given | {"bias_ch": zero[:H]}).items()}

    compare(rnnjax.lem(H, dt=0.8), Twice(), weights)


@x64
@pytest.mark.parametrize("mode", ["default", "no_gate"])
def test_ncps(mode):
    torch = needed("torch")
    needed("ncps.torch")
    from ncps.torch import CfCCell

    module = CfCCell(D, H, mode=mode, backbone_activation="tanh", backbone_units=K)

    def weights(p):
        f, g, k = (p.w_y[:, i * H : (i + 1) * H].T for i in range(3))
        c_f, c_g, c_k = (p.b_y[i * H : (i + 1) * H] for i in range(3))
        # Theirs: (1 - s) first + s second, or first + s second; s = σ(time_a t + time_b).
        return {
            "backbone.0.weight": torch.cat([p.w_x, p.w_h]).T, "backbone.0.bias": p.b,
            "ff1.weight": k, "ff1.bias": c_k, "ff2.weight": g, "ff2.bias": c_g,
            "time_a.weight": -f, "time_a.bias": -c_f,
            "time_b.weight": 0 * f, "time_b.bias": 0 * c_f,
        }  # fmt: skip

    def call(x, h):
        x, dt = x
        return x, h, dt[:, None]

    cell = rnnjax.cfc(H, K, gated=mode == "default")
    compare(cell, module, weights, inputs=spans, call=call)


# --- differential equations ----------------------------------------------------------------------


def ltc_slope(p, h, x):
    f = 1 / (1 + np.exp(-(x @ p.w_x + h @ p.w_h + p.b)))
    return -(1 / np.exp(p.log_tau) + f) * h + f * p.b_a


def ct_slope(p, h, x):
    tau = np.exp(p.log_tau) if hasattr(p, "log_tau") else 2
    return (np.tanh(x @ p.w_x + h @ p.w_h + p.b) - h) / tau


@x64
@pytest.mark.parametrize(
    ("make", "slope"),
    [
        (lambda dt: rnnjax.ltc(H, unfolds=1), ltc_slope),
        (lambda dt: rnnjax.timed_ct_rnn(H), ct_slope),
        (lambda dt: rnnjax.timed_ct_rnn(H, method="euler"), ct_slope),
        (lambda dt: rnnjax.learned_ct_rnn(H, tau=2, dt=dt), ct_slope),
        (lambda dt: rnnjax.ct_rnn(H, tau=2, dt=dt), ct_slope),
        (lambda dt: rnnjax.ct_rnn(H, tau=2, dt=dt, method="exponential"), ct_slope),
    ],
    ids=["ltc", "timed", "timed-euler", "learned", "fixed", "fixed-exponential"],
)
def test_short_steps_solve_the_equation(make, slope):
    """Half as long, half the error: what a solver of first order does."""
    random, span = np.random.default_rng(0), 1.5
    cell = make(span)
    timed = cell.x_ndims != 1
    params = cell.init(jax.random.key(0), (D, float) if timed else D)
    params = jax.tree.map(lambda a: np.asarray(a) + random.normal(0, 0.3, a.shape), params)
    h, x = random.normal(0, 0.7, H), random.normal(0, 1, D)
    solution = scipy.integrate.solve_ivp(
        lambda t, h: slope(params, h, x), (0, span), h, rtol=1e-10, atol=1e-12
    )
    assert solution.success

    def error(steps):
        dt, xs = span / steps, np.tile(x, (steps, 1))
        xs = (xs, np.full(steps, dt)) if timed else xs
        final, _ = rnnjax.unroll(make(dt), params, h, xs)
        return np.abs(final - solution.y[:, -1]).max()

    coarse, fine = error(50), error(100)
    assert coarse < 0.02
    assert 0.45 < fine / coarse < 0.55


# --- first values, and what is refused -----------------------------------------------------------


def test_what_the_cells_begin_with():
    params = rnnjax.irnn(4, scale=0.5).init(jax.random.key(0), 3)
    np.testing.assert_array_equal(params.w_h, 0.5 * np.eye(4))
    assert 0 < np.abs(params.w_x).max() < 0.01
    params = rnnjax.rhn(2, 2, transform_bias=-3).init(jax.random.key(0), 3)
    np.testing.assert_array_equal(params.b, [0, 0, -3, -3] * 2)
    for angles, low, high in (("henaff", -np.pi, np.pi), ("cayley", -1, 0)):
        w = np.asarray(rnnjax.exp_rnn(41, angles=angles).init(jax.random.key(0), 3).w_h)
        blocks = w[np.arange(0, 40, 2), np.arange(1, 40, 2)]
        assert np.count_nonzero(w) == len(blocks)
        assert low < blocks.min() < low + 0.3 * (high - low)
        assert high > blocks.max() > high - 0.3 * (high - low)
    diagonal = np.asarray(rnnjax.ind_rnn(40).init(jax.random.key(0), 3).diagonal)
    assert 0 <= diagonal.min() < 0.2 < 0.8 < diagonal.max() < 1


@pytest.mark.parametrize("make", [rnnjax.timed_ct_rnn, rnnjax.ltc, rnnjax.cfc])
def test_inputs_that_are_no_pairs_with_a_time(make):
    cell = make(4)
    params = cell.init(jax.random.key(0), (3, float))
    state, x = cell.initial_state(params), jnp.ones(3)
    with pytest.raises(TypeError, match=r"needs pairs \(x_t, dt_t\).*got ShapeDtypeStruct"):
        cell.init(jax.random.key(0), 3)
    with pytest.raises(ValueError, match=r"one dt a step, got shape \[1\]"):
        cell.init(jax.random.key(0), (3, 1))
    with pytest.raises(TypeError, match=r"needs pairs \(x_t, dt_t\)"):
        cell.step(params, state, x)
    with pytest.raises(TypeError, match="floating-point dt, got int32"):
        cell.step(params, state, (x, jnp.int32(1)))


@pytest.mark.parametrize(
    ("periods", "error", "message"),
    [
        (2, TypeError, "must be a tuple of ints, got 2"),
        ((), TypeError, "must be a tuple of ints"),
        ((1, 1), ValueError, "must go up"),
        ((4, 2), ValueError, "must go up"),
        ((0, 2), ValueError, "a positive int, got 0"),
        ((1, 2, 4), ValueError, "hidden_size must be a multiple of 3"),
    ],
)
def test_periods(periods, error, message):
    with pytest.raises(error, match=message):
        rnnjax.clockwork(4, periods)
    assert rnnjax.clockwork(4, [1, 2]) == rnnjax.clockwork(4, (1, 2))
