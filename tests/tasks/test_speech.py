"""Speech: how digits are said, what is heard of them, what users bring, what is reported."""

import itertools
import math
import os
import pathlib
import re
import shutil
import struct
import wave

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.io.wavfile
import scipy.signal
from oracles import assert_close

from rnnjax.cli import main
from rnnjax.tasks.speech import Speech, espeak, features, voices
from rnnjax.tasks.speech.baselines import Templates, by_templates, recognised, templates_of
from rnnjax.tasks.speech.recordings import read_transcripts, read_wav
from rnnjax.tasks.speech.scores import WORDS, Utterances, figures_of
from rnnjax.tasks.speech.sounds import DIGITS, PHONES, PRONUNCIATIONS, Sound
from rnnjax.tasks.speech.voices import Plan, Voice, draw_voice, planned, resonated, spoken
from rnnjax.train import ctc

RNG = np.random.default_rng(0)
RATE = 8000
MAN = Voice(pitch=100.0, tract=1.0, pace=1.0, breath=0.0, snr=60.0)
KINDS = ("train", *(f"{part} {side}" for part in ("validation", "test")
                    for side in ("between", "beyond")))  # fmt: skip


# --- the synthesiser ------------------------------------------------------------------------------


def held(sound, frames, pitch=100.0):
    """A plan in which nothing changes."""
    tracks = [np.full(frames, float(value)) for value in sound[2:]]
    return Plan(np.full(frames, pitch), np.tile(np.array(sound.formants, float), (frames, 1)),
                *tracks)  # fmt: skip


def test_voices_of_one_part_are_in_no_other():
    for ranges in (voices.PITCHES, voices.TRACTS):
        assert tuple(ranges) == KINDS
        every = sorted(itertools.chain(*ranges.values()))
        assert len(every) == 8
        assert all(a[1] <= b[0] for a, b in itertools.pairwise(every))
        assert set(every[2:-2]) == {x for k in (0, 1, 3) for x in ranges[KINDS[k]]}
        assert set(every[1:-1]) - set(every[2:-2]) == set(ranges["validation beyond"])
    rng = np.random.default_rng(0)
    for kind in KINDS:
        drawn = [draw_voice(rng, kind, 15.0) for _ in range(50)]
        for name, ranges in (("pitch", voices.PITCHES), ("tract", voices.TRACTS)):
            found = [getattr(voice, name) for voice in drawn]
            hit = {[a <= x <= b for a, b in ranges[kind]].index(True) for x in found}
            assert len(hit) == len(ranges[kind])
        assert all(15 <= voice.snr <= 35 for voice in drawn)


@pytest.mark.parametrize("tract", [1.0, 0.85])
def test_a_vowel_has_its_formants(tract):
    """Resonances of the whole are where the tract puts them: seen by pulses that are far apart."""
    for phone in ("AH", "UW", "IY"):
        formants = np.array(PHONES[phone][0].formants) / tract
        plan = held(Sound(1.0, tuple(formants), voice=1.0), 200, pitch=5.0)
        (sound,) = resonated([plan], [MAN._replace(tract=tract)], RATE, [RNG])
        spectrum = np.abs(np.fft.rfft(sound[1600:3200]))  # one pulse: 5 Hz a bin
        peaks = 5 * scipy.signal.argrelmax(spectrum, order=10)[0]
        for at in (*formants, 3300 / tract):
            assert np.abs(peaks - min(at, 3800)).min() < 0.04 * at, (phone, at)


def test_resonators_are_filters_one_after_the_other():
    """The cascade in scipy, which knows nothing of all at once."""
    sound = Sound(1.0, (500, 1500, 2500), 0.7, 0.2, 0.4, 3000, 800)
    voice = MAN._replace(breath=0.3)
    (got,) = resonated([held(sound, 60, 117.0)], [voice], RATE, [np.random.default_rng(5)])
    noise = np.random.default_rng(5).normal(size=(60 * 40, 2))
    turns = np.floor(np.arange(1, 2401) * (117 / RATE))
    pulses = voices.PULSE * 0.7 * np.diff(turns, prepend=0)

    def through(x, at, width):
        r = math.exp(-math.pi * width / RATE)
        b, c = 2 * r * math.cos(2 * math.pi * at / RATE), -(r**2)
        return scipy.signal.lfilter([1 - b - c], [1, -b, -c], x)

    def later(x):
        return np.concatenate([[0.0], x[:-1]])

    y = later(through(pulses, 0, 100)) + voices.BREATH * (0.2 + 0.3 * 0.7) * noise[:, 0]
    for at, width in ((500, 60), (1500, 90), (2500, 150)):
        y = later(through(y, at, width))
    y = through(y, 3300, 250)
    hiss = through(voices.HISS * 0.4 * noise[:, 1], 3000, 800)
    r, turn = math.exp(-math.pi * 0.1), 2 * math.pi * 3000 / RATE
    loudest = abs((1 - r) * (1 - r * np.exp(-2j * turn)))
    hiss *= loudest / (1 - 2 * r * math.cos(turn) + r**2)
    np.testing.assert_allclose(got, y - later(y) + hiss, atol=1e-9 * np.abs(got).max())


def test_what_is_said_does_not_depend_on_who_stands_beside():
    words = [["six"], ["eight", "two"], ["one"]]
    who = [draw_voice(RNG, "train", 15.0) for _ in words]
    together = spoken(words, who, RATE, (1, 2))
    alone = spoken(words[:1], who[:1], RATE, (1, 2))
    np.testing.assert_array_equal(together[0], alone[0])
    assert all(sound.dtype == np.float32 for sound in together)
    other = spoken(words[:1], who[:1], RATE, (1, 3))[0]
    assert len(other) != len(alone[0]) or np.abs(other - alone[0]).max() > 0.1


def test_noise_is_as_strong_as_its_ratio_says():
    for snr in (0.0, 20.0):
        voice = MAN._replace(snr=snr)
        (sound,) = spoken([["nine"]], [voice], RATE, (0,))
        quiet = sound[: int(0.03 * RATE)]  # nothing is said yet
        assert np.square(quiet).mean() == pytest.approx(10 ** (-snr / 10), rel=0.4)


def test_digits_are_said_sound_by_sound():
    assert list(PRONUNCIATIONS) == DIGITS
    assert {phone for said in PRONUNCIATIONS.values() for phone in said.split()} <= set(PHONES)
    rng = np.random.default_rng(3)
    plans = {pace: [planned(["zero"], MAN._replace(pace=pace), rng) for _ in range(40)]
             for pace in (0.8, 1.3)}  # fmt: skip
    length = {pace: np.mean([(plan.voice + plan.hiss > 0.1).sum() for plan in some])
              for pace, some in plans.items()}  # fmt: skip
    assert length[0.8] / length[1.3] == pytest.approx(1.3 / 0.8, rel=0.1)
    plan = plans[0.8][0]
    assert plan.formants.shape == (len(plan.pitch), 3)
    assert np.abs(np.diff(plan.formants[:, 1])).max() < 150  # sounds glide into each other
    short = [planned(["zero"], MAN._replace(tract=0.8), rng).formants.mean() for _ in range(40)]
    usual = [planned(["zero"], MAN, rng).formants.mean() for _ in range(40)]
    assert np.mean(short) / np.mean(usual) == pytest.approx(1.25, rel=0.02)


# --- what is heard --------------------------------------------------------------------------------


def test_mel_filters_by_hand():
    """Band by band and bin by bin."""
    size, bands = 256, 7

    def to_mel(f):
        return 2595 * math.log10(1 + f / 700)

    ends = np.linspace(to_mel(features.LOWEST), to_mel(4000), bands + 2)
    ends = [700 * (10 ** (m / 2595) - 1) for m in ends]
    got = features.filters(bands, RATE, size)
    assert got.shape == (129, bands)
    for k in range(bands):
        low, middle, high = ends[k : k + 3]
        for n in range(129):
            f = n * RATE / size
            want = (f - low) / (middle - low) if f < middle else (high - f) / (high - middle)
            assert got[n, k] == pytest.approx(max(0, want), abs=1e-9)


def test_cepstra_are_sums_of_cosines():
    xs = RNG.normal(size=(3, 20))
    k, d = np.mgrid[:13, :20]
    scale = np.where(k[:, :1] == 0, math.sqrt(1 / 20), math.sqrt(2 / 20))
    want = xs @ (scale * np.cos(math.pi * k * (2 * d + 1) / 40)).T
    np.testing.assert_allclose(features.cepstra(xs), want, atol=1e-12)


def test_log_energies_of_a_tone():
    t = np.arange(RATE) / RATE
    tone = np.sin(2 * np.pi * 1000 * t)
    heard = features.log_mel(tone, RATE, 20)
    assert heard.shape == (98, 20)  # windows of 25 ms, every 10 ms, that are whole
    assert heard.dtype == np.float32
    middles = features.edges(20, RATE)[1:-1]
    assert (heard.argmax(axis=1) == np.abs(middles - 1000).argmin()).all()
    # One window, by a sum of its own.
    window = tone[80:280] * math.sqrt(2) * (0.54 - 0.46 * np.cos(2 * np.pi * np.arange(200) / 199))
    turn = np.exp(-2j * np.pi * np.outer(np.arange(129), np.arange(200)) / 256)
    energy = np.abs(turn @ window) ** 2 / 200
    want = np.log(energy @ features.filters(20, RATE, 256) + features.FLOOR)
    np.testing.assert_allclose(heard[1], want, atol=1e-3)
    np.testing.assert_allclose(features.log_mel(0.01 * tone, RATE, 20), heard, atol=1e-4)
    assert features.log_mel(np.zeros(10), RATE, 20).shape == (1, 20)


def test_a_warped_vowel_is_that_of_a_longer_tract():
    """Formants of a tract of length 1.2 are those of the usual one, divided by 1.2."""
    bands = 24
    short, long = (
        features.log_mel(
            resonated([held(Sound(1.0, (600 / k, 1200 / k, 2400 / k), breath=1.0), 400)],
                      [MAN._replace(tract=k)], RATE, [np.random.default_rng(1)])[0], RATE, bands,
        ).mean(axis=0)
        for k in (1.0, 1.2)
    )  # fmt: skip
    (same, warped) = np.asarray(features.warps(np.array([1.0, 1.2], np.float32), bands, RATE))
    np.testing.assert_array_equal(same, np.eye(bands))
    np.testing.assert_allclose(warped.sum(axis=1), 1, rtol=1e-5)
    low = slice(2, 18)  # above is what the rate of samples cuts off
    missed = [np.abs(x - long)[low].mean() for x in (short, warped @ short)]
    assert missed[1] < 0.5 * missed[0]


def test_warping_is_of_the_log_energies_whatever_is_read():
    """Energies that 13 cosines make: they are warped alike when those are read."""
    std = {"log-mel": RNG.uniform(0.5, 2, 20), "mfcc": RNG.uniform(0.5, 2, 13)}
    tasks = {kind: Speech(bands=20, features=kind, noise=0.0, warp=0.3) for kind in std}
    smooth = features.cepstra(np.eye(20)) @ RNG.normal(size=(13, 5 * 2))
    read = {
        kind: task._read(smooth.T).reshape(5, 2, -1) / std[kind] for kind, task in tasks.items()
    }
    got = {kind: task._varied(std[kind])(jnp.asarray(read[kind], jnp.float32), jax.random.key(0))
           for kind, task in tasks.items()}  # fmt: skip
    assert np.abs(got["log-mel"] - read["log-mel"]).max() > 0.1
    warped = np.asarray(got["log-mel"]).reshape(10, 20) * std["log-mel"]
    want = features.cepstra(warped) / std["mfcc"]
    np.testing.assert_allclose(got["mfcc"].reshape(10, 13), want, atol=1e-4)


# --- files ----------------------------------------------------------------------------------------


def tone(rate, seconds=0.2):
    return 0.5 * np.sin(2 * np.pi * 440 * np.arange(int(rate * seconds)) / rate)


@pytest.mark.parametrize(
    ("rate", "make"),
    [
        (8000, lambda x: (32767 * x).astype(np.int16)),
        (16000, lambda x: (2147483647 * x).astype(np.int32)),
        (22050, lambda x: np.round(128 + 127 * x).astype(np.uint8)),
        (11025, lambda x: x.astype(np.float32)),
        (16000, lambda x: np.stack([x, 0 * x], axis=1)),
    ],
)
def test_files_of_any_kind_are_one_sound(tmp_path, rate, make):
    file = tmp_path / "tone.wav"
    scipy.io.wavfile.write(file, rate, make(tone(rate)))
    got = read_wav(file, RATE)
    assert got.dtype == np.float32
    want = tone(RATE) * (0.5 if make(np.zeros(2)).ndim == 2 else 1)
    assert len(got) == pytest.approx(len(want), abs=1)
    assert np.abs(got[100:1500] - want[100:1500]).max() < 0.02


def header(rate, samples=b"\0\0" * 900):
    return b"RIFF" + struct.pack("<I", 36 + len(samples)) + b"WAVEfmt " + struct.pack(
        "<IHHIIHH", 16, 1, 1, rate, 2 * rate, 2, 16
    ) + b"data" + struct.pack("<I", len(samples)) + samples  # fmt: skip


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is no WAV file of plain samples"),
        (b"RIFFxxxxWAVE", "is no WAV file of plain samples"),
        (b"ID3 some music" * 9, "is no WAV file of plain samples.*convert it"),
        (header(8000)[:30], "is no WAV file of plain samples"),
        (header(8000).replace(b"data", b"none"), "plain samples: it has no samples; convert it"),
        (header(0), "says that it has 0 samples a second: write the right rate into it"),
        (header(10**6), "says that it has 1000000 samples a second"),
        (header(8000, b"\0\0" * 9), r"has 9 samples: at least 0\.025 s are needed"),
    ],
)
def test_files_that_will_not_do(tmp_path, data, message):
    file = tmp_path / "bad.wav"
    file.write_bytes(data)
    with pytest.raises(ValueError, match=message) as raised:
        read_wav(file, RATE)
    assert "\n" not in str(raised.value)
    assert str(file) in str(raised.value)


def test_a_file_that_is_not_there_or_not_finite(tmp_path):
    with pytest.raises(ValueError, match=r"none.wav cannot be read: No such file"):
        read_wav(tmp_path / "none.wav", RATE)
    scipy.io.wavfile.write(tmp_path / "nan.wav", RATE, np.full(900, np.nan, np.float32))
    scipy.io.wavfile.write(tmp_path / "loud.wav", RATE, np.full(900, 1e40))
    for name in ("nan", "loud"):
        with pytest.raises(ValueError, match=r"has samples that are no finite numbers, or beyond"):
            read_wav(tmp_path / f"{name}.wav", RATE)
    with pytest.raises(ValueError, match=r"'a\\x00\.wav' cannot be read: "):
        read_wav(pathlib.Path("a\0.wav"), RATE)


def test_a_file_of_24_bits(tmp_path):
    sound = tone(RATE)
    whole = np.round((2**23 - 1) * sound).astype("<i4").view(np.uint8).reshape(-1, 4)[:, :3]
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setparams((1, 3, RATE, 0, "NONE", ""))
        file.writeframes(whole.tobytes())
    np.testing.assert_allclose(read_wav(tmp_path / "a.wav", RATE), sound, atol=1e-6)


def test_transcripts_of_both_kinds(tmp_path):
    want = [(str(tmp_path / "a.wav"), "two one"), (str(tmp_path / "b/c.wav"), "nine")]
    tabs, commas = tmp_path / "transcripts.tsv", tmp_path / "transcripts.csv"
    commas.write_text('\ufefftext,file\n"Two  one", a.wav\nnine,b/c.wav\n')
    assert read_transcripts(tmp_path) == read_transcripts(commas) == want
    tabs.write_text("a.wav\tTwo  one\nb/c.wav\tnine\n")
    assert read_transcripts(tmp_path) == want
    for text in ("a.wav\t\n", "a.wav two\n", "a.wav\ttwo\n\tone\n"):
        tabs.write_text(text)
        with pytest.raises(ValueError, match=r"tsv, line \d must be what is read, a tab"):
            read_transcripts(tmp_path)
    tabs.unlink()
    for text, message in {
        "file,text\na.wav,\n": "line 2: the column 'text' is empty",
        "file,text\na.wav,two, one\n": "line 2 has more columns than the first line names",
        "file,words\na.wav,two\n": "no column 'text', but file, words: name the right one with a f",
        "file,text\n": "has no line with a file and what is said",
    }.items():
        commas.write_text(text)
        with pytest.raises(ValueError, match=message):
            read_transcripts(tmp_path)
    commas.unlink()
    with pytest.raises(ValueError, match=r"has no transcripts\.tsv"):
        read_transcripts(tmp_path)
    with pytest.raises(ValueError, match="does not exist"):
        read_transcripts(tmp_path / "nowhere")


def recorded(folder, speakers=4, each=3):
    """A folder of a user's: a folder each speaker, with digits one by one."""
    folder.mkdir(exist_ok=True)
    lines = []
    words = [[DIGITS[n % 10]] for n in range(speakers * each)]
    for n, sound in enumerate(spoken(words, [MAN] * len(words), RATE, (7,))):
        name = f"s{n // each}/{n}.wav"
        (folder / name).parent.mkdir(exist_ok=True)
        scipy.io.wavfile.write(folder / name, RATE, (3000 * sound).astype(np.int16))
        lines.append(f"{name}\t{words[n][0]}\n")
    (folder / "transcripts.tsv").write_text("".join(lines))
    return folder


TINY = {"bands": 4, "hidden_size": 3, "layers": 1, "beam": 2, "buckets": 1, "batch_size": 4}


def test_a_folder_of_recordings(tmp_path):
    folder = recorded(tmp_path / "said")
    task = Speech(recordings=folder, **TINY)
    data = task.data()
    speakers = [{file.split("/")[-2] for file in part.files} for part in data[:3]]
    assert [len(some) for some in speakers] == [2, 1, 1]  # nobody is in two parts
    assert not speakers[0] & speakers[1] | speakers[0] & speakers[2] | speakers[1] & speakers[2]
    assert task.example(data) == data.test.files[0]
    moved = Speech(recordings=shutil.copytree(folder, tmp_path / "moved"), **TINY).data()
    assert [part.texts for part in moved[:3]] == [part.texts for part in data[:3]]
    assert moved.facts == data.facts
    again = task.read(folder, data.facts)
    assert len(again.texts) == 12
    for n, file in enumerate(data.test.files):
        place = again.files.index(file)
        assert again.texts[place] == data.test.texts[n]
        np.testing.assert_array_equal(again.log_mels[place], data.test.log_mels[n])
        np.testing.assert_array_equal(task._asked(file), data.test.log_mels[n])
    table = folder / "transcripts.tsv"
    table.write_text("s0/0.wav\tzero zero zero zero zero zero zero zero zero\n")
    with pytest.raises(ValueError, match=r"s0/0\.wav is too short for its transcript 'zero zero"):
        task.read(folder, data.facts)
    table.write_text("s0/99.wav\tzero\n")
    with pytest.raises(ValueError, match=r"s0/99\.wav cannot be read"):
        task.read(folder, data.facts)
    table.write_text("s0/0.wav\tzürich\n")
    with pytest.raises(ValueError, match="which the training data have not"):
        task.read(folder, {**data.facts, "letters": {"known": list("zero"), "unknown": False}})


def test_letters_twice_need_a_blank_between():
    facts = {"letters": {"known": ["a", "b"], "unknown": False}}
    task = Speech(**TINY)  # one pyramid: 5 frames are 3 steps
    for text, fits in (("aba", True), ("aa", True), ("aab", False), ("abab", False)):
        part = Utterances([np.zeros((5, 4), np.float32)], [text])
        if fits:
            task._alignable(part, facts)
        else:
            with pytest.raises(ValueError, match=r"utterance 1 is too short .* need 4:"):
                task._alignable(part, facts)


# --- espeak-ng ------------------------------------------------------------------------------------


def fake(folder, monkeypatch, body):
    """An espeak-ng that notes what it is asked."""
    program = folder / espeak.PROGRAM
    program.write_text(f'#!/bin/sh\necho "$@" >> {folder}/asked\n{body}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def test_espeak_is_asked_in_voices_of_its_part(tmp_path, monkeypatch):
    with wave.open(str(tmp_path / "tone.wav"), "wb") as file:
        file.setparams((1, 2, 22050, 0, "NONE", ""))
        file.writeframes((32767 * tone(22050, 0.6)).astype("<i2").tobytes())
    fake(tmp_path, monkeypatch, f'cp {tmp_path}/tone.wav "$8"')
    task = Speech(voices="espeak", utterances=12, held_out=6, longest=2, **TINY)
    data = task.data()
    assert [len(part.texts) for part in data[:3]] == [12, 3, 6]
    lines = (tmp_path / "asked").read_text().splitlines()
    form = r"-v (en-us|en-gb)\+(\w+) -s (\d+) -p (\d+) -w \S+ ([a-z ]+)"
    asked = [re.fullmatch(form, line).groups() for line in lines]
    assert [words for *_, words in asked] == [text for part in data[:3] for text in part.texts]
    parts = [{who for _, who, *_ in asked[a:b]} for a, b in ((0, 12), (12, 15), (15, 21))]
    assert all(some <= set(known) for some, known in zip(parts, espeak.VARIANTS.values(),
                                                         strict=True))  # fmt: skip
    assert len(parts[0]) > 2
    every = list(itertools.chain(*espeak.VARIANTS.values()))
    assert len(set(every)) == len(every)
    assert data.test.kinds == ()
    assert task._asked("1").shape == (58, 4)


def test_espeak_that_is_not_there_or_fails(tmp_path, monkeypatch, capsys):
    train = ["train", "speech", "--voices", "espeak", "--out", str(tmp_path / "run")]
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(train) == 2
    said = capsys.readouterr().err
    assert said.startswith("rnnjax: espeak-ng is not on the PATH: install it")
    assert said.count("\n") == 1
    fake(tmp_path, monkeypatch, "echo no such; echo voice >&2; exit 3")
    with pytest.raises(ValueError, match=r"espeak-ng with the voice \S+ failed: voice$"):
        espeak.espoken([["one"]], "train", RATE, (0,))


# --- templates ------------------------------------------------------------------------------------


def test_templates_by_all_ways_through_them():
    """Every way of four frames through a silence and two words, one by one."""
    rng = np.random.default_rng(2)
    words, starts = ["", "a", "b"], np.array([0, 1, 3])
    owner, ends = [0, 1, 1, 2, 2, 2], {0, 2, 5}
    seen = set()
    for trial in range(12):
        frames, xs = rng.normal(size=(6, 2)), rng.normal(size=(4, 2))
        penalty = (0.0, 1.0, 4.0)[trial % 3]
        templates = Templates(frames, starts, words)
        best = (np.inf, None)
        for way in itertools.product(range(6), repeat=4):
            if way[0] not in starts or way[-1] not in ends:
                continue
            cost = np.square(xs - frames[list(way)]).sum()
            said, fine = [owner[way[0]]], True
            for a, b in itertools.pairwise(way):
                if owner[a] != owner[b] or b - a not in (0, 1, 2):
                    fine &= b in starts and a in ends
                    said.append(owner[b])
            if fine:
                cost += penalty * sum(place > 0 for place in said)
                best = min(best, (cost, [words[n] for n in said if n]), key=lambda pair: pair[0])
        got = recognised(xs, templates, penalty)
        assert got == best[1]
        seen.add(tuple(got))
    assert len(seen) > 3


def test_templates_are_of_words_said_alone():
    quiet, loud = np.full((8, 2), -1.0), RNG.normal(0, 0.1, (20, 2)) + 5
    xs = [np.concatenate([quiet, loud, quiet])] * 3
    templates = templates_of(xs, ["a", "b", "a"])
    assert templates.words == ["", "a", "a", "b"]
    np.testing.assert_allclose(templates.frames[0], -1)
    sizes = np.diff([*templates.starts, len(templates.frames)])
    assert sizes.tolist() == [1, 30, 30, 30]  # with five frames to both sides
    assert templates_of(xs, ["a", "b", "a c"]) is None


def test_templates_hear_through_a_voice():
    """What is the same all through an utterance does not matter, and every template helps."""
    rng = np.random.default_rng(0)
    ways = {word: [rng.normal(0, 1, (12, 20)) for _ in range(20)] for word in "ab"}

    def said(*words, voice=0.0):
        """Half of it quiet: before each word and behind all."""
        quiet = np.full((12 * len(words) // (len(words) + 1), 20), -4.0)
        parts = [part for w, n in words for part in (quiet, ways[w][n])]
        return np.concatenate([*parts, quiet]) + voice

    alone = [(word, n) for word in "ab" for n in range(20)]
    train = Utterances([said(each) for each in alone], [word for word, _ in alone])
    held = Utterances([said(("a", 1), ("b", 2))], ["a b"])
    rows = [[("b", n), ("a", 19 - n)] for n in range(20)]
    voice = rng.normal(0, 2, 20)
    voice -= voice.mean()  # as loud as the others
    test = Utterances([said(*row, voice=voice) for row in rows], ["b a"] * 20)
    assert by_templates(train, held, test) == test.texts


# --- figures and answers --------------------------------------------------------------------------

FACTS = {"letters": {"known": [" ", "e", "n", "o"], "unknown": False}, "std": [1.0] * 4}


def test_figures_by_hand():
    part = Utterances([], ["one two", "two", "nine one one"], ["a", "b", "a"])
    got = figures_of(["one to", "", "nine one one one"], part)
    assert got == pytest.approx({
        WORDS: 100 * 3 / 6, "letter errors, %": 100 * (1 + 3 + 4) / 22,
        "% of utterances wrong": 100, f"{WORDS}, a": 100 * 2 / 5, f"{WORDS}, b": 100,
    })  # fmt: skip
    assert next(iter(got)) == Speech.metric


def test_answers_are_of_their_utterances_whatever_the_order():
    task = Speech(**{**TINY, "cell": "elman", "buckets": 2})
    xs = [RNG.normal(size=(n, 4)).astype(np.float32) for n in (9, 40, 12, 33, 8)]
    texts = ["one", "on no", "e", "none one", "o"]
    system = task.system(FACTS)
    params = jax.tree.map(lambda leaf: 4 * leaf, system.init(jax.random.key(1)))
    together = system.answers(params, Utterances(xs, texts))
    assert len({*together.texts}) > 2
    for n in range(5):
        assert len(together.scores[n]) == -(-len(xs[n]) // 2)
    one = system.answers(params, Utterances(xs[4:], texts[4:]))
    assert (together.texts[4], together.quick[4]) == (one.texts[0], one.quick[0])
    assert_close(together.scores[4], one.scores[0])
    # Utterance by utterance, and in training without noise.
    each = [
        nats_alone(scores, [1 + FACTS["letters"]["known"].index(c) for c in text])
        for scores, text in zip(together.scores, texts, strict=True)
    ]
    np.testing.assert_allclose(together.nats, sum(each), rtol=1e-4)
    quiet = Speech(
        **{**TINY, "cell": "elman", "noise": 0.0, "warp": 0.0, "dropout": 0.0, "batch_size": 5}
    )
    batch = quiet._batches(Utterances(xs, texts), FACTS, 5).batch(0)
    loss = jax.jit(quiet.system(FACTS).loss)
    value, _ = loss(params_of(quiet, params), (), batch, jax.random.key(0))
    np.testing.assert_allclose(value, together.nats / sum(map(len, texts)), rtol=1e-4)


def nats_alone(scores, ids):
    one = np.ones(1, int)
    return float(ctc(scores[:, None], len(scores) * one, np.array([ids]), len(ids) * one).total)


def params_of(task, params):
    """The parameters of a network with dropout for one without."""
    weights = [leaf for leaf in params if jax.tree.leaves(leaf)]
    shape = jax.eval_shape(task.system(FACTS).init, jax.random.key(0))
    return jax.tree.unflatten(jax.tree.structure(shape), jax.tree.leaves(weights))


def test_data_of_the_task():
    task = Speech.tiny(None)
    data = task.data()
    assert [len(part.texts) for part in data[:3]] == [8, 2, 4]
    assert data.validation.kinds == ["voices between", "voices beyond"]
    assert data.test.kinds == ["voices between"] * 2 + ["voices beyond"] * 2
    xs = task._inputs(data.train.log_mels, data.facts)
    np.testing.assert_allclose([x.mean(0) for x in xs], 0, atol=1e-4)
    np.testing.assert_allclose(np.concatenate(xs).std(0), 1, atol=1e-4)
    for part in data[:3]:
        assert {word for text in part.texts for word in text.split()} <= set(DIGITS)
    few = Speech(**{**TINY, "bands": 16}, utterances=4, held_out=2, longest=1, features="mfcc")
    found = few.data()
    assert len(found.facts["std"]) == 13
    (xs,) = few._inputs(found.train.log_mels[:1], found.facts)
    want = features.cepstra(found.train.log_mels[0])
    want = (want - want.mean(axis=0)) / found.facts["std"]
    np.testing.assert_allclose(xs, want, atol=1e-4)


def test_requests():
    task = Speech(**TINY)
    one, two = task._asked(" 4 07 "), task._asked("407")
    np.testing.assert_array_equal(one, two)
    assert len(task._asked("4071")) > len(two)
    for request in ("", "four", "4,0", "٤", "none.wav"):
        with pytest.raises(ValueError, match=r"a request is a WAV file, or digits|cannot be read"):
            task._asked(request)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"pyramids": 3}, "pyramids must be at most layers, got 3, 2"),
        ({"held_out": 1}, "held_out must be"),
        ({"sample_rate": 100}, "sample_rate must be"),
        ({"snr": math.nan}, "snr must be"),
        ({"dropout": 1.0}, "dropout must be"),
        ({"noise": -1.0}, "noise must be"),
        ({"warp": -1.0}, "warp must be"),
        ({"beam": 0}, "beam must be"),
        ({"voices": "mine"}, "voices must be"),
    ],
)
def test_settings_that_will_not_do(changed, message):
    with pytest.raises(ValueError, match=message):
        Speech(**changed).check()
