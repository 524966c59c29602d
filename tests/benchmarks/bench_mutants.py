"""Faults of the benchmark suite, for `tests/mutation.py`: what, file, old text, new text, tests."""

_CONTEST, _DRIVER, _PARTS = "test_contest.py", "test_driver.py", "test_measures.py"
_FAULTS = [
    (
        "a wrong contender is timed",
        "suite",
        "            del bursts[name]\n",
        "",
        _CONTEST,
        "wrong_contender",
    ),
    (
        "what is no number agrees",
        "suite",
        "wrong = not worst[what] <= tolerance",
        "wrong = worst[what] > tolerance",
        _CONTEST,
        "largest_entry",
    ),
    (
        "shapes are no matter",
        "suite",
        "            else math.inf\n",
        "            else 0.0\n",
        _CONTEST,
        "largest_entry",
    ),
    (
        "OpenMP is told how to wait",
        "timing",
        '"OMP_", "GOMP_"',
        '"OMP_N", "GOMP_N"',
        _CONTEST,
        "handicap",
    ),
    (
        "what a library prints is an answer",
        "worker",
        "    os.dup2(2, 1)\n",
        "",
        _CONTEST,
        "wrong_contender",
    ),
    (
        "rows of another source are kept",
        "bench",
        '{"date", "load"}',
        '{"date", "load", "source"}',
        _DRIVER,
        "goes_on",
    ),
    (
        "a contradiction agrees",
        "compare",
        "(ratios[0][0] > 1) != (",
        "(ratios[0][0] > 1) == (",
        _DRIVER,
        "compare_sees",
    ),
    (
        "the weather counts as a change",
        "compare",
        'np.array(row["figures"][by]) if by',
        "1 if by",
        _DRIVER,
        "compare_sees",
    ),
    (
        "the floor has the gradients of weights in the loop",
        "floor",
        "[not varies for varies in product.varying]",
        "[False, False]",
        "test_contenders.py",
        "products_of_a_layer",
    ),
    (
        "a peak is that of all calls before",
        "peak",
        '        REFERENCES.write_text("5")  # the peak begins anew\n',
        "",
        _PARTS,
        "peak",
    ),
    (
        "gradients of a mean are too small to be wrong",
        "bench_training",
        'job["length"] * job["batch"] * array',
        "array",
        _PARTS,
        "another",
    ),
    (
        "small sizes count in an exponent",
        "bench_scaling",
        "points[-LAST:]",
        "points",
        _PARTS,
        "exponents",
    ),
]
BENCH = [
    (f"bench: {what}", f"benchmarks/{file}.py", old, new, (f"tests/benchmarks/{tests}", "-k", name))
    for what, file, old, new, tests, name in _FAULTS
]  # fmt: skip
