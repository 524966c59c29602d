"""What the tasks that classify have alike: the network, its figures, its answers, its picture."""

from __future__ import annotations

import dataclasses
import math
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import rnnjax
from rnnjax._factory import natural, real
from rnnjax._unroll import before_end
from rnnjax.train.files import needed
from rnnjax.train.losses import cross_entropy
from rnnjax.train.plot import figure_type, plot_confusion, tidy
from rnnjax.train.sources import Bucketed, Sequences, sequences
from rnnjax.train.task import CELLS, Data, Facts, System, Task

Array = jax.Array
WRONG = "% wrong"
SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
# Of so many examples the picture says how much must be read of them; so many it shows.
READ_IN_PART, SHOWN = 1000, 6


class Labelled(NamedTuple):
    """Sequences, and the class of each.

    Attributes:
      xs: N arrays [T_n, ...].
      labels: int32 [N], places among the classes.
      texts: the N texts that they are of, where they are of texts.
    """

    xs: list[np.ndarray]
    labels: np.ndarray
    texts: list[str] | None = None

    def some(self, rows: Sequence[int] | np.ndarray) -> Labelled:
        """Some of them, in this order."""
        texts = None if self.texts is None else [self.texts[n] for n in rows]
        return Labelled([self.xs[n] for n in rows], self.labels[np.asarray(rows, int)], texts)


@dataclasses.dataclass(frozen=True)
class Classification(Task):
    """Read a sequence, and say which class it is of.

    Attributes:
      cell: The recurrent cell.
      hidden_size: Its units, in each direction.
      layers: Recurrent layers above each other.
      bidirectional: Read from both ends.
      readout: What the class is told from: the last state, the mean or the maximum of all outputs,
        or a mean with learnt weights.
      dropout: Probability of dropping a feature, between layers and before the class is told.
      label_smoothing: Share of each target's weight that is spread over all classes.
      buckets: Padded lengths at most; each is compiled for.
      members: Networks that are trained side by side, and whose probabilities are averaged.
    """

    metric: ClassVar[str] = WRONG
    # What one example is, and what several are.
    thing: ClassVar[tuple[str, str]] = ("sequence", "sequences")
    # How high its sketch stands in the picture.
    height: ClassVar[float] = 2.3

    cell: Literal["elman", "lstm", "gru"] = "lstm"
    hidden_size: int = 64
    layers: int = 1
    bidirectional: bool = True
    readout: Literal["last", "mean", "max", "attention"] = "mean"
    dropout: float = 0.0
    label_smoothing: float = 0.0
    buckets: int = 1
    members: int = 1
    schedule: Literal["cosine", "constant"] = "cosine"

    # --- what such a task answers besides --------------------------------------------------------

    def front(self, facts: Facts) -> tuple[list[rnnjax.Cell], Any]:
        """The cells before the recurrent layers, and the spec of one step of a sequence."""
        raise NotImplementedError

    def prepared(self, facts: Facts, xs: Array, key: Array | None) -> Array:
        """What the network reads of a batch [T, B, ...]; with noise where there is a key."""
        del facts, key
        return xs

    def asked(self, request: str, facts: Facts) -> Labelled:
        """The sequences of a request, their labels of no meaning; ValueError if it will not do."""
        raise NotImplementedError

    def sketch(self, axes: Any, part: Labelled, row: int) -> None:
        """Draws one example."""
        raise NotImplementedError

    # --- the rest ---------------------------------------------------------------------------------

    def check(self) -> None:
        """Raises TypeError or ValueError for settings that will not do, before data are read."""
        super().check()
        for name in ("hidden_size", "layers", "buckets", "members"):
            natural(name, getattr(self, name), least=1)
        for name in ("dropout", "label_smoothing"):
            real(name, getattr(self, name), "a number in [0, 1)", lambda x: 0 <= x < 1)

    def source(self, data: Data) -> Bucketed:
        """Training sequences, like length beside like."""
        train = data.train
        return sequences(
            train.xs,
            train.labels,
            batch_size=self.batch_size,
            buckets=self.buckets,
            seed=self.seed,
        )

    def pace(self) -> tuple[int, str]:
        """How many examples a training step has."""
        return self.batch_size, self.thing[1]

    def system(self, facts: Facts) -> System:
        """Recurrent layers, a readout of their outputs, a linear layer; as many as `members`."""
        classes, width = facts["classes"], self.hidden_size * (1 + self.bidirectional)
        front, spec = self.front(facts)
        cells: list[Any] = [*front]
        for layer in range(self.layers):
            if layer and self.dropout:
                cells.append(rnnjax.dropout(self.dropout))
            cell = CELLS[self.cell](self.hidden_size)
            cells.append(rnnjax.bidirectional(cell) if self.bidirectional else cell)
        network = rnnjax.serial(*cells)
        weigh = rnnjax.stack(
            hidden=rnnjax.linear(width), bent=rnnjax.activation("tanh"), weight=rnnjax.linear(1)
        )
        tell = rnnjax.stack(dropped=rnnjax.dropout(self.dropout), told=rnnjax.linear(len(classes)))

        def member(key: Array) -> dict[str, Any]:
            keys = jax.random.split(key, 3)
            params = {"network": network.init(keys[0], spec), "tell": tell.init(keys[1], width)}
            if self.readout == "attention":
                params["weigh"] = weigh.init(keys[2], width)
            return params

        def pooled(params: Any, ys: Array, lengths: Array) -> Array:
            if self.readout == "mean":
                return rnnjax.mean_pool(ys, lengths=lengths)
            if self.readout == "max":
                return rnnjax.max_pool(ys, lengths=lengths)
            if self.readout == "attention":
                _, weights = rnnjax.unroll(weigh, params["weigh"], None, ys, lengths=lengths)
                return attended(ys, weights[..., 0], lengths)
            # Who reads backwards has read everything at the first step.
            forward = rnnjax.last(ys[..., : self.hidden_size], lengths)
            return jnp.concatenate([forward, ys[0, :, self.hidden_size :]], axis=-1)

        def one(params: Any, xs: Array, lengths: Array, key: Array | None) -> Array:
            keys = (None,) * 3 if key is None else jax.random.split(key, 3)
            xs = self.prepared(facts, xs, keys[0])
            _, ys = network.apply(params["network"], xs, lengths=lengths, key=keys[1])
            features = pooled(params, ys, lengths)
            state = tell.initial_state(params["tell"], lengths.shape, key=keys[2])
            return tell.step(params["tell"], state, features)[1]

        def every(params: Any, xs: Array, lengths: Array, key: Array | None) -> Array:
            """Logits of each member, [members, B, C]."""
            if self.members == 1:
                return one(jax.tree.map(lambda leaf: leaf[0], params), xs, lengths, key)[None]
            keys = None if key is None else jax.random.split(key, self.members)
            over = (0, None, None, None if key is None else 0)
            return jax.vmap(one, over)(params, xs, lengths, keys)

        def loss(params: Any, carried: Any, batch: Sequences, key: Array) -> Any:
            logits = every(params, batch.xs, batch.lengths, key)
            targets, real = (
                jnp.broadcast_to(a, logits.shape[:2]) for a in (batch.targets, batch.real)
            )
            found = cross_entropy(logits, targets, real, label_smoothing=self.label_smoothing)
            missed = (logits.argmax(axis=-1) != targets) & real
            count = jnp.maximum(found.count, 1)
            return found.mean, (carried, {WRONG: 100 * missed.sum().astype(count.dtype) / count})

        @jax.jit
        def answers(params: Any, xs: Array, lengths: Array) -> Array:
            """Log-probabilities [B, C]."""
            every_one = jax.nn.log_softmax(every(params, xs, lengths, None))
            return jax.nn.logsumexp(every_one, axis=0) - math.log(self.members)

        def told(params: Any, part: Labelled, share: float = 1.0) -> np.ndarray:
            """Log-probabilities [N, C], of which so much is read of every sequence."""
            size = min(256, len(part.xs))
            rows = np.arange(len(part.xs))
            source = sequences(part.xs, rows, batch_size=size, buckets=self.buckets)
            found = np.empty((len(part.xs), len(classes)), np.float32)
            for batch in source.in_order():
                lengths = np.ceil(share * batch.lengths).astype(np.int32)
                logits = np.asarray(answers(params, batch.xs, lengths))
                found[batch.targets[batch.real]] = logits[batch.real]
            return found

        def evaluate(params: Any, part: Labelled) -> dict[str, float]:
            return figures(told(params, part), part.labels)

        def predict(params: Any, request: str) -> Iterator[str]:
            part = self.asked(request, facts)
            for n, row in enumerate(np.exp(told(params, part).astype(float))):
                best = np.argsort(-row, kind="stable")[:3]
                yield "\n" * (n > 0) + ", ".join(f"{classes[k]} {row[k]:.1%}" for k in best)

        def init(key: Array) -> Any:
            return jax.vmap(member)(jax.random.split(key, self.members))

        return System(init, loss, evaluate, predict, answers=told)

    def picture(self, system: System, params: Any, data: Data, file: pathlib.Path) -> None:
        """Which class is taken for which, how much must be read, and what is gone wrong with."""
        part, classes = data.test, data.facts["classes"]
        told = system.answers
        assert told is not None
        found = told(params, part)
        given, sure = found.argmax(axis=1), np.exp(found.max(axis=1))
        figure = figure_type()(figsize=(11, 5.2 + self.height), layout="constrained")
        above, below = figure.subfigures(2, 1, height_ratios=[5.2, self.height])
        left, right = above.subplots(1, 2, width_ratios=[1.15, 1])
        counts = np.zeros((len(classes), len(classes)), int)
        np.add.at(counts, (part.labels, given), 1)
        plot_confusion(left, counts, classes)
        missed = np.flatnonzero(given != part.labels)
        left.set_title(f"{len(missed)} of {len(given)} {self.thing[1]} are taken for another class")

        some = part.some(np.arange(len(part.xs))[:: max(1, len(part.xs) // READ_IN_PART)])
        curve = [figures(told(params, some, share), some.labels)[WRONG] for share in SHARES]
        share = 100 * np.array(SHARES)
        right.plot(share, curve, "o-", color="tab:blue")
        guess = 100 * (1 - counts.sum(axis=1).max() / len(given))
        right.axhline(guess, color="tab:gray", linestyle="--")
        right.text(100, guess, "always the same class", color="tab:gray", ha="right", va="bottom")
        right.annotate(f"{curve[-1]:.1f}", (100, curve[-1]), (0, 8), textcoords="offset points",
                       ha="center")  # fmt: skip
        right.set_ylim(0, 1.1 * max(guess, *curve))
        right.set_xlabel(f"% of the {self.thing[0]} read")
        right.set_ylabel(WRONG)
        right.set_title("how much must be read")
        tidy(right)

        # The mistakes that it is surest of; if there are too few, what it is least sure of.
        order = np.lexsort((np.where(given == part.labels, sure, -sure), given == part.labels))
        rows = order[:SHOWN]
        for axes, n in zip(np.ravel(below.subplots(1, SHOWN)), rows, strict=False):
            self.sketch(axes, part, int(n))
            right_one = given[n] == part.labels[n]
            named = "" if right_one else f", is {classes[part.labels[n]]}"
            size = 9 if len(named) < 10 else 7
            axes.set_title(
                f"{classes[given[n]]} ({sure[n]:.0%}){named}",
                fontsize=size,
                color="black" if right_one else "tab:red",
            )
        below.suptitle("the mistakes it is surest of, then what it is least sure of", fontsize=10)
        figure.savefig(file, dpi=120)


# --- figures and readout --------------------------------------------------------------------------


def attended(ys: Array, weights: Array, lengths: Array) -> Array:
    """Σ_t α_t y_t [B, D], α the softmax of the weights [T, B] over each row's real steps."""
    valid = before_end(len(ys), lengths)
    weights = jnp.where(valid, weights, -jnp.inf)
    # A row without any step has weights of nothing, not of NaN.
    weights = jnp.where(valid.any(axis=0), weights, 0)
    shares = jnp.where(valid, jax.nn.softmax(weights, axis=0), 0)
    return jnp.einsum("tb,tbd->bd", shares, ys)


def figures(logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """What log-probabilities [N, C] are worth, for these labels [N]; NaN where they are none."""
    if not np.isfinite(logits.max(axis=1)).all():
        return dict.fromkeys((WRONG, f"{WRONG}, mean of the classes", "nats"), float("nan"))
    missed = logits.argmax(axis=1) != labels
    each = [missed[labels == k].mean() for k in np.unique(labels)]
    nats = -np.take_along_axis(logits, labels[:, None], axis=1).mean(dtype=float)
    return {
        WRONG: 100 * float(missed.mean()),
        f"{WRONG}, mean of the classes": 100 * float(np.mean(each)),
        "nats": float(nats),
    }


def wrong(given: Any, labels: np.ndarray) -> float:
    """How many of the answers are wrong, in per cent."""
    return 100 * float(np.mean(given != labels))


def majority(train: Labelled, test: Labelled) -> float:
    """What it is worth always to say the class that most of the training data are of."""
    return wrong(np.bincount(train.labels).argmax(), test.labels)


def logistic_regression(
    features: Sequence[Any],
    parts: Sequence[Labelled],
    strengths: Sequence[float] = (0.1, 1.0, 10.0),
) -> float:
    """Multinomial logistic regression, its penalty chosen on the validation part.

    Args:
      features: a matrix [N, D] for the training, the validation and the test part.
      parts: the parts, for their labels.
      strengths: inverses of the penalties to choose from.
    """
    linear = needed("sklearn.linear_model").LogisticRegression
    train, validation, test = features
    best = None
    for strength in strengths:
        model = linear(C=strength, max_iter=1000, tol=1e-3).fit(train, parts[0].labels)
        score = wrong(model.predict(validation), parts[1].labels)
        if best is None or score < best[0]:
            best = score, model
    assert best is not None
    return wrong(best[1].predict(test), parts[2].labels)


# --- data -----------------------------------------------------------------------------------------


def coded(names: Sequence[str], classes: Sequence[str], what: Any) -> np.ndarray:
    """Labels as places among the classes, int32 [N]; ValueError for one that is none of them."""
    places = {name: place for place, name in enumerate(classes)}
    for n, name in enumerate(names):
        if name not in places:
            raise ValueError(
                f"{what}: the class of number {n + 1} is {name!r}, which the training data have "
                f"not; they have {', '.join(classes)}"
            )
    return np.array([places[name] for name in names], np.int32)


def classes_of(names: Sequence[str], what: Any) -> list[str]:
    """The classes there are, in order: by number where all are numbers.

    Raises:
      ValueError: there are not two.
    """
    classes = sorted(set(names))
    if len(classes) < 2:
        raise ValueError(
            f"{what} has {len(names)} examples of {len(classes)} class"
            f"{f', {classes[0]}' if classes else 'es'}: a classifier needs at least two classes"
        )
    return sorted(classes, key=int) if all(c.isdecimal() for c in classes) else classes


def held_out(labels: np.ndarray, share: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(rows that stay, rows that are held out): the same share of every class, at least one.

    Args:
      labels: [N].
      share: how much is held out.
      seed: what they are drawn by: not that of a run, so that all runs are judged alike.

    Raises:
      ValueError: a class has a single example.
    """
    draw, out = np.random.default_rng(seed), []
    for k in np.unique(labels):
        rows = draw.permutation(np.flatnonzero(labels == k))
        if len(rows) < 2:
            raise ValueError(
                "a class has one training example alone, and some must be held out: give it more, "
                "or leave it out"
            )
        out.append(rows[: max(1, round(share * len(rows)))])
    chosen = np.sort(np.concatenate(out))
    return np.setdiff1d(np.arange(len(labels)), chosen), chosen
