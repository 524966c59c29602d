"""The task: settings, data, and the tagger."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import pathlib
from collections.abc import Iterator
from typing import Any, ClassVar, Literal, NamedTuple

import jax
import numpy as np

import rnnjax
from rnnjax._factory import natural
from rnnjax.tasks.tag import python_source
from rnnjax.tasks.tag.baselines import BigramTagger, errors
from rnnjax.tasks.tag.conll import read_conll, write_conll
from rnnjax.tasks.tag.pictures import plot_tags
from rnnjax.tasks.tag.sentence import Sentence
from rnnjax.tasks.tag.vocabulary import Vocabulary
from rnnjax.train.files import read_utf8
from rnnjax.train.losses import cross_entropy
from rnnjax.train.sources import Bucketed, sequences
from rnnjax.train.task import CELLS, Data, Facts, System, Task

Array = jax.Array
LONGEST = 100  # longer sentences are cut: in sources these are tables
BUCKETS = 4
EVALUATED = 256  # sentences side by side
SOFT, SOFT_EVERY = "soft-keyword", 20  # of the lines that soft keywords can be put into


class Part(NamedTuple):
    """Sentences, and what the model reads of them.

    Attributes:
      sentences: with their tags.
      xs: ids, arrays [T_n, 3].
      targets: the ids of the tags, arrays [T_n].
      soft: of a part that is held out, the lines that a soft keyword can be put in front of, with
        one; None where there are none.
    """

    sentences: list[Sentence]
    xs: list[np.ndarray]
    targets: list[np.ndarray]
    soft: Part | None = None


@dataclasses.dataclass(frozen=True)
class Tag(Task):
    """Tag every token: the kinds of the tokens of Python source, or the tags of a file of yours.

    Attributes:
      conll: A file of yours in CoNLL form: on each line a token and its tag, and a blank line
        behind every sentence; the last tenth tests, the tenth before it validates. By default, the
        kinds of the tokens of the standard library's sources.
      token_column: Where in a line of it the token is, from 0.
      tag_column: Where its tag is; -1 is the last one. CoNLL-U has its tokens in 1, tags in 3.
      cell: The recurrent cell.
      hidden_size: Its units, in each direction.
      bidirectional: Read backwards, too.
      embedding_size: Length of the vectors of words, shapes and endings.
      min_count: A word is known if it occurs so often.
      dropout: Rate at which features of the vectors, and of what is read out, are left out.
    """

    name: ClassVar[str] = "tag"
    about: ClassVar[str] = "label every token of a text, looking both ways"
    data_about: ClassVar[str] = "real; the tokens of Python's standard library, or a CoNLL file"
    metric: ClassVar[str] = "% of tokens wrong"

    conll: pathlib.Path | None = None
    token_column: int = 0
    tag_column: int = -1
    cell: Literal["elman", "lstm", "gru"] = "lstm"
    hidden_size: int = 64
    bidirectional: bool = True
    embedding_size: int = 64
    min_count: int = 3
    dropout: float = 0.2
    steps: int = 2000
    batch_size: int = 64
    learning_rate: float = 3e-3
    schedule: Literal["cosine", "constant"] = "cosine"
    evaluate_every: int = 500

    @classmethod
    def tiny(cls, folder: pathlib.Path) -> Tag:
        """Settings of a few seconds."""
        rows = ("the DET\ndog NOUN\nbarks VERB", "it PRON\nruns VERB\nfast ADV")
        file = folder / "tiny.conll"
        file.write_text("\n\n".join(rows * 15) + "\n", encoding="utf-8")
        return cls(
            conll=file, hidden_size=4, embedding_size=4, batch_size=4, steps=6, evaluate_every=3
        )

    def check(self) -> None:
        """Raises TypeError or ValueError for settings that will not do."""
        super().check()
        natural("min_count", self.min_count, least=1)
        natural("token_column", self.token_column)
        for name in ("hidden_size", "embedding_size"):
            natural(name, getattr(self, name), least=1)
        rnnjax.dropout(self.dropout)

    def data(self) -> Data:
        """Sources of the standard library, split by file, or the user's sentences."""
        if self.conll is None:
            return self._library()
        sentences = _cut(read_conll(self.conll, self.token_column, self.tag_column))
        tags = sorted({tag for sentence in sentences for tag in sentence.tags})
        if len(tags) < 2:
            raise ValueError(
                f"all tokens of {self.conll} have the tag {tags[0]!r}: there is nothing to learn; "
                "is tag_column the right one?"
            )
        held = len(sentences) // 10
        if not held:
            raise ValueError(
                f"{self.conll} has {len(sentences)} sentences, need at least 10: separate them by "
                "blank lines"
            )
        train = sentences[: -2 * held]
        vocabulary = self._vocabulary(train, tags)
        return self._data(vocabulary, train, sentences[-2 * held : -held], sentences[-held:])

    def _library(self) -> Data:
        files = [_cut(lines) for lines in python_source.library().values()]
        held = len(files) // 10
        test, validation, train = (
            list(itertools.chain(*part))
            for part in (files[:held], files[held : 2 * held], files[2 * held :])
        )
        soft = list(python_source.soft_lines(train))[::SOFT_EVERY]
        vocabulary = self._vocabulary(train + soft, list(python_source.KINDS))
        return self._data(vocabulary, train + soft, validation, test)

    def _data(self, vocabulary: Vocabulary, *parts: list[Sentence]) -> Data:
        train, validation, test = parts
        return Data(
            _part(vocabulary, train),
            _held_out(vocabulary, validation),
            _held_out(vocabulary, test),
            {"python": self.conll is None, **vocabulary.facts},
        )

    def _vocabulary(self, train: list[Sentence], tags: list[str]) -> Vocabulary:
        return Vocabulary.of((sentence.tokens for sentence in train), tags, self.min_count)

    def source(self, data: Data) -> Bucketed:
        """Sentences of about one length each, padded."""
        return sequences(
            data.train.xs,
            data.train.targets,
            batch_size=self.batch_size,
            buckets=BUCKETS,
            seed=self.seed,
        )

    def model(self, facts: Facts) -> rnnjax.Layer:
        """Vectors of word, shape and ending, added; a cell both ways; a readout of each step."""
        cell = CELLS[self.cell](self.hidden_size)
        return rnnjax.serial(
            vectors=_vectors(Vocabulary.from_facts(facts).size, self.embedding_size),
            noise=rnnjax.dropout(self.dropout),
            encoder=rnnjax.bidirectional(cell) if self.bidirectional else rnnjax.recurrent(cell),
            more_noise=rnnjax.dropout(self.dropout),
            readout=rnnjax.linear(len(facts["tags"])),
        )

    def system(self, facts: Facts) -> System:
        """The model, its loss over real tokens, and what it is asked."""
        vocabulary, model = Vocabulary.from_facts(facts), self.model(facts)

        def loss(params: Any, carried: Any, batch: Any, key: Array) -> Any:
            _, logits = model.apply(params, batch.xs, lengths=batch.lengths, key=key)
            return cross_entropy(logits, batch.targets, batch.mask).mean, (carried, {})

        def evaluate(params: Any, part: Part) -> dict[str, float]:
            found, nats = tag_all(model, params, part.xs, part.targets)
            right, unknown = np.concatenate(part.targets), np.concatenate(part.xs)[:, 0] == 0
            wrong = 100.0 * (np.concatenate(found) != right)
            groups = {"unknown words": unknown}
            groups |= {f"each {name}": right == n for n, name in enumerate(vocabulary.tags)}
            figures = {self.metric: float(wrong.mean()) + 0 * nats}  # what is not finite is seen
            figures["nats a token"] = nats / len(right)
            figures |= {
                f"% wrong of {n}": float(wrong[g].mean()) for n, g in groups.items() if g.any()
            }
            if part.soft is not None:
                found, _ = tag_all(model, params, part.soft.xs, part.soft.targets)
                right = np.concatenate(part.soft.targets)
                soft = right == vocabulary.tags.index(SOFT)
                wrong = 100.0 * (np.concatenate(found) != right)[soft]
                figures["% wrong of soft keywords put into real lines"] = float(wrong.mean())
            return figures

        def predict(params: Any, request: str) -> Iterator[str]:
            sentences = _requested(request, facts["python"])
            xs = [vocabulary.encode(tokens) for tokens in sentences]
            found, _ = tag_all(model, params, xs, [np.zeros(len(ids), np.int32) for ids in xs])
            names = [[vocabulary.tags[n] for n in ids] for ids in found]
            return write_conll(zip(sentences, names, strict=True))

        spec = jax.ShapeDtypeStruct((3,), np.int32)
        return System(lambda key: model.init(key, spec), loss, evaluate, predict)

    def baselines(self, data: Data) -> dict[str, float]:
        """The most frequent tag of each word, and a bigram tagger, of the same words and shapes."""
        train, validation, test = data[:3]
        vocabulary = Vocabulary.from_facts(data.facts)
        tagger = BigramTagger.of(train.xs, train.targets, vocabulary.size, len(vocabulary.tags))
        smoothing = tagger.fitted(validation.xs, validation.targets)
        return {
            "most frequent tag": errors(tagger.most_frequent(test.xs), test.targets),
            "bigram tagger": errors(tagger.viterbi(test.xs, smoothing), test.targets),
        }

    def example(self, data: Data) -> str:
        """A line of each kind of name, or a sentence of the training data."""
        if data.facts["python"]:
            return "match match(case, type=x.case):\n    case case.match(_): print(match)"
        return " ".join(data.train.sentences[0].tokens)

    def read(self, path: pathlib.Path, facts: Facts) -> Part:
        """A user's own file: Python source if the model is of that and it is .py, else CoNLL."""
        if facts["python"] and path.suffix == ".py":
            sentences = python_source.kinds(read_utf8(path), str(path))
        else:
            sentences = read_conll(path, self.token_column, self.tag_column)
        if not sentences:
            raise ValueError(f"{path} has no token but comments")
        return _held_out(Vocabulary.from_facts(facts), _cut(sentences))

    def picture(self, system: System, params: Any, data: Data, file: pathlib.Path) -> None:
        """A stretch of the test data as it was tagged, and how many of each tag are wrong."""
        part, model = data.test, self.model(data.facts)
        found, _ = tag_all(model, params, part.xs, part.targets)
        plot_tags(part.sentences, found, part.targets, data.facts["tags"], file)

    def pace(self) -> tuple[int, str]:
        """How many sentences a step takes."""
        return self.batch_size, "sentences"


def _vectors(size: int, features: int) -> rnnjax.Cell:
    """The vectors of a token's ids, added up: x_t [*B, 3], y_t [*B, features]."""
    table = rnnjax.embed(size, features)

    def step(params: Any, state: tuple[()], x: Array) -> tuple[tuple[()], Array]:
        return (), table.step(params, (), x)[1].sum(axis=-2)

    return rnnjax.Cell(
        name=f"vectors({size}, {features})",
        init=lambda key, x_spec: table.init(key, rnnjax.tokens()),
        initial_state=lambda params, batch_shape=(), *, key=None: (),
        step=step,
        x_ndims=1,
    )


@functools.partial(jax.jit, static_argnums=0)
def _read(model: rnnjax.Layer, params: Any, batch: Any) -> tuple[Array, Array]:
    _, logits = model.apply(params, batch.xs, lengths=batch.lengths)
    nats = cross_entropy(logits, batch.targets[..., 0], batch.mask).total
    return logits.argmax(axis=-1), nats


def tag_all(
    model: rnnjax.Layer, params: Any, xs: list[np.ndarray], targets: list[np.ndarray]
) -> tuple[list[np.ndarray], float]:
    """The likeliest tag of every token, arrays [T_n], and the loss of all of them, in nats."""
    numbered = [
        np.stack([target, np.full_like(target, n)], axis=1) for n, target in enumerate(targets)
    ]
    found, nats = list(targets), 0.0
    source = sequences(xs, numbered, batch_size=EVALUATED, buckets=BUCKETS)
    for batch in source.in_order():
        tags, part = _read(model, params, batch)
        nats += float(part)
        rows = rnnjax.unpad(tags, batch.lengths)
        for row, n in zip(rows, batch.targets[0, :, 1], strict=True):
            if len(row):
                found[n] = row
    return found, nats


def _cut(sentences: list[Sentence]) -> list[Sentence]:
    """The sentences, the long ones in pieces."""
    return [
        Sentence(s.tokens[piece], s.tags[piece], s.blanks[piece])
        for s in sentences
        for start in range(0, len(s.tokens), LONGEST)
        for piece in [slice(start, start + LONGEST)]
    ]


def _part(vocabulary: Vocabulary, sentences: list[Sentence]) -> Part:
    xs = [vocabulary.encode(sentence.tokens) for sentence in sentences]
    return Part(sentences, xs, [vocabulary.encode_tags(sentence.tags) for sentence in sentences])


def _held_out(vocabulary: Vocabulary, sentences: list[Sentence]) -> Part:
    soft = list(python_source.soft_lines(sentences)) if SOFT in vocabulary.tags else []
    return _part(vocabulary, sentences)._replace(soft=_part(vocabulary, soft) if soft else None)


def _requested(request: str, python: bool) -> list[tuple[str, ...]]:
    """The tokens of each line or sentence of a request."""
    if python:
        sentences = python_source.unlabelled(request)
    else:
        sentences = [tuple(line.split()) for line in request.splitlines() if line.split()]
    if not sentences:
        what = "Python source" if python else "a sentence, its tokens apart"
        raise ValueError(f"a request is {what}: {request!r}")
    return sentences
