"""Text: where it comes from, how it is split, how it becomes windows; and every bad corpus."""

import pathlib
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnjax.tasks import _library
from rnnjax.tasks.language_model import (
    Vocabulary,
    Words,
    read_text,
    standard_library_docstrings,
    standard_library_text,
    words,
)
from rnnjax.tasks.language_model import corpora as corpora_module
from rnnjax.tasks.language_model.corpora import read_whole
from rnnjax.tasks.language_model.vocabulary import UNKNOWN, check_symbols

# --- reading -------------------------------------------------------------------------------------


def test_a_file_is_split_by_position_and_nothing_is_lost(tmp_path):
    content = "".join(map(chr, range(0x100, 0x100 + 1000)))
    (tmp_path / "a.txt").write_text(content, encoding="utf-8")
    text = read_text(tmp_path / "a.txt")
    assert "".join(text) == content
    assert [len(part) for part in text] == [900, 50, 50]


def test_line_ends_come_as_they_are(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"a\r\nb\rc\n" * 10)
    assert "".join(read_text(str(tmp_path / "a.txt"))) == "a\r\nb\rc\n" * 10


def test_a_byte_order_mark_is_no_text(tmp_path):
    mark = "\ufeff".encode()
    for name in "abcd":
        (tmp_path / name).write_bytes(mark + f"{name}\ufeff".encode())  # one within is text
    (tmp_path / "empty").write_bytes(mark)
    assert sorted("".join(read_text(tmp_path))) == sorted("abcd" + 4 * "\ufeff")
    assert read_whole(tmp_path / "a") == "a\ufeff"
    with pytest.raises(ValueError, match="empty is empty"):
        read_text(tmp_path / "empty")
    (tmp_path / "bad").write_bytes(mark + b"a\xff")
    with pytest.raises(ValueError, match="bad is not UTF-8: invalid start byte at byte 4"):
        read_text(tmp_path / "bad")


def test_a_folder_is_split_by_file(tmp_path):
    contents = {f"{k}.txt": f"<{k}>" * 5 for k in range(40)}
    (tmp_path / "deep").mkdir()
    for name, content in contents.items():
        (tmp_path / "deep" / name).write_text(content)
    (tmp_path / ".hidden").write_text("never read")
    (tmp_path / "empty.txt").touch()
    text = read_text(tmp_path)
    # Every file is whole, in one part alone.
    homes = [[content in part for part in text] for content in contents.values()]
    assert np.sum(homes, axis=0).tolist() == [36, 2, 2]
    assert np.sum(homes, axis=1).tolist() == [1] * 40
    assert sorted("".join(text)) == sorted("".join(contents.values()))
    assert read_text(tmp_path) == text


def test_a_folder_of_two_files_is_split_by_position(tmp_path):
    (tmp_path / "a").write_text("a" * 50)
    (tmp_path / "b").write_text("b" * 50)
    assert read_text(tmp_path) == ("a" * 50 + "b" * 40, "b" * 5, "b" * 5)


def empty(folder):
    (folder / "text").touch()
    return folder / "text"


def not_utf8(folder):
    (folder / "text").write_bytes("é".encode() * 3 + b"\xff" + b"a" * 10)
    return folder / "text"


def cut_character(folder):
    (folder / "text").write_bytes(b"abcd" + "é".encode()[:1])
    return folder / "text"


def folder_not_utf8(folder):
    (folder / "good").write_text("good")
    (folder / "bad").write_bytes(b"ab\xfe")
    return folder


def folder_without_text(folder):
    (folder / ".hidden").write_text("hidden")
    (folder / "empty").touch()
    (folder / "deep").mkdir()
    return folder


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (empty, r"text is empty$"),
        (not_utf8, r"text is not UTF-8: invalid start byte at byte 6$"),
        (cut_character, r"text is not UTF-8: unexpected end of data at byte 4$"),
        (folder_not_utf8, r"bad is not UTF-8: .* at byte 2$"),
        (folder_without_text, r"has no files with text in it$"),
        (lambda folder: folder, r"has no files with text in it$"),
        (lambda folder: folder / "nowhere", r"nowhere does not exist$"),
    ],
)
def test_a_corpus_that_will_not_do(tmp_path, make, message):
    with pytest.raises(ValueError, match=message):
        read_text(make(tmp_path))


def test_an_unreadable_file_is_named(tmp_path, monkeypatch):
    (tmp_path / "secret").write_text("text")

    def denied(self):  # tests may run as root, whom no file mode stops
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(pathlib.Path, "read_bytes", denied)
    for path in (tmp_path, tmp_path / "secret"):
        with pytest.raises(ValueError, match=r"secret cannot be read: Permission denied$"):
            read_text(path)


def test_the_standard_library(monkeypatch):
    text = standard_library_text()
    assert standard_library_text() == text
    sizes = [len(part) for part in text]
    assert 1e6 < sum(sizes) < 3e6
    assert all(0.01 * sum(sizes) < size for size in sizes[1:])
    # Split by file: what the split was handed are whole files, each of which is in one part.
    files = {}
    monkeypatch.setattr(corpora_module, "_split_files", lambda texts: files.update(texts) or text)
    standard_library_text()
    assert not any("test" in name.split("/") for name in files)
    assert sum(map(len, files.values())) == sum(sizes)
    long = [content for content in files.values() if len(content) > 500]
    assert {sum(content in part for part in text) for content in long} == {1}


def test_an_interpreter_without_sources(tmp_path, monkeypatch):
    monkeypatch.setattr(_library.sysconfig, "get_path", lambda name: str(tmp_path))
    with pytest.raises(ValueError, match=r"no Python sources in .*: pass a text of your own"):
        standard_library_text()


# --- symbols -------------------------------------------------------------------------------------


@given(st.text(min_size=1))
def test_encode_then_decode_is_the_text(text):
    vocabulary = Vocabulary.of(text)
    ids = vocabulary.encode(text)
    assert ids.dtype == np.int32
    assert vocabulary.decode(ids) == text
    assert set(ids.tolist()) == set(range(len(vocabulary) - 1))  # the unknown one is not in it
    assert Vocabulary(vocabulary.characters).encode(text).tolist() == ids.tolist()


def test_the_unknown_symbol():
    vocabulary = Vocabulary.of("abc")
    assert len(vocabulary) == 4
    assert vocabulary.encode("cxa", unknown=True).tolist() == [2, 3, 0]
    assert vocabulary.decode([2, 3, 0]) == f"c{UNKNOWN}a"
    with pytest.raises(ValueError, match=r"the character 'x' \(position 1\) was not in"):
        vocabulary.encode("cxa")
    # What a shell hands over for the byte ff: no character at all.
    with pytest.raises(ValueError, match=r"the character '\\udcff' \(position 2\) was not in"):
        vocabulary.encode("ab\udcff")


def test_a_vocabulary_of_nothing_knows_nothing():
    assert Vocabulary.of("").encode("ab", unknown=True).tolist() == [0, 0]


@pytest.mark.parametrize("characters", ["ba", "aa"])
def test_characters_out_of_order(characters):
    with pytest.raises(ValueError, match="distinct and in code-point order"):
        Vocabulary(characters)


def test_check_symbols():
    check_symbols(np.array([0, 4]), 5)
    check_symbols(np.array([], int), 5)
    with pytest.raises(ValueError, match=r"symbol 5 at position 1 is outside \[0, 5\)"):
        check_symbols(np.array([0, 5]), 5)
    with pytest.raises(ValueError, match=r"symbol -1 at position 2 is outside \[0, 5\)"):
        check_symbols(np.array([[0, 4], [-1, 7]]), 5)
    with pytest.raises(ValueError, match="symbol 9 at position 0"):
        Vocabulary.of("abc").decode([9])


# --- words ---------------------------------------------------------------------------------------


def test_words_keep_punctuation_and_line_ends():
    text = "Don't  stop(here):\n\tnaïve_x = 3.5; a\u2019b\r\n<unk> <eos>"
    want = "Don't stop ( here ) : <eos> naïve_x = 3 . 5 ; a\u2019b <eos> <unk> <eos>"
    assert list(words(text)) == want.split()
    assert list(words("")) == list(words(" \t ")) == []


@pytest.mark.parametrize(
    "text",
    [
        "नमस्ते दुनिया",  # vowel signs and a virama
        unicodedata.normalize("NFD", "café d'été l’île noire"),
        "می\u200cخواهم بروم",  # a joiner that does not join
        "ක්\u200dරියා සිංහල",  # one that does
        "שָׁלוֹם עוֹלָם",
        "สวัสดี ครับ",
        "co\u00adoperate x\u20dd",  # a soft hyphen; a letter in a circle
        "👩\u200d💻 ❤\ufe0f 👍🏽 a",
    ],
)
def test_what_is_attached_stays_with_its_word(text):
    assert list(words(text)) == text.split()
    vocabulary = Words.of(text)
    assert vocabulary.decode(vocabulary.encode(text)) == text


@given(st.text())
def test_no_word_is_lost_or_made(text):
    printed = "".join(text.replace("<eos>", "").split())
    assert "".join(w for w in words(text) if w != "<eos>") == printed


def test_the_most_frequent_words_are_known():
    text = "b a a <unk> b c\nd d a"  # a 3; b, d 2; c, the line's end and <unk> 1
    assert Words.of(text).symbols == ["<eos>", "a", "b", "d", "c"]
    assert Words.of(text, size=4).symbols == ["<eos>", "a", "b"]
    assert Words.of(text, min_count=2).symbols == ["<eos>", "a", "b", "d"]
    assert Words.of("").symbols == ["<eos>"]
    vocabulary = Words.of(text, size=4)
    assert len(vocabulary) == 4  # with the unknown one
    ids = vocabulary.encode("a c\n<unk> b", unknown=True)
    assert ids.dtype == np.int32
    assert ids.tolist() == [1, 3, 0, 3, 2]
    with pytest.raises(ValueError, match=r"the word 'c' \(position 2\) is not in the vocabulary"):
        vocabulary.encode("a b c")
    assert Words(vocabulary.symbols).encode("b a").tolist() == [2, 1]
    with pytest.raises(ValueError, match="vocabulary_size must be an int of at least 2, got 1"):
        Words.of(text, size=1)
    for wrong in (["a", "b"], ["<eos>", "a", "a"]):
        with pytest.raises(ValueError, match="distinct, and the first <eos>"):
            Words(wrong)


def test_words_are_written_as_english_has_them():
    text = "He said (twice): stop, now!\nIt's 5%."
    vocabulary = Words.of(text)
    assert vocabulary.decode(vocabulary.encode(text)) == text
    ids = vocabulary.encode(text)
    pieces = [vocabulary.piece(a, b) for a, b in zip((None, *ids), ids, strict=False)]
    assert "".join(pieces) == text
    with pytest.raises(ValueError, match=r"symbol 99 at position 0 is outside \[0, "):
        vocabulary.decode([99])


def test_the_documentation_of_the_standard_library(tmp_path, monkeypatch):
    source = {
        "a.py": "def f():\n    'Says f.'\nx = 'no'",
        "b.py": "'B.'",
        "c.py": "1",
        "d.py": "'D.'",
    }
    for name, content in source.items():
        (tmp_path / name).write_text(content)
    monkeypatch.setattr(_library.sysconfig, "get_path", lambda name: str(tmp_path))
    assert sorted("".join(standard_library_docstrings()).split("\n\n")) == [
        "",
        "B.",
        "D.",
        "Says f.",
    ]


def test_a_text_in_one_piece(tmp_path):
    (tmp_path / "a").write_text("one\n")
    (tmp_path / "b").write_text("two\n")
    assert read_whole(tmp_path) == "one\ntwo\n"
    assert read_whole(tmp_path / "b") == "two\n"
