"""The command line, as a user types it."""

import io
import json
import math
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys

import jax
import pytest

import rnnjax
from rnnjax.cli import main, report
from rnnjax.tasks import TASKS
from rnnjax.train import Result
from rnnjax.train import run as run_module
from rnnjax.train.loop import Interrupted

ROOT = pathlib.Path(rnnjax.__file__).parent.parent
TINY = [
    "--hidden-size",
    "6",
    "--layers",
    "2",
    "--window",
    "5",
    "--batch-size",
    "2",
    "--optimizer",
    "sgd",
    "--learning-rate",
    "0.1",
    "--clip-norm",
    "0",
    "--steps",
    "3",
    "--seed",
    "1",
    "--cell",
    "elman",
]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    jax.devices()  # started, or `train` would make a device of each core, for all tests after it
    file = tmp_path_factory.mktemp("text") / "a text.txt"
    file.write_text("some [bold]words[/bold] to learn from\n" * 70, encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def run(corpus, tmp_path_factory):
    """A run's folder, with a name that needs quotes and is longer than a terminal's line."""
    out = tmp_path_factory.mktemp("runs") / ("a run " + "long" * 20)
    assert main(["train", "--text", str(corpus), "--out", str(out), *TINY]) == 0
    return out


def test_train_reports_what_it_came_to(run, corpus, tmp_path, capsys):
    out = tmp_path / "other run"
    assert main(["train", "--text", str(corpus), "--out", str(out), *TINY]) == 0
    shown = capsys.readouterr()
    for name in ("model", "uniform", "unigram", "3-gram", "gzip", "xz", "xz given train"):
        assert name in shown.out
    assert "characters/s in training" in shown.out
    assert f"rnnjax predict --run '{out}' s" in shown.out
    assert "step 3/3" in shown.err
    assert (out / "sample.txt").read_text() in shown.out  # brackets too, though rich has its own


def test_resume_takes_the_runs_own_settings_where_no_flag_says_otherwise(run, tmp_path, capsys):
    folder = shutil.copytree(run, tmp_path / "run")
    assert main(["train", "--resume", str(folder), "--steps", "4"]) == 0
    shown = capsys.readouterr()
    assert f"Everything is in {folder}/" in shown.out
    assert shown.err.startswith("rnnjax: warning: steps is 4 now and was 3: ")
    assert shown.err.count("rnnjax: ") == 1
    assert json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])["step"] == 4


def test_samples_side_by_side_and_a_prompt_from_standard_input(run, monkeypatch, capsys):
    class Piped(io.BytesIO):
        buffer = property(lambda self: self)

    def generate(prompt, *options):
        monkeypatch.setattr(sys, "stdin", Piped(prompt))
        argv = ["generate", "--run", str(run), "--prompt", "-", "--length", "9", *options]
        return main(argv), capsys.readouterr()

    status, shown = generate(b"some\n", "--samples", "2", "--seed", "3")
    assert status == 0
    one, two = (generate(b"some\n", "--seed", seed)[1].out for seed in "34")
    assert shown.out == f"--- 1 of 2, seed 3\n{one}--- 2 of 2, seed 4\n{two}"
    status, shown = generate(b"\xff", "--unknown")
    assert status == 2
    assert shown.err == "rnnjax: the standard input is not UTF-8: invalid start byte at byte 0\n"
    status, shown = generate("É".encode(), "--unknown")
    assert status == 0
    assert shown.out.startswith("É")


def test_evaluate_writes_figures_losses_and_a_picture(run, tmp_path, capsys):
    text = tmp_path / "other.txt"
    text.write_text("some words É to learn from\n" * 3)
    losses, plot = tmp_path / "losses.txt", tmp_path / "plot.png"
    flags = ["--losses", str(losses), "--plot", str(plot), "--checkpoint", "best"]
    assert main(["evaluate", "--run", str(run), "--text", str(text), *flags]) == 0
    shown = capsys.readouterr().out
    assert "81 characters, 3 of them unknown" in shown
    nats = [float(line) for line in losses.read_text().splitlines()]
    assert len(nats) == 80
    mean = sum(nats) / 80
    bits = mean / math.log(2)
    figures = [float(figure) for figure in re.findall(r"[\d.]+\d", shown.split("unknown")[1])]
    want = [mean, bits, bits * 80 / 81, math.exp(mean)]
    assert figures[:4] == pytest.approx(want, abs=1e-3)
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_predict_answers_and_tasks_are_listed(run, capsys):
    assert main(["predict", "some", "--run", str(run)]) == 0
    answer = capsys.readouterr().out
    assert answer.startswith("some")
    assert len(answer) == len("some") + 500 + 1
    assert main(["tasks"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    for name, task in TASKS.items():
        assert name in shown
        assert task.about.split()[0] in shown


def test_evaluate_without_a_file_takes_the_test_data(run, tmp_path, capsys):
    stored = json.loads((run / "result.json").read_text())
    assert main(["evaluate", "--run", str(run), "--plot", str(tmp_path / "plot.png")]) == 0
    bits = re.search(r"([\d.]+) bits per character\nperplexity", capsys.readouterr().out)
    # Read in one piece here, in 32 parts there.
    assert float(bits[1]) == pytest.approx(stored["scores"]["model"], rel=0.05)


def test_inspect_shows_settings_parameters_checkpoints_and_plan(run, capsys):
    (run / "training.png").unlink()
    assert main(["inspect", "--run", str(run)]) == 0
    shown = capsys.readouterr().out
    for word in (
        "hidden_size",
        "jax",
        "['embed'].table",
        "[6, 6]",
        "step_00000003",
        "each step needs",
    ):
        assert word in shown
    assert (run / "training.png").read_bytes().startswith(b"\x89PNG")


def test_a_preset_gives_way_to_flags(corpus, tmp_path, capsys):
    flags = ["--hidden-size", "5", "--embedding-size", "5", "--epochs", "1", "--window", "4"]
    out = ["--out", str(tmp_path / "run"), "--preset", "zaremba-small", "--batch-size", "2"]
    assert main(["train", "--text", str(corpus), *flags, *out]) == 0
    shown = capsys.readouterr().out
    assert "perplexity" in shown
    assert "2-gram" in shown
    config = json.loads((tmp_path / "run" / "config.json").read_text())["config"]
    assert (config["layers"], config["clip_norm"], config["loss"]) == (2, 5.0, "sum")
    assert (config["hidden_size"], config["epochs"]) == (5, 1)


def test_generate_is_reproducible(run, capsys):
    def generate(*options):
        assert main(["generate", "--run", str(run), "--prompt", "some", *options]) == 0
        return capsys.readouterr().out

    options = ("--length", "30", "--temperature", "1.0", "--seed")
    text = generate(*options, "4")
    assert text.startswith("some")
    assert len(text) == len("some") + 30 + 1
    assert generate(*options, "4") == text
    assert generate(*options, "5") != text


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("train --text {tmp}/nowhere", "nowhere does not exist"),
        ("train --text {tmp}", "has no files with text in it"),
        ("train --text {text} --optimizer adman", "optimizer must be one of sgd, momentum"),
        ("train --text {text} --hidden-size 0", "hidden_size must be a positive int, got 0"),
        ("train --text {text} --batch-size 0", "batch_size must be a positive int, got 0"),
        ("train --text {text} --window 0", "window must be a positive int, got 0"),
        ("train --text {text} --steps 0", "steps must be a positive int, got 0"),
        ("train --text {text} --clip-norm -1", "clip_norm must be a number, at least 0"),
        ("train --text {text} --learning-rate nan", "learning_rate must be positive and finite"),
        ("train --text {text} --seed 99999999999999999999", "seed must fit into 64 bits"),
        ("train --text {text} --window 9999", "tokens, need at least B * (T + 1)"),
        ("train --text {text} --out {run}", "already holds a run"),
        ("train --resume {tmp}", "holds no run: its config.json is missing"),
        ("train --resume {run} --text {tmp}/../nowhere", "nowhere does not exist"),
        ("train --text {text} --out {text}", "a text.txt"),
        ("train --text {text} --out {tmp}/run[1]", "below a name with any of *?["),
        ("train --text {text} --dropout 1", "rate must be a number in [0, 1), got 1.0"),
        ("train --text {text} --cut sliding --batch-size 9999", "need at least n + 1 + (N - 1)"),
        ("train --text {text} --clip-value -1", "clip_value must be a number, at least 0"),
        ("train flying", "there is no task flying: rnnjax tasks lists them"),
        ("train adding --resume {run}", "is a run of the task language-model, not of adding"),
        ("evaluate --run {tmp} --text {text}", "has no checkpoint: train first"),
        ("predict s --run {tmp}", "has no checkpoint: train first"),
        ("evaluate --run {run} --data {tmp}/nowhere", "nowhere does not exist"),
        ("evaluate --run {run} --text {tmp}/nowhere", "nowhere does not exist"),
        ("inspect --run {tmp}", "has no checkpoint: train first"),
        ("generate --run {run} --prompt s --top-p 0", "top_p must be a number in (0, 1]"),
        ("generate --run {tmp}", "has no checkpoint: train first"),
        ("generate --run {run} --prompt someX", "the character 'X' (position 4)"),
        (
            "generate --run {run} --prompt s --temperature -1",
            "temperature must be a number, at least 0",
        ),
        ("generate --run {run} --prompt s --length -1", "length must be an int of at least 0"),
        ("generate --run {run} --prompt s --seed 99999999999999999999", "seed must fit"),
    ],
)
def test_a_users_error_is_one_line_and_status_2(run, corpus, tmp_path, capsys, command, message):
    places = {"tmp": tmp_path, "text": corpus, "run": run}
    argv = [word.format(**places) for word in command.split()]
    capsys.readouterr()
    assert main(argv) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("rnnjax: ")
    assert shown.err.count("\n") == 1
    assert message in shown.err


@pytest.mark.parametrize(
    "argv", [["train", "--cell", "rwkv"], ["train", "--steps", "many"], ["generate"], ["fly"]]
)
def test_a_wrong_flag_is_status_2(argv, capsys):
    with pytest.raises(SystemExit) as exited:
        main(argv)
    assert exited.value.code == 2
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "flags"),
    [
        (
            "train",
            "--text --cell --hidden-size --layers --window --batch-size --optimizer "
            "--learning-rate --clip-norm --steps --seed --out",
        ),
        ("train", "--level --cut --stride --dropout --tied --clip-value --preset --resume"),
        ("generate", "--run --prompt --temperature --top-k --top-p --samples --seed --unknown"),
        ("evaluate", "--run --text --losses --plot"),
        ("inspect", "--run"),
        ("predict", "--run --checkpoint"),
        ("train adding", "--T --cell --hidden-size --steps --learning-rate --out --resume"),
    ],
)
def test_help_lists_every_flag(command, flags, capsys):
    with pytest.raises(SystemExit) as exited:
        main([*command.split(), "--help"])
    assert exited.value.code == 0
    shown = capsys.readouterr().out
    assert set(flags.split()) <= {word.strip("│,") for word in shown.split()}


def test_without_its_extras_it_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tyro", None)
    assert main(["train"]) == 2
    assert 'pip install "rnnjax[train]"' in capsys.readouterr().err


def test_without_a_library_for_pictures_it_says_so_before_the_work(
    corpus, tmp_path, monkeypatch, capsys
):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    out = str(tmp_path / "run")
    commands = (
        ["train", "--text", str(corpus), "--out", out, *TINY],
        ["evaluate", "--run", out, "--text", str(corpus)],
        ["inspect", "--run", out],
    )
    for argv in commands:
        assert main(argv) == 2
        shown = capsys.readouterr().err
        assert shown.startswith("rnnjax: pictures need matplotlib: ")
        assert shown.endswith(': pip install "rnnjax[train]"\n')
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_says_how_to_go_on(
    corpus, tmp_path, monkeypatch, capsys, number, status
):
    def fit(*_, **__):
        raise Interrupted(number, 2)

    monkeypatch.setattr(run_module, "fit", fit)
    out = tmp_path / "a run"
    assert main(["train", "--text", str(corpus), "--out", str(out), *TINY]) == status
    assert capsys.readouterr().err == (
        f"rnnjax: stopped by {number.name} after step 2; to go on: rnnjax train --resume '{out}'\n"
    )


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_a_console_of_any_encoding_shows_everything(run, tmp_path, monkeypatch, encoding):
    """What it cannot show is a question mark; a lone surrogate no encoding can."""
    folder = shutil.copytree(run, tmp_path / "界")
    text = tmp_path / "é.txt"
    text.write_text("some words")
    console = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", console)
    prompt = ["--prompt", "é界\udcff", "--unknown", "--length", "2"]
    argvs = (
        ["generate", "--run", str(folder), *prompt],
        ["generate", "--run", str(folder), *prompt, "--samples", "2"],
        ["evaluate", "--run", str(folder), "--text", str(text), "--plot", str(folder / "é.png")],
        ["inspect", "--run", str(folder)],
        ["plan", "--layers", "1"],
    )
    assert [main(argv) for argv in argvs] == [0] * len(argvs)
    report(Result(folder, "error", {"model": 1.0}, {}, 1.0, "é", "s", "“界” \udcff"))
    console.flush()
    shown = console.buffer.getvalue().decode(encoding)
    assert shown.startswith("é界\udcff".encode(encoding, "replace").decode(encoding))
    assert "“界” \udcff".encode(encoding, "replace").decode(encoding) in shown


def test_as_a_process(run):
    """A byte that is not UTF-8 reaches the prompt as a lone surrogate: still one line."""

    def rnnjax_cli(*argv):
        return subprocess.run(
            [sys.executable, "-m", "rnnjax.cli", *argv],
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"},
            capture_output=True,
            check=False,
        )

    good = rnnjax_cli("generate", "--run", str(run), "--prompt", "some", "--length", "5")
    assert (good.returncode, good.stderr) == (0, b"")
    assert good.stdout.startswith(b"some")
    bad = rnnjax_cli("generate", "--run", str(run), "--prompt", b"some\xff")
    assert (bad.returncode, bad.stdout) == (2, b"")
    assert bad.stderr == (
        b"rnnjax: the character '\\udcff' (position 4) was not in the training text\n"
    )
