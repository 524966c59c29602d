"""The part `peers`: the same layers in every library."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections.abc import Iterable
from typing import Any

import peers
import suite
from suite import Case, Options, Row
from timing import accelerator, cores, unhandicapped

TITLE = "Peers"
ABOUT = """The same layers, with the same weights, in every library: forward, and training, which is
the loss with gradients for all weights and the inputs. Outputs and gradients are compared before
anything is timed. Milliseconds are the least of the rounds' medians; a ratio above 1 says that
rnnjax is faster; the fastest peer is chosen anew for each, which is in the peers' favour where they
are equally fast. JAX libraries are compared with rnnjax on one device, PyTorch with rnnjax on all
cores where there are rows to share. The floor is the time of the unavoidable products alone. What
tuning does to some of them has a table of its own: XLA's fusions by YNN (an experimental flag), and
memory that is not handed back (`host.tune_host_memory`)."""

MODES = ("train", "forward")
YNN = "--xla_cpu_experimental_ynn_fusion_type=LIBRARY_FUSION_TYPE_ELTWISE"
ALL_CORES = "rnnjax, all cores"
# (T, B, D, H)
ONE, SMALL = (128, 1, 128, 128), (64, 32, 128, 128)
MIDDLE, LARGE = (32, 32, 256, 256), (25, 16, 512, 512)
LAYOUTS: list[dict[str, Any]] = [
    {"layers": 2},
    {"directions": 2},
    {"padding": "lengths"},
    {"padding": "mask"},
]
MIXED: list[tuple[str, dict[str, Any]]] = [
    ("lstm", {"layers": 2}),
    ("lstm", {"directions": 2, "padding": "lengths"}),
    ("gru", {"directions": 2, "padding": "lengths"}),
    ("elman", {"layers": 2, "padding": "mask"}),
]
# Of the field: DeepBench has T, B, H, and D = H; FlashRNN's are of one head.
DEEPBENCH = {
    "lstm": [(25, b, h) for h in (512, 1024, 2048, 4096) for b in (16, 128)]
    + [(50, 8, 1536), (50, 32, 1536), (150, 16, 256), (150, 64, 256)],
    "gru": [(1500, 32, 1024), (187, 32, 2816)],
    "elman": [(50, 64, 1760), (50, 64, 2560)],
}
FASTRNNS = (100, 64, 512, 512)
FLASHRNN = [(t, 16, 768, 768) for t in (256, 1024, 2048)]
LONG = [(10_000, 16, 64, 64), (100_000, 16, 64, 64)]
KINDS = ("lstm", "gru", "elman")


def cases(size: str, options: Options) -> list[Case]:
    """See `Part`."""
    kinds = [kind for kind in KINDS if kind in (options.cells or KINDS)]
    known = (*peers.JAX_PEERS, "torch")
    for asked in options.peers or ():
        if not any(name.startswith(asked) for name in known):
            raise ValueError(f"no peer is called {asked}; there are {', '.join(known)}")
    if options.sizes:
        found = [case(kind, each) for kind in kinds for each in options.sizes]
    elif size == "quick":
        found = [case("lstm", (12, 4, 8, 8), rounds=3)]
        found += [case("gru", (12, 4, 8, 8), directions=2, padding="lengths", rounds=3)]
        found = [{**each, "together": True} for each in found]
    else:
        found = [case(kind, ONE) for kind in kinds]
        found += [case("gru", MIDDLE), *(case("lstm", each) for each in (SMALL, MIDDLE, LARGE))]
        found += [case(kind, SMALL, **layout) for kind, layout in MIXED]
        found += [case("lstm", SMALL, group=group) for group in ("scan", "tuned")]
    if size == "full" and not options.sizes:
        more = [(256, 1, 64, 64), (128, 8, 128, 128), (128, 32, 128, 128), (128, 32, 256, 256)]
        more += [SMALL, LARGE, FASTRNNS]
        found += [case(kind, each) for kind in kinds for each in more]
        found += [case(kind, MIDDLE, **layout) for kind in kinds for layout in LAYOUTS]
        found += [case("lstm", each, group="scan") for each in (*more, MIDDLE)]
        found += [case(kind, each, group="tuned") for kind in kinds for each in (ONE, MIDDLE)]
        found += [case(k, (t, b, h, h)) for k in kinds for t, b, h in DEEPBENCH[k]]
        found += [case(kind, each) for kind in kinds for each in (*FLASHRNN, *LONG)]
    return suite.narrowed([each for each in found if each["kind"] in kinds], options)


def case(kind: str, size: tuple[int, ...], group: str = "peers", rounds: int = 5, **layout: Any):
    """A case of (T, B, D, H): the fields of `peers.Net` and of its batch."""
    length, batch, inputs, units = size
    net = peers.Net(kind, inputs, units, **layout)
    return {**net._asdict(), "length": length, "batch": batch, "group": group, "rounds": rounds}


def measure(case: Case) -> list[Row]:
    """See `Part`."""
    jobs = {name: {**case, **job} for name, job in contenders(case).items()}
    return suite.contest(case, jobs, MODES, rounds=case["rounds"], shown=["floor"])


def contenders(case: Case) -> dict[str, dict[str, Any]]:
    """What worker.py makes each contender from; the first is what the others are compared with."""
    jax = {"make": "peers:jax_contender"}
    if case["group"] == "scan":
        names = ["lax.scan", *peers.THIRD_PARTY, *peers.IN_SCAN]
        return {name: {**jax, "peer": name} for name in names}
    if case["group"] == "tuned":
        return suite.asked(tuned(jax), case, ["lax.scan"])
    found = {name: {**jax, "peer": name} for name in peers.JAX_PEERS}
    if not case.get("together") and accelerator()[0] != "tpu":  # where there is one process
        again = f"rnnjax{suite.AGAIN}"
        found[again] = {**jax, "peer": "rnnjax", "process": again}
    found["torch"] = {"make": "peers:torch_contender"}
    on_cpu = accelerator()[0] == "cpu"
    if on_cpu and cores() > 1 and case["batch"] >= 4 * cores():
        found[ALL_CORES] = {**jax, "peer": "rnnjax", "devices": cores(), "process": "rnnjax"}
    found["floor"] = {"make": "floor:floor_contender", "process": "lax.scan"}
    return suite.asked(found, case, ["lax.scan", "floor"])


def tuned(job: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Some as they are and with XLA's fusions by YNN, and rnnjax with `host.tune_host_memory`."""
    off = {} if accelerator()[0] == "cpu" else {"absent": "tuning is of the CPU"}
    known = {"env": {"XLA_FLAGS": YNN}} if knows(YNN) else {"absent": "no flag of this jaxlib"}
    each = ("lax.scan", "flax.linen", "rnnjax")
    ways = {"": {}, ", YNN": known | off}
    found = {f"{n}{way}": {**job, "peer": n, **more} for way, more in ways.items() for n in each}
    return {**found, "rnnjax, tuned memory": {**job, "peer": "rnnjax", "tuned": True, **off}}


@functools.cache
def knows(flag: str) -> bool:
    """Whether this jaxlib knows a flag; a process that is given another ends."""
    code = "import jax; jax.devices('cpu')"
    env = {**unhandicapped(os.environ), "XLA_FLAGS": flag, "JAX_PLATFORMS": "cpu"}
    return not subprocess.run([sys.executable, "-c", code], env=env, capture_output=True).returncode


def jax_peers(row: Row) -> list[str]:
    """The contenders of a row that are other JAX libraries, or none."""
    return [name for name in peers.JAX_PEERS if name in row["figures"] and name != "rnnjax"]


def ours_beside_torch(row: Row) -> str:
    """What PyTorch is compared with."""
    return ALL_CORES if ALL_CORES in row["figures"] else "rnnjax"


def where(case: Case) -> str:
    """A case in a table."""
    size = ", ".join(str(case[key]) for key in ("length", "batch", "inputs", "units"))
    layout = {
        "two layers": case["layers"] == 2,
        "both directions": case["directions"] == 2,
        case["padding"].replace("mask", "masks"): bool(case["padding"]),
    }
    return "; ".join([size, *(what for what, there in layout.items() if there)])


def table(rows: list[Row]) -> str:
    """See `Part`."""
    found = []
    for (group, kind, mode), some in grouped(rows).items():
        how, one_table = TABLES[group]
        found += [f"### {kind}, {mode}{how}", "", one_table(some)]
    return "\n".join(found)


def grouped(rows: Iterable[Row]) -> dict[tuple[str, str, str], list[Row]]:
    """Rows by group, kind and mode."""
    found: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        key = row["case"]["group"], row["case"]["kind"], row["mode"]
        found.setdefault(key, []).append(row)
    return found


def times(rows: list[Row]) -> str:
    """Milliseconds of each contender, the ratio to the fastest peers, and the floor's share."""
    names = list(dict.fromkeys(name for row in rows for name in row["figures"]))
    lines = []
    for row in rows:
        least = {name: min(values) for name, values in row["figures"].items()}
        jax = suite.fastest(row, jax_peers(row), "rnnjax")
        torch = suite.fastest(row, ["torch"], ours_beside_torch(row))
        lines.append([
            where(row["case"]),
            *(f"{1e3 * least[name]:.3g}" if name in least else "–" for name in names),
            f"{suite.shown(jax[1])} {jax[0]}" if jax else "–",
            suite.shown(torch[1]) if torch else "–",
            f"{suite.against(row, 'floor', 'rnnjax')[0]:.0%}" if "floor" in least else "–",
        ])  # fmt: skip
    head = ["T, B, D, H", *names, "fastest JAX peer / rnnjax", "torch / rnnjax", "floor's share"]
    return suite.markdown(head, lines)


def pairs(rows: list[Row]) -> str:
    """Each library's cell in its own loop and in `rnnjax.scan`."""
    lines = []
    for row in rows:
        for name in peers.THIRD_PARTY:
            if name in row["figures"]:
                inside = f"rnnjax.scan, {name}"
                least = [1e3 * min(row["figures"][n]) for n in (name, inside)]
                ratio = suite.shown(suite.against(row, name, inside))
                lines.append([where(row["case"]), name, *(f"{ms:.3g}" for ms in least), ratio])
    head = ["T, B, D, H", "cell", "own loop, ms", "rnnjax.scan, ms", "ratio"]
    return suite.markdown(head, lines, words=2)


def ways(rows: list[Row]) -> str:
    """Each tuned contender beside itself as it is, and beside rnnjax as it is."""
    lines = []
    for row in rows:
        for name, values in row["figures"].items():
            asis = name.partition(",")[0]
            ratios = [suite.shown(suite.against(row, name, by)) for by in (asis, "rnnjax")]
            lines.append([where(row["case"]), name, f"{1e3 * min(values):.3g}", *ratios])
    head = ["T, B, D, H", "contender", "ms", "of itself as it is", "of rnnjax as it is"]
    return suite.markdown(head, lines, words=2)


TABLES = {"peers": ("", times), "scan": (", in rnnjax.scan", pairs), "tuned": (", tuned", ways)}


def figure(rows: list[Row], axes: Any) -> None:
    """Times over those of rnnjax, one line a case: filled in training, hollow forward."""
    rows = [row for row in rows if row["case"]["group"] == "peers"]
    lines = list(dict.fromkeys((row["case"]["kind"], where(row["case"])) for row in rows))
    names = [name for name in (*peers.JAX_PEERS, "torch", "floor") if name != "rnnjax"]
    for i, name in enumerate(names):
        for mode, fill in (("train", f"C{i}"), ("forward", "none")):
            there = [row for row in rows if row["mode"] == mode and name in row["figures"]]
            if not there:
                continue
            axes.scatter(
                [suite.against(row, name, "rnnjax")[0] for row in there],
                [lines.index((row["case"]["kind"], where(row["case"]))) for row in there],
                facecolors=fill, edgecolors=f"C{i}", label=name if mode == "train" else None,
            )  # fmt: skip
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set(
        xscale="log", xlabel="time over that of rnnjax on one device (filled: training)",
        yticks=range(len(lines)), yticklabels=[" ".join(line) for line in lines],
    )  # fmt: skip
    axes.invert_yaxis()
    axes.legend(fontsize="small")
    axes.figure.set_size_inches(9, 2 + 0.25 * len(lines))


def headlines(rows: list[Row]) -> list[str]:
    """See `Part`."""
    found = []
    for (group, kind, mode), some in grouped(rows).items():
        start = f"{kind}, {mode}"
        if group == "scan":
            pairs = [(r, n, f"rnnjax.scan, {n}") for r in some for n in peers.THIRD_PARTY]
            found += sentence(
                f"{start}, cells of other libraries", "rnnjax.scan", "own loop", pairs
            )
        elif group == "peers":
            for theirs, pairs in rivals(some).items():
                found += sentence(start, "rnnjax", theirs, pairs)
    return found


def brief(rows: list[Row]) -> list[list[str]]:
    """See `Part`."""
    return [
        [f"{kind}, {mode}", *(mean(pairs) for pairs in rivals(some).values())]
        for (group, kind, mode), some in grouped(rows).items()
        if group == "peers"
    ]


Pairs = list[tuple[Row, str, str]]


def rivals(rows: list[Row]) -> dict[str, Pairs]:
    """The rows with a rival and what it is compared with, where it is there."""
    best = [(row, suite.fastest(row, jax_peers(row), "rnnjax")) for row in rows]
    return {
        "the fastest JAX peer": [(row, fast[0], "rnnjax") for row, fast in best if fast],
        "PyTorch": [(r, "torch", ours_beside_torch(r)) for r in rows if "torch" in r["figures"]],
    }


def mean(pairs: Pairs) -> str:
    """The geometric mean over cases."""
    return suite.shown(suite.mean_ratio(pairs)) if pairs else "–"


def sentence(start: str, ours: str, theirs: str, pairs: Pairs) -> list[str]:
    """The mean over cases, and each in which the other is faster; nothing where there are none."""
    there = [(r, a, b) for r, a, b in pairs if a in r["figures"] and b in r["figures"]]
    if not there:
        return []
    each = [(row, a, suite.against(row, a, b)) for row, a, b in there]
    slower = [
        f"{name} {suite.shown(suite.turned(ratio))} at {where(row['case'])}"
        for row, name, ratio in each
        if ratio[2] < 1
    ]
    said = f"; faster than it are: {', '.join(slower)}" if slower else "; it is nowhere slower"
    words = f"{start}: {theirs} takes {mean(there)} times as long as {ours}"
    return [f"{words} (geometric mean over cases: {len(there)}){said}"]
