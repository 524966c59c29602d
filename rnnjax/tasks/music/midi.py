"""Rolls of all 128 pitches from MIDI files, and to them, by mido."""

from __future__ import annotations

import math
import pathlib

import numpy as np

from rnnjax.train.files import needed

TEMPO = 90  # beats a minute, of what is written
TICKS, VELOCITY, DRUMS = 480, 80, 9
PITCHES = 128
# A file may be silent for so many steps in all: one of some bytes can say that it is for years.
LONGEST = 100_000


def midi_files(folder: pathlib.Path) -> list[pathlib.Path]:
    """The MIDI files in a folder and below it, in the order of their names."""
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in (".mid", ".midi"))


def notes_of(roll: np.ndarray) -> list[tuple[int, int, int]]:
    """(first step, step behind the last, column) of what sounds without a break, by first steps."""
    edge = np.zeros((1, roll.shape[1]), np.int8)
    change = np.diff(np.concatenate([edge, roll.astype(np.int8), edge]), axis=0).T
    (pitches, starts), (_, ends) = np.nonzero(change == 1), np.nonzero(change == -1)
    return sorted(zip(starts.tolist(), ends.tolist(), pitches.tolist(), strict=True))


def read_midi(path: pathlib.Path, grid: float) -> np.ndarray:
    """What sounds at the beginning of each step, uint8 [T, 128], of all tracks but drums.

    Args:
      path: a MIDI file.
      grid: beats of a step.

    Raises:
      ValueError: it is no MIDI file of notes in beats; says why.
    """
    mido = needed("mido")
    try:
        song = mido.MidiFile(path)
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist") from None
    except Exception as error:  # a damaged one raises almost anything
        raise ValueError(f"{path} is no sound MIDI file: {error or 'it ends too early'}") from None
    if song.type == 2 or song.ticks_per_beat <= 0:
        what = "tracks of their own time" if song.type == 2 else "times in seconds"
        raise ValueError(f"{path} has {what}, and no beats: save it as MIDI of type 0 or 1")
    notes = []
    for track in song.tracks:  # by itself: voices of a channel may be in unison, and part
        sounding, tick = {}, 0
        for message in track:
            tick += message.time
            if message.type not in ("note_on", "note_off") or message.channel == DRUMS:
                continue
            place = message.channel, message.note
            if place in sounding:  # also where it is struck again
                notes.append((sounding.pop(place), tick, message.note))
            if message.type == "note_on" and message.velocity:
                sounding[place] = tick
        notes += [(start, tick, pitch) for (_, pitch), start in sounding.items()]
    if not notes:
        raise ValueError(f"{path} has no notes but drums")
    step = song.ticks_per_beat * grid
    length = math.ceil((max(end for _, end, _ in notes) - 0.5) / step)
    if length > LONGEST:
        raise ValueError(f"{path} has {length:,} steps of {grid:g} beats: give a larger grid")
    roll = np.zeros((max(length, 1), PITCHES), np.uint8)
    for start, end, pitch in notes:
        # Half a tick sooner: where a step is no whole number of ticks, files are rounded.
        first, last = (math.ceil((tick - 0.5) / step) for tick in (start, end))
        roll[max(first, 0) : last, pitch] = 1
    return roll


def write_midi(path: pathlib.Path, roll: np.ndarray, lowest: int, grid: float) -> None:
    """Writes a roll [T, N]: what sounds in steps on end is one note.

    Args:
      path: where to.
      roll: what sounds.
      lowest: the MIDI number of its first column.
      grid: beats of a step.
    """
    mido = needed("mido")
    track = mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(TEMPO))])
    events = []
    for start, end, column in notes_of(roll):
        events.append((round(start * grid * TICKS), 1, lowest + column))
        events.append((round(end * grid * TICKS), 0, lowest + column))
    now = 0
    for tick, on, pitch in sorted(events):  # what ends at a tick comes before what begins
        kind = "note_on" if on else "note_off"
        track.append(mido.Message(kind, note=pitch, velocity=VELOCITY * on, time=tick - now))
        now = tick
    rest = round(len(roll) * grid * TICKS) - now
    track.append(mido.MetaMessage("end_of_track", time=rest))
    mido.MidiFile(type=0, ticks_per_beat=TICKS, tracks=[track]).save(path)
