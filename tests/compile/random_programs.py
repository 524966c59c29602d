"""Random step programs, as source text.

A program is drawn line by line by hypothesis, printed as the Python function it is, and run by
`exec`. So a failure shrinks to a few readable lines that can be pasted into a file.

Every float value carries a bound, and what grows too large goes through tanh, so that numbers
stay O(1) and 1e-10 means rounding. Nothing is compared, sorted or clipped where two sides could
be equal: each threshold is a number of its own that nothing else in the program computes.
"""

from __future__ import annotations

import dataclasses
import math
import textwrap
from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

# --- what a program may call ---------------------------------------------------------------------
# The derivatives below are wrong on purpose: to differentiate through the function instead of
# calling its rule is then a visible fault.


@jax.custom_jvp
def ramp(a):
    return jnp.tanh(a)


@ramp.defjvp
def _ramp_jvp(primals, tangents):
    (a,), (da,) = primals, tangents
    return ramp(a), 0.7 * da


@jax.custom_vjp
def damp(a):
    return 0.9 * a


damp.defvjp(lambda a: (damp(a), jnp.sin(a)), lambda residual, ct: (ct * residual,))


@jax.custom_jvp
def blend(w, a):
    return jnp.tanh(a @ w)


@blend.defjvp
def _blend_jvp(primals, tangents):
    (w, a), (dw, da) = primals, tangents
    return blend(w, a), 0.5 * (da @ w) + 0.25 * (a @ dw)


@jax.custom_vjp
def mix(w, a):
    return jnp.tanh(a @ w)


def _mix_bwd(residual, ct):
    w, a = residual
    rows = a.reshape(-1, w.shape[0]), ct.reshape(-1, w.shape[1])
    return 0.3 * rows[0].T @ rows[1], 0.6 * ct @ w.T


mix.defvjp(lambda w, a: (mix(w, a), (w, a)), _mix_bwd)


@jax.jit
def gated(a, b):
    return jnp.tanh(a) * jax.nn.sigmoid(b)


def conv(a, kernel, **how):
    """Convolve the last axis, seen as [length, channels of `kernel`]."""
    channels = kernel.shape[1] * how.get("feature_group_count", 1)
    image = a.reshape(math.prod(a.shape[:-1]), -1, channels)
    how = {"window_strides": (1,), "padding": "SAME"} | how
    out = lax.conv_general_dilated(image, kernel, dimension_numbers=("NWC", "WIO", "NWC"), **how)
    return out.reshape(*a.shape[:-1], -1)


NAMESPACE = {
    "jax": jax, "jnp": jnp, "lax": lax, "np": np,
    "ramp": ramp, "damp": damp, "blend": blend, "mix": mix, "gated": gated, "conv": conv,
}  # fmt: skip


# --- programs ------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Spec:
    """What an argument is: its kind ("float", "int", "bool", "key") and shape."""

    kind: str
    shape: tuple[int, ...]

    def sample(self, rng: np.random.Generator, lead: tuple[int, ...], impl: str) -> jax.Array:
        shape = lead + self.shape
        if self.kind == "float":
            return jnp.asarray(rng.uniform(-1, 1, shape))
        if self.kind == "int":
            return jnp.asarray(rng.integers(0, 7, shape), jnp.int32)
        if self.kind == "bool":
            return jnp.asarray(rng.integers(0, 2, shape), bool)
        seeds = jnp.asarray(rng.integers(0, 2**31, math.prod(shape)))
        return jax.vmap(lambda seed: jax.random.key(seed, impl=impl))(seeds).reshape(shape)


@dataclasses.dataclass(frozen=True)
class Program:
    """The source of `step(params, state, x)`, what it takes, and how it is run."""

    source: str
    params: dict[str, Spec]
    state: dict[str, Spec]
    xs: dict[str, Spec] | None
    closed: dict[str, Spec]
    length: int
    options: dict[str, Any]
    impl: str
    features: frozenset[str]

    def arguments(self, seed: int = 0) -> tuple[dict, dict, dict | None, dict]:
        """params, state, xs and closed-over values: random, the same for the same program."""
        rng = np.random.default_rng(seed)

        def sample(specs, *lead):
            return {name: spec.sample(rng, lead, self.impl) for name, spec in specs.items()}

        xs = None if self.xs is None else sample(self.xs, self.length)
        return sample(self.params), sample(self.state), xs, sample(self.closed)

    def make_step(self, closed: dict) -> Callable:
        """The step, closing over `closed`: constants or tracers, as the caller has them."""
        namespace = NAMESPACE | {"closed": closed}
        exec(compile(self.source, "<random program>", "exec"), namespace)
        return namespace["step"]

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self))  # what hypothesis prints, instead of the fields

    def __repr__(self) -> str:
        def show(specs):
            return {k: f"{v.kind}{list(v.shape)}" for k, v in (specs or {}).items()} or None

        return (
            f"\n# params {show(self.params)}\n# state  {show(self.state)}\n"
            f"# xs     {show(self.xs)}, T = {self.length}\n# closed {show(self.closed)}\n"
            f"# {self.options}, {self.impl} keys\n{self.source}"
        )


@dataclasses.dataclass(frozen=True)
class Value:
    """An expression the program may read, with a bound on its size."""

    text: str
    kind: str
    shape: tuple[int, ...]
    bound: float = 1.0

    @property
    def width(self) -> int:
        return self.shape[-1]


class Builder:
    """Draws a program. Float values are `[*batch, width]`; integers, booleans, keys `[*batch]`."""

    MAX_BOUND = 6.0

    def __init__(self, draw: Callable):
        self.draw = draw
        self.batch = draw(st.sampled_from([(), (2,), (3,), (2, 1)]))
        self.lines: list[str] = []
        self.values: list[Value] = []
        self.unread: list[Value] = []
        self.history: list[tuple[str, Value]] = []
        self.args: dict[str, dict[str, Spec]] = {"params": {}, "state": {}, "x": {}, "closed": {}}
        self.features: set[str] = set()
        self.thresholds = 0

    # -- drawing --

    def choose(self, *options: Any) -> Any:
        return self.draw(st.sampled_from(options))

    def chance(self, percent: int) -> bool:
        """Shrinks to False."""
        return self.draw(st.integers(0, 99)) >= 100 - percent

    def threshold(self) -> str:
        """A number no other line of the program computes."""
        self.thresholds += 1
        return f"{math.modf(self.thresholds * 0.6180339887)[0] * 0.6 - 0.31:.7f}"

    # -- values --

    def argument(self, group: str, kind: str, shape: tuple[int, ...]) -> Value:
        """A new leaf of params, state, x or closed."""
        letters = {"float": "a", "int": "n", "bool": "b", "key": "k"}
        name = f"{letters[kind]}{len(self.args[group])}"
        self.args[group][name] = Spec(kind, shape)
        value = Value(f'{group}["{name}"]', kind, shape)
        if group in ("state", "x"):
            self.values.append(value)
        return value

    def read(self, value: Value) -> Value:
        if value in self.unread:
            self.unread.remove(value)
        return value

    def pick(self, kind: str = "float", where: Callable[[Value], bool] = lambda v: True) -> Value:
        """A value already there, those nobody has read first; or a new input."""
        fit = [v for v in self.values if v.kind == kind and where(v)]
        fit = [v for v in reversed(fit) if v in self.unread] + [
            v for v in reversed(fit) if v not in self.unread
        ]
        if not fit:
            shape = self.batch + ((self.choose(2, 3, 4),) if kind == "float" else ())
            if not where(Value("", kind, shape)):
                shape = next(
                    s
                    for n in (4, 2, 3, 1)
                    if where(Value("", kind, s := self.batch + ((n,) if kind == "float" else ())))
                )
            group = self.choose("x", "state") if kind != "key" else "state"
            return self.argument(group, kind, shape)
        return self.read(self.choose(*fit))

    def emit(self, text: str, width: int, bound: float) -> Value:
        """`v7 = text`, a float `[*batch, width]`; tamed by tanh when it may grow."""
        if bound > self.MAX_BOUND:
            text, bound = f"jnp.tanh({text})", 1.0
        return self._emit(text, "float", (*self.batch, width), bound)

    def emit_other(self, text: str, kind: str) -> Value:
        return self._emit(text, kind, self.batch, 1.0)

    def _emit(self, text: str, kind: str, shape: tuple[int, ...], bound: float) -> Value:
        value = Value(f"v{len(self.lines)}", kind, shape, bound)
        self.lines.append(f"{value.text} = {text}")
        self.values.append(value)
        self.unread.append(value)
        self.history.append((text, value))
        return value

    def weight(self, *shape: int) -> str:
        """Something loop-invariant of this shape: new or shared, param or closed-over, or made
        from either."""
        old = [
            f'{group}["{name}"]'
            for group in ("params", "closed")
            for name, spec in self.args[group].items()
            if spec == Spec("float", shape)
        ]
        turned = [
            f'{group}["{name}"].T'
            for group in ("params", "closed")
            for name, spec in self.args[group].items()
            if spec == Spec("float", shape[::-1]) and len(shape) == 2
        ]
        if old and self.chance(60):
            self.features.add("shared weight")
            text = self.choose(*old)
        elif turned and self.chance(50):
            self.features.add("transposed weight")
            text = self.choose(*turned)
        elif self.chance(10):
            self.features.add("closed-over constant")
            text = f"np.cos(1.7 * np.arange({math.prod(shape)}.0)).reshape({shape})"
        else:
            group = "closed" if self.chance(25) else "params"
            text = self.argument(group, "float", shape).text
        if text.startswith("closed"):
            self.features.add("closed-over tracer")
        if len(shape) > 1 and self.chance(25):
            self.features.add("weight made in the step")
            text = self.choose(
                f"({text} * 0.5)",
                f"jnp.tanh({text})",
                f"({text} / jnp.linalg.norm({text}))",
                f"jnp.where(np.arange({shape[-1]}) % 2 == 0, {text}, 0.0)",
                f"lax.stop_gradient({text})",
                f"({text} + {text}[:1])",
                f"({text} * jnp.mean({self.pick().text}))",  # no longer invariant
            )
        return text

    def tame(self, value: Value) -> str:
        """The value, below one."""
        return value.text if value.bound <= 1 else f"jnp.tanh({value.text})"

    def fit(self, value: Value, width: int) -> str:
        """The value, below one and of this width."""
        if value.width == width:
            return self.tame(value)
        return f"jnp.tanh({value.text} @ {self.weight(value.width, width)})"

    def per_row(self, function: str) -> str:
        """A function of one key or integer, mapped over the batch axes."""
        for _ in self.batch:
            function = f"jax.vmap({function})"
        return function if self.batch else f"({function})"

    def flag(self) -> str:
        """A boolean that broadcasts against `[*batch, width]`."""
        bools = [v for v in self.values if v.kind == "bool"]
        if bools and self.chance(60):
            return f"{self.pick('bool').text}[..., None]"
        return f"({self.pick().text}[..., :1] > {self.threshold()})"

    def scalar_flag(self) -> str:
        return f"(jnp.mean({self.pick().text}) > {self.threshold()})"


# --- the lines a program is made of --------------------------------------------------------------

LINES: list[Callable[[Builder], Any]] = []


def line(times: int) -> Callable:
    """Registers a kind of line, drawn `times` as often as one that is registered once."""

    def register(function):
        LINES.extend([function] * times)
        return function

    return register


@line(times=7)
def product(b: Builder) -> None:
    v, m = b.pick(), b.choose(2, 3, 4)
    n, t = v.width, v.text
    style = b.choose("right", "flipped", "left", "dot_general", "chain", "concat", "bilinear",
                     "heads", "activations", "across batch", "gates", "terms")  # fmt: skip
    bound = v.bound * math.sqrt(n)
    if style == "right":
        text = f"{t} @ {b.weight(n, m)}"
    elif style == "flipped":
        text = f'jnp.einsum("...i,oi->...o", {t}, {b.weight(m, n)})'
    elif style == "left":
        text = f'jnp.einsum("io,...i->...o", {b.weight(n, m)}, {t})'
    elif style == "dot_general":
        axes = f"((0,), ({len(b.batch)},)), ((), ())"
        text = f"jnp.moveaxis(lax.dot_general({b.weight(n, m)}, {t}, ({axes})), 0, -1)"
    elif style == "chain":
        text = f"{t} @ ({b.weight(n, 3)} @ {b.weight(3, m)})"
    elif style == "concat":
        u = b.pick()
        w = b.weight(n + u.width, m)
        text, bound = f"jnp.concatenate([{t}, {u.text}], -1) @ {w}", bound + u.bound * 2
    elif style == "bilinear":
        u = b.pick()
        w = b.weight(n, u.width, m)
        text, bound = f'jnp.einsum("...i,...j,ijo->...o", {t}, {u.text}, {w})', bound * u.bound * 2
    elif style == "heads":
        v = b.pick(where=lambda v: v.width % 2 == 0)
        n, t = v.width, v.text
        shape = f"{(*b.batch, 2, n // 2)}"
        w = b.weight(2, n // 2, m)
        text = f'jnp.einsum("...ni,nio->...no", {t}.reshape({shape}), {w})'
        text, m = f"{text}.reshape({(*b.batch, 2 * m)})", 2 * m
    elif style == "activations":
        u = b.pick(where=lambda u: u.width == n)
        text, m = f'jnp.einsum("...i,...i->...", {t}, {u.text})[..., None]', 1
        bound = bound * u.bound * 2
    elif style == "across batch":
        rows = math.prod(b.batch)
        text, m = f'jnp.einsum("ab,bi->ai", {b.weight(rows, rows)}, {t}.reshape({rows}, {n}))', n
        text = f"{text}.reshape({(*b.batch, n)})"
    elif style == "gates":
        u = b.pick()
        w, bias = b.weight(n + u.width, 2 * m), b.weight(2 * m)
        at = len(b.lines)
        b.lines.append(f"f{at} = jnp.concatenate([{t}, {u.text}], -1) @ {w} + {bias}")
        b.lines.append(f"i{at}, j{at} = jnp.split(f{at}, 2, -1)")
        text, bound = f"jnp.tanh(i{at}) * jax.nn.sigmoid(j{at})", 1.0
    else:
        u = b.pick()
        terms = [f"{t} @ {b.weight(n, m)}", b.weight(m), f"{u.text} @ {b.weight(u.width, m)}"]
        terms.append(f"0.3 * ({b.pick().text}[..., :1] * {b.weight(m)})")
        a, c, d, e = b.draw(st.permutations(terms))
        text = b.choose(f"{a} + {c} + {d} + {e}", f"{a} - ({c} - {d}) + {e}", f"{a} + ({c} - {e})")
        bound = MANY
    b.features.add(f"product: {style}")
    b.emit(text, m, bound)


MANY = 100.0  # a bound that always asks for tanh


@line(times=2)
def convolution(b: Builder) -> None:
    style = b.choose("same", "strided", "grouped", "dilated", "channels")
    even = style in ("grouped", "channels")
    v = b.pick(where=lambda v: v.width % 2 == 0 if even else v.width > 1)
    n, t = v.width, v.text
    text, m = {
        "same": lambda: (f"conv({t}, {b.weight(3, 1, 1)})", n),
        "strided": lambda: (f"conv({t}, {b.weight(2, 1, 2)}, window_strides=(2,))", -(-n // 2) * 2),
        "grouped": lambda: (f"conv({t}, {b.weight(2, 1, 2)}, feature_group_count=2)", n),
        "dilated": lambda: (f"conv({t}, {b.weight(2, 1, 1)}, rhs_dilation=(2,))", n),
        "channels": lambda: (f"conv({t}, {b.weight(3, 2, 2)}, padding=((2, 0),))", n),
    }[style]()
    b.features.add(f"convolution: {style}")
    b.emit(text, m, v.bound * 3)


@line(times=4)
def elementwise(b: Builder) -> None:
    v = b.pick()
    t = v.text
    name, text, bound = b.choose(
        ("tanh", f"jnp.tanh({t})", 1.0),
        ("sigmoid", f"jax.nn.sigmoid({t})", 1.0),
        ("sin", f"jnp.sin({t})", 1.0),
        ("affine", f"1.0 - {t}", 1 + v.bound),
        ("negate", f"-0.5 * {t}", v.bound),
        ("square", f"{t} ** 2", v.bound**2),
        ("exp", f"jnp.exp(-jnp.square({t}))", 1.0),
        ("softplus", f"jax.nn.softplus({t})", 1 + v.bound),
        ("root", f"jnp.sqrt(1.0 + {t} * {t})", 1 + v.bound),
        ("quotient", f"{t} / (1.5 + jnp.cos({t}))", 2 * v.bound),
        ("abs", f"jnp.abs({t} - {b.threshold()})", v.bound + 0.3),
        ("relu", f"jax.nn.relu({t} - {b.threshold()})", v.bound + 0.3),
        ("clip", f"jnp.clip({t}, -0.8123457, {b.threshold()} + 0.4)", v.bound),
        ("erf", f"lax.erf({t})", 1.0),
        ("log1p", f"jnp.log1p({t} * {t})", v.bound),
    )
    b.features.add(f"elementwise: {name}")
    b.emit(text, v.width, bound)


@line(times=5)
def combine(b: Builder) -> None:
    v = b.pick()
    u = b.pick(where=lambda u: u.width in (v.width, 1))
    name, text, bound = b.choose(
        ("add", f"{v.text} + {u.text}", v.bound + u.bound),
        ("multiply", f"{v.text} * {u.text}", v.bound * u.bound),
        ("subtract", f"{v.text} - 0.5 * {u.text}", v.bound + u.bound),
        ("divide", f"{v.text} / (1.1 + jnp.square({u.text}))", v.bound),
        ("leak", f"0.6 * {b.tame(v)} + 0.4 * {b.tame(u)}", 1.0),
        ("bias", f"{v.text} + {b.weight(v.width)}", v.bound + 1),
        ("scale", f"{v.text} * {b.weight(v.width)}", v.bound),
        ("atan2", f"jnp.arctan2({v.text}, 2.0 + jnp.sin({u.text}))", 1.5),
    )
    b.features.add(f"combine: {name}")
    b.emit(text, v.width, bound)


@line(times=2)
def select(b: Builder) -> None:
    v = b.pick()
    u = b.pick(where=lambda u: u.width == v.width)
    other = b.choose(u.text, "0.25", f"jnp.zeros_like({v.text})")
    text = f"jnp.where({b.flag()}, {v.text}, {other})"
    b.emit(text, v.width, max(v.bound, u.bound))


@line(times=2)
def cut(b: Builder) -> None:
    v = b.pick(where=lambda v: v.width > 1)
    n, t = v.width, v.text
    text, m = b.choose(
        (f"{t}[..., 1:]", n - 1),
        (f"{t}[..., :1]", 1),
        (f"{t}[..., ::2]", -(-n // 2)),
        (f"{t}[..., ::-1]", n),
        (f"jnp.split({t}, [1], -1)[1]", n - 1),
        (f"jnp.roll({t}, 1, -1)", n),
        (f"lax.slice_in_dim({t}, 0, {n - 1}, axis=-1)", n - 1),
    )
    b.emit(text, m, v.bound)


@line(times=2)
def join(b: Builder) -> None:
    v, u = b.pick(), b.pick()
    n, k = v.width, u.width
    text, m = b.choose(
        (f"jnp.concatenate([{v.text}, {u.text}], -1)", n + k),
        (f"jnp.concatenate([{u.text}, {v.text}, {u.text}[..., :1]], -1)", n + k + 1),
        (f"jnp.pad({v.text}, {[(0, 0)] * len(b.batch) + [(1, 0)]})", n + 1),
        (f"jnp.stack([{v.text}, -{v.text}], -2).reshape({(*b.batch, 2 * n)})", 2 * n),
        (f"jnp.repeat({v.text}, 2, -1)", 2 * n),
        (f"jnp.broadcast_to({v.text}[..., :1], {(*b.batch, 3)})", 3),
    )
    if m <= 8:
        b.emit(text, m, max(v.bound, u.bound))


@line(times=2)
def reduction(b: Builder) -> None:
    v = b.pick()
    n, t = v.width, v.text
    # Spread apart before taking a maximum, so that no two entries are equal.
    spread = f"({t} + 0.7312 * np.arange({n}.0))"
    name, text, m, bound = b.choose(
        ("sum", f"jnp.sum({t}, -1, keepdims=True)", 1, n * v.bound),
        ("mean", f"{t} - jnp.mean({t}, -1, keepdims=True)", n, 2 * v.bound),
        ("over batch", f"{t} + jnp.mean({t})", n, 2 * v.bound),
        ("max", f"jnp.max({spread}, -1, keepdims=True)", 1, v.bound + n),
        ("softmax", f"jax.nn.softmax({t}, -1)", n, 1.0),
        ("logsumexp", f"jax.nn.logsumexp({t}, -1, keepdims=True)", 1, v.bound + 2),
        ("cumsum", f"jnp.cumsum({t}, -1)", n, n * v.bound),
        ("norm", f"{t} / jnp.sqrt(0.5 + jnp.sum({t} ** 2, -1, keepdims=True))", n, 1.0),
        ("product", f"jnp.prod(jnp.cos({t}), -1, keepdims=True)", 1, 1.0),
        ("sort", f"jnp.sort({spread}, -1)", n, v.bound + n),
    )
    b.features.add(f"reduction: {name}")
    b.emit(text, m, bound)


@line(times=2)
def gather(b: Builder) -> None:
    style = b.choose("rows", "one-hot", "along axis", "dynamic slice", "scatter")
    i = b.pick("int").text
    if style == "rows":
        text, m, bound = f"jnp.asarray({b.weight(4, 3)})[{i} % 4]", 3, 1.0
    elif style == "one-hot":
        text, m = f"jax.nn.one_hot({i} % 4, 4, dtype=jnp.float64) @ {b.weight(4, 2)}", 2
        bound = 1.0
    else:
        v = b.pick(where=lambda v: v.width > 1)
        n, t, bound = v.width, v.text, v.bound
        if style == "along axis":
            text, m = f"jnp.take_along_axis({t}, ({i} % {n})[..., None], -1)", 1
        elif style == "dynamic slice":
            start = f"jnp.max({i}) % 2"
            text, m = f"lax.dynamic_slice_in_dim({t}, {start}, {n - 1}, axis=-1)", n - 1
        else:
            text, m = f"{t}.at[..., jnp.max({i}) % {n}].{b.choose('add', 'set')}(0.5)", n
            bound += 0.5
    b.features.add(f"gather: {style}")
    b.emit(text, m, bound)


@line(times=2)
def nested_jit(b: Builder) -> None:
    v = b.pick()
    n, t = v.width, v.text
    u = b.pick(where=lambda u: u.width in (n, 1))
    w = b.weight(n, n)
    b.emit(
        b.choose(
            f"gated({t}, {u.text})",
            f"jax.jit(lambda a, w: jnp.tanh(a @ w))({t}, {w})",
            f"jax.jit(lambda a: jnp.tanh(a @ {w}))({t})",
            f"jax.jit(lambda a, c: (c, gated(a, a @ {w})))({t}, 2.0)[1]",
            f"jax.checkpoint(lambda a: jnp.tanh(a @ {w}))({t})",
        ),
        n,
        1.0,
    )


@line(times=2)
def custom_derivative(b: Builder) -> None:
    v = b.pick()
    n, t, m = v.width, v.text, b.choose(2, 3)
    name, text, m, bound = b.choose(
        ("custom_jvp", f"ramp({t})", n, 1.0),
        ("custom_vjp", f"damp({t})", n, v.bound),
        ("custom_jvp, weight", f"blend({b.weight(n, m)}, {t})", m, 1.0),
        ("custom_vjp, weight", f"mix({b.weight(n, m)}, {t})", m, 1.0),
        ("stop_gradient", f"lax.stop_gradient({t})", n, v.bound),
        ("barrier", f"lax.optimization_barrier({t})", n, v.bound),
        ("no gradient to a product", f"lax.stop_gradient({t}) @ {b.weight(n, m)}", m, n * v.bound),
    )
    b.features.add(name)
    b.emit(text, m, bound)


@line(times=1)
def branch(b: Builder) -> None:
    v = b.pick()
    n, t, w = v.width, v.text, b.weight(v.width, v.width)
    arms = f"lambda a: jnp.tanh(a @ {w}), lambda a: 0.5 * a"
    if b.chance(40):
        index = f"jnp.max({b.pick('int').text}) % 3"
        text = f"lax.switch({index}, [{arms}, jnp.sin], {t})"
        b.features.add("switch")
    else:
        text = f"lax.cond({b.scalar_flag()}, {arms}, {t})"
        b.features.add("cond")
    b.emit(text, n, max(1.0, v.bound))


@line(times=1)
def inner_loop(b: Builder) -> None:
    v = b.pick()
    n, t, w = v.width, v.text, b.weight(v.width, v.width)
    name, text = b.choose(
        ("scan", f"lax.scan(lambda c, u: (jnp.tanh(c @ {w} + u), c), {t}, {b.weight(2, n)})[0]"),
        (
            "scan, xs=None",
            f"lax.scan(lambda c, _: (jnp.tanh(c @ {w}), c[..., :1]), {t}, None, 2)[0]",
        ),
        ("fori", f"lax.fori_loop(0, 2, lambda i, c: jnp.sin(c @ {w} + i), {t})"),
        ("map", f"jnp.moveaxis(lax.map(jnp.tanh, jnp.moveaxis({t}, -1, 0)), 0, -1)"),
    )
    b.features.add(f"inner {name}")
    b.emit(text, n, 1.0)


@line(times=1)
def noise(b: Builder) -> None:
    """Random numbers from a key in the state, or from one key folded with a counter."""
    m = b.choose(2, 3)
    if b.chance(60):
        key, seen = "jax.random.split(k)[1]", b.pick("key").text
    else:
        key, seen = "jax.random.fold_in(jax.random.key(7), k)", b.pick("int").text
        b.features.add("fold_in of a counter")
    b.features.add("random numbers")
    draw = b.per_row(f"lambda k: jax.random.uniform({key}, ({m},), jnp.float64, -1.0, 1.0)")
    b.emit(f"{draw}({seen})", m, 1.0)


@line(times=1)
def integers(b: Builder) -> None:
    i = b.pick("int").text
    v = b.pick()
    kind, text = b.choose(
        ("int", f"{i} + 1"),
        ("int", f"({i} * 3 + 1) % 5"),
        ("int", f"jnp.argmax({v.text} + 0.4142 * np.arange({v.width}.0), -1).astype(jnp.int32)"),
        ("int", f"jnp.sum({v.text} > {b.threshold()}, -1, dtype=jnp.int32)"),
        ("bool", f"{i} % 2 == 0"),
        ("bool", f"jnp.any({v.text} > {b.threshold()}, -1)"),
        ("bool", f"jnp.mean({v.text}, -1) > {b.threshold()}"),
    )
    b.emit_other(text, kind)


@line(times=1)
def logic(b: Builder) -> None:
    f, g = b.pick("bool").text, b.pick("bool").text
    b.emit_other(b.choose(f"~{f}", f"{f} & {g}", f"{f} ^ {g}"), "bool")


@line(times=1)
def repeat(b: Builder) -> None:
    """The same line again: a common subexpression."""
    if b.history:
        text, v = b.choose(*b.history)
        b.features.add("common subexpression")
        b._emit(text, v.kind, v.shape, v.bound)


# --- the end of a step: new carries and outputs ---------------------------------------------------


def next_carry(b: Builder, name: str, spec: Spec) -> str:
    """What the carry becomes; `[*batch, width]` floats stay below one."""
    own, same = f'state["{name}"]', lambda v: v.shape == spec.shape
    if spec.kind == "key":
        b.features.add("key carry")
        return b.choose(f"{b.per_row('lambda k: jax.random.split(k)[0]')}({own})", own)
    how = b.choose("new", "new", "new", "select", "hold", "delay", "swap", "new", "literal")
    inputs = [v for v in b.values if v.kind == spec.kind and same(v)]
    if how == "delay":
        inputs = [v for v in inputs if v.text.startswith("x[")]
        inputs = inputs or [b.argument("x", spec.kind, spec.shape)]
    elif how == "swap":
        inputs = [v for v in inputs if v.text.startswith("state[") and v.text != own]
    if how == "hold":
        b.features.add("passed-through carry")
        return own
    if how == "literal":
        b.features.add("literal carry")
        fill = {"float": "0.3", "int": "2", "bool": "True"}[spec.kind]
        dtype = {"float": "jnp.float64", "int": "jnp.int32", "bool": "bool"}[spec.kind]
        return f"jnp.full({spec.shape}, {fill}, {dtype})"
    if how in ("delay", "swap") and inputs:
        b.features.add(f"{how} carry")
        return b.choose(*inputs).text
    if spec.kind == "float":
        b.features.add("float carry")
        made = [v for v in reversed(b.values) if v.kind == "float" and v.text[0] == "v"]
        v = b.read(b.choose(*made)) if made else b.pick()
        new = b.fit(v, spec.shape[-1])
        if how == "select":
            b.features.add("masked carry")
            return f"jnp.where({b.flag()}, {new}, {own})"
        return b.choose(new, f"0.7 * {own} + 0.3 * {new}", f"jnp.tanh({own} + {new})")
    b.features.add(f"{spec.kind} carry")
    return b.pick(spec.kind).text if how == "new" else f"{own} + {own}"


def finish(b: Builder) -> tuple[str, str]:
    """The returned state and outputs; everything nobody has read is an output."""
    state, done = [], set()
    # To make a new carry may create another (a flag, say), so until none is left.
    while todo := [name for name in b.args["state"] if name not in done]:
        name = todo[0]
        done.add(name)
        state.append(f'"{name}": {next_carry(b, name, b.args["state"][name])}')
    ys = [v.text for v in b.unread]
    if b.unread and b.chance(15):
        b.features.add("dead code")
        ys.pop(0)
    if b.values and b.chance(40):
        inputs = [v.text for v in b.values if v.text[0] in "sx"]
        if inputs:
            b.features.add("output that is an input")
            ys.append(b.choose(*inputs))
    if b.chance(15):
        b.features.add("literal output")
        ys.append(b.choose("1.5", "2", "True", "jnp.zeros(2)", "None"))
    if b.chance(15):
        b.features.add("param as output")
        ys.append(b.weight(2, 2))
    if ys and b.chance(15):
        b.features.add("output twice")
        ys.append(ys[0])
    body = ", ".join(ys) + ("," if len(ys) == 1 else "")
    return "{" + ", ".join(state) + "}", f"({body})"


@st.composite
def programs(draw: Callable) -> Program:
    """A random step program, with the options to run it."""
    b = Builder(draw)
    width = b.choose(2, 3, 4)
    for _ in range(b.choose(1, 2, 1, 3, 0)):
        b.argument("state", "float", (*b.batch, width))
    for _ in range(b.choose(1, 2, 0)):
        b.argument("x", "float", (*b.batch, b.choose(width, 2, 3)))
    # Lists, not a count followed by draws: hypothesis can then delete single lines.
    line = st.sampled_from(LINES)
    short, long = st.lists(line, min_size=1, max_size=4), st.lists(line, min_size=6, max_size=14)
    for make in draw(st.one_of(short, long, long)):
        b.features.add(make.__name__)
        make(b)
    state, ys = finish(b)
    if b.chance(10):
        b.argument("params", "float", (2,))
        b.features.add("unused param")
    xs = b.args["x"] or None
    if xs is None:
        b.features.add("xs=None")
    length = b.choose(3, 5, 2, 4, 3, 1, 0)
    options = {
        "reverse": b.chance(25),
        "loop_unroll": b.choose(1, 1, 2),
        "backward": b.choose("auto", "deferred", "autodiff"),
        "save": b.choose("auto", "all", "states"),
        "block": b.choose("auto", None, 1, 2, 3),
    }
    if xs is None or b.chance(20):
        options["length"] = length
    body = textwrap.indent("\n".join([*b.lines, f"return {state}, {ys}"]), "    ")
    return Program(
        source=f"def step(params, state, x):\n{body}\n",
        params=b.args["params"],
        state=b.args["state"],
        xs=xs,
        closed=b.args["closed"],
        length=length,
        options=options,
        impl=b.choose("threefry2x32", "rbg"),
        features=frozenset(b.features),
    )
