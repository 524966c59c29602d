"""How the ten digits sound: what the vocal tract does, stretch by stretch."""

from __future__ import annotations

from typing import NamedTuple

DIGITS = "zero one two three four five six seven eight nine".split()


class Sound(NamedTuple):
    """A stretch of a sound, at the usual pace and in an adult man's voice.

    Attributes:
      seconds: how long it lasts.
      formants: the first three resonances of the vocal tract, Hz.
      voice: how strong the pulses of the glottis are; 1 in a vowel.
      breath: how strong the noise of the glottis is.
      hiss: how strong the noise of a narrow place in the mouth is.
      hiss_at: where this noise is strongest, Hz.
      hiss_width: how wide a band it has, Hz.
    """

    seconds: float
    formants: tuple[float, float, float]
    voice: float = 0.0
    breath: float = 0.0
    hiss: float = 0.0
    hiss_at: float = 2000.0
    hiss_width: float = 1000.0


def _vowel(seconds: float, *formants: tuple[float, float, float]) -> tuple[Sound, ...]:
    return tuple(Sound(seconds / len(formants), each, voice=1.0) for each in formants)


# Formants are those of Klatt, Software for a Cascade/Parallel Formant Synthesizer, Journal of the
# Acoustical Society of America 67(3), 1980, tables II and III; they agree with the means of 33 men
# in Peterson & Barney, Control Methods Used in a Study of the Vowels, ibid. 24(2), 1952. Durations
# and strengths are our own. A stop is a closure, a burst and, before a vowel, breath.
SILENCE = Sound(0.0, (500, 1500, 2500))
PHONES: dict[str, tuple[Sound, ...]] = {
    "IY": _vowel(0.13, (310, 2020, 2960), (290, 2070, 2960)),
    "IH": _vowel(0.08, (400, 1800, 2570), (470, 1600, 2600)),
    "EY": _vowel(0.15, (480, 1720, 2520), (330, 2020, 2600)),
    "EH": _vowel(0.10, (530, 1680, 2500), (620, 1530, 2530)),
    "AH": _vowel(0.11, (620, 1220, 2550)),
    "AX": _vowel(0.05, (550, 1260, 2470)),
    "AO": _vowel(0.14, (600, 990, 2570), (630, 1040, 2600)),
    "OW": _vowel(0.16, (540, 1100, 2300), (450, 900, 2300)),
    "UW": _vowel(0.15, (350, 1250, 2200), (320, 900, 2200)),
    "AY": _vowel(0.19, (660, 1200, 2550), (400, 1880, 2500)),
    "R": (Sound(0.08, (310, 1060, 1380), voice=0.7),),
    "W": (Sound(0.07, (290, 610, 2150), voice=0.7),),
    "N": (Sound(0.08, (270, 1340, 2470), voice=0.5),),
    "Z": (Sound(0.09, (240, 1390, 2530), voice=0.35, hiss=0.6, hiss_at=3700, hiss_width=900),),
    "V": (Sound(0.06, (220, 1100, 2080), voice=0.45, hiss=0.1, hiss_at=2500, hiss_width=3000),),
    "S": (Sound(0.11, (320, 1390, 2530), hiss=1.0, hiss_at=3700, hiss_width=900),),
    "F": (Sound(0.10, (340, 1100, 2080), hiss=0.2, hiss_at=2500, hiss_width=3000),),
    "TH": (Sound(0.09, (320, 1290, 2540), hiss=0.15, hiss_at=3300, hiss_width=2500),),
    "K": (
        Sound(0.05, (300, 1990, 2850)),
        Sound(0.02, (300, 1990, 2850), hiss=0.8, hiss_at=1900, hiss_width=400),
    ),
    "T": (
        Sound(0.05, (400, 1600, 2600)),
        Sound(0.02, (400, 1600, 2600), hiss=0.9, hiss_at=3500, hiss_width=1500),
        Sound(0.03, (400, 1600, 2600), breath=0.6),
    ),
}
PRONUNCIATIONS = {
    "zero": "Z IH R OW",
    "one": "W AH N",
    "two": "T UW",
    "three": "TH R IY",
    "four": "F AO R",
    "five": "F AY V",
    "six": "S IH K S",
    "seven": "S EH V AX N",
    "eight": "EY T",
    "nine": "N AY N",
}
