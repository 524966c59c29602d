"""Floor 5: tasks, one file or folder a system, and how one is written.

A task is a frozen dataclass, `rnnjax.train.Task` with settings of its own. Its fields are the flags
of `rnnjax train NAME`, and the Attributes of its docstring are their help: what is a `Literal` is
checked, what is a `pathlib.Path` says where data lie. It knows nothing of other tasks and has no
loop, no padding and no checkpoint of its own: those are in `rnnjax.train`. The class says

- `name`, by which it is called; `about`, what it is for; `data_about`, what the data are and
  whether they are real; `metric`, the figure that the result is given in, of which less is better,

and its methods answer

- `data() -> Data(train, validation, test, facts)`. The parts are whatever the task likes. `facts`
  are JSON, all that the model needs to know of the data: a vocabulary, sizes, means. Whoever has a
  checkpoint has them, so a run is used without its data.
- `source(data)`: the training batches, each a function of its step, so that a run resumes exactly.
- `system(facts) -> System(init, loss, evaluate, predict, carried, cell, xs)`: plain functions.
  `loss(params, carried, batch, key) -> (value, (carried, metrics))` is what `make_train_step`
  takes, and `evaluate(params, part)` gives figures by name, the metric first. `predict(params,
  request)` takes what a user asks for as text, and gives the answer as text, piece by piece; a
  request that will not do is a ValueError.
- `baselines(data)`: what can be had without a network, in the metric, on the same test data.
- `picture(system, params, data, file)`: one picture that people would rather look at than read. It
  needs the test data alone, for it is drawn of a user's own, too.
- `example(data)`: a request for `predict` to show.
- `read(path, facts)`: a user's own file as a part of the data. Without one, the task takes none.
- `check()`: an error for settings that will not do, before data are read; `super().check()` first.
- `presets()`: settings by name for `--preset`, if there are any; `tiny(folder)`: settings of a few
  seconds, for the tests.

Where data are drawn from keys, a `GeneratedTask` says `draw(key, size)` and `axes` instead of
`data` and `source`, and `rnnjax sweep` compares cells on it; those of `controlled` differ in their
data alone, and are judged by length. `rnnjax.train.run_task` does the rest, and `adding` is an
example to copy. Then a line here, one in the CHANGELOG: the command line and
tests/tasks/test_protocol.py go by the list.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from typing import Any

from rnnjax.train.task import Facts, Task


class _Tasks(Mapping[str, type[Task]]):
    """Classes by the names of tasks; each is imported when it is asked for."""

    def __init__(self, **places: str):
        self._places = {name.replace("_", "-"): place for name, place in places.items()}

    def __getitem__(self, name: str) -> type[Task]:
        module, _, kind = self._places[name].partition(":")
        return getattr(importlib.import_module(f"rnnjax.tasks.{module}"), kind)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


TASKS = _Tasks(
    language_model="language_model:LanguageModel",
    adding="adding:Adding",
    copy="copying:Copy",
    tag="tag:Tag",
    frame_labels="frame_labels:FrameLabels",
    forecast="forecast:Forecast",
    classify_digits="classify_digits:ClassifyDigits",
    classify_text="classify_text:ClassifyText",
    classify_series="classify_series:ClassifySeries",
    add="add:Add",
    translate="translate:Translate",
    dialogue="translate:Dialogue",
    summarise="translate:Summarise",
    dates="dates:Dates",
    reverse="reverse:Reverse",
    pronounce="pronounce:Pronounce",
    program="program:Program",
    caption="caption:Caption",
    speech="speech:Speech",
    music="music:Music",
    elman1990="elman1990:Elman1990",
    parity="controlled.regular:Parity",
    even_pairs="controlled.regular:EvenPairs",
    cycle_navigation="controlled.regular:CycleNavigation",
    modular_arithmetic="controlled.regular:ModularArithmetic",
    dyck_1="controlled.grammars:Dyck1",
    dyck_2="controlled.grammars:Dyck2",
    anbn="controlled.grammars:AnBn",
    anbncn="controlled.grammars:AnBnCn",
    embedded_reber="controlled.grammars:EmbeddedReber",
    memory="controlled.memory:Memory",
    noisy_memory="controlled.memory:NoisyMemory",
    multiplication="controlled.memory:Multiplication",
    temporal_order="controlled.memory:TemporalOrder",
    temporal_order_3="controlled.memory:TemporalOrder3",
    selective_copy="controlled.memory:SelectiveCopy",
    recall="controlled.memory:Recall",
    alphabet="controlled.memory:Alphabet",
    mackey_glass="controlled.chaos:MackeyGlass",
    lorenz="controlled.chaos:Lorenz",
)


def task_of(meta: dict[str, Any]) -> tuple[Task, Facts]:
    """The task that a run stored, and the facts of its data; what `load_run` asks for.

    Raises:
      KeyError, TypeError, ValueError: it is of no task known here.
    """
    return TASKS[meta.get("task", "language-model")].of(meta)  # the only one, before it had a name
