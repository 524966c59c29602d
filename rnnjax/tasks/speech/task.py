"""Speech as a task: data, network, figures, what users bring."""

from __future__ import annotations

import dataclasses
import math
import os
import pathlib
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._factory import natural, non_negative, real
from rnnjax.tasks._writing.baselines import most_frequent
from rnnjax.tasks._writing.pairs import Symbols, by_hash
from rnnjax.tasks._writing.scores import edits
from rnnjax.tasks.speech.baselines import by_templates
from rnnjax.tasks.speech.espeak import espoken
from rnnjax.tasks.speech.features import cepstra, log_mel, warps
from rnnjax.tasks.speech.model import listener, network
from rnnjax.tasks.speech.picture import plot_speech
from rnnjax.tasks.speech.recordings import plain, read_transcripts, read_wav
from rnnjax.tasks.speech.scores import WORDS, Utterances, figures_of, word_errors
from rnnjax.tasks.speech.sounds import DIGITS
from rnnjax.tasks.speech.voices import draw_voice, spoken
from rnnjax.train.sources import Bucketed, sequences
from rnnjax.train.task import HELD_OUT_SEED, Data, Facts, System, Task

Array = jax.Array
TOGETHER = 50  # utterances that are judged side by side


class Answers(NamedTuple):
    """What the network makes of N utterances.

    Attributes:
      texts: as they are looked for.
      quick: those of the best paths.
      scores: log p of each symbol at each step, N arrays [T_n, V].
      nats: of all letters that were said.
    """

    texts: list[str]
    quick: list[str]
    scores: list[np.ndarray]
    nats: float


@dataclasses.dataclass(frozen=True)
class Speech(Task):
    """Write down what is said, letter by letter.

    Errors are words, or letters, to insert, delete or exchange, in per cent of those that were
    said. Voices of validation and test are others than those of training: half lie between them in
    pitch and length of the vocal tract, half beyond.

    Attributes:
      voices: Whose speech it is: of a formant synthesiser, or of an espeak-ng that is installed.
      recordings: A folder of yours: WAV files, and transcripts.tsv, on each line a file's name, a
        tab and what is said; or transcripts.csv with columns file and text. If the files lie in
        three folders or more, a folder is held out as a whole, such as a speaker's.
      utterances: How many are made for training.
      held_out: How many are made for test, and half as many for validation.
      longest: How many digits an utterance has at most.
      snr: Signal to noise ratio of the noisiest voices, dB; the others' is up to 20 dB better.
      sample_rate: Samples a second.
      bands: Bands of the spectrum.
      features: What is read: the log energy of each band, or 13 cepstral coefficients.
      cell: The recurrent cell, in both directions.
      hidden_size: Its units, in each direction.
      layers: Recurrent layers above each other.
      pyramids: After so many of them two steps become one.
      dropout: Probability of dropping a feature behind a layer.
      noise: Standard deviation of what is added to the standardised features in training.
      warp: Frequencies of an utterance are multiplied or divided in training by up to 1 + warp.
      beam: How many prefixes are kept in search of the likeliest letters; 1 takes the best path.
      buckets: Padded lengths at most; each is compiled for.

    Reference:
      Graves, Fernández, Gomez & Schmidhuber, Connectionist Temporal Classification: Labelling
      Unsegmented Sequence Data with Recurrent Neural Networks, ICML 2006; the pyramid: Chan,
      Jaitly, Le & Vinyals, Listen, Attend and Spell, ICASSP 2016, arXiv:1508.01211.
    """

    name: ClassVar[str] = "speech"
    about: ClassVar[str] = "write down what is said, such as digits one after the other"
    data_about: ClassVar[str] = (
        "generated; digits of a formant synthesiser, or of espeak-ng; or a folder of WAV files"
    )
    metric: ClassVar[str] = WORDS

    voices: Literal["formant", "espeak"] = "formant"
    recordings: pathlib.Path | None = None
    utterances: int = 2400
    held_out: int = 400
    longest: int = 7
    snr: float = 15.0
    sample_rate: int = 8000
    bands: int = 32
    features: Literal["log-mel", "mfcc"] = "log-mel"
    cell: Literal["elman", "lstm", "gru"] = "lstm"
    hidden_size: int = 64
    layers: int = 2
    pyramids: int = 1
    dropout: float = 0.2
    noise: float = 0.3
    warp: float = 0.15
    beam: int = 8
    buckets: int = 3
    steps: int = 800
    batch_size: int = 32
    learning_rate: float = 5e-3
    schedule: Literal["cosine", "constant"] = "cosine"
    clip_norm: float = 1.0
    evaluate_every: int = 200

    @classmethod
    def tiny(cls, folder: pathlib.Path) -> Speech:
        """Settings of a few seconds."""
        return cls(
            utterances=8, held_out=4, longest=1, bands=4, cell="elman", hidden_size=3, layers=1,
            beam=2, buckets=1, batch_size=4, steps=6, evaluate_every=3,
        )  # fmt: skip

    def check(self) -> None:
        """Raises TypeError or ValueError for settings that will not do, before data are read."""
        super().check()
        for name in ("utterances", "longest", "bands", "hidden_size", "layers", "beam", "buckets"):
            natural(name, getattr(self, name), least=1)
        natural("held_out", self.held_out, least=2)
        natural("pyramids", self.pyramids)
        natural("sample_rate", self.sample_rate, least=1000)
        if self.pyramids > self.layers:
            raise ValueError(f"pyramids must be at most layers, got {self.pyramids}, {self.layers}")
        non_negative("noise", self.noise)
        non_negative("warp", self.warp)
        real("snr", self.snr, "a finite number", math.isfinite)
        real("dropout", self.dropout, "a number in [0, 1)", lambda x: 0 <= x < 1)

    # --- data -------------------------------------------------------------------------------------

    def data(self) -> Data:
        """Utterances in three parts, their letters, and what standardises them."""
        if self.recordings is not None:
            train, validation, test = self._recorded(self.recordings)
        else:
            few = max(1, self.held_out // 2)
            train = self._made("train", self.utterances, 0)
            validation = self._held("validation", few, (1, 5))
            test = self._held("test", 2 * few, (2, 3))
        others = [*validation.texts, *test.texts]
        inputs = [self._read(x - x.mean(axis=0)) for x in train.log_mels]
        spread = np.concatenate(inputs).astype(float).std(axis=0)
        facts = {
            "letters": Symbols.of(train.texts, others)._asdict(),
            "std": np.where(spread > 0, spread, 1).tolist(),
        }
        for part in (train, validation, test):
            self._alignable(part, facts)
        return Data(train, validation, test, facts)

    def _recorded(self, path: pathlib.Path) -> list[Utterances]:
        texts = read_transcripts(path)
        root = path if path.is_dir() else path.parent
        names = [os.path.relpath(file, root) for file, _ in texts]  # wherever the folder lies
        folders = [os.path.dirname(name) for name in names]
        groups = folders if len(set(folders)) >= 3 else names
        return [self._heard(part) for part in by_hash(texts, 0.15, 0.1, path, groups)]

    def _heard(self, texts: Sequence[tuple[str, str]]) -> Utterances:
        files = [file for file, _ in texts]
        sounds = [read_wav(pathlib.Path(file), self.sample_rate) for file in files]
        return self._part(sounds, [text for _, text in texts])._replace(files=files)

    def _part(self, sounds: Sequence[np.ndarray], texts: Sequence[str]) -> Utterances:
        return Utterances([log_mel(s, self.sample_rate, self.bands) for s in sounds], list(texts))

    def _made(self, kind: str, count: int, number: int) -> Utterances:
        """So many utterances of voices of a kind, the same for every seed."""
        seed = (HELD_OUT_SEED, number)
        rng = np.random.default_rng(seed)
        lengths = rng.integers(1, self.longest + 1, count)
        said = [[DIGITS[n] for n in rng.integers(0, len(DIGITS), length)] for length in lengths]
        if self.voices == "espeak":
            sounds = espoken(said, kind, self.sample_rate, (*seed, 1))
        else:
            who = [draw_voice(rng, kind, self.snr) for _ in said]
            sounds = spoken(said, who, self.sample_rate, (*seed, 1))
        return self._part(sounds, [" ".join(words) for words in said])

    def _held(self, part: str, count: int, numbers: tuple[int, int]) -> Utterances:
        """So many of validation or test: half between the training voices, half beyond."""
        if self.voices == "espeak":
            return self._made(part, count, numbers[0])
        beyond = count // 2
        one = self._made(f"{part} between", count - beyond, numbers[0])
        two = self._made(f"{part} beyond", beyond, numbers[1])
        return Utterances(
            one.log_mels + two.log_mels, one.texts + two.texts,
            ["voices between"] * (count - beyond) + ["voices beyond"] * beyond,
        )  # fmt: skip

    def read(self, path: pathlib.Path, facts: Facts) -> Utterances:
        """A folder of WAV files with transcripts, or such a table."""
        part = self._heard(read_transcripts(path))
        self._alignable(part, facts)
        return part

    def _read(self, log_mels: np.ndarray) -> np.ndarray:
        """What is read of them [T, D]."""
        return log_mels if self.features == "log-mel" else cepstra(log_mels)

    def _inputs(self, log_mels: Sequence[np.ndarray], facts: Facts) -> list[np.ndarray]:
        """What the network reads: without its mean over the utterance, and standardised."""
        std = np.array(facts["std"])
        return [(self._read(x - x.mean(axis=0)) / std).astype(np.float32) for x in log_mels]

    def _varied(self, std: np.ndarray) -> Callable[[Array, Array], Array]:
        """Standardised features and a key to those of other vocal tracts, and with noise."""
        basis = self._read(np.eye(self.bands))  # [bands, D]: what is read is linear in the energies
        to, back = (jnp.asarray(m, jnp.float32) for m in (basis / std, (basis * std).T))

        def varied(xs: Array, key: Array) -> Array:
            k_warp, k_noise = jax.random.split(key)
            most = math.log1p(self.warp)
            alphas = jnp.exp(jax.random.uniform(k_warp, xs.shape[1:2], xs.dtype, -most, most))
            moved = warps(alphas, self.bands, self.sample_rate)
            xs = jnp.einsum("tbf,fj,bkj,kg->tbg", xs, back, moved, to)
            return xs + self.noise * jax.random.normal(k_noise, xs.shape, xs.dtype)

        return varied

    def _alignable(self, part: Utterances, facts: Facts) -> None:
        """Raises ValueError where there are fewer steps than letters: no path would say them."""
        letters = Symbols(**facts["letters"]).ids(part.texts)
        for n, (x, ids) in enumerate(zip(part.log_mels, letters, strict=True)):
            steps = -(-len(x) // 2**self.pyramids)
            needed = len(ids) + int((ids[1:] == ids[:-1]).sum())  # a blank between two of a kind
            if needed > steps:
                what = part.files[n] if part.files else f"utterance {n + 1}"
                raise ValueError(
                    f"{what} is too short for its transcript {part.texts[n]!r}: {len(x) / 100:.2f} "
                    f"s make {steps} steps, its letters need {needed}: correct the transcript, or "
                    "use fewer pyramids"
                )

    def source(self, data: Data) -> Bucketed:
        """Training utterances, like length beside like."""
        return self._batches(data.train, data.facts, self.batch_size)

    def _batches(self, part: Utterances, facts: Facts, size: int) -> Bucketed:
        return sequences(
            self._inputs(part.log_mels, facts), Symbols(**facts["letters"]).ids(part.texts),
            aligned=False, batch_size=size, buckets=self.buckets, seed=self.seed,
        )  # fmt: skip

    # --- the network ------------------------------------------------------------------------------

    def system(self, facts: Facts) -> System:
        """Layers in both directions, with a loss by all alignments and a search for letters."""
        letters = Symbols(**facts["letters"])
        layers = network(
            letters.size, self.cell, self.hidden_size, self.layers, self.pyramids, self.dropout
        )
        loss, heard = listener(layers, self._varied(np.array(facts["std"])), self.beam)

        def answers(params: Any, part: Utterances) -> Answers:
            batches = self._batches(part, facts, min(TOGETHER, len(part.texts)))
            order = iter(np.concatenate([rows for *_, rows in batches.groups]).tolist())
            told: list[Any] = [None] * len(part.texts)
            nats = 0.0
            for batch in batches.in_order():
                found = jax.device_get(heard(params, batch))
                nats += float(found.nats)
                lengths = layers.output_lengths(batch.lengths)
                for b in np.flatnonzero(batch.real):
                    both = [
                        plain("".join(letters.tokens(ids[:, b].tolist())))
                        for ids in (found.letters, found.quick)
                    ]
                    told[next(order)] = (*both, found.scores[: lengths[b], b])
            texts, quick, scores = map(list, zip(*told, strict=True))
            return Answers(texts, quick, scores, nats)

        def evaluate(params: Any, part: Utterances) -> dict[str, float]:
            told = answers(params, part)
            figures = figures_of(told.texts, part)
            figures["best path: word errors, %"] = word_errors(told.quick, part.texts)
            figures["nats a letter"] = told.nats / sum(map(len, part.texts))
            return {name: figure + 0 * told.nats for name, figure in figures.items()}

        def predict(params: Any, request: str) -> Iterator[str]:
            asked = Utterances([self._asked(request)], [""])
            yield answers(params, asked).texts[0] or "(nothing)"

        xs = jax.ShapeDtypeStruct((len(facts["std"]),), jnp.float32)
        return System(
            jax.jit(lambda key: layers.init(key, xs)), loss, evaluate, predict, answers=answers
        )

    # --- baselines, what users ask ----------------------------------------------------------------

    def pace(self) -> tuple[int, str]:
        """How many utterances a step has."""
        return self.batch_size, "utterances"

    def baselines(self, data: Data) -> dict[str, float]:
        """Always the same words; and the nearest templates of words, one after the other."""
        always, answers = most_frequent(data.train.words, data.test.words), data.test.words.answers
        found = {"always the most frequent words": edits(always, answers)}
        if (texts := by_templates(data.train, data.validation, data.test)) is not None:
            found["nearest templates, time warping"] = word_errors(texts, data.test.texts)
        return found

    def _asked(self, request: str) -> np.ndarray:
        """The log energies of what is asked for: a WAV file's, or those of digits."""
        request = request.strip()
        if request.lower().endswith(".wav"):
            return log_mel(
                read_wav(pathlib.Path(request), self.sample_rate), self.sample_rate, self.bands
            )
        if not re.fullmatch(r"[0-9]( *[0-9])*", request):
            raise ValueError(
                "a request is a WAV file, or digits to be said and then recognised, such as 4071: "
                f"{request!r}"
            )
        words, seed = [DIGITS[int(n)] for n in request.replace(" ", "")], (HELD_OUT_SEED, 4)
        if self.voices == "espeak":
            (sound,) = espoken([words], "test", self.sample_rate, seed)
        else:
            voice = draw_voice(np.random.default_rng(seed), "test between", self.snr)
            (sound,) = spoken([words], [voice], self.sample_rate, seed)
        return log_mel(sound, self.sample_rate, self.bands)

    def example(self, data: Data) -> str:
        """Digits; of recordings, the first of the test data."""
        return data.test.files[0] if data.test.files else "4071596"

    def picture(self, system: System, params: Any, data: Data, file: pathlib.Path) -> None:
        """What was heard of two utterances, and which letters it is sure of, over time."""
        assert system.answers is not None
        told = system.answers(params, data.test)
        plot_speech(self, data.test, told.texts, told.scores, data.facts, file)
