"""What each study reads: symbols, their bits, and how units of them are drawn."""

from __future__ import annotations

import string
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

Unit = tuple[str, ...]


class Stream(NamedTuple):
    """Units of symbols, one after the other without a mark between them.

    Attributes:
      ids: which symbol each is, [N].
      places: its place in its unit, 0 for the first one, [N].
    """

    ids: np.ndarray
    places: np.ndarray


class Study(NamedTuple):
    """What a study reads.

    Attributes:
      symbols: what a stream is made of, V of them.
      code: the bits of each symbol, [V, D].
      draw: (rng) -> as many units as the paper has.
      unit: what a unit is.
      places: how symbols at each place of a unit are called; the last name is for all further ones.
      hidden_size: how many units the paper's network has.
      spaced: whether symbols have blanks between them and units are lines; else units are words.
    """

    symbols: tuple[str, ...]
    code: np.ndarray
    draw: Callable[[np.random.Generator], list[Unit]]
    unit: str
    places: tuple[str, ...]
    hidden_size: int
    spaced: bool = False


# --- temporal XOR: two random bits, and whether they differ --------------------------------------


def draw_bits(rng: np.random.Generator, count: int = 1000) -> list[Unit]:
    """Triples of two random bits and their XOR."""
    bits = rng.integers(2, size=(count, 2))
    return [tuple(map(str, (a, b, a ^ b))) for a, b in bits.tolist()]


# --- letters: consonants in random order, each with vowels that follow from it --------------------

# Table 1: consonant, vowel, interrupted, high, back, voiced.
FEATURES = ("consonant", "vowel", "interrupted", "high", "back", "voiced")
LETTERS = {"b": "101001", "d": "101101", "g": "101011", "a": "010011", "i": "010101", "u": "010111"}
SYLLABLES = ("ba", "dii", "guuu")


def draw_syllables(rng: np.random.Generator, count: int = 1000) -> list[Unit]:
    """Syllables in random order."""
    return [tuple(SYLLABLES[n]) for n in rng.integers(len(SYLLABLES), size=count)]


# --- words: the letters of short sentences, without anything between words ------------------------

# The paper has a lexicon of 15 words too, but does not print it: these are 15 of our own, two of
# which, `the` and `they`, begin alike as there.
LEXICON = (
    *("a", "the", "they", "old", "boy", "girl", "dog", "sea"),
    *("lived", "played", "sang", "by", "near", "happily", "often"),
)


def draw_words(rng: np.random.Generator, count: int = 200) -> list[Unit]:
    """The words of so many sentences, which have four to nine words each."""

    def one(words: str) -> list[str]:
        return [str(rng.choice(words.split()))]

    def noun() -> list[str]:
        return one("a the") + ["old"] * int(rng.integers(2)) + one("boy girl dog sea")

    words: list[str] = []
    for _ in range(count):
        sentence: list[str] = []
        while not 4 <= len(sentence) <= 9:
            sentence = ["they"] if rng.random() < 0.25 else noun()
            sentence += one("lived played sang")
            if rng.integers(2):
                sentence += one("by near") + noun()
            if rng.integers(2):
                sentence += one("happily often")
        words += sentence
    return [tuple(word) for word in words]


# --- sentences of two or three words --------------------------------------------------------------

# Tables 3 and 4. The paper lists two words of each category; which others it has is read off the 29
# words of its figure 7. That animates hold humans and aggressors, and inanimates what is fragile
# and food, is our reading.
HUMANS, AGGRESSORS = "man woman boy girl", "dragon monster lion"
FRAGILE, FOOD = "glass plate", "cookie bread sandwich"
CATEGORIES = {
    "NOUN-HUM": HUMANS,
    "NOUN-ANIM": f"cat mouse dog {HUMANS} {AGGRESSORS}",
    "NOUN-INANIM": f"book rock car {FRAGILE} {FOOD}",
    "NOUN-AGRESS": AGGRESSORS,
    "NOUN-FRAG": FRAGILE,
    "NOUN-FOOD": FOOD,
    "VERB-INTRAN": "think sleep exist",
    "VERB-TRAN": "see chase like",
    "VERB-AGPAT": "move break",
    "VERB-PERCEPT": "smell see",
    "VERB-DESTROY": "break smash",
    "VERB-EAT": "eat",
}
TEMPLATES = tuple(
    tuple(template.split())
    for template in (
        "NOUN-HUM VERB-EAT NOUN-FOOD",
        "NOUN-HUM VERB-PERCEPT NOUN-INANIM",
        "NOUN-HUM VERB-DESTROY NOUN-FRAG",
        "NOUN-HUM VERB-INTRAN",
        "NOUN-HUM VERB-TRAN NOUN-HUM",
        "NOUN-HUM VERB-AGPAT NOUN-INANIM",
        "NOUN-HUM VERB-AGPAT",
        "NOUN-ANIM VERB-EAT NOUN-FOOD",
        "NOUN-ANIM VERB-TRAN NOUN-ANIM",
        "NOUN-ANIM VERB-AGPAT NOUN-INANIM",
        "NOUN-ANIM VERB-AGPAT",
        "NOUN-INANIM VERB-AGPAT",
        "NOUN-AGRESS VERB-DESTROY NOUN-FRAG",
        "NOUN-AGRESS VERB-EAT NOUN-HUM",
        "NOUN-AGRESS VERB-EAT NOUN-ANIM",
        "NOUN-AGRESS VERB-EAT NOUN-FOOD",
    )
)
WORDS = tuple(dict.fromkeys(" ".join(CATEGORIES.values()).split()))
NOVEL, IN_PLACE_OF = "zog", "man"  # a word that no network has ever read
BITS = 31


def draw_sentences(rng: np.random.Generator, count: int = 10_000) -> list[Unit]:
    """Sentences of templates and words that are equally likely."""
    words = {name: some.split() for name, some in CATEGORIES.items()}
    return [
        tuple(words[name][rng.integers(len(words[name]))] for name in TEMPLATES[n])
        for n in rng.integers(len(TEMPLATES), size=count)
    ]


STUDIES = {
    "sentences": Study(
        (*WORDS, NOVEL),
        np.eye(len(WORDS) + 1, BITS),
        draw_sentences,
        "sentence",
        ("first words", "second words", "third words"),
        150,
        spaced=True,
    ),
    # As in table 2, where a letter's bits are its number in the alphabet.
    "words": Study(
        tuple(string.ascii_lowercase),
        np.array([[n >> bit & 1 for bit in range(4, -1, -1)] for n in range(1, 27)], float),
        draw_words,
        "word",
        ("first letters", "other letters"),
        20,
    ),
    "letters": Study(
        tuple(LETTERS),
        np.array([[*map(float, bits)] for bits in LETTERS.values()]),
        draw_syllables,
        "syllable",
        ("consonants", "vowels"),
        20,
    ),
    "xor": Study(
        ("0", "1"),
        np.array([[0.0], [1.0]]),
        draw_bits,
        "triple",
        ("first bits", "second bits", "XORs"),
        2,
    ),
}


def stream(study: Study, units: Sequence[Unit]) -> Stream:
    """Units as a stream.

    Example:
      >>> from rnnjax.tasks.elman1990 import STUDIES, stream
      >>> ids, places = stream(STUDIES["letters"], [("d", "i", "i"), ("b", "a")])
      >>> ids.tolist(), places.tolist()
      ([1, 4, 4, 0, 3], [0, 1, 2, 0, 1])
    """
    number = {symbol: n for n, symbol in enumerate(study.symbols)}
    ids = [number[symbol] for unit in units for symbol in unit]
    return Stream(np.array(ids), np.array([n for unit in units for n in range(len(unit))]))


def read_units(study: Study, text: str, least: int = 2) -> list[Unit]:
    """The units of a text: words of it, or where symbols are words, its lines.

    Raises:
      ValueError: it has a symbol that the study has not, or too few of them; says where.

    Example:
      >>> from rnnjax.tasks.elman1990 import STUDIES, read_units
      >>> read_units(STUDIES["letters"], "dii ba")
      [('d', 'i', 'i'), ('b', 'a')]
    """
    known = (", " if study.spaced else "").join(study.symbols)
    found: list[Unit] = []
    for line, content in enumerate(text.splitlines(), 1):
        units = [tuple(content.split())] if study.spaced else [*map(tuple, content.split())]
        for symbol in (symbol for unit in units for symbol in unit):
            if symbol not in study.symbols:
                raise ValueError(f"line {line} has {symbol!r}: known are {known}")
        found += [unit for unit in units if unit]
    if sum(map(len, found)) < least:
        raise ValueError(f"a text needs {least} of these or more: {known}; got {text[:40]!r}")
    return found
