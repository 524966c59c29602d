"""The LSTM's family against PyTorch, torchrecurrent, Keras and Haiku: values and gradients with the
same random weights."""

import jax
import numpy as np
import pytest
from oracles import assert_close, pair

import rnnjax
from rnnjax import interop

from .known import D, H

pytestmark = pytest.mark.usefixtures("x64")
T, B, F = 4, 2, 2
SHAPE, KERNEL = (3, 4), (3, 2)
CONV = rnnjax.conv_lstm(SHAPE, F, kernel=KERNEL)


def drawn(seed, like):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda a: rng.normal(0, 0.7, a.shape), like)


def problem(cell, *shape):
    """Parameters, a state, inputs [T, B, *shape] and weights of the outputs in the loss."""
    spec = jax.ShapeDtypeStruct(shape, float)
    params = drawn(0, jax.eval_shape(lambda: cell.init(jax.random.key(0), spec)))
    state = drawn(1, jax.eval_shape(lambda: cell.initial_state(params, (B,))))
    xs = drawn(2, jax.ShapeDtypeStruct((T, B, *shape), float))
    ys = jax.eval_shape(lambda: rnnjax.unroll(cell, params, state, xs)[1])
    return (params, state, xs), drawn(3, ys)


def differentiated(run, inputs, bar):
    """The outputs, and the gradients for all inputs."""

    def loss(*inputs):
        ys = run(*inputs)
        return pair(ys, bar), ys

    grads, ys = jax.jit(jax.grad(loss, (0, 1, 2), has_aux=True))(*inputs)
    return ys, grads


def ours(cell, inputs, bar):
    return differentiated(lambda *a: rnnjax.unroll(cell, *a)[1], inputs, bar)


def torch_compare(cell, theirs, loop):
    """Compares with `loop(module, weights, state, xs)`; `theirs` names and shapes our weights."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    inputs, bar = problem(cell, D)
    ys, grads = ours(cell, inputs, bar)
    tensors = jax.tree.map(lambda a: torch.tensor(a, requires_grad=True), inputs)
    params, state, xs = tensors
    want = loop(theirs(params), state, xs)
    leaves = jax.tree.leaves(tensors)
    found = torch.autograd.grad((want * torch.tensor(bar)).sum(), leaves)
    assert_close(ys, want.detach().numpy())
    assert_close(jax.tree.leaves(grads), [g.numpy() for g in found])


def test_projected_lstm_is_that_of_pytorch():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    module = torch.nn.LSTM(D, H, proj_size=2).double()

    def theirs(p):
        return {
            "weight_ih_l0": p.w_x.T, "weight_hh_l0": p.w_h.T, "weight_hr_l0": p.w_p.T,
            "bias_ih_l0": p.b, "bias_hh_l0": torch.zeros_like(p.b),
        }  # fmt: skip

    def loop(weights, state, xs):
        hidden = (state.h[None], state.c[None])
        return torch.func.functional_call(module, weights, (xs, hidden))[0]

    torch_compare(rnnjax.projected_lstm(H, 2), theirs, loop)


def halved(p):
    """The weights of `lstm_1997` for tanh(g): its g is half as wide."""
    half = p.b.new_tensor(np.repeat([1.0, 0.5, 1.0], H))
    return {
        "weight_ih": (p.w_x * half).T, "weight_hh": (p.w_h * half).T, "bias_hh": p.b * half
    }  # fmt: skip


PEERS = {
    "PeepholeLSTMCell": (
        rnnjax.peephole_lstm(H),
        lambda p: {
            "weight_ih": p.w_x.T, "weight_hh": p.w_h.T, "bias_hh": p.b, "weight_ph": p.diagonal
        },
    ),
    "MultiplicativeLSTMCell": (
        rnnjax.multiplicative_lstm(H),
        lambda p: {
            "weight_ih": p.w_x.T, "weight_hh": p.w_h.T, "weight_mh": p.w_m.T, "bias_mh": p.b
        },
    ),
    "JANETCell": (
        rnnjax.janet(H),
        lambda p: {"weight_ih": p.w_x.T, "weight_hh": p.w_h.T, "bias_hh": p.b},
    ),
    "OriginalLSTMCell": (rnnjax.lstm_1997(H), halved),
}  # fmt: skip


@pytest.mark.parametrize("name", PEERS)
def test_torchrecurrent(name):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    peers = pytest.importorskip("torchrecurrent", reason="torchrecurrent is not installed")
    cell, weights = PEERS[name]
    module = getattr(peers, name)(D, H, dtype=torch.float64)

    def theirs(p):
        fixed = {
            field: value if field == "beta" else torch.zeros_like(value)
            for field, value in module.named_parameters()
        }
        return {**fixed, **{k: torch.as_tensor(w) for k, w in weights(p).items()}}

    def loop(weights, state, xs):
        carry, ys = (state, state) if name == "JANETCell" else (state.h, state.c), []
        if name == "OriginalLSTMCell":
            carry = (state.h, state.c / 2)
        for x in xs:
            carry = torch.func.functional_call(module, weights, (x, carry))
            ys.append(carry[0])
        return torch.stack(ys)

    torch_compare(cell, theirs, loop)


def jax_compare(step, to_theirs, dtype=np.float64):
    """Compares `conv_lstm` with `step(params, their state, x) -> (their state, y)`."""
    inputs, bar = problem(CONV, *SHAPE, D)

    def run(params, state, xs):
        with jax.numpy_dtype_promotion("standard"):
            return jax.lax.scan(lambda s, x: step(params, s, x), to_theirs(state), xs)[1]

    got, want = jax.tree.map(
        lambda a: np.asarray(a, dtype), (ours(CONV, inputs, bar), differentiated(run, inputs, bar))
    )
    assert_close(got, want)


def test_conv_lstm_is_that_of_haiku():
    hk = pytest.importorskip("haiku", reason="Haiku is not installed")
    module = hk.without_apply_rng(
        hk.transform(
            lambda x, s: hk.Conv2DLSTM(
                input_shape=(*SHAPE, D), output_channels=F, kernel_shape=KERNEL
            )(x, s)
        )
    )

    def step(p, s, x):
        y, s = module.apply(interop.to_haiku(CONV, p), x, s)
        return s, y

    jax_compare(step, lambda s: hk.LSTMState(s.h, s.c))


def test_conv_lstm_is_that_of_keras():
    keras = pytest.importorskip("keras", reason="Keras is not installed")
    if keras.backend.backend() != "jax":
        pytest.skip("another test imported Keras with another backend")
    options = {"padding": "same", "recurrent_activation": "sigmoid", "dtype": "float64"}
    layer = keras.layers.ConvLSTM2D(F, KERNEL, **options).cell
    with jax.numpy_dtype_promotion("standard"):
        layer.build((B, *SHAPE, D))

    def step(p, s, x):
        fixed = [v.value for v in layer.non_trainable_variables]
        y, s = layer.stateless_call(interop.to_keras(CONV, p), fixed, x, s)[0]
        return tuple(s), y

    jax_compare(step, tuple, np.float32)  # some of what Keras computes is
