"""Series to forecast: those that packages carry, and a user's own."""

from __future__ import annotations

import csv
import dataclasses
import io
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from rnnjax.sequences import pad
from rnnjax.train.files import carried_by, needed, read_utf8

M1 = "aeon/datasets/data/m1_yearly_dataset/m1_yearly_dataset.tsf"


@dataclasses.dataclass(frozen=True, eq=False)
class Panel:
    """Series side by side, which all end at one step.

    Attributes:
      names: S of them.
      times: the label of each step, T of them.
      values: [T, S], NaN where nothing is known: before a series begins, or where it has a gap.
      covariates: [T, C], what is known beforehand, alike for all series.
    """

    names: tuple[str, ...]
    times: tuple[str, ...]
    values: np.ndarray
    covariates: np.ndarray

    @property
    def end(self) -> int:
        """The step behind the last one at which anything is known of a series."""
        return 1 + int(np.flatnonzero((~np.isnan(self.values)).any(axis=1))[-1])

    def until(self, stop: int) -> Panel:
        """What comes before a step."""
        return Panel(self.names, self.times[:stop], self.values[:stop], self.covariates[:stop])


@dataclasses.dataclass(frozen=True, eq=False)
class Part:
    """A part of a panel: what may be known, and where to forecast from.

    Attributes:
      panel: the series, up to the last step of the part.
      origins: the first step of each forecast, int [N]: it may use what lies before.
    """

    panel: Panel
    origins: np.ndarray


class Known(NamedTuple):
    """A data set that a package carries.

    Attributes:
      load: () -> `Panel`.
      season: how many steps a season has; 1 for none.
      horizon: how many steps are forecast.
      reference: what a forecast is best a correction of, as the validation part had it.
      about: what one step is, and what is counted.
    """

    load: Callable[[], Panel]
    season: int
    horizon: int
    reference: str
    about: str


def _statsmodels(name: str) -> Any:
    """A data set of statsmodels, as pandas has it."""
    return needed("statsmodels.api").datasets.__dict__[name].load_pandas().data


def _one(name: str, times: Sequence[Any], values: Any) -> Panel:
    column = np.asarray(values, float)[:, None]
    return Panel((name,), tuple(map(str, times)), column, np.zeros((len(column), 0)))


def _sunspots() -> Panel:
    data = _statsmodels("sunspots")
    return _one("sunspots", data["YEAR"].astype(int), data["SUNACTIVITY"])


def _co2() -> Panel:
    data = _statsmodels("co2")["co2"].resample("MS").mean()  # weekly, with gaps
    return _one("co2", [f"{time:%Y-%m}" for time in data.index], data)


def _elnino() -> Panel:
    data = _statsmodels("elnino")
    months = [f"{year:.0f}-{month:02}" for year in data["YEAR"] for month in range(1, 13)]
    return _one("elnino", months, data.drop(columns="YEAR").to_numpy().ravel())


def _m1_yearly() -> Panel:
    return read_tsf(carried_by("aeon", M1))


KNOWN = {
    "sunspots": Known(_sunspots, 11, 11, "mean", "yearly means of sunspot numbers"),
    "co2": Known(_co2, 12, 24, "last", "monthly means of CO2 over Mauna Loa, ppm"),
    "elnino": Known(_elnino, 12, 12, "mean", "monthly temperatures of the sea, El Niño region, °C"),
    "m1-yearly": Known(_m1_yearly, 1, 6, "last", "181 yearly series of the M1 competition"),
}


def read_tsf(path: pathlib.Path) -> Panel:
    """The series of a .tsf file of the Monash archive, ends aligned.

    Raises:
      ValueError: it has no series, or one with something that is no number.
    """
    head, _, body = read_utf8(path).partition("@data")
    attributes = [line.split()[1] for line in head.splitlines() if line.startswith("@attribute")]
    names, arrays = [], []
    for line in body.split("\n"):
        if line.strip():
            *said, numbers = line.strip().split(":", len(attributes))
            names.append(said[0] if said else f"T{len(names) + 1}")
            arrays.append(_numbers(numbers.split(","), f"{path}: the series {names[-1]}"))
    if not names:
        raise ValueError(f"{path} has no series: a .tsf file has one a line, after @data")
    values = pad([array[::-1] for array in arrays], value=np.nan)[0][::-1]
    times = tuple(str(n - len(values)) for n in range(len(values)))
    return Panel(tuple(names), times, values, np.zeros((len(values), 0)))


def _numbers(words: Sequence[str], what: str) -> np.ndarray:
    """Words as numbers; what is empty, or ? or NA or NaN, is missing."""
    numbers = np.full(len(words), np.nan)
    for n, word in enumerate(words):
        if word.strip().lower() not in MISSING:
            try:
                numbers[n] = float(word)
            except ValueError:
                raise ValueError(
                    f"{what}: number {n + 1} is {word.strip()!r}, expected a number, or nothing "
                    "where it is missing"
                ) from None
    if np.isinf(numbers).any():
        n = int(np.isinf(numbers).argmax())
        raise ValueError(f"{what}: number {n + 1} is infinite: leave it empty if it is not known")
    return numbers


MISSING = ("", "?", "na", "nan", "null", "-")


def read_csv(
    path: pathlib.Path,
    column: str = "",
    time_column: str = "",
    covariates: str = "",
    missing: str = "refuse",
) -> Panel:
    """The series of a CSV file whose first row has the names of its columns.

    Where time stamps leave out whole steps, these steps are there, with nothing known of them.

    Args:
      path: the file.
      column: the names of the series, with commas between; "" for all columns that are nothing
        else.
      time_column: the name of the column of time stamps: ISO 8601 or numbers; "" for none.
      covariates: the names of the columns known beforehand, with commas between. Rows at the end
        that have them and no values are the future.
      missing: "mask" for values that may be missing.

    Raises:
      ValueError: there is no such file, a column is not there or has something that is no number,
        something is missing that may not be, or time stamps are no stamps, unsorted, twice there
        or uneven.
    """
    rows = list(csv.reader(io.StringIO(read_utf8(path))))
    rows = [row for row in rows if any(cell.strip() for cell in row)]
    header = [name.strip() for name in rows[0]]
    for n, row in enumerate(rows[1:], 2):
        if len(row) != len(header):
            raise ValueError(f"{path}: row {n} has {len(row)} cells, the first has {len(header)}")
    if len(rows) < 2:
        raise ValueError(f"{path} has no rows below the names of its columns")
    extra = _named(covariates)
    names = _named(column) or [n for n in header if n not in (time_column, *extra)]
    for name in [*names, *extra, *filter(None, [time_column])]:
        if name not in header:
            raise ValueError(
                f"{path} has no column {name!r}: its columns are {', '.join(header)}; say which "
                "with --column, --time-column or --covariates"
            )
    if not names:
        raise ValueError(f"{path} has no column to forecast: its columns are {', '.join(header)}")

    def numbers(chosen: list[str]) -> np.ndarray:
        columns = [
            _numbers([row[header.index(name)] for row in rows[1:]], f"{path}: column {name}")
            for name in chosen
        ]
        return np.stack(columns, 1) if columns else np.zeros((len(rows) - 1, 0))

    values, known = numbers(names), numbers(extra)
    times = [row[header.index(time_column)].strip() for row in rows[1:]] if time_column else None
    if np.isnan(known).any():
        row, place = np.argwhere(np.isnan(known))[0]
        raise ValueError(
            f"{path}: the covariate {extra[place]} is missing in row {row + 2}: what is known "
            "beforehand has a value everywhere; fill it"
        )
    absent = np.isnan(values)
    if absent.all(axis=0).any():
        place = int(absent.all(axis=0).argmax())
        raise ValueError(f"{path}: column {names[place]} has no value at all: leave it out")
    if extra:  # what comes behind the last value is the future
        absent = absent[: 1 + int(np.flatnonzero((~absent).any(axis=1))[-1])]
    if missing != "mask" and absent.any():
        row, place = np.argwhere(absent)[0]
        raise ValueError(
            f"{path}: column {names[place]} has {int(absent[:, place].sum())} missing values, the "
            f"first in row {row + 2}: pass --missing mask, or fill them"
        )
    if times is None:
        return Panel(tuple(names), tuple(map(str, range(len(values)))), values, known)
    at = _steps(times, path, time_column)
    if at[-1] != len(at) - 1:
        if extra or missing != "mask":
            first = int((np.diff(at) > 1).argmax())
            raise ValueError(
                f"{path}: there are steps left out, the first after {times[first]}: pass --missing "
                "mask, without covariates, or put them in"
            )
        whole = np.full((at[-1] + 1, len(names)), np.nan)
        whole[at] = values
        labels = [""] * len(whole)
        for step, time in zip(at.tolist(), times, strict=True):
            labels[step] = time
        return Panel(tuple(names), tuple(labels), whole, np.zeros((len(whole), 0)))
    return Panel(tuple(names), tuple(times), values, known)


def _named(names: str) -> list[str]:
    return [name.strip() for name in names.split(",") if name.strip()]


def _steps(times: list[str], path: pathlib.Path, column: str) -> np.ndarray:
    """At which step each time stamp is, the first at 0, [N]."""
    try:
        stamps = np.array([float(time) for time in times])
    except ValueError:
        try:
            stamps = np.array(times, "datetime64[s]").astype(np.int64).astype(float)
        except ValueError as error:
            raise ValueError(
                f"{path}: column {column} has something that is no time stamp: {error}: write them "
                "as numbers or as 2024-05-31 or 2024-05-31T12:00:00"
            ) from None
    if not np.isfinite(stamps).all():
        row = int((~np.isfinite(stamps)).argmax())
        raise ValueError(f"{path}: the time stamp of row {row + 2} is missing: fill it")
    between = np.diff(stamps)
    if (between <= 0).any():
        row = int((between <= 0).argmax()) + 1
        wrong = "is there twice" if between[row - 1] == 0 else f"comes after {times[row - 1]}"
        raise ValueError(
            f"{path}: time stamps must ascend: {times[row]} of row {row + 2} {wrong}: sort the "
            "rows by time, one a stamp"
        )
    if not between.size:
        return np.zeros(1, int)
    # Months have 28 to 31 days, and a clock changes by an hour: what is near a whole step is one.
    steps = between / np.quantile(between, 0.5, method="lower")
    if (abs(steps - steps.round()) > 0.2).any() or (steps < 0.5).any():
        row = int(np.maximum(abs(steps - steps.round()), steps < 0.5).argmax()) + 1
        raise ValueError(
            f"{path}: time stamps are uneven, as that of row {row + 2}, {times[row]}: bring the "
            "series to even steps first"
        )
    return np.concatenate([[0], steps.round().astype(int).cumsum()])
