"""What a run of the tests costs: CPU seconds a file beside its budget, and memory maps a process.

Each compiled program keeps memory maps, of which the kernel gives a process 65,530: a compiler that
gets no more of them dies of a segmentation fault. So what a module compiled is dropped at its end,
and the maps that a process held at most are counted, printed and bounded.

CPU seconds, of all threads and of the processes that a test starts, depend little on what else the
machine does; wall time on two quiet cores is a little more than half of them. Machines differ by a
factor of two and more: where the files with a budget of their own take longer than it, as a median,
all budgets are that much larger. So a file fails that has grown, not one on an old machine.
"""

from __future__ import annotations

import os
import pathlib
import statistics
import tomllib
from collections import Counter

import jax
import pytest

TESTS = pathlib.Path(__file__).parent
MOST_MAPS = 20_000
SLACK = 2  # neighbours take caches and clock
MANY = 20  # files whose median is that of the machine


def cpu_seconds() -> float:
    """What this process has used so far, and those that it started and waited for."""
    return sum(os.times()[:4])


def memory_maps() -> int:
    """How many memory maps this process holds; 0 where the system does not tell."""
    maps = pathlib.Path("/proc/self/maps")
    return maps.read_bytes().count(b"\n") if maps.exists() else 0


def budgets() -> dict[str, float]:
    """tests/budget.toml: the files which may take longer than any other may, in seconds."""
    return tomllib.loads((TESTS / "budget.toml").read_text(encoding="utf-8"))


class Ledger:
    """A plugin of pytest: each process keeps its own account, the first one adds them up."""

    def __init__(self, config: pytest.Config):
        self.budgets, self.asserted = budgets(), config.getoption("budget")
        self.seconds: Counter[str] = Counter()
        self.maps: list[int] = [0]

    def pytest_collection_modifyitems(self, items):
        """The long ones first, so that no worker ends with one alone."""
        items.sort(key=lambda item: -self.budget(item.location[0]))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item, nextitem):
        """One test, and at the end of a module what it leaves behind."""
        start = cpu_seconds()
        done = yield
        if nextitem is None or nextitem.path != item.path:
            self.maps[0] = max(self.maps[0], memory_maps())
            jax.clear_caches()
        self.seconds[item.location[0]] += cpu_seconds() - start
        return done

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node):
        """A worker of pytest-xdist hands in its account; one that crashed cannot."""
        account = getattr(node, "workeroutput", {}).get("ledger", {})
        self.seconds.update(account.get("seconds", {}))
        self.maps += account.get("maps", [])

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session):
        if hasattr(session.config, "workeroutput"):
            session.config.workeroutput["ledger"] = {
                "seconds": dict(self.seconds),
                "maps": self.maps,
            }
        elif self.complaints() and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def complaints(self) -> list[str]:
        """What costs too much."""
        found = []
        if max(self.maps) > MOST_MAPS:
            found.append(f"{max(self.maps)} memory maps in one process: at most {MOST_MAPS}")
        if self.asserted:
            most = SLACK * self.pace()
            said = f"CPU seconds, more than {most:.1f} times its budget of"
            found += [
                f"{file}: {seconds:.0f} {said} {budget}"
                for file, seconds in sorted(self.seconds.items())
                if seconds > most * (budget := self.budget(file))
            ]
        return found

    def pace(self) -> float:
        """How many times as long as budgeted this machine takes: from 1, if it is faster, to 3."""
        files = self.seconds.keys() & self.budgets
        ratios = [self.seconds[file] / self.budgets[file] for file in files]
        return min(3.0, max(1.0, statistics.median(ratios))) if len(ratios) >= MANY else 1.0

    def budget(self, file: str) -> float:
        return self.budgets.get(file, self.budgets["any other"])

    def pytest_terminal_summary(self, terminalreporter):
        say = terminalreporter.write_line
        if self.asserted:
            terminalreporter.section("CPU seconds by file, and the budget")
            for file, seconds in self.seconds.most_common():
                say(f"{seconds:7.1f} {self.budget(file):5.0f}  {file}")
            say(f"{self.seconds.total():7.1f}        all; {self.pace():.2f} times the budgets")
        held = ", ".join(map(str, self.maps[1:] or self.maps))
        say(f"memory maps at most: {held} (bound {MOST_MAPS})")
        for complaint in self.complaints():
            say(complaint, red=True)
