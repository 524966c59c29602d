"""The driver goes on where it was interrupted; the page says who is faster, and what is missing."""

import json
import re
import types

import bench
import bench_cells
import bench_peers
import compare
import numpy as np
import pytest
import suite
from timing import POOL

from rnnjax import cli

ABOUT = {"cpu": "A CPU", "cores": 2, "backend": "cpu", "device": "cpu", "source": "1",
         "date": "2026-11-28", "load": 0.5, "versions": {"jax": "1"}}  # fmt: skip


class Counted:
    """A part that counts what it measures, and is interrupted at a case."""

    def __init__(self):
        self.measured, self.interrupted = [], None

    def measure(self, case):
        if case == self.interrupted:
            raise KeyboardInterrupt
        self.measured.append(case)
        return [suite.row(case, mode, {"us": [1.0]}) for mode in ("train", "forward")]


def test_a_run_goes_on_where_it_was_interrupted(tmp_path):
    part, cases, file = Counted(), [{"T": t} for t in range(4)], tmp_path / "bench.json"
    part.interrupted = cases[2]
    with pytest.raises(KeyboardInterrupt):
        bench.run(file, ABOUT, {"one": (part, cases)})
    assert len(json.loads(file.read_text())["rows"]["one"]) == 4
    part.interrupted = None
    bench.run(file, {**ABOUT, "load": 3.0, "date": "2026-11-29"}, {"one": (part, cases)})
    assert part.measured == cases
    # A part that is not asked for keeps its rows; a case that is no more asked for loses its own.
    other = Counted()
    bench.run(file, ABOUT, {"one": (part, cases[:1]), "other": (other, cases[:1])})
    assert part.measured == cases
    found = json.loads(file.read_text())["rows"]
    assert {name: len(rows) for name, rows in found.items()} == {"one": 2, "other": 2}
    bench.run(file, {**ABOUT, "source": "2"}, {"one": (part, cases[:1])})
    assert part.measured == [*cases, cases[0]]
    assert set(json.loads(file.read_text())["rows"]) == {"one"}


@pytest.mark.parametrize(("backend", "left"), [("cpu", 1), ("gpu", 0)])
def test_an_accelerator_is_left_to_the_next_part(backend, left, tmp_path):
    class Holding(Counted):
        def measure(self, case):
            held.append(len(POOL))
            POOL["one"] = types.SimpleNamespace(close=lambda: None)
            return super().measure(case)

    held, part = [], Holding()
    asked = {"one": (part, [{"T": 1}, {"T": 2}]), "other": (part, [{"T": 3}])}
    bench.run(tmp_path / "bench.json", {**ABOUT, "backend": backend}, asked)
    assert held == [0, 1, left]
    assert not POOL


@pytest.mark.parametrize(
    ("cpu", "cores", "slug"),
    [
        ("AMD EPYC 9B14 96-Core Processor", 2, "amd_epyc_9b14_2"),
        ("Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz", 8, "intel_xeon_platinum_8481c_8"),
    ],
)
def test_a_machine_has_a_short_name(cpu, cores, slug):
    about = {"cpu": cpu, "cores": cores, "backend": "cpu", "device": "cpu"}
    assert bench.slug(about) == slug
    assert bench.slug({**about, "backend": "gpu", "device": "NVIDIA H200"}) == "nvidia_h200"


def figures(rng, **seconds):
    """Figures of six rounds that all have the same weather."""
    weather = rng.uniform(1, 2, 6)
    return {
        name.replace("_", "."): s * weather * rng.uniform(0.99, 1.01, 6)
        for name, s in seconds.items()
    }


def peers_row(rng, kind, size, absent=(), **seconds):
    case = bench_peers.case(kind, size)
    return suite.row(case, "train", figures(rng, **seconds), absent=dict(absent))


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    quick, large = (8, 1, 4, 4), (16, 32, 4, 4)
    lacking = [("haiku", "Haiku has no such thing"), ("keras", "refused: its outputs differ")]
    peers = [
        peers_row(rng, "lstm", quick, rnnjax=1, lax_scan=2, equinox=3, torch=0.5, floor=0.4),
        peers_row(rng, "lstm", large, lacking, rnnjax=2, lax_scan=1, torch=1, floor=0.5),
    ]
    loop = {"kind": "loop", "products": 2, "why": "each step needs the last"}
    plan = {"flops": 8e6, "flops_in_loops": 4e6, "products_in_loops": 2, "table": "the plan"}
    plan["loops"] = [loop]
    cells = []
    for name, took in (("lstm", 2e-3), ("user:mine:cell", 1e-3)):
        case = {"cell": name, "length": 8, "batch": 4, "inputs": 4, "units": 4}
        for mode in bench_cells.MODES:
            found = figures(rng, rnnjax=took, lax_scan=2 * took, floor=took / 4)
            cells.append(suite.row(case, mode, found, facts={"rnnjax": {"plan": plan}}))
    return {"cells": cells, "peers": peers}


@pytest.fixture
def file(rows, tmp_path):
    path = tmp_path / "bench_standard_a.json"
    bench.write(path, {"machine": ABOUT, "rows": rows})
    return path


def test_the_page_says_who_is_faster_and_what_is_missing(file, rows):
    bench.write_page(file)
    page = file.with_suffix(".md").read_text()
    said = [line for line in page.splitlines() if line.startswith("- lstm, train")]
    assert len(said) == 2
    # Twice as long, and half as long.
    assert said[0].startswith("- lstm, train: the fastest JAX peer takes 1.00 [0.9")
    assert 1.95 < float(re.search(r"faster than it are: lax\.scan (\S+) ", said[0])[1]) < 2.05
    assert said[0].endswith("at 16, 32, 4, 4")
    assert "PyTorch takes 0.50 [0." in said[1]
    assert said[1].endswith("at 16, 32, 4, 4")
    assert "at 8, 1, 4, 4" in said[1]
    assert "- haiku: Haiku has no such thing (kind lstm" in page
    assert "- keras: refused: its outputs differ" in page
    assert "- loop: 2 products, as each step needs the last" in page
    assert "the plan" in page
    for part in ("cells", "peers"):
        assert file.with_name(f"{file.stem}_{part}.png").stat().st_size > 1000
    # The quicker cell comes first; 8 steps in 1 ms of 4 rows, at most twice as long.
    table = [line for line in page.splitlines() if line.startswith("| `")]
    assert [line.split("`")[1] for line in table] == ["user:mine:cell", "lstm"]
    least = 1e6 * min(rows["cells"][2]["figures"]["rnnjax"]) / 8
    assert table[0].split("|")[2].strip() == f"{least:.3g}"
    assert " 25% " in table[0]


def test_the_headlines_go_between_the_marks_of_readme(file, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{bench.MARKS[0]}\nold\n{bench.MARKS[1]}\nafter\n")
    bench.mark_readme(readme, file)
    once = readme.read_text()
    assert once.startswith("before\n")
    assert once.endswith("\nafter\n")
    assert "old" not in once
    (line,) = [line for line in once.splitlines() if line.startswith("| lstm, train ")]
    assert re.fullmatch(r"\| lstm, train \| 1\.00 \[.*\] \| 0\.50 \[.*\] \|", line)
    bench.mark_readme(readme, file)
    assert readme.read_text() == once


def test_readme_has_the_marks():
    text = (bench.HERE.parent / "README.md").read_text(encoding="utf-8")
    assert text.index(bench.MARKS[0]) < text.index(bench.MARKS[1])


def test_compare_sees_a_change_and_no_weather():
    rng = np.random.default_rng(1)

    def run(weather, slow=1.0):
        took = {"rnnjax": slow, "lax_scan": 2, "torch": 3}
        rows = [peers_row(rng, "gru", (8, t, 4, 4), **took) for t in (1, 2)]
        for row in rows:
            row["figures"] = {n: [weather * f for f in fs] for n, fs in row["figures"].items()}
        return compare.keyed({"peers": rows})

    old = run(1.0)
    text, contradictions = compare.report(old, run(5.0))
    assert text.startswith("\n0 of 4 figures changed")
    assert contradictions == 0
    assert "6 rankings are beyond the noise in both" in text
    slower, contradictions = compare.report(old, run(1.0, slow=2.5))
    # The first is what the others are divided by.
    ratios = re.findall(r"lax\.scan / rnnjax \| (\S+) ", slower)
    assert [round(float(ratio), 1) for ratio in ratios] == [0.4, 0.4]
    assert contradictions == len(re.findall("rnnjax over lax.scan is 0.5.* and 1.2", slower)) == 2


def twice(rng, far, **seconds):
    """A row with a contender that is there twice, once in a process that is so much slower."""
    row = peers_row(rng, "lstm", (8, 1, 4, 4), rnnjax=1, **seconds)
    row["figures"]["rnnjax, again"] = (far * np.array(row["figures"]["rnnjax"])).tolist()
    return row


def test_what_another_process_changes_is_no_ranking():
    rng = np.random.default_rng(2)
    parts = {"peers": [twice(rng, 1.2, keras=1.3), twice(rng, 1 / 1.2, keras=2)]}
    near, far = suite.told_apart(parts)["peers"]
    assert near["blur"] == far["blur"] == pytest.approx(1.96 * np.log(1.2), rel=1e-6)
    assert set(near["figures"]) == {"rnnjax", "keras"}
    for row, beyond in ((near, False), (far, True)):
        _, low, high = suite.against(row, "keras", "rnnjax")
        _, least, most = suite.against({**row, "blur": 0.0}, "keras", "rnnjax")
        assert (low > 1) == beyond
        assert least > 1
        assert high / most == pytest.approx(least / low)
    _, low, high = suite.mean_ratio([(near, "keras", "rnnjax"), (far, "keras", "rnnjax")])
    assert np.log(high / low) == pytest.approx(2 * near["blur"] / np.sqrt(2), rel=0.1)
    # Of a run without them nothing is known.
    (alone,) = suite.told_apart({"peers": [peers_row(rng, "lstm", (8, 1, 4, 4), rnnjax=1)]})[
        "peers"
    ]
    assert alone["blur"] == 0


def test_what_no_round_sees_is_no_contradiction():
    rng = np.random.default_rng(3)

    def run(took):
        found = {"peers": [twice(rng, far, keras=took) for far in (1.2, 1 / 1.2)]}
        return compare.keyed(found), compare.keyed(suite.told_apart(found))

    (plainly, known), (plainly_after, known_after) = run(1.1), run(0.9)
    assert compare.rankings(plainly, plainly_after)[1]
    assert compare.rankings(known, known_after) == (0, [])
    assert "\n0 of 1 figures changed" in compare.report(known, known_after)[0]


@pytest.mark.parametrize(("scale", "ranked", "changed"), [(1, 0, 0), (10, 1, 1)])
def test_what_malloc_has_in_hand_is_no_contradiction(scale, ranked, changed):
    def run(megabytes):
        figures = {"rnnjax": [5.0 * scale] * 3, "torch": [megabytes * scale] * 3}
        return compare.keyed({"memory": [suite.row({"T": 1}, "peak", figures, unit="MB")]})

    old, new = run(6.0), run(4.0)
    assert compare.rankings(old, new)[0] == len(compare.rankings(old, new)[1]) == ranked
    assert f"\n{changed} of 2 figures changed" in compare.report(old, new)[0]


def test_compare_says_where_the_machines_differ(file, tmp_path, capsys):
    other = tmp_path / "other.json"
    found = json.loads(file.read_text())
    bench.write(other, {"machine": {**found["machine"], "cpu": "B"}, "rows": {}})
    assert compare.main([str(file), str(other)]) == 0
    told = capsys.readouterr().out
    assert "- cpu: A CPU, then B" in told
    assert "6 rows are in A alone, 0 in B alone" in told


def test_bad_flags_say_what_was_expected(capsys, monkeypatch, tmp_path):
    with pytest.raises(SystemExit):
        bench.parse(["--sizes", "128x32"])
    assert "expected TxBxDxH" in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"no part is called dance; there are .*'cells'"):
        bench.chosen(["dance"])
    with pytest.raises(ValueError, match=r"no cell is called lstn"):
        bench_cells.cases("quick", suite.Options(cells=("lstn",)))
    with pytest.raises(ValueError, match=r"no peer is called pytorch; there are .*torch"):
        bench_peers.cases("quick", suite.Options(peers=("pytorch",)))
    monkeypatch.setattr(cli, "__file__", str(tmp_path / "rnnjax" / "cli.py"))
    assert cli.main(["bench"]) == 2
    assert "needs a checkout" in capsys.readouterr().err


def test_the_command_line_runs_the_driver(monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(bench, "bench", lambda args: asked.append(args) or [])
    words = ["bench", "quick", "--cells", "lstm,gru", "--peers", "torch", "--sizes", "8x2x4x4"]
    assert cli.main(words) == 0
    (args,) = asked
    assert (args.cells, args.peers, args.sizes) == (("lstm", "gru"), ("torch",), ((8, 2, 4, 4),))
    monkeypatch.setattr(bench, "bench", lambda args: ["lstm: haiku refused"])
    assert cli.main(words) == 2
    assert "haiku refused" in capsys.readouterr().err


def test_every_part_has_its_face():
    for name, part in suite.parts().items():
        missing = {key for key in dir(suite.Part) if key[0] != "_"} - set(dir(part))
        assert not missing, (name, missing)
        assert isinstance(part.TITLE, str)
        assert isinstance(part, types.ModuleType)


@pytest.mark.parametrize("size", suite.SIZES)
def test_cases_are_json_and_each_is_there_once(size):
    for part in suite.parts().values():
        found = part.cases(size, suite.Options())
        assert found
        assert json.loads(json.dumps(found)) == found
        assert len({json.dumps(case) for case in found}) == len(found)
