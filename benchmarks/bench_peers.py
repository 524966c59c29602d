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
rnnjax is faster. JAX libraries are compared with rnnjax on one device, PyTorch with rnnjax on all
cores where there are rows to share. The floor is the time of the unavoidable products alone. What
is tuned is shown beside the others, and is no peer in the ratios: memory that is not handed back
(`host.tune_host_memory`), and for the LSTM XLA's fusions by YNN (an experimental flag)."""

MODES = ("train", "forward")
YNN = "--xla_cpu_experimental_ynn_fusion_type=LIBRARY_FUSION_TYPE_ELTWISE"
ALL_CORES = "rnnjax, all cores"
# (T, B, D, H)
ONE, MIDDLE, LARGE = (128, 1, 128, 128), (128, 32, 256, 256), (100, 64, 512, 512)
LAYOUTS: list[dict[str, Any]] = [
    {"layers": 2},
    {"directions": 2},
    {"padding": "lengths"},
    {"padding": "mask"},
]
OTHERS = [(256, 1, 64, 64), (128, 8, 128, 128), (128, 32, 128, 128)]
# Of the field: fastrnns is LARGE. DeepBench has T, B, H, and D = H; FlashRNN's are of one head.
DEEPBENCH = {
    "lstm": [(25, b, h) for h in (512, 1024, 2048, 4096) for b in (16, 128)]
    + [(50, 8, 1536), (50, 32, 1536), (150, 16, 256), (150, 64, 256)],
    "gru": [(1500, 32, 1024), (187, 32, 2816)],
    "elman": [(50, 64, 1760), (50, 64, 2560)],
}
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
        found = [case(kind, each) for kind in kinds for each in (ONE, MIDDLE)]
        found += [case("lstm", each) for each in (OTHERS[-1], LARGE)]
        found += [case("lstm", OTHERS[-1], **layout) for layout in LAYOUTS]
        found += [case("gru", OTHERS[-1], directions=2, padding="lengths")]
        found += [case("elman", OTHERS[-1], layers=2, padding="mask")]
        found += [case("lstm", OTHERS[-1], group="scan")]
    if size == "full" and not options.sizes:
        found += [case(kind, each) for kind in kinds for each in (*OTHERS, LARGE)]
        found += [case(kind, MIDDLE, **layout) for kind in kinds for layout in LAYOUTS]
        found += [case("lstm", each, group="scan") for each in (*OTHERS, MIDDLE, LARGE)]
        found += [case(k, (t, b, h, h)) for k in kinds for t, b, h in DEEPBENCH[k]]
        found += [case(kind, each) for kind in kinds for each in (*FLASHRNN, *LONG)]
    return suite.narrowed([each for each in found if each["kind"] in kinds], options)


def case(kind: str, size: tuple[int, ...], group: str = "peers", rounds: int = 8, **layout: Any):
    """A case of (T, B, D, H): the fields of `peers.Net` and of its batch."""
    length, batch, inputs, units = size
    net = peers.Net(kind, inputs, units, **layout)
    return {**net._asdict(), "length": length, "batch": batch, "group": group, "rounds": rounds}


def measure(case: Case) -> list[Row]:
    """See `Part`."""
    jobs = {name: {**case, **job} for name, job in contenders(case).items()}
    return suite.contest(case, jobs, MODES, rounds=case["rounds"], shown=["floor"])


def contenders(case: Case) -> dict[str, dict[str, Any]]:
    """What worker.py makes each contender from; the first is what the others are compared with.

    Each has a process of its own; for a smoke test those of JAX are together in one.
    """
    own = {"make": "peers:jax_contender"}
    jax = {**own, "process": "jax"} if case.get("together") else own
    if case["group"] == "scan":
        names = ["lax.scan", *peers.THIRD_PARTY, *peers.IN_SCAN]
        return {name: {**jax, "peer": name} for name in names}
    found = {name: {**jax, "peer": name} for name in peers.JAX_PEERS}
    found["torch"] = {"make": "peers:torch_contender"}
    on_cpu = accelerator()[0] == "cpu"
    if on_cpu and cores() > 1 and case["batch"] >= 4 * cores():
        found[ALL_CORES] = {**own, "peer": "rnnjax", "devices": cores()}
    plain = case["layers"] == case["directions"] == 1 and not case["padding"]
    if on_cpu and plain:
        found["rnnjax, tuned memory"] = {**own, "peer": "rnnjax", "tuned": True}
    if on_cpu and plain and case["kind"] == "lstm":
        known = {"env": {"XLA_FLAGS": YNN}} if knows(YNN) else {"absent": "no flag of this jaxlib"}
        for name in ("lax.scan", "flax.linen", "rnnjax"):
            found[f"{name}, YNN"] = {**jax, "peer": name, **known}
    found["floor"] = {"make": "floor:floor_contender"}
    return suite.asked(found, case, ["lax.scan", "floor"])


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
        found += [f"### {kind}, {mode}{', in rnnjax.scan' if group == 'scan' else ''}", ""]
        found.append(pairs(some) if group == "scan" else times(some))
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
            continue
        best = [(row, suite.fastest(row, jax_peers(row), "rnnjax")) for row in some]
        jax = [(row, fast[0], "rnnjax") for row, fast in best if fast]
        found += sentence(start, "rnnjax", "the fastest JAX peer", jax)
        torch = [(row, "torch", ours_beside_torch(row)) for row in some]
        found += sentence(start, "rnnjax", "PyTorch", torch)
    return found


def sentence(start: str, ours: str, theirs: str, pairs: list[tuple[Row, str, str]]) -> list[str]:
    """The mean over cases, and each in which the other is faster; nothing where there are none."""
    there = [(r, a, b) for r, a, b in pairs if a in r["figures"] and b in r["figures"]]
    if not there:
        return []
    mean = suite.mean_ratio((row["figures"][a], row["figures"][b]) for row, a, b in there)
    each = [(row, a, suite.against(row, a, b)) for row, a, b in there]
    slower = [
        f"{name} {suite.shown(suite.turned(ratio))} at {where(row['case'])}"
        for row, name, ratio in each
        if ratio[2] < 1
    ]
    said = f"; faster than it are: {', '.join(slower)}" if slower else "; it is nowhere slower"
    words = f"{start}: {theirs} takes {suite.shown(mean)} times as long as {ours}"
    return [f"{words} (geometric mean over cases: {len(there)}){said}"]
