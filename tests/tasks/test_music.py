"""Music: what chorales obey, which files are read, what a step costs, what is drawn and written."""

import contextlib
import dataclasses
import itertools
import json
import os
import pickle
import re
import wave

import jax
import jax.numpy as jnp
import mido
import numpy as np
import pytest
import scipy.io

from rnnjax.cli import main
from rnnjax.tasks.music import Music, baselines
from rnnjax.tasks.music.chorales import CHORDS, RANGES, chorale
from rnnjax.tasks.music.midi import TEMPO, notes_of, read_midi, write_midi
from rnnjax.tasks.music.model import Composer
from rnnjax.tasks.music.requests import parse_request
from rnnjax.tasks.music.rolls import (
    LOWEST,
    PARTS,
    chord_of,
    frames,
    pitch_name,
    pitch_of,
    read_pieces,
)
from rnnjax.tasks.music.sound import RATE, sound
from rnnjax.train.sources import sequences

C, E, G, A = (pitch - LOWEST for pitch in (60, 64, 67, 69))
NOTES = 88


def rolls(*lengths, density=0.05, seed=0):
    draw = np.random.default_rng(seed)
    return [(draw.random((n, NOTES)) < density).astype(np.uint8) for n in lengths]


def steps_of(roll):
    return [tuple((LOWEST + np.flatnonzero(frame)).tolist()) for frame in roll]


# --- generated chorales ---------------------------------------------------------------------------


def test_a_chorale_is_a_function_of_its_numbers():
    assert np.array_equal(chorale(3, 1), chorale(3, 1))
    others = [chorale(3, 0), chorale(4, 1)]
    assert not any(np.array_equal(chorale(3, 1), other) for other in others)


def test_chorales_keep_the_rules():
    parallel, moves = 0, 0
    for n in range(25):
        voices = chorale(0, n)
        assert (np.diff(voices, axis=1) < 0).all(), "no voice is as low as the next"
        assert (np.diff(voices, axis=1)[:, :2] >= -12).all()
        for voice, (low, high) in zip(voices.T, RANGES, strict=True):
            assert low <= voice.min() <= voice.max() <= high
        heard = [frozenset(chord % 12) for chord in voices.tolist() for chord in [np.array(chord)]]
        keys = [
            (mode, tonic)
            for mode, tonic in itertools.product(CHORDS, range(12))
            if set(heard)
            <= {frozenset((tonic + x) % 12 for x in tones) for tones in CHORDS[mode].values()}
            and heard[-1] == {(tonic + x) % 12 for x in CHORDS[mode]["I"]}
        ]
        assert keys, "all chords are of one key, and the last one is its first"
        leading = (keys[0][1] + 11) % 12
        assert ((voices % 12 == leading).sum(axis=1) <= 1).all()
        for before, after in itertools.pairwise(voices.tolist()):
            for i, j in itertools.combinations(range(4), 2):
                apart = (before[i] - before[j]) % 12
                moves += before != after
                same = apart == (after[i] - after[j]) % 12 and before[i] != after[i]
                parallel += same and apart in (0, 7)
    assert parallel < 0.002 * moves
    assert moves > 1000


def test_default_data_are_parts_of_chorales():
    data = Music(pieces=11).data()
    parts = [data.train, data.validation, data.test]
    assert [len(part) for part in parts] == data.facts["pieces"] == [7, 2, 2]
    every = {roll.tobytes() for part in parts for roll in part}
    assert len(every) == 11, "no piece is in two parts"
    assert all((roll.sum(axis=1) == 4).all() for roll in data.train)
    assert data.facts["longest"] == max(len(roll) for part in parts for roll in part)


# --- files ----------------------------------------------------------------------------------------


def write_pickle(path, parts, protocol=2):
    stored = {
        name: [steps_of(roll) for roll in part] for name, part in zip(PARTS, parts, strict=True)
    }
    path.write_bytes(pickle.dumps(stored, protocol=protocol))


def write_mat(path, parts):
    stored = {}
    for name, part in zip(PARTS, parts, strict=True):
        cells = np.empty((1, len(part)), object)
        cells[0, :] = [roll.astype(float) for roll in part]
        stored[f"{name}data"] = cells
    scipy.io.savemat(path, stored)


def write_npz(path, parts):
    stored = {}
    for name, part in zip(PARTS, parts, strict=True):
        lengths = np.array([len(roll) for roll in part])
        padded = np.zeros((len(part), lengths.max(), NOTES), bool)
        for row, roll in zip(padded, part, strict=True):
            row[: len(roll)] = roll
        stored |= {name: padded, f"{name}_lengths": lengths}
    np.savez(path, **stored)


def write_folder(path, parts):
    for name, part in zip(PARTS, parts, strict=True):
        (path / name).mkdir(parents=True)
        for n, roll in enumerate(part):
            write_midi(path / name / f"{n}.mid", roll, LOWEST, 0.5)


def in_three_parts():
    """Pieces that end with a note, for MIDI does not say how long it is silent."""
    found = rolls(5, 3, 9, 4, 2, 6)
    for roll in found:
        roll[-1, C] = 1
    return [found[:3], found[3:5], found[5:]]


@pytest.mark.parametrize("name", ["a.pickle", "a.pkl", "a.mat", "a.npz", "folder"])
def test_every_form_gives_the_same_pieces(name, tmp_path):
    parts = in_three_parts()
    write = {".pickle": write_pickle, ".pkl": write_pickle, ".mat": write_mat, ".npz": write_npz}
    path = tmp_path / name
    write.get(path.suffix, write_folder)(path, parts)
    found = read_pieces(path, 0.5)
    assert [len(part) for part in found] == [3, 2, 1]
    for some, others in zip(found, parts, strict=True):
        for roll, other in zip(some, others, strict=True):
            assert roll.dtype == np.uint8
            np.testing.assert_array_equal(roll, other)
    task = Music(file=path, grid=0.5)
    data = task.data()
    np.testing.assert_array_equal(data.test[0], parts[2][0])
    np.testing.assert_array_equal(task.read(path, data.facts)[0], parts[2][0])


@pytest.mark.parametrize("protocol", [0, 5])
def test_pickles_of_any_protocol_are_read(protocol, tmp_path):
    write_pickle(tmp_path / "a.pkl", in_three_parts(), protocol)
    assert len(read_pieces(tmp_path / "a.pkl", 1.0)) == 3


def test_pieces_that_no_one_split_are_split_by_piece(tmp_path):
    pieces = rolls(*range(2, 12))
    np.savez(tmp_path / "a.npz", *pieces)
    task = Music(file=tmp_path / "a.npz")
    data = task.data()
    assert data.facts["pieces"] == [6, 2, 2]
    found = sorted(len(roll) for part in data[:3] for roll in part)
    assert found == list(range(2, 12)), "every piece is in one part, and whole"
    assert len(task.read(tmp_path / "a.npz", data.facts)) == 10, "to judge by: all of them"
    write_midi(tmp_path / "one.mid", pieces[-1], LOWEST, 1.0)
    with pytest.raises(ValueError, match=r"one\.mid has 1 pieces: at least 3 are needed"):
        Music(file=tmp_path / "one.mid").data()


class Evil:
    def __reduce__(self):
        return os.mkdir, ("caught",)


def of_cells(**stored):
    return lambda path: scipy.io.savemat(path, stored)


def pickled(stored):
    return lambda path: path.write_bytes(pickle.dumps(stored))


def split(piece):
    return {"train": [piece], "valid": [[(60,)]], "test": [[(60,)]]}


def midi(*messages, note=60, **options):
    track = mido.MidiTrack([mido.Message(kind, note=note, time=9, **m) for kind, m in messages])
    return lambda path: mido.MidiFile(tracks=[track], **options).save(path)


ROLL = np.zeros((3, NOTES))
BAD = {
    "a.pickle evil": (pickled(Evil()), "a.pickle is no plain pickle: it holds posix.mkdir"),
    "b.pickle array": (pickled(split(ROLL)), "b.pickle is no plain pickle: it holds numpy"),
    "c.pkl": (lambda path: path.write_bytes(b"junk"), "c.pkl is no plain pickle: "),
    "d.pkl": (pickled([1]), "d.pkl must be a dict with train, valid and test, got list"),
    "e.pkl": (pickled({"train": []}), "e.pkl must be a dict with train, valid and test, got keys"),
    "f.pkl": (pickled(split([(60,), (20,)])), "piece 0 of train, step 1 must be MIDI numbers"),
    "g.pkl": (pickled(split([(60.0,)])), "piece 0 of train, step 0 must be MIDI numbers"),
    "h.pkl": (pickled(split([])), "piece 0 of train must be a list of steps, got []"),
    "i.pkl": (pickled({**split([(60,)]), "test": []}), "i.pkl has no pieces in test"),
    "a.mat": (lambda path: path.write_bytes(b"junk" * 99), "a.mat is no .mat file that scipy"),
    "b.mat": (of_cells(x=1), "b.mat has no traindata, but x: traindata, validdata, testdata"),
    "c.mat": (of_cells(traindata=ROLL[None], validdata=ROLL[None, :, :9], testdata=ROLL[None]),
              "c.mat: piece 0 of validdata must be numbers [T, 88]"),
    "d.mat": (of_cells(traindata=ROLL[None] + 2, validdata=ROLL[None], testdata=ROLL[None]),
              "d.mat: piece 0 of traindata must be 1 for a note that sounds and 0"),
    "a.npz": (lambda path: path.write_bytes(b"junk"), "a.npz is no .npz file of plain arrays"),
    "b.npz": (lambda path: np.savez(path, x=np.array([{}])), "is no .npz file of plain arrays"),
    "c.npz": (lambda path: np.savez(path, x=ROLL.T), "c.npz: x must be numbers [T, 88]"),
    "d.npz": (lambda path: np.savez(path, train=ROLL, valid=ROLL, test=ROLL),
              "d.npz: train must be [N, T, 88] and train_lengths integers [N], got [3, 88]"),
    "e.npz": (lambda path: np.savez(path, **dict.fromkeys(PARTS, ROLL[None]), train_lengths=[4]),
              "e.npz: train_lengths must be in [1, 3]"),
    "f.npz": (lambda path: np.savez(path), "f.npz has no pieces"),
    "g.npz": (lambda path: np.savez(path, **dict.fromkeys(PARTS, 1.0)),
              "g.npz: train must be [N, T, 88] and train_lengths integers [N], got []"),
    "a.mid": (lambda path: path.write_bytes(b"junk"), "a.mid is no sound MIDI file: "),
    "b.mid": (midi(), "b.mid has no notes but drums"),
    "c.mid": (midi(("note_on", {"channel": 9})), "c.mid has no notes but drums"),
    "d.mid": (midi(("note_on", {}), type=2), "d.mid has tracks of their own time, and no beats"),
    "e.mid": (midi(("note_on", {}), ticks_per_beat=-6360), "e.mid has times in seconds"),
    "f.mid": (midi(("note_on", {}), ("note_off", {}), note=20), "f.mid has no notes that a piano"),
    "a.txt": (lambda path: path.write_text("C4"), "a.txt must be one of .mat, .pickle, .pkl, .npz"),
    "empty": (lambda path: path.mkdir(), "empty has no MIDI files (.mid, .midi) in it"),
    "half": (lambda path: write_folder(path, [rolls(4, density=1), [], rolls(3, density=1)]),
             "half has no MIDI files in valid, but in others of train, valid, test: fill all"),
    "nowhere": (lambda path: None, "nowhere does not exist"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_one_error_that_says_where(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path, (write, message) = tmp_path / name.split()[0], BAD[name]
    write(path)
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        read_pieces(path, 1.0)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "caught").exists()


def test_a_damaged_midi_file_is_one_error(tmp_path):
    write_midi(tmp_path / "a.mid", rolls(9)[0], LOWEST, 1.0)
    whole = (tmp_path / "a.mid").read_bytes()
    for length in range(len(whole)):
        (tmp_path / "b.mid").write_bytes(whole[:length])
        with pytest.raises(ValueError, match="is no sound MIDI file"):
            read_midi(tmp_path / "b.mid", 1.0)
    draw = np.random.default_rng(0)
    for _ in range(200):
        broken = bytearray(whole)
        broken[draw.integers(len(whole))] = draw.integers(256)
        (tmp_path / "b.mid").write_bytes(broken)
        with contextlib.suppress(ValueError):  # any other error fails
            read_midi(tmp_path / "b.mid", 1.0)


@pytest.mark.parametrize("kind", [".mat", ".npz"])
def test_a_damaged_file_of_rolls_is_one_error(kind, tmp_path):
    """Cut short anywhere, or packed bytes that are not what was packed."""
    path, parts = tmp_path / f"a{kind}", in_three_parts()
    if kind == ".mat":
        stored = {f"{name}data": [*part, ROLL[:1]] for name, part in zip(PARTS, parts, strict=True)}
        cells = {name: np.empty(len(part), object) for name, part in stored.items()}
        for name, part in stored.items():
            cells[name][:] = part
        scipy.io.savemat(path, cells, do_compression=True)
    else:
        np.savez_compressed(path, *itertools.chain(*parts))
    whole = path.read_bytes()
    junk = bytearray(whole)
    junk[len(whole) // 3 : len(whole) // 3 + 9] = b"\xff" * 9
    for data in (*(whole[:n] for n in range(0, len(whole) - 200, 41)), junk):
        path.write_bytes(data)
        with pytest.raises(
            ValueError, match=rf"a\{kind} (is no|cannot be read|has no traindata)"
        ) as error:
            read_pieces(path, 1.0)
        assert "\n" not in str(error.value)


def test_settings_that_will_not_do_are_refused():
    for changes in ({"grid": 0.5}, {"pieces": 2}, {"dropout": 1.0}, {"weight_noise": -1.0},
                    {"notes": "together"}, {"hidden_size": 0}, {"grid": 0.0}):  # fmt: skip
        with pytest.raises(ValueError, match=next(iter(changes))):
            Music(**changes).check()


# --- MIDI and sound -------------------------------------------------------------------------------


@pytest.mark.parametrize("grid", [1.0, 0.25, 1 / 7, 1.5])
def test_midi_gives_back_what_was_written(grid, tmp_path):
    (roll,) = rolls(40, density=0.2)
    roll[-1, C] = 1
    write_midi(tmp_path / "a.mid", roll, LOWEST, grid)
    found = read_midi(tmp_path / "a.mid", grid)
    np.testing.assert_array_equal(found[:, LOWEST : LOWEST + NOTES], roll)
    assert found.sum() == roll.sum()
    song = mido.MidiFile(tmp_path / "a.mid")
    assert song.length == pytest.approx(40 * grid * 60 / TEMPO, rel=1e-3)
    struck = sum(message.type == "note_on" for message in song)
    assert struck == len(notes_of(roll)) < roll.sum(), "what is held is one note"


def test_notes_are_heard_at_the_beginning_of_a_step(tmp_path):
    on = [(0, 60, 0, 96), (95, 62, 0, 5), (96, 64, 1, 97), (97, 65, 0, 50), (96, 38, 9, 99),
          (192, 12, 0, 96)]  # (tick, note, channel, how long), 96 ticks a beat  # fmt: skip
    events = sorted([(t, 1, n, c) for t, n, c, _ in on] + [(t + d, 0, n, c) for t, n, c, d in on])
    tracks = [mido.MidiTrack(), mido.MidiTrack()]
    now = [0, 0]
    for tick, velocity, note, channel in events:
        which = int(channel > 0)
        message = mido.Message("note_on", note=note, channel=channel, velocity=64 * velocity)
        tracks[which].append(message.copy(time=tick - now[which]))
        now[which] = tick
    mido.MidiFile(tracks=tracks, ticks_per_beat=96).save(tmp_path / "a.mid")
    found = [np.flatnonzero(frame).tolist() for frame in read_midi(tmp_path / "a.mid", 1.0)]
    assert found == [[60], [62, 64], [12, 64]]
    found = [np.flatnonzero(frame).tolist() for frame in read_midi(tmp_path / "a.mid", 0.5)]
    assert found == [[60], [60], [62, 64], [64, 65], [12, 64], [12]]
    assert read_pieces(tmp_path / "a.mid", 1.0)[0][0].sum() == 4, "a piano has no C0"


def test_voices_in_unison_end_by_themselves(tmp_path):
    """Two tracks of one channel: one holds a note that the other strikes and leaves."""
    held = [("note_on", 0), ("note_off", 4 * 96)]
    short = [("note_on", 96), ("note_off", 96)]
    tracks = [
        mido.MidiTrack(mido.Message(kind, note=60, time=time) for kind, time in voice)
        for voice in (held, short)
    ]
    mido.MidiFile(tracks=tracks, ticks_per_beat=96).save(tmp_path / "a.mid")
    assert read_midi(tmp_path / "a.mid", 1.0)[:, 60].tolist() == [1, 1, 1, 1]


def test_sound_has_its_length_and_its_pitch(tmp_path):
    roll = frames([[69], [69], []])
    samples = sound(roll, LOWEST, 0.4)
    assert samples.shape == (round(1.2 * RATE),)
    assert np.abs(samples).max() == pytest.approx(0.9)
    spectrum = np.abs(np.fft.rfft(samples[: round(0.8 * RATE)]))
    assert spectrum.argmax() / 0.8 == pytest.approx(440, abs=1.5)
    assert not samples[round(0.8 * RATE) :].any(), "a rest is silent"
    ends = samples[[0, 5, round(0.8 * RATE) - 5, round(0.8 * RATE) - 1]]
    assert np.abs(ends).max() < 0.03, "nothing clicks"
    assert not sound(frames([[], []]), LOWEST, 0.4).any()
    high = sound(frames([[108]]), LOWEST, 0.4)  # its third harmonic is beyond the half of RATE
    assert np.abs(np.fft.rfft(high))[: round(0.4 * 4000)].max() < 0.01 * np.abs(high).sum()


# --- names and requests ---------------------------------------------------------------------------


def test_pitches_have_names():
    assert [pitch_name(p) for p in (21, 60, 66, 108)] == ["A0", "C4", "F#4", "C8"]
    assert all(pitch_of(pitch_name(p)) == p for p in range(21, 109))
    assert [pitch_of(name) for name in ("Bb3", "Cb4", "e##4", "B#3")] == [58, 59, 66, 60]
    assert chord_of(frames([[60, 67]])[0]) == "C4 G4"
    assert chord_of(frames([[]])[0]) == "rest"
    for name in ("H4", "C", "C9", "G0", "C#b4", "4", "C44"):
        with pytest.raises(ValueError, match="is no key of a piano"):
            pitch_of(name)


def test_requests(tmp_path):
    write_midi(tmp_path / "a b.mid", frames([[72], [74]]), LOWEST, 0.5)
    asked = parse_request(
        f"C4 E4,\nrest, from {tmp_path}/a b.mid, G2, 7 steps, temperature 0.5, seed 3, to x y.wav,",
        0.5,
    )
    assert steps_of(asked.roll) == [(60, 64), (), (72,), (74,), (43,)]
    assert asked[1:4] == (7, 0.5, 3)
    assert [str(file) for file in asked.files] == ["x y.wav"]
    assert parse_request("1 step", 1.0)[1:] == (1, 1.0, 0, [])
    assert parse_request("rest", 1.0).steps == 32
    assert parse_request("9 steps", 1.0).roll.shape == (0, NOTES)


@pytest.mark.parametrize(
    ("request_", "message"),
    {
        " , ": "a request has, with commas between: chords",
        "C4 X4": "'X4' is no key of a piano",
        "many steps": "'many steps' must have a whole number from 1",
        "0 steps": "'0 steps' must have a whole number from 1 to 100000",
        "temperature -1": "'temperature -1' must have a number from 0.001",
        "temperature nan": "'temperature nan' must have a number",
        "seed -1": "'seed -1' must have a whole number from 0",
        "to piece.mp3": "'piece.mp3' must end in .mid or .midi or .wav",
        "from piece.txt": "'piece.txt' must end in .mid or .midi",
        "from nowhere.mid": "nowhere.mid does not exist",
        "100000 steps, to a.wav": "1,111 minutes of sound are asked for, and 60 can be written",
    }.items(),
)
def test_a_bad_request_is_one_error(request_, message):
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        parse_request(request_, 1.0)
    assert "\n" not in str(error.value)


# --- what a step costs ----------------------------------------------------------------------------


def composed(in_turn, seed=1):
    """A small network whose weights are all drawn, with notes that are certain but for four."""
    composer = Composer("elman", 3, 0.5, in_turn)
    params = composer.init(jax.random.key(0))
    leaves, tree = jax.tree.flatten(params)
    draw = np.random.default_rng(seed)
    return composer, jax.tree.unflatten(
        tree, [jnp.float32(draw.normal(0, 0.7, x.shape)) for x in leaves]
    )


def chances(params, roll, in_turn):
    """The probabilities of a roll's notes [T, 88], in NumPy, note by note and step by step."""
    params = jax.tree.map(lambda x: np.asarray(x, float), params)
    rnn, readout = (params["network"][name] for name in ("rnn", "readout"))
    h, before, found = np.zeros(3), np.zeros(NOTES), np.zeros(roll.shape)
    for t, frame in enumerate(roll):
        h = np.tanh(before @ rnn.w_x + h @ rnn.w_h + rnn.b)
        for n in range(NOTES):
            logit = h @ readout.w[:, n] + readout.b[n]
            for m in range(n if in_turn else 0):
                logit += frame[m] * params["within"]["w"][m, n]
            found[t, n] = 1 / (1 + np.exp(-logit))
        before = frame.astype(float)
    return found


@pytest.mark.parametrize("notes", ["apart", "in-turn"])
def test_figures_are_those_of_a_loop_in_numpy(notes):
    task = Music(cell="elman", hidden_size=3, notes=notes, buckets=2)
    system = task.system({"grid": 1.0, "longest": 9})
    _, params = composed(notes == "in-turn")
    pieces = rolls(4, 9, 1, 5, density=0.3)
    nats, first, right, every, steps = 0.0, 0.0, 0, 0, 0
    for roll in pieces:
        p = chances(params, roll, notes == "in-turn")
        each = [-np.log(np.where(v, q, 1 - q)).sum() for v, q in zip(roll, p, strict=True)]
        nats, first, steps = nats + sum(each), first + each[0], steps + len(roll)
        told = p > 0.5
        right += (told & (roll == 1)).sum()
        every += (told | (roll == 1)).sum()
    found = system.evaluate(params, pieces)
    assert list(found.values()) == pytest.approx(
        [nats / steps, (nats - first) / (steps - 4), 100 * right / every], rel=1e-5
    )
    batch = sequences(pieces, batch_size=8, buckets=1).batch(0)  # with rows that only fill it
    quiet = dataclasses.replace(task, dropout=0.0).system({"grid": 1.0, "longest": 9})
    loss = quiet.loss(params, (), batch, jax.random.key(0))[0]
    assert float(loss) == pytest.approx(nats / steps, rel=1e-5), "training minimises the same"


def test_noise_is_in_training_alone():
    task = Music(cell="elman", hidden_size=3, notes="apart", weight_noise=0.5, dropout=0.0)
    system, (_, params) = task.system({"grid": 1.0, "longest": 4}), composed(False)
    batch = sequences(rolls(4), batch_size=1).batch(0)
    losses = [float(system.loss(params, (), batch, jax.random.key(n))[0]) for n in (0, 0, 1)]
    assert losses[0] == losses[1] != losses[2]


def free(params, notes):
    """Parameters under which all notes but some are certain not to sound."""
    readout = params["network"]["readout"]
    b = jnp.full(NOTES, -1e4).at[jnp.array(notes)].set(readout.b[jnp.array(notes)])
    network = {**params["network"], "readout": readout._replace(b=b)}
    return {**params, "network": network}


@pytest.mark.parametrize("in_turn", [False, True])
def test_chords_are_drawn_as_often_as_they_are_likely(in_turn):
    composer, params = composed(in_turn)
    params, notes = free(params, [C, E, G, A]), [C, E, G, A]
    subsets = np.array(list(itertools.product((0, 1), repeat=4)))
    every = np.zeros((16, 1, NOTES), np.uint8)
    every[:, 0, notes] = subsets
    batch = sequences(list(every), batch_size=16).batch(0)
    logits = composer.logits(params, batch)
    signed = np.where(np.asarray(batch.xs[0]) == 1, logits[0], -logits[0]).astype(float)
    likely = np.exp(-np.log1p(np.exp(-signed)).sum(axis=1))
    assert likely.sum() == pytest.approx(1, abs=1e-5), "all that there can be"
    places = batch.xs[0][:, notes] @ [8, 4, 2, 1]
    keys = jax.random.split(jax.random.key(0), 20_000)
    begin = jnp.zeros((0, NOTES))
    drawn = jax.vmap(lambda key: composer.follow(params, begin, 1, 1.0, key))(keys)[:, 0]
    found = np.bincount(np.asarray(drawn)[:, notes] @ [8, 4, 2, 1], minlength=16) / len(keys)
    np.testing.assert_allclose(found[places], likely, atol=0.015)
    if in_turn:  # and it is not what independent notes give
        shares = np.asarray(drawn)[:, notes].mean(axis=0)
        apart = np.prod(np.where(subsets, shares, 1 - shares), axis=1)
        assert np.abs(found - apart).max() > 0.03


@pytest.mark.parametrize("in_turn", [False, True])
def test_a_piece_goes_on_from_all_that_came_before(in_turn):
    composer, params = composed(in_turn, seed=4)
    (roll,) = rolls(5, density=0.2)
    found = composer.follow(params, jnp.float32(roll), 6, 1e-6, jax.random.key(0))
    whole = roll
    for frame in np.asarray(found):  # near 0 degrees the likelier of two, note by note
        whole = np.concatenate([whole, frame[None].astype(np.uint8)])
        np.testing.assert_array_equal(chances(params, whole, in_turn)[-1] > 0.5, frame == 1)
    assert 0 < found.mean() < 1
    assert len(np.unique(np.asarray(found), axis=0)) > 1


def test_a_seed_gives_one_piece_and_no_number_is_an_error(tmp_path):
    task = Music.tiny(tmp_path)
    system = task.system({"grid": 1.0, "longest": 9})
    params = system.init(jax.random.key(0))
    answers = ["".join(system.predict(params, f"C4 E4, 6 steps, seed {n}")) for n in (1, 1, 2)]
    assert answers[0] == answers[1] != answers[2]
    assert len(parse_request(answers[0], 1.0).roll) == 6, "an answer may be asked on from"
    files = ["a.mid", "a.wav"]
    request = "C4 E4, 6 steps, seed 1" + "".join(f", to {tmp_path / file}" for file in files)
    told = "".join(system.predict(params, request))
    assert told.startswith(answers[0])
    assert told.endswith(f"written to {tmp_path / 'a.wav'}")
    heard = read_pieces(tmp_path / "a.mid", 1.0)[0][0]
    wanted = np.concatenate([frames([[60, 64]]), parse_request(answers[0], 1.0).roll])
    np.testing.assert_array_equal(heard, wanted[: len(heard)])
    assert not wanted[len(heard) :].any()
    with wave.open(str(tmp_path / "a.wav")) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, RATE)
        assert file.getnframes() == round(7 * 60 / TEMPO * RATE)
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    assert 0.89 * 32767 < np.abs(samples.astype(int)).max() <= 0.91 * 32767
    with pytest.raises(FileNotFoundError):
        "".join(system.predict(params, f"2 steps, to {tmp_path}/nowhere/a.wav"))
    broken = jax.tree.map(lambda x: x * np.nan, params)
    with pytest.raises(Exception, match="the probability of a note is no number"):
        "".join(system.predict(broken, "2 steps"))


# --- baselines ------------------------------------------------------------------------------------


def test_baselines_by_hand():
    train, test = rolls(6, 4, density=0.3), rolls(3, 2, density=0.3, seed=1)

    def pairs(some):
        for roll in some:
            for before, now in zip([np.zeros(NOTES), *roll[:-1]], roll, strict=True):
                yield from (
                    (int(b), int(v), n) for n, (b, v) in enumerate(zip(before, now, strict=True))
                )

    def counted(kind):
        """Nats a step where notes of a kind are counted together."""
        seen = {}
        for b, v, n in pairs(train):
            seen.setdefault(kind(b, n), [0.5, 0.5])[v] += 1
        default = [0.5, 0.5]
        told = [seen.get(kind(b, n), default) for b, _, n in pairs(test)]
        nats = [-np.log(c[v] / sum(c)) for c, (_, v, _) in zip(told, pairs(test), strict=True)]
        return sum(nats) / 5

    assert baselines.frequencies(train, test) == pytest.approx(counted(lambda b, n: n))
    assert baselines.last_chord(train, test) == pytest.approx(counted(lambda b, n: b))
    assert baselines.note_by_note(train, test) == pytest.approx(counted(lambda b, n: (b, n)))


def test_regression_is_told_what_it_says():
    draw = np.random.default_rng(0)
    roll = np.zeros((400, NOTES), np.uint8)
    roll[:, C] = draw.integers(2, size=400)
    roll[:, E] = roll[:, C]  # a higher note that goes with a lower one
    roll[1:, G] = roll[:-1, C]  # and one that goes with the step before
    train, test = [roll[:300]], [roll[300:]]
    one = np.log(2)
    assert baselines.regression(train, test) == pytest.approx(2 * one, abs=0.25)
    assert baselines.regression(train, test, True) == pytest.approx(one, abs=0.25)
    never = baselines.regression([roll[:300] * 0], [roll[:300] * 0])
    assert 0 < never < 0.2, "what never sounded may"


# --- whole runs -----------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", ["gru-46", "lstm-36"])
def test_presets_are_those_of_the_paper(preset):
    task = Music.presets()[preset]
    task.check()
    assert (task.optimizer, task.weight_noise, task.clip_norm) == ("rmsprop", 0.075, 1.0)
    assert (task.notes, task.dropout, task.schedule) == ("apart", 0.0, "constant")
    assert task.patience > 0
    assert np.exp(-12) < task.learning_rate < np.exp(-6)
    params = jax.eval_shape(task.system({"grid": 1.0, "longest": 9}).init, jax.random.key(0))
    count = sum(leaf.size for leaf in jax.tree.leaves(params))
    by_hand = {
        "gru-46": 3 * (88 * 46 + 46 * 46 + 46) + 46 + (46 + 1) * 88,
        "lstm-36": 4 * (88 * 36 + 36 * 36 + 36) + 3 * 36 + (36 + 1) * 88,
    }
    assert count == by_hand[preset]


@pytest.mark.parametrize(("preset", "kind"), [("gru-46", "pickle"), ("lstm-36", "npz")])
def test_a_file_of_the_benchmarks_runs_whole(preset, kind, tmp_path, capsys):
    pieces = [frames(chorale(1, n).tolist()) for n in range(9)]
    parts = [pieces[:5], pieces[5:7], pieces[7:]]
    file = tmp_path / f"jsb.{kind}"
    {"pickle": write_pickle, "npz": write_npz}[kind](file, parts)
    write_mat(tmp_path / "jsb.mat", parts)
    run = str(tmp_path / "run")
    words = ["--data", str(file), "--preset", preset, "--out", run]
    assert main(["train", "music", *words, "--steps", "2", "--evaluate-every", "1"]) == 0
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert json.loads((tmp_path / "run" / "config.json").read_text())["facts"]["pieces"] == [
        5,
        2,
        2,
    ]
    capsys.readouterr()
    assert main(["evaluate", "--run", run, "--data", str(tmp_path / "jsb.mat")]) == 0
    assert f"nats a step {result['scores']['model']:.6g}\n" in capsys.readouterr().out
