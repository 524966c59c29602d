"""A task: say which class a series of measurements is of."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Iterator
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import rnnjax
from rnnjax._factory import non_negative
from rnnjax.tasks._classify import (
    Classification,
    Labelled,
    classes_of,
    coded,
    held_out,
    logistic_regression,
    majority,
    wrong,
)
from rnnjax.train.files import carried_by, needed
from rnnjax.train.task import Data, Facts

Array = jax.Array
VOWELS = "aeon/datasets/data/JapaneseVowels/JapaneseVowels_{}.ts"
# How many cells of tables dynamic time warping may fill: a minute or so.
MOST_WARPED = 10**9


class Series(NamedTuple):
    """Series as a file has them.

    Attributes:
      xs: N arrays [T_n, D].
      names: the class of each; None where the file has none.
    """

    xs: list[np.ndarray]
    names: list[str] | None


@dataclasses.dataclass(frozen=True)
class ClassifySeries(Classification):
    """Say which class a series of measurements is of; several features, different lengths.

    Attributes:
      train_file: Series to learn from: .ts, or .npz with x [N, T, D], y [N] and, if they differ,
        lengths [N]; by default JapaneseVowels, which speaker says a vowel.
      test_file: Series to judge by; by default a fifth of `train_file`.
      noise: Standard deviation of what is added to the standardised inputs in training.

    Reference:
      For the data: Kudo, Toyama & Shimbo, Multidimensional Curve Classification Using
      Passing-Through Regions, Pattern Recognition Letters 20(11-13), 1999.
    """

    name: ClassVar[str] = "classify-series"
    about: ClassVar[str] = "say which class a series of measurements is of, such as whose voice"
    data_about: ClassVar[str] = "real; JapaneseVowels (270 + 370 utterances), or .ts and .npz files"
    thing: ClassVar[tuple[str, str]] = ("series", "series")

    train_file: pathlib.Path | None = None
    test_file: pathlib.Path | None = None
    noise: float = 1.0
    dropout: float = 0.4
    label_smoothing: float = 0.1
    members: int = 5
    steps: int = 600
    batch_size: int = 32
    learning_rate: float = 3e-3
    evaluate_every: int = 100

    @classmethod
    def tiny(cls, folder: pathlib.Path) -> ClassifySeries:
        """Settings of a few seconds, with series of their own in a folder."""
        draw, lines = np.random.default_rng(0), []
        for n in range(24):
            steps = np.cumsum(draw.normal((1, -1)[n % 2], 1, (2, 3 + n % 4)), axis=1)
            rows = [",".join(f"{x:.3f}" for x in row) for row in steps]
            lines.append(":".join([*rows, ("up", "down")[n % 2]]))
        file = folder / "series.ts"
        file.write_text("\n".join(["@classLabel true up down", "@data", *lines, ""]))
        return cls(
            train_file=file, cell="elman", hidden_size=3, batch_size=4, dropout=0.2, members=2,
            steps=6, evaluate_every=3,
        )  # fmt: skip

    def check(self) -> None:
        """Raises TypeError or ValueError for settings that will not do, before data are read."""
        super().check()
        non_negative("noise", self.noise)
        if self.test_file is not None and self.train_file is None:
            raise ValueError("test_file is given without train_file: give both, or neither")

    def data(self) -> Data:
        """Series in three parts, and what standardises them."""
        needed("sklearn")
        found = [read_series(file) for file in self._files()]
        names = self._names(found[0], self._files()[0])
        classes = classes_of(names, self._files()[0])
        train = Labelled(found[0].xs, coded(names, classes, self._files()[0]))
        facts = {"classes": classes, "features": train.xs[0].shape[1]}
        if len(found) > 1:
            test = self._part(found[1], self._files()[1], facts)
        else:
            stay, out = held_out(train.labels, 0.2)
            train, test = train.some(stay), train.some(out)
        stay, out = held_out(train.labels, 0.07)
        train, validation = train.some(stay), train.some(out)
        steps = np.concatenate(train.xs).astype(float)
        spread = steps.std(axis=0)
        facts["mean"] = steps.mean(axis=0).tolist()
        facts["std"] = np.where(spread > 0, spread, 1).tolist()
        return Data(train, validation, test, facts)

    def _files(self) -> list[pathlib.Path]:
        if self.train_file is not None:
            return [self.train_file, *([self.test_file] if self.test_file else [])]
        return [carried_by("aeon", VOWELS.format(part)) for part in ("TRAIN", "TEST")]

    @staticmethod
    def _names(found: Series, path: pathlib.Path) -> list[str]:
        if found.names is None:
            raise ValueError(
                f"{path} does not say which class its series are of: end each line of .ts with it, "
                "after @classLabel true and the classes; or put y into the .npz"
            )
        return found.names

    def _part(self, found: Series, path: pathlib.Path, facts: Facts) -> Labelled:
        check_features(found, facts["features"], path)
        return Labelled(found.xs, coded(self._names(found, path), facts["classes"], path))

    def read(self, path: pathlib.Path, facts: Facts) -> Labelled:
        """A .ts or .npz file."""
        return self._part(read_series(path), path, facts)

    def front(self, facts: Facts) -> tuple[list[rnnjax.Cell], Any]:
        """Nothing before the recurrent layers."""
        return [], jax.ShapeDtypeStruct((facts["features"],), jnp.float32)

    def prepared(self, facts: Facts, xs: Array, key: Array | None) -> Array:
        """Standardised series; with noise where there is a key."""
        mean, std = (jnp.asarray(facts[name], jnp.float32) for name in ("mean", "std"))
        xs = (xs.astype(jnp.float32) - mean) / std
        return xs if key is None else xs + self.noise * jax.random.normal(key, xs.shape, xs.dtype)

    def baselines(self, data: Data) -> dict[str, float]:
        """The largest class, logistic regression of whole series, the nearest by time warping."""
        parts = (data.train, data.validation, data.test)
        mean, std = np.array(data.facts["mean"]), np.array(data.facts["std"])
        scaled = [[(x - mean) / std for x in part.xs] for part in parts]
        longest = max(len(x) for xs in scaled for x in xs)
        flat = [
            rnnjax.pad(xs, length=longest)[0].swapaxes(0, 1).reshape(len(xs), -1) for xs in scaled
        ]
        found = {
            "the largest class": majority(data.train, data.test),
            "logistic regression, padded and flattened": logistic_regression(flat, parts),
        }
        train, test = scaled[0] + scaled[1], scaled[2]
        labels = np.concatenate([data.train.labels, data.validation.labels])
        if sum(map(len, train)) * sum(map(len, test)) <= MOST_WARPED:
            nearest = np.array([labels[warped(x, train).argmin()] for x in test])
            found["1 nearest neighbour, time warping"] = wrong(nearest, data.test.labels)
        return found

    def example(self, data: Data) -> str:
        """The shortest series of the test data, as a line of .ts."""
        shortest = min(data.test.xs, key=len)
        return ":".join(",".join(f"{x:.4g}" for x in feature) for feature in shortest.T)

    def asked(self, request: str, facts: Facts) -> Labelled:
        """A file, or a line of one: numbers with commas between, features with colons between."""
        file = pathlib.Path(request)
        if "\0" not in request and len(request) < 4096 and file.suffix in (".ts", ".npz"):
            found = read_series(file)
        else:
            found = Series([series_of(request.split(":"), "a request")], None)
        check_features(found, facts["features"], "a request")
        return Labelled(found.xs, np.zeros(len(found.xs), np.int32))

    def sketch(self, axes: Any, part: Labelled, row: int) -> None:
        """The features over time, the first one in front."""
        xs = part.xs[row]
        for place in range(xs.shape[1])[::-1]:
            axes.plot(xs[:, place], linewidth=1, color=f"C{place % 10}", alpha=0.9)
        axes.set_xticks([0, len(xs) - 1], [1, len(xs)], fontsize=8)
        axes.set_yticks([])
        axes.spines[["top", "right", "left"]].set_visible(False)


# --- files ----------------------------------------------------------------------------------------


def read_series(path: pathlib.Path) -> Series:
    """The series of a .ts or .npz file.

    Raises:
      ValueError: there is no such file, it is neither, or what is in it will not do.
    """
    try:
        if path.suffix == ".npz":
            found = _read_npz(path)
        elif path.suffix == ".ts":
            found = _read_ts(path)
        else:
            raise ValueError(f"{path} must be a .ts or an .npz file")
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or error}") from None
    if not found.xs:
        raise ValueError(f"{path} has no series in it")
    for n, xs in enumerate(found.xs):
        if not np.isfinite(xs).all():
            raise ValueError(
                f"{path}: series {n + 1} has missing or infinite values: fill them in, by the "
                "value before for instance, or leave the series out"
            )
    return found


def _read_ts(path: pathlib.Path) -> Series:
    """A file of the UEA and UCR archives: a header, then features parted by colons, a line each."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8: {error.reason} at byte {error.start}") from None
    head: dict[str, str] = {}
    rows: Iterator[tuple[int, str]] = iter(enumerate(map(str.strip, lines), 1))
    for _, line in rows:
        if line.startswith("@"):
            name, _, value = line[1:].partition(" ")
            head[name.lower()] = value.strip()
            if name.lower() == "data":
                break
    else:
        raise ValueError(f"{path} has no line @data, which the series of a .ts file follow")
    if head.get("timestamps", "false").lower() == "true":
        raise ValueError(f"{path} has time stamps, which are not read: write the values alone")
    classed, xs, names = head.get("classlabel", "").lower().startswith("true"), [], []
    for number, line in rows:
        if line and not line.startswith("#"):
            where = f"{path}, line {number}"
            features = line.split(":")
            if classed:
                names.append(features.pop().strip())
            xs.append(series_of(features, where))
            if xs[-1].shape[1] != xs[0].shape[1]:
                raise ValueError(
                    f"{where} has {xs[-1].shape[1]} features, the series before {xs[0].shape[1]}"
                )
    return Series(xs, names if classed else None)


def series_of(features: list[str], where: str) -> np.ndarray:
    """One series [T, D] of its features as text; ? is missing, and NaN.

    Raises:
      ValueError: something is no number, or the features differ in length.
    """
    try:
        columns = [
            [float("nan") if x.strip() == "?" else float(x) for x in f.split(",")] for f in features
        ]
    except ValueError:
        raise ValueError(
            f"{where}: a series is numbers with commas between, features with colons between, as "
            "'1,2,3:0.5,0.6,0.7'"
        ) from None
    sizes = sorted({len(column) for column in columns})
    if len(sizes) > 1:
        raise ValueError(f"{where}: the features have {sizes[0]} to {sizes[-1]} steps, not one")
    return np.array(columns, np.float32).reshape(len(columns), -1).T


def _read_npz(path: pathlib.Path) -> Series:
    try:
        arrays = dict(np.load(path, allow_pickle=False))
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path} is no .npz file of plain arrays: {error}") from None
    if "x" not in arrays:
        raise ValueError(
            f"{path} has no array x [N, T, D] in it, but {', '.join(arrays) or 'none'}"
        )
    x = arrays["x"]
    x = x[..., None] if x.ndim == 2 else x
    if x.ndim != 3 or x.dtype.kind not in "fiu":
        raise ValueError(f"{path}: x must be numbers [N, T, D], got {x.dtype}{list(x.shape)}")
    lengths = arrays.get("lengths", np.full(len(x), x.shape[1]))
    if lengths.shape != (len(x),) or lengths.dtype.kind not in "iu":
        raise ValueError(f"{path}: lengths must be integers [{len(x)}], got {list(lengths.shape)}")
    if len(x) and not 1 <= lengths.min() <= lengths.max() <= x.shape[1]:
        raise ValueError(f"{path}: lengths must be in [1, {x.shape[1]}]")
    names = arrays.get("y")
    if names is not None and names.shape != (len(x),):
        raise ValueError(f"{path}: y must be [{len(x)}], got {list(names.shape)}")
    xs = [row[:n].astype(np.float32) for row, n in zip(x, lengths, strict=True)]
    return Series(xs, None if names is None else [str(name) for name in names.tolist()])


def check_features(found: Series, features: int, where: Any) -> None:
    """Raises ValueError where series have not as many features as those that were learnt from."""
    if (got := found.xs[0].shape[1]) != features:
        raise ValueError(f"{where} has {got} features a step, the training data have {features}")


# --- the nearest neighbour ------------------------------------------------------------------------


def warped(one: np.ndarray, others: list[np.ndarray]) -> np.ndarray:
    """How far a series [T, D] is from others, [N], by dynamic time warping of all features at once.

        d(i, j) = |one_i - other_j|² + min(d(i-1, j), d(i, j-1), d(i-1, j-1))

    Reference:
      Sakoe & Chiba, Dynamic Programming Algorithm Optimization for Spoken Word Recognition, IEEE
      Transactions on Acoustics, Speech and Signal Processing 26(1), 1978.
    """
    xs, lengths = rnnjax.pad(others)
    cost = np.square(xs[None] - one[:, None, None]).sum(axis=-1)  # [T, T', N]
    above = np.full((xs.shape[0] + 1, xs.shape[1]), np.inf)
    above[0] = 0
    for row in cost:
        here = np.full_like(above, np.inf)
        nearest = np.minimum(above[1:], above[:-1])
        for j, step in enumerate(row):
            here[j + 1] = step + np.minimum(nearest[j], here[j])
        above = here
    return above[lengths, np.arange(len(others))]
