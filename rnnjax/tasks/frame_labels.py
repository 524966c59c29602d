"""A task: which digit moves over a canvas, and which way, at every frame."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
import zipfile
from collections.abc import Iterator
from typing import Any, ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import rnnjax
from rnnjax._factory import natural, non_negative
from rnnjax.tasks._images import DIGIT, DIGITS, convolution, digits, patches, split, unpatched
from rnnjax.train.losses import binary_cross_entropy, cross_entropy
from rnnjax.train.plot import figure_type, tidy
from rnnjax.train.sources import Generated, generated
from rnnjax.train.task import CELLS, HELD_OUT_SEED, Data, Facts, System, Task

Array = jax.Array
CANVAS = 16
# Their names, and steps of a row (downwards) and a column.
DIRECTIONS = {
    "right": (0, 1),
    "up-right": (-1, 1),
    "up": (-1, 0),
    "up-left": (-1, -1),
    "left": (0, -1),
    "down-left": (1, -1),
    "down": (1, 0),
    "down-right": (1, 1),
}
ARROWS = "→↗↑↖←↙↓↘"
SEEN, STRIPS = 5, 4  # frames before an answer counts; sequences in the picture
FILTERS = 16
PIXELS = 3.0  # how much the pixels of the next frame weigh in the loss


class Frames(NamedTuple):
    """Sequences of frames, and what is right in each.

    Attributes:
      seen: [T, B, 16, 16], in [0, 1] but for the noise.
      clean: the same without noise.
      digits: integers in [0, 10), [T, B].
      directions: integers in [0, 8), places in `DIRECTIONS`, [T, B]: the way that led to a frame;
        for the first, none that could be known.
    """

    seen: Any
    clean: Any
    digits: Any
    directions: Any


@dataclasses.dataclass(frozen=True)
class FrameLabels(Task):
    """Say at every frame which digit moves over a noisy canvas, and which way; it bounces.

    Attributes:
      T: Frames of a sequence, at least 5.
      noise: Standard deviation of what is added to each pixel; ink is 1, paper 0.
      cell: lstm and gru read what convolutions make of each frame; conv_lstm is one itself, and
        keeps a state at every place.
      hidden_size: Units of the cell; of conv_lstm, at every place.
      next_frame: Predict the next frame, too, without its noise.
      dropout: Rate at which features before and behind the cell are left out.
      warp: How much each digit of training is turned, stretched and slanted, at random.
      held_out: Sequences of validation, and of test.
    """

    name: ClassVar[str] = "frame-labels"
    about: ClassVar[str] = "which digit moves over a noisy canvas, and which way, at every frame"
    data_about: ClassVar[str] = "real digits, of scikit-learn; their movement is generated"
    metric: ClassVar[str] = "% of frames wrong"

    T: int = 12
    noise: float = 0.1
    cell: Literal["lstm", "gru", "conv_lstm"] = "lstm"
    hidden_size: int = 128
    next_frame: bool = False
    dropout: float = 0.2
    warp: float = 0.1
    held_out: int = 500
    steps: int = 2500
    batch_size: int = 32
    learning_rate: float = 3e-3
    clip_norm: float = 5.0
    schedule: Literal["cosine", "constant"] = "cosine"
    evaluate_every: int = 500

    @classmethod
    def tiny(cls, folder: pathlib.Path) -> FrameLabels:
        """Settings of a few seconds."""
        return cls(
            T=5, hidden_size=4, next_frame=True, held_out=9, batch_size=4, steps=6, evaluate_every=3
        )

    def check(self) -> None:
        """Raises TypeError or ValueError for settings that will not do."""
        super().check()
        natural("T", self.T, least=SEEN)
        for name in ("hidden_size", "held_out"):
            natural(name, getattr(self, name), least=1)
        non_negative("noise", self.noise)
        non_negative("warp", self.warp)
        rnnjax.dropout(self.dropout)

    def data(self) -> Data:
        """Digits to train on, and sequences of others."""
        images, labels = digits()
        train, *parts = split(len(images))
        draw = jax.jit(self.draw, static_argnums=1)
        keys = jax.random.split(jax.random.key(HELD_OUT_SEED))
        validation, test = (
            jax.device_get(draw(key, self.held_out, images[rows], labels[rows]))
            for key, rows in zip(keys[::-1], parts, strict=True)
        )
        return Data((images[train], labels[train]), validation, test, {})

    def source(self, data: Data) -> Generated:
        """New movements every step."""
        images, labels = data.train

        def draw(key: Array, size: int) -> Frames:
            return self.draw(key, size, images, labels, warp=self.warp)

        return generated(draw, self.batch_size, seed=self.seed, axes=1)

    def draw(self, key: Array, size: int, images: Any, labels: Any, warp: float = 0.0) -> Frames:
        """Sequences of digits that are drawn, as are where each begins and which way it goes."""
        k_digit, k_place, k_way, k_noise, k_warp = jax.random.split(key, 5)
        chosen = jax.random.randint(k_digit, (size,), 0, len(images))
        place = jax.random.randint(k_place, (size, 2), 0, CANVAS - DIGIT + 1)
        way = jnp.array(list(DIRECTIONS.values()))[
            jax.random.randint(k_way, (size,), 0, len(DIRECTIONS))
        ]
        digit, label = jnp.asarray(images)[chosen], jnp.asarray(labels)[chosen]
        digit = _warped(k_warp, digit, warp) if warp else digit
        return self.moved(k_noise, digit, label, place, way)

    def moved(self, key: Array, images: Array, labels: Array, place: Array, way: Array) -> Frames:
        """Digits [B, 8, 8] that go their way from a place, [B, 2] each, and bounce at the edges."""

        def step(carry: tuple[Array, Array], _: None) -> tuple[Any, tuple[Array, Array]]:
            place, way = carry
            after = place + way
            turned = jnp.where((after < 0) | (after > CANVAS - DIGIT), -way, way)
            return (place + turned, turned), (place, way)

        _, (places, ways) = jax.lax.scan(step, (place, way), None, length=self.T)
        empty = jnp.zeros((CANVAS, CANVAS), images.dtype)
        drawn = functools.partial(jax.lax.dynamic_update_slice, empty)
        clean = jax.vmap(jax.vmap(drawn), in_axes=(None, 0))(images, places)
        noise = self.noise * jax.random.normal(key, clean.shape, clean.dtype)
        known = jnp.array(list(DIRECTIONS.values()))
        directions = (ways[..., None, :] == known).all(axis=-1).argmax(axis=-1)
        return Frames(clean + noise, clean, jnp.broadcast_to(labels, directions.shape), directions)

    def model(self) -> rnnjax.Cell:
        """From frames [*B, 16, 16] to 10 logits of digits, 8 of directions, those of a frame."""
        outputs = DIGITS + len(DIRECTIONS) + self.next_frame * CANVAS**2
        if self.cell == "conv_lstm":
            return rnnjax.stack(
                patches=patches(CANVAS),
                features=convolution(CANVAS // 2, FILTERS),
                rnn=rnnjax.conv_lstm((CANVAS // 2,) * 2, self.hidden_size),
                noise=rnnjax.dropout(self.dropout),
                readout=_everywhere(CANVAS // 2, 3 * FILTERS, self.next_frame),
            )
        return rnnjax.stack(
            features=_what_and_where(CANVAS, FILTERS),
            noise=rnnjax.dropout(self.dropout),
            rnn=CELLS[self.cell](self.hidden_size),
            more_noise=rnnjax.dropout(self.dropout),
            readout=rnnjax.linear(outputs),
        )

    def system(self, facts: Facts) -> System:
        """Convolutions, a cell, and a readout of digit and direction, and of the next frame."""
        model = self.model()

        def loss(params: Any, carried: Any, batch: Frames, key: Array) -> Any:
            return _judged(model, params, batch, key).loss, (carried, {})

        def evaluate(params: Any, part: Frames) -> dict[str, float]:
            found = _answers(model, params, part)
            digit, way = found.digits != part.digits, found.directions != part.directions
            counted = [100 * float(w[SEEN - 1 :].mean()) for w in (digit | way, digit, way)]
            nats = float(found.loss)
            figures = {self.metric: counted[0] + 0 * nats, "loss": nats}  # NaN is to be seen
            figures |= {"% of digits wrong": counted[1], "% of directions wrong": counted[2]}
            if self.next_frame:
                again = np.square(part.clean[1:] - part.clean[:-1]).mean()
                figures["next frame, squared error a pixel"] = float(found.squared)
                figures["the same, of this frame again"] = float(again)
            return figures

        def predict(params: Any, request: str) -> Iterator[str]:
            seen, names = self._requested(request), list(DIRECTIONS)
            nothing = np.zeros(seen.shape[:2], np.int32)
            found = _answers(model, params, Frames(seen, seen, nothing, nothing))
            for t, (digit, way) in enumerate(zip(found.digits, found.directions, strict=True)):
                way = names[int(way[0])] if t else "unknown way"
                yield f"{chr(10) if t else ''}frame {t + 1}: {int(digit[0])} {way}"

        spec = jax.ShapeDtypeStruct((CANVAS, CANVAS), jnp.float32)
        xs = jax.ShapeDtypeStruct((self.T, self.batch_size, CANVAS, CANVAS), jnp.float32)
        return System(lambda key: model.init(key, spec), loss, evaluate, predict, cell=model, xs=xs)

    def read(self, path: pathlib.Path, facts: Facts) -> Frames:
        """A .npz file with frames [N, T, 16, 16], digits [N] and directions [N, T]."""
        parts = _arrays(path)
        if missing := {"frames", "digits", "directions"} - parts.keys():
            raise ValueError(
                f"{path} has no array {', '.join(sorted(missing))}: save it with numpy.savez(file, "
                "frames=[N, T, 16, 16], digits=[N], directions=[N, T])"
            )
        frames = _checked_frames(path, parts["frames"])
        shapes = {"digits": frames.shape[:1], "directions": frames.shape[:2]}
        for (name, shape), size in zip(shapes.items(), (DIGITS, len(DIRECTIONS)), strict=True):
            part = parts[name]
            if part.shape != shape or part.dtype.kind not in "iu":
                raise ValueError(
                    f"{name} of {path} must be integers {list(shape)}, got {part.dtype} "
                    f"{list(part.shape)}"
                )
            if part.min() < 0 or part.max() >= size:
                raise ValueError(f"{name} of {path} must be in [0, {size}), got {part.max()}")
        ways = parts["directions"].T.astype(np.int32)
        labels = np.broadcast_to(parts["digits"].astype(np.int32), ways.shape)
        return Frames(frames.swapaxes(0, 1), frames.swapaxes(0, 1), labels, ways)

    def _requested(self, request: str) -> np.ndarray:
        """The frames [T, 1, 16, 16] that a user asks about."""
        words = request.split()
        if len(words) == 1 and words[0].endswith((".npy", ".npz")):
            path = pathlib.Path(words[0])
            return _checked_frames(path, _arrays(path).get("frames"))[:1].swapaxes(0, 1)
        if len(words) != 2 or words[0] not in map(str, range(DIGITS)) or words[1] not in DIRECTIONS:
            raise ValueError(
                "a request is a digit and the way it goes, as '7 up-right', or a file with frames "
                f"(.npz or .npy): {request!r}"
            )
        images, labels = digits()
        tested = split(len(images))[2]
        row = tested[labels[tested] == int(words[0])][:1]
        place, way = jnp.full((1, 2), (CANVAS - DIGIT) // 2), jnp.array([DIRECTIONS[words[1]]])
        moved = jax.jit(self.moved)
        return np.asarray(moved(jax.random.key(0), images[row], labels[row], place, way).seen)

    def baselines(self, data: Data) -> dict[str, float]:
        """The nearest of all digits of training at all places, by each frame and by all so far."""
        images, labels = data.train
        nearest = [_nearest(frames, images) for frames in data.test.seen.swapaxes(0, 1)]
        places = np.stack([place for place, _ in nearest], axis=1)
        distances = np.stack([distance for _, distance in nearest], axis=1)  # [T, B, templates]
        known = np.array(list(DIRECTIONS.values()))
        went = np.diff(places, axis=0)[..., None, :]  # [T - 1, B, 1, 2]
        ways = np.abs(went - known).sum(axis=-1).argmin(axis=-1)
        wrong = ways != data.test.directions[1:]
        return {
            name: 100 * float(((labels[best] != data.test.digits)[1:] | wrong)[SEEN - 2 :].mean())
            for name, best in {
                "nearest digit, by each frame": distances.argmin(axis=-1),
                "nearest digit, by all frames so far": distances.cumsum(axis=0).argmin(axis=-1),
            }.items()
        }

    def example(self, data: Data) -> str:
        """A digit, and the way it goes."""
        return "7 up-right"

    def picture(self, system: System, params: Any, data: Data, file: pathlib.Path) -> None:
        """Strips of frames with the answers below, and how they get better with each frame."""
        part, found = data.test, _answers(system.cell, params, data.test)
        wrong = {
            "digit": np.asarray(found.digits != part.digits),
            "direction": np.asarray(found.directions != part.directions),
        }
        time, count = wrong["digit"].shape
        # One where the digit is mistaken at the end, if there is one, then others.
        last = wrong["digit"][-3:].any(axis=0)
        chosen = [*np.flatnonzero(last)[:1], *np.flatnonzero(~last)][:STRIPS]
        shown, expected = min(time, 12), found.following
        figure = figure_type()(figsize=(13, (2.4 if expected is not None else 1.4) * len(chosen)))
        grid = figure.add_gridspec(1, 2, width_ratios=[3, 1], left=0.06, right=0.98, wspace=0.15)
        strips = grid[0].subgridspec(len(chosen), 1, hspace=0.35).subplots(squeeze=False)
        for axes, n in zip(strips[:, 0], chosen, strict=True):
            lines = {"seen": part.seen[:shown, n]}
            if expected is not None:  # what was expected of a frame stands below it
                none = np.full((CANVAS, CANVAS), np.nan)
                lines["expected"] = np.stack([none, *expected[: shown - 1, n]])
            _draw_strip(axes, lines)
            for t in range(shown):
                way = ARROWS[int(found.directions[t, n])] if t else ""
                right = not wrong["digit"][t, n] and not (t and wrong["direction"][t, n])
                colour, middle = "tab:green" if right else "tab:red", t * (CANVAS + 1) + CANVAS / 2
                text = f"{int(found.digits[t, n])} {way}"
                axes.text(middle, -2, text, color=colour, ha="center", va="bottom", fontsize=12)
        axes = figure.add_subplot(grid[1])
        for (name, errors), colour in zip(wrong.items(), ("tab:blue", "tab:orange"), strict=True):
            first = int(name == "direction")  # of one frame no way can be told
            steps = np.arange(1 + first, time + 1)
            axes.plot(steps, 100 * errors[first:].mean(axis=1), "o-", color=colour, label=name)
        axes.axvspan(SEEN, time, alpha=0.08, color="tab:gray")
        axes.set_xticks(range(1, time + 1, max(1, time // 12)))
        axes.set_xlabel(f"frames seen; {SEEN} or more count")
        axes.set_ylabel(f"% wrong of {count} sequences")
        axes.set_ylim(bottom=0)
        axes.legend()
        tidy(axes)
        figure.savefig(file, dpi=120)

    @classmethod
    def presets(cls) -> dict[str, FrameLabels]:
        """Sizes for a state at every place."""
        return {"conv-lstm": cls(cell="conv_lstm", hidden_size=24, steps=800, evaluate_every=100)}


def _warped(key: Array, images: Array, warp: float) -> Array:
    """Digits [B, 8, 8], each turned, stretched and slanted a little about its middle."""
    middle = (DIGIT - 1) / 2
    offsets = jnp.stack(
        jnp.meshgrid(*[jnp.arange(DIGIT, dtype=images.dtype) - middle] * 2, indexing="ij")
    )
    maps = jnp.eye(2) + warp * jax.random.normal(key, (len(images), 2, 2))
    places = jnp.einsum("bij,jhw->bihw", maps, offsets) + middle
    sample = functools.partial(jax.scipy.ndimage.map_coordinates, order=1)
    return jax.vmap(lambda image, place: sample(image, list(place)))(images, places)


def _draw_strip(axes: Any, lines: dict[str, np.ndarray]) -> None:
    """Lines of frames [T, 16, 16], side by side, one below the other."""
    edge = ((0, 1), (0, 1))  # on which there is nothing, behind each frame
    rows = [
        np.concatenate([np.pad(f, edge, constant_values=np.nan) for f in frames], axis=1)
        for frames in lines.values()
    ]
    axes.imshow(np.concatenate(rows), cmap="gray_r", vmin=0, vmax=1, aspect="equal")
    places = (CANVAS + 1) * np.arange(len(lines)) + CANVAS / 2
    axes.set_yticks(places, list(lines))
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.set_facecolor("lightsteelblue")
    axes.spines[:].set_visible(False)


def _what_and_where(size: int, filters: int) -> rnnjax.Cell:
    """The strongest features of all places, wherever they are, and the ink of rows and columns."""
    apart = patches(size)
    lower, upper = convolution(size // 2, 2 * filters), convolution(size // 2, 3 * filters)

    def init(key: Array, x_spec: Any) -> dict[str, Any]:
        k_lower, k_upper = jax.random.split(key)
        grid = (size // 2, size // 2)
        return {
            "lower": lower.init(k_lower, jax.ShapeDtypeStruct((*grid, 4), x_spec.dtype)),
            "upper": upper.init(k_upper, jax.ShapeDtypeStruct((*grid, 2 * filters), x_spec.dtype)),
        }

    def step(params: dict[str, Any], state: tuple[()], x: Array) -> tuple[tuple[()], Array]:
        _, seen = apart.step((), (), x)
        _, seen = lower.step(params["lower"], (), seen)
        _, seen = upper.step(params["upper"], (), seen)
        parts = [seen.max(axis=(-3, -2)), x.sum(axis=-1), x.sum(axis=-2)]
        return (), jnp.concatenate(parts, axis=-1)

    return rnnjax.Cell(
        name=f"what_and_where({size}, {filters})",
        init=init,
        initial_state=lambda params, batch_shape=(), *, key=None: (),
        step=step,
        x_ndims=2,
    )


def _everywhere(size: int, features: int, next_frame: bool) -> rnnjax.Cell:
    """Logits of the strongest features of all places, and of each place's own next pixels."""
    seen, readout = convolution(size, features), rnnjax.linear(DIGITS + len(DIRECTIONS))
    pixels = rnnjax.linear(4)

    def init(key: Array, x_spec: Any) -> dict[str, Any]:
        keys = jax.random.split(key, 3)
        params = {
            "seen": seen.init(keys[0], x_spec),
            "readout": readout.init(keys[1], jax.ShapeDtypeStruct((features,), x_spec.dtype)),
        }
        if next_frame:
            one = jax.ShapeDtypeStruct(x_spec.shape[-1:], x_spec.dtype)
            params["pixels"] = pixels.init(keys[2], one)
        return params

    def step(params: dict[str, Any], state: tuple[()], x: Array) -> tuple[tuple[()], Array]:
        _, found = seen.step(params["seen"], (), x)
        _, logits = readout.step(params["readout"], (), found.max(axis=(-3, -2)))
        if not next_frame:
            return (), logits
        _, frame = pixels.step(params["pixels"], (), x)
        frame = unpatched(frame)
        return (), jnp.concatenate([logits, frame.reshape(*frame.shape[:-2], -1)], axis=-1)

    return rnnjax.Cell(
        name=f"everywhere({size}, {features})",
        init=init,
        initial_state=lambda params, batch_shape=(), *, key=None: (),
        step=step,
        x_ndims=3,
    )


class Judged(NamedTuple):
    """What a model makes of frames.

    Attributes:
      loss: nats a frame, and of the pixels of the next one.
      squared: the squared error of a pixel of the next frame, 0 where it is not predicted.
      digits: the likeliest digits [T, B].
      directions: the likeliest directions [T, B].
      following: the next frames [T, B, 16, 16], or None.
    """

    loss: Array
    squared: Array
    digits: Array
    directions: Array
    following: Array | None


def _judged(model: rnnjax.Cell, params: Any, part: Frames, key: Array | None = None) -> Judged:
    """The loss and the answers, with noise from a key; of the first frame no way is asked."""
    state = model.initial_state(params, part.seen.shape[1:2], key=key)
    _, logits = rnnjax.unroll(model, params, state, part.seen)
    both = DIGITS + len(DIRECTIONS)
    digit, way, pixels = jnp.split(logits, (DIGITS, both), axis=-1)
    loss = cross_entropy(digit, part.digits).mean
    loss = loss + cross_entropy(way[1:], part.directions[1:]).mean
    squared, following = jnp.zeros_like(loss), None
    if pixels.shape[-1]:
        following = jax.nn.sigmoid(pixels).reshape(part.clean.shape)
        squared = jnp.square(following[:-1] - part.clean[1:]).mean()
        targets = part.clean[1:].reshape(pixels[1:].shape)
        loss = loss + PIXELS * binary_cross_entropy(pixels[:-1], targets).mean
    return Judged(loss, squared, digit.argmax(axis=-1), way.argmax(axis=-1), following)


@functools.partial(jax.jit, static_argnums=0)
def _answers(model: rnnjax.Cell, params: Any, part: Frames) -> Judged:
    return _judged(model, params, part)


def _arrays(path: pathlib.Path) -> dict[str, np.ndarray]:
    """The arrays of a file of NumPy by name; the one of a .npy file is the frames."""
    try:
        stored = np.load(path, allow_pickle=False)
        return {"frames": stored} if isinstance(stored, np.ndarray) else dict(stored)
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is no .npz or .npy file of numbers: {error}") from None


def _checked_frames(path: pathlib.Path, frames: np.ndarray | None) -> np.ndarray:
    """Frames as float32 [N, T, 16, 16]; of one sequence [T, 16, 16], too."""
    if frames is not None and frames.ndim == 3:
        frames = frames[None]
    if frames is None or frames.ndim != 4 or frames.shape[2:] != (CANVAS, CANVAS):
        got = "none" if frames is None else list(frames.shape)
        raise ValueError(f"{path} must have frames [N, T, {CANVAS}, {CANVAS}], got {got}")
    if frames.dtype.kind not in "iuf" or not len(frames) or frames.shape[1] < SEEN:
        raise ValueError(
            f"frames of {path} must be numbers, of at least one sequence and {SEEN} frames, got "
            f"{frames.dtype} {list(frames.shape)}"
        )
    if not np.isfinite(frames).all() or frames.min() < -2 or frames.max() > 3:
        raise ValueError(
            f"frames of {path} must be numbers with paper at 0 and ink at 1, got "
            f"[{frames.min()}, {frames.max()}]: divide them by the largest, mind those missing"
        )
    return frames.astype(np.float32)


def _nearest(frames: np.ndarray, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For frames [T, 16, 16]: where the nearest template lies, [T, 2], and how far each is, [T, N].

    |frame - template at p|² = |frame|² - 2 <window at p, template> + |template|².
    """
    shape = (len(frames), DIGIT, DIGIT)
    windows = np.lib.stride_tricks.sliding_window_view(frames, shape)[0]
    windows = np.moveaxis(windows, 2, 0)  # [T, row, column, 8, 8]
    flat = images.reshape(len(images), -1)
    inner = windows.reshape(-1, DIGIT * DIGIT) @ flat.T  # [T x places, N]
    side = CANVAS - DIGIT + 1
    distance = (np.square(flat).sum(axis=1) - 2 * inner).reshape(len(frames), side**2, -1)
    place = distance.min(axis=2).argmin(axis=1)
    return np.stack(np.divmod(place, side), axis=1), distance.min(axis=1)
