"""What the tasks that write have alike: the model, its training, its answers, its picture."""

from __future__ import annotations

import dataclasses
import itertools
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np

import rnnjax
from rnnjax._factory import natural, real
from rnnjax.tasks._writing.model import (
    END,
    Encoder,
    EncoderDecoder,
    encoder_decoder,
    recurrent_encoder,
)
from rnnjax.tasks._writing.pairs import (
    TEST,
    TRAIN,
    VALIDATION,
    Drawn,
    Part,
    Symbols,
    Text,
    Tokens,
    held_out,
    place,
    read_pairs,
)
from rnnjax.tasks._writing.picture import plot_writing
from rnnjax.tasks._writing.scores import corpus_scores, edits, symbols_wrong, wrong
from rnnjax.train.losses import cross_entropy, token_nats
from rnnjax.train.sources import Sequences, Source, sequences
from rnnjax.train.task import HELD_OUT_SEED, Data, Facts, System, Task

Array = jax.Array
# Of generated pairs so many are held out, and so many sources are written side by side.
HELD_OUT, WRITTEN = {VALIDATION: 500, TEST: 1000}, 250
WRONG, TOLD = "% wrong", "% of symbols wrong, told those before"
Attention = Literal[
    "additive", "dot", "general", "concat", "scaled-dot", "monotonic", "local", "none"
]
NOTHING = "(nothing)"  # what is shown for an answer of no symbols


@dataclasses.dataclass(frozen=True)
class Writing(Task):
    """Read one sequence, write another.

    Attributes:
      cell: The recurrent cell.
      hidden_size: Its units, in each direction.
      layers: Recurrent layers of the encoder and of the decoder.
      embedding_size: Length of a symbol's vector.
      attention: How the decoder compares itself with the places of what was read; none: it has
        nothing but the encoder's last state.
      look: Look before each step (Bahdanau) or after it (Luong).
      bidirectional: Read backwards, too.
      reverse_source: Read from the end (Sutskever).
      dropout: Rate at which features are left out.
      label_smoothing: The share of a symbol's weight that is spread over all.
      tied: The readout uses the vectors of what is written.
      teacher: How often the decoder is told what it should have written, rather than reads what it
        wrote, at the end of training; from 1 it goes down to this steadily (scheduled sampling).
      beam: How many beginnings are kept while it writes; 1 takes the likeliest symbol.
      buckets: To how many pairs of lengths training pairs are padded.
    """

    metric: ClassVar[str] = WRONG
    # What a pair's source is called, several of them.
    thing: ClassVar[str] = "sequences"
    # Whether BLEU and chrF are wanted.
    sentences: ClassVar[bool] = False
    # Which figures kinds of pairs have by themselves.
    by_kind: ClassVar[tuple[str, ...]] = (WRONG,)

    cell: Literal["elman", "lstm", "gru"] = "gru"
    hidden_size: int = 128
    layers: int = 1
    embedding_size: int = 64
    attention: Attention = "additive"
    look: Literal["before", "after"] = "before"
    bidirectional: bool = True
    reverse_source: bool = False
    dropout: float = 0.0
    label_smoothing: float = 0.0
    tied: bool = True
    teacher: float = 1.0
    beam: int = 1
    buckets: int = 4
    batch_size: int = 128
    learning_rate: float = 2e-3
    schedule: Literal["cosine", "constant"] = "cosine"

    # --- what such a task answers besides --------------------------------------------------------

    def read_tokens(self, text: str) -> Any:
        """The symbols that are read of a text, or what else is."""
        return list(text)

    def written_tokens(self, text: str) -> list[str]:
        """The symbols of a text that is to be written."""
        return list(text)

    def text_of(self, tokens: Sequence[str]) -> str:
        """The text of symbols that were written."""
        return "".join(tokens)

    def shown(self, source: Any) -> str:
        """What was read, for a picture."""
        return "".join(source)

    # --- the rest ---------------------------------------------------------------------------------

    def check(self) -> None:
        """Raises TypeError or ValueError for settings that will not do, before data are read."""
        super().check()
        for name in ("hidden_size", "layers", "embedding_size", "beam", "buckets"):
            natural(name, getattr(self, name), least=1)
        for name in ("dropout", "label_smoothing"):
            real(name, getattr(self, name), "a number in [0, 1)", lambda x: 0 <= x < 1)
        real("teacher", self.teacher, "a number in [0, 1]", lambda x: 0 <= x <= 1)

    def part(self, texts: Sequence[Text]) -> Part:
        """Pairs of texts as pairs of symbols; a source that occurs again has several answers."""
        found: dict[str, list[list[str]]] = {}
        for source, answer in texts:
            answers = found.setdefault(source, [])
            if (tokens := self.written_tokens(answer)) not in answers:
                answers.append(tokens)
        return Part([self.read_tokens(source) for source in found], list(found.values()))

    def split(self, parts: Iterable[Sequence[Text]], min_count: int = 1) -> Data:
        """The data of training, validation and test pairs: symbols are those of the first."""
        train, validation, test = map(self.part, parts)
        held = Part(validation.sources + test.sources, [*validation.answers, *test.answers])
        read = Symbols.of(train.sources, held.sources, min_count)
        answers = list(itertools.chain(*train.answers))
        written = Symbols.of(answers, itertools.chain(*held.answers), min_count)
        longest = max(map(len, answers))
        facts = {"read": read._asdict(), "written": written._asdict(), "longest": longest}
        return Data(train, validation, test, facts)

    def source(self, data: Data) -> Source:
        """Training pairs, like lengths beside like; every answer of a source is a pair."""
        train = data.train
        rows = [n for n, some in enumerate(train.answers) for _ in some]
        xs = self.read_ids(train.sources, data.facts)
        return sequences(
            [xs[n] for n in rows],
            self.target_ids(list(itertools.chain(*train.answers)), data.facts),
            aligned=False,
            batch_size=self.batch_size,
            buckets=self.buckets,
            seed=self.seed,
        )

    def endless(
        self,
        draw: Callable[[np.random.Generator, int], tuple[Any, Tokens]],
        longest: tuple[int, int],
        facts: Facts,
    ) -> Drawn:
        """Training pairs that are drawn; of so many symbols at most, without the end."""
        return Drawn(
            draw,
            lambda sources, answers: (
                self.read_ids(sources, facts),
                self.target_ids(answers, facts),
            ),
            self.batch_size,
            (longest[0], longest[1] + 1),
            natural("seed", self.seed),
        )

    def read_ids(self, sources: Sequence[Any], facts: Facts) -> list[np.ndarray]:
        """What the encoder reads, arrays [S, ...]; ValueError for what it does not know."""
        return Symbols(**facts["read"]).ids(sources)

    def target_ids(self, answers: Sequence[Sequence[str]], facts: Facts) -> list[np.ndarray]:
        """What is to be written, the end behind it."""
        return [np.append(ids, np.int32(END)) for ids in Symbols(**facts["written"]).ids(answers)]

    def encoder(self, facts: Facts) -> Encoder:
        """What reads."""
        return recurrent_encoder(
            Symbols(**facts["read"]).size,
            cell=self.cell,
            hidden_size=self.hidden_size,
            layers=self.layers,
            embedding_size=self.embedding_size,
            bidirectional=self.bidirectional,
            reverse=self.reverse_source,
            dropout=self.dropout,
        )

    def model(self, facts: Facts) -> EncoderDecoder:
        """The model, for data of these facts."""
        return encoder_decoder(
            self.encoder(facts),
            Symbols(**facts["written"]).size,
            cell=self.cell,
            hidden_size=self.hidden_size,
            layers=self.layers,
            embedding_size=self.embedding_size,
            attends=self.attention,
            look=self.look,
            dropout=self.dropout,
            tied=self.tied,
        )

    def system(self, facts: Facts) -> System:
        """The model, its loss, and what it is asked."""
        model, written = self.model(facts), Symbols(**facts["written"])
        length = facts["longest"] + 1  # and the end

        def logits_of(params: Any, batch: Sequences, key: Array | None, rate: Any) -> Array:
            keys = (None, None) if key is None else jax.random.split(key)
            encoded = model.encode(params, batch.xs, batch.lengths, keys[0])
            state = model.start(params, encoded, keys[1], rate)
            told = jnp.concatenate([jnp.full_like(batch.targets[:1], END), batch.targets[:-1]])
            cell = model.decoder if rate is None else model.sampled
            decoding = params["decoder"]
            return rnnjax.unroll(cell, decoding, state, told, lengths=batch.target_lengths)[1]

        def loss(params: Any, carried: Any, batch: Sequences, key: Array) -> Any:
            rate = None
            if self.teacher < 1:  # carried is the number of the step
                done = jnp.minimum(carried / max(1, self.steps), 1)
                rate, carried = 1 - (1 - self.teacher) * done, carried + 1
            logits = logits_of(params, batch, key, rate)
            nats = cross_entropy(
                logits, batch.targets, batch.mask, label_smoothing=self.label_smoothing
            )
            return nats.mean, (carried, {})

        @jax.jit
        def write(params: Any, xs: Any, lengths: Array) -> Array:
            """Symbols [T, B]."""
            encoded = model.encode(params, xs, lengths, None)
            asked = (model.decoder, params["decoder"], model.start(params, encoded))
            first = jnp.full(lengths.shape, END, jnp.int32)
            options = {"length": length, "end": END}
            if self.beam == 1:
                return rnnjax.decoding.greedy(*asked, first, **options).symbols
            found = rnnjax.decoding.beam_search(
                *asked, first, width=self.beam, length_penalty=1.0, **options
            )
            return found.symbols[..., 0]

        @jax.jit
        def told(params: Any, batch: Sequences) -> tuple[Array, Array]:
            """Nats of pairs, and how many symbols were not the likeliest ones told, [B]."""
            logits, mask = logits_of(params, batch, None, None), batch.mask
            missed = (logits.argmax(axis=-1) != batch.targets) & mask
            return token_nats(logits, batch.targets, mask).sum(axis=0), missed.sum(axis=0)

        def answers(params: Any, sources: Sequence[Any]) -> list[list[str]]:
            """What it writes for each."""
            xs, rows = self.read_ids(sources, facts), np.arange(len(sources))
            found: list[list[str]] = [[] for _ in sources]
            size = min(WRITTEN, len(xs))
            for batch in sequences(xs, rows, batch_size=size, buckets=self.buckets).in_order():
                symbols = np.asarray(write(params, batch.xs, batch.lengths))
                for ids, n in zip(symbols.T[batch.real], batch.targets[batch.real], strict=True):
                    found[n] = written.tokens(ids.tolist())
            return found

        def evaluate(params: Any, part: Part) -> dict[str, float]:
            first = [some[0] for some in part.answers]
            targets = self.target_ids(first, facts)
            pairs = sequences(
                self.read_ids(part.sources, facts), targets, aligned=False,
                batch_size=min(WRITTEN, len(targets)), buckets=self.buckets,
            )  # fmt: skip
            found = np.concatenate(
                [np.stack(told(params, batch), 1)[batch.real] for batch in pairs.in_order()]
            )
            nats = float(found[:, 0].sum()) / sum(map(len, targets))
            missed = np.zeros(len(targets))
            missed[np.concatenate([rows for *_, rows in pairs.groups])] = found[:, 1]
            return {
                **self.figures(answers(params, part.sources), part, nats, missed),
                "nats a symbol": nats,
            }

        def predict(params: Any, request: str) -> Iterator[str]:
            lines = self.asked(request, facts)
            for n, line in enumerate(lines):
                text = None if line is None else self.text_of(answers(params, [line])[0])
                yield "\n" * (n > 0) + ("" if text is None else text or NOTHING)

        def carried(params: Any, key: Array) -> Any:
            return () if self.teacher == 1 else jnp.zeros((), jnp.int32)

        spec = jax.ShapeDtypeStruct((length, self.batch_size), jnp.int32)
        return System(
            jax.jit(model.init), loss, evaluate, predict, carried, model.decoder, spec, answers,
            cell_params=lambda params: params["decoder"],
        )  # fmt: skip

    def figures(
        self,
        written: list[list[str]],
        part: Part,
        nats: float = 0.0,
        missed: np.ndarray | None = None,
    ) -> dict[str, float]:
        """What was written is worth so much; NaN where the loss is.

        Args:
          written: for each pair.
          part: the pairs.
          nats: of a symbol.
          missed: how many symbols of each first answer, its end among them, are others than the
            likeliest ones after the right ones before.
        """
        whole = self.metric if self.metric.endswith("wrong") else WRONG
        found = {
            whole: wrong(written, part.answers),
            "% of symbols wrong": symbols_wrong(written, part.answers),
            "edits, % of symbols": edits(written, part.answers),
        }
        if missed is not None:
            count = sum(len(some[0]) + 1 for some in part.answers)
            found[TOLD] = 100 * float(missed.sum()) / count
        if self.sentences:
            scores = corpus_scores(
                [self.text_of(tokens) for tokens in written],
                [[self.text_of(tokens) for tokens in some] for some in part.answers],
            )
            found = {f"100 - {name}": 100 - score for name, score in scores.items()} | found
        for kind in sorted(set(part.kinds)):
            rows = [n for n, other in enumerate(part.kinds) if other == kind]
            own = self.figures(
                [written[n] for n in rows], part.some(rows)._replace(kinds=()), nats,
                None if missed is None else missed[rows],
            )  # fmt: skip
            found |= {f"{name}, {kind}": own[name] for name in self.by_kind if name in own}
        found = {self.metric: found[self.metric], **found}
        return {name: figure + 0 * nats for name, figure in found.items()}

    def scored(self, written: Sequence[Sequence[str]], part: Part) -> float:
        """A baseline's figure."""
        return self.figures([list(tokens) for tokens in written], part)[self.metric]

    def asked(self, request: str, facts: Facts) -> list[Any]:
        """What is to be read of a request, a line each; None for an empty line."""
        lines = [self.read_tokens(line) if line.strip() else None for line in request.split("\n")]
        while lines and lines[-1] is None:
            lines.pop()
        if not any(line is not None and len(line) for line in lines):
            raise ValueError(f"a request is something to read, got {request!r}")
        self.read_ids([line for line in lines if line is not None], facts)
        return lines

    def read(self, path: pathlib.Path, facts: Facts) -> Part:
        """A file of pairs: on each line what is read, a tab, and what is to be written."""
        return self.part(read_pairs(path))

    def example(self, data: Data) -> str:
        """The first source of the test data."""
        return self.shown(data.test.sources[0])

    def pace(self) -> tuple[int, str]:
        """How many pairs a step has."""
        return self.batch_size, self.thing

    def picture(self, system: System, params: Any, data: Data, file: pathlib.Path) -> None:
        """How many are wrong by length, where it looked, and what it wrote."""
        part, model = data.test, self.model(data.facts)
        assert system.answers is not None
        written = system.answers(params, part.sources)
        plot_writing(self, model, params, part, written, data.facts, file)


@dataclasses.dataclass(frozen=True)
class DrawnWriting(Writing):
    """A task whose pairs are drawn, endless for training; those held out are never trained on."""

    buckets: int = 1

    def drawn(self, rng: np.random.Generator, step: int | None = None) -> Text:
        """A pair of texts; for a training step, or None for what is held out."""
        raise NotImplementedError

    def symbols(self) -> tuple[str | list[str], str | list[str]]:
        """All symbols that can be read and written."""
        raise NotImplementedError

    def longest(self) -> tuple[int, int]:
        """How many symbols are read and written at most."""
        raise NotImplementedError

    def group(self, text: Text) -> str:
        """What decides which part a pair is of; pairs of one group are held out together."""
        return text[0]

    def counts(self) -> dict[str, int]:
        """How many pairs are held out of each part."""
        return HELD_OUT

    def data(self) -> Data:
        """The same held-out pairs for every seed; of training pairs, their symbols."""
        found = held_out(self.drawn, self.group, self.counts(), HELD_OUT_SEED)
        read, written = (Symbols(list(symbols)) for symbols in self.symbols())
        facts = {
            "read": read._asdict(),
            "written": written._asdict(),
            "longest": self.longest()[1],
        }
        return Data(None, self.part(found[VALIDATION]), self.part(found[TEST]), facts)

    def source(self, data: Data) -> Source:
        """A new batch every step."""

        def draw(rng: np.random.Generator, step: int) -> tuple[Any, list[str]]:
            while True:
                text = self.drawn(rng, step)
                if place(self.group(text)) == TRAIN:
                    return self.read_tokens(text[0]), self.written_tokens(text[1])

        return self.endless(draw, self.longest(), data.facts)
