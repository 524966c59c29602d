"""The task: settings, data, the network, its figures, its answers."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._factory import natural, non_negative, real
from rnnjax.tasks._cells import PlainCell
from rnnjax.tasks.music import baselines
from rnnjax.tasks.music.chorales import chorale
from rnnjax.tasks.music.model import Composer
from rnnjax.tasks.music.picture import plot_rolls
from rnnjax.tasks.music.requests import Request, parse_request, write_piece
from rnnjax.tasks.music.rolls import NOTES, Rolls, chord_of, frames, read_pieces
from rnnjax.train.regularizers import weight_noise
from rnnjax.train.run import seed_key
from rnnjax.train.sources import Bucketed, Sequences, sequences
from rnnjax.train.step import non_finite
from rnnjax.train.task import HELD_OUT_SEED, Data, Facts, System, Task

Array = jax.Array
BESIDES, ACCURACY = "nats a step but the first", "% frame-level accuracy"
SHARE = 5  # where a file does not split its pieces, one of so many validates, and one tests
# Steps of the example's beginning, and of the picture; chords in a line of an answer.
ASKED, SHOWN, LINE = 8, 96, 4
AT_ONCE = 64  # pieces that are judged side by side


@dataclasses.dataclass(frozen=True)
class Music(Task):
    """Foresee the next chord of a piece: which of 88 notes sound at the next step.

    The metric is -log p, summed over the 88 notes and averaged over all real steps of all pieces,
    as Boulanger-Lewandowski et al. (2012) and Chung et al. (2014) define it: the first step of a
    piece counts, and is foreseen from silence. Bai et al. (2018, arXiv:1803.01271) leave it out;
    that figure stands beside it. Accuracy is Bay et al.'s (2009), TP / (TP + FP + FN) over all
    steps, where the notes that are likelier than not are told. Theirs are the figures of `notes`
    "apart".

    Attributes:
      file: Pieces of yours: .mat or .pickle of the polyphonic benchmarks, .npz, a MIDI file or a
        folder of them; split as it says, else by piece. By default chorales are generated.
      pieces: How many chorales are generated, at least 3.
      grid: Beats of a step: where MIDI files are sampled, and how long a step is when a piece is
        written. A generated chorale has a step a beat.
      notes: apart: those of a chord are independent, given what came before, as in the benchmarks;
        in-turn: each is told the lower ones of its chord, so that they fit each other.
      cell: The recurrent cell: any of `rnnjax.cells` that has units and reads x alone.
      hidden_size: Its units.
      dropout: Rate at which notes that are read, and outputs of the cell, are left out.
      weight_noise: Standard deviation of what is added to the weights at each step of training.
      buckets: Padded lengths at most; each is compiled for.

    Reference:
      Boulanger-Lewandowski, Bengio & Vincent, Modeling Temporal Dependencies in High-Dimensional
      Sequences, ICML 2012, arXiv:1206.6392; Chung, Gulcehre, Cho & Bengio, Empirical Evaluation of
      Gated Recurrent Neural Networks on Sequence Modeling, 2014, arXiv:1412.3555; Bay, Ehmann &
      Downie, Evaluation of Multiple-F0 Estimation and Tracking Systems, ISMIR 2009.
    """

    name: ClassVar[str] = "music"
    about: ClassVar[str] = "foresee the next chord of a piece, and write pieces as MIDI and sound"
    data_about: ClassVar[str] = "generated; chorales in four parts, or benchmarks and MIDI of yours"
    metric: ClassVar[str] = "nats a step"

    file: pathlib.Path | None = None
    pieces: int = 382
    grid: float = 1.0
    notes: Literal["in-turn", "apart"] = "in-turn"
    cell: PlainCell = "gru"
    hidden_size: int = 128
    dropout: float = 0.3
    weight_noise: float = 0.0
    buckets: int = 4
    steps: int = 4000
    batch_size: int = 32
    learning_rate: float = 1e-2
    schedule: Literal["cosine", "constant"] = "cosine"
    evaluate_every: int = 200
    patience: int = 10

    @classmethod
    def tiny(cls, folder: pathlib.Path) -> Music:
        """Settings of a few seconds."""
        return cls(
            pieces=10, hidden_size=4, dropout=0.2, weight_noise=0.01, buckets=2, batch_size=4,
            steps=6, evaluate_every=3, patience=0,
        )  # fmt: skip

    @classmethod
    def presets(cls) -> dict[str, Music]:
        """The gated networks of Chung et al. (2014).

        RMSProp, weight noise of 0.075, a norm of at most 1, and early stopping are theirs; so is
        the LSTM with peepholes. They drew ten rates from e^-12 to e^-6 and took the best; this one
        is near the upper end. Their GRU has its reset gate before the product, ours behind it.
        """
        alike: dict[str, Any] = {
            "notes": "apart",
            "dropout": 0.0,
            "weight_noise": 0.075,
            "optimizer": "rmsprop",
            "learning_rate": 2e-3,
            "schedule": "constant",
            "steps": 10_000,
            "evaluate_every": 100,
            "patience": 15,
        }
        return {
            "gru-46": cls(cell="gru", hidden_size=46, **alike),
            "lstm-36": cls(cell="peephole_lstm", hidden_size=36, **alike),
        }

    def check(self) -> None:
        """Raises TypeError or ValueError for settings that will not do, before data are read."""
        super().check()
        for name in ("hidden_size", "buckets"):
            natural(name, getattr(self, name), least=1)
        natural("pieces", self.pieces, least=3)
        real("grid", self.grid, "a number of beats from 1/32 to 16", lambda x: 1 / 32 <= x <= 16)
        real("dropout", self.dropout, "a number in [0, 1)", lambda x: 0 <= x < 1)
        non_negative("weight_noise", self.weight_noise)
        if self.file is None and self.grid != 1:
            raise ValueError(
                f"grid must be 1 for generated chorales, got {self.grid}: it is for files of yours"
            )

    # --- data -------------------------------------------------------------------------------------

    def data(self) -> Data:
        """Pieces in three parts, as the file says or one in five to validate and one to test."""
        parts = [_generated(self.pieces)]
        if self.file is not None:
            parts = read_pieces(self.file, self.grid)
        if len(parts) == 1:
            (rolls,) = parts
            if len(rolls) < 3:
                raise ValueError(
                    f"{self.file} has {len(rolls)} pieces: at least 3 are needed, to train, to "
                    "validate and to test"
                )
            order = np.random.default_rng(0).permutation(len(rolls))
            held = max(1, len(rolls) // SHARE)
            rows = order[2 * held :], order[held : 2 * held], order[:held]
            parts = [[rolls[n] for n in some] for some in rows]
        train, validation, test = parts
        longest = max(len(roll) for part in parts for roll in part)
        facts = {"grid": self.grid, "longest": longest, "pieces": [len(part) for part in parts]}
        return Data(train, validation, test, facts)

    def source(self, data: Data) -> Bucketed:
        """Training pieces, like length beside like."""
        return self._batches(data.train, self.batch_size)

    def _batches(self, rolls: Rolls, size: int) -> Bucketed:
        return sequences(rolls, batch_size=size, buckets=self.buckets, seed=self.seed)

    def pace(self) -> tuple[int, str]:
        """How many pieces a training step has."""
        return self.batch_size, "pieces"

    def read(self, path: pathlib.Path, facts: Facts) -> Rolls:
        """Pieces of a file: its test part, or all where it does not split them."""
        return read_pieces(path, facts["grid"])[-1]

    # --- the model --------------------------------------------------------------------------------

    def system(self, facts: Facts) -> System:
        """A cell, and a readout of the notes of the next step."""
        in_turn = self.notes == "in-turn"
        composer = Composer(self.cell, self.hidden_size, self.dropout, in_turn)
        accuracy = f"{ACCURACY}, told the lower notes" if in_turn else ACCURACY

        def loss(params: Any, carried: Any, batch: Sequences, key: Array) -> Any:
            k_weights, k_dropout = jax.random.split(key)
            if self.weight_noise:
                params = weight_noise(k_weights, params, self.weight_noise)
            value = NOTES * composer.nats(params, batch, k_dropout).mean
            return value, (carried, {self.metric: value})

        def evaluate(params: Any, part: Rolls) -> dict[str, float]:
            source = self._batches(part, min(AT_ONCE, len(part)))
            sums = [jax.device_get(composer.counts(params, b)) for b in source.in_order()]
            total = {name: float(np.sum([s[name] for s in sums], dtype=float)) for name in sums[0]}
            steps, first = sum(map(len, part)), len(part)
            return {
                self.metric: total["nats"] / steps,
                BESIDES: (total["nats"] - total["first"]) / max(steps - first, 1),
                accuracy: 100 * total["right"] / max(total["all"], 1),
            }

        def follow(params: Any, asked: Request) -> np.ndarray:
            found = composer.follow(
                params,
                jnp.float32(asked.roll),
                asked.steps,
                asked.temperature,
                seed_key(asked.seed),
            )
            if found.min() < 0:
                raise non_finite("the probability of a note is no number", params)
            return np.asarray(found).astype(np.uint8)

        def predict(params: Any, request: str) -> Iterator[str]:
            asked = parse_request(request, facts["grid"])
            found = follow(params, asked)
            for file in asked.files:
                write_piece(file, np.concatenate([asked.roll, found]), facts["grid"])
            for t, frame in enumerate(found):
                yield ("" if t == 0 else ", " if t % LINE else ",\n") + chord_of(frame)
            for file in asked.files:
                yield f"\nwritten to {file}"

        return System(
            composer.init,
            loss,
            evaluate,
            predict,
            cell=composer.network,
            xs=jax.ShapeDtypeStruct((facts["longest"], self.batch_size, NOTES), jnp.float32),
            answers=follow,
            cell_params=lambda params: params["network"],
        )

    # --- beside the model -------------------------------------------------------------------------

    def baselines(self, data: Data) -> dict[str, float]:
        """How often notes sound, and what follows from the last chord alone.

        Where the network is told the lower notes of a chord, the last one is, too.
        """
        train, test, lower = data.train, data.test, self.notes == "in-turn"
        known = "the last chord" + " and the lower notes" * lower
        return {
            "each note as often as it sounds": baselines.frequencies(train, test),
            "the last chord again": baselines.last_chord(train, test),
            "each note after itself": baselines.note_by_note(train, test),
            f"logistic regression on {known}": baselines.regression(train, test, lower),
        }

    def example(self, data: Data) -> str:
        """The beginning of the first test piece, to be continued."""
        chords = [chord_of(frame) for frame in data.test[0][:ASKED]]
        return ", ".join([*chords, "16 steps"])

    def picture(self, system: System, params: Any, data: Data, file: pathlib.Path) -> None:
        """A test piece, and what the model makes of its beginning."""
        assert system.answers is not None
        real = data.test[0][:SHOWN]
        begun = min(ASKED, len(real) - 1)
        more = system.answers(params, Request(real[:begun], len(real) - begun, 1.0, 0, []))
        rolls = {
            "a test piece": real,
            f"its beginning, continued by {self.cell}": np.concatenate([real[:begun], more]),
        }
        plot_rolls(rolls, begun, data.facts["grid"], file)


@functools.lru_cache(maxsize=2)
def _generated(pieces: int) -> Rolls:
    """Chorales, the same for every seed of a run."""
    return [frames(chorale(HELD_OUT_SEED, n).tolist()) for n in range(pieces)]
