"""Tagging: the kinds of Python's tokens, the reader of CoNLL files, the baselines."""

import itertools
import textwrap

import jax
import numpy as np
import pytest

from rnnjax.tasks.tag import (
    KINDS,
    BigramTagger,
    Tag,
    Vocabulary,
    kinds,
    read_conll,
    soft_lines,
    write_conll,
)
from rnnjax.tasks.tag.baselines import errors
from rnnjax.tasks.tag.vocabulary import shape
from rnnjax.train import load_run, run_task

SOURCE = textwrap.dedent(
    '''
    """A module."""
    import os.path  # a comment
    @wraps(f)
    async def match(case, *, type: int = 0, **rest) -> None:
        match case:
            case Point(x=0) | _ if case > 1:
                return type(case)(key=_, value=rest.match)
            case [é, *é2]:
                match(case).case = f"{case!r} {'x':>{3}}"
        if (lambda a: a)(1.5): pass
        case(); match[case]: int
        é = ("ä", s.case(é), é.case)
    class Case(Base, metaclass=M): pass
    '''
)


def tagged(source):
    return [list(zip(s.tokens, s.tags, strict=True)) for s in kinds(source)]


def where(lines, token):
    return [tag for line in lines for t, tag in line if t == token]


def test_kinds_are_those_of_the_grammar():
    lines = tagged(SOURCE)
    assert where(lines, "match") == [
        *("definition", "soft-keyword", "attribute", "call", "name"),
    ]
    # A parameter, a subject, a case, its guard, an argument; a case, ...
    assert where(lines, "case") == [
        *("parameter", "name", "soft-keyword", "name", "name", "soft-keyword", "name"),
        *("attribute", "call", "name", "call", "attribute"),
    ]
    assert where(lines, "_") == ["soft-keyword", "name"]
    assert where(lines, "type") == ["parameter", "call"]
    assert where(lines, "rest") == ["parameter", "name"]
    assert where(lines, "key") == where(lines, "metaclass") == ["keyword-argument"]
    assert where(lines, "a") == ["parameter", "name"]
    assert where(lines, "Case") == ["definition"]
    assert where(lines, "wraps") == ["call"]
    assert where(lines, "path") == ["name"]
    assert where(lines, "é") == ["name"] * 4
    assert where(lines, "1.5") == ["number"]
    assert where(lines, "async") == ["keyword"]
    assert {tag for line in lines for _, tag in line} == set(KINDS)


def test_an_f_string_is_one_token_and_layout_is_none():
    lines = kinds(SOURCE)
    tokens = [token for line in lines for token in line.tokens]
    assert """f"{case!r} {'x':>{3}}\"""" in tokens
    assert not any(token.startswith("#") or not token.strip() for token in tokens)
    (line,) = [line for line in lines if line.tokens[0] == "é"]
    assert line.blanks == (4, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0)


def test_lines_with_soft_keywords_are_right_as_they_stand():
    real = """
    if a: pass
    if match(a)[0] :
        return a, [1, 'b'], b.c
    while x:
        try:
            return (x, y)
        except (A, b.C) as e:
            return x[0]
        except f(x):
            return -1, f"x"
        return x(y)
    """
    made = list(soft_lines(kinds(textwrap.dedent(real))))
    texts = [" ".join(s.tokens) for s in made]
    assert texts == [
        "match match ( a ) [ 0 ] :",
        "case a , [ 1 , 'b' ] , b . c :",
        "match x :",
        "case ( x , _ ) :",
        "case ( A , b . C ) as e :",
    ]
    for text, sentence in zip(texts, made, strict=True):
        case = text.startswith("case")
        lines = kinds(f"match s:\n {text}\n  pass" if case else f"{text}\n case _: pass")
        assert lines[case].tags == sentence.tags


def test_source_of_another_language_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"x.py is no source of Python 3.*at line 2"):
        kinds("a = 1\nb = = 2", "x.py")
    file = tmp_path / "only_comments.py"
    file.write_text("# nothing\n")
    facts = {"python": True, **Vocabulary([], [], [], list(KINDS)).facts}
    with pytest.raises(ValueError, match=r"only_comments.* has no token"):
        Tag().read(file, facts)


CONLLU = """# sent_id = 1
1-2\tdu\t_\t_\t_\t_\t_\t_\t_\t_
1\tde\tde\tADP\t_\t_\t_\t_\t_\t_
2\tle\tle\tDET\t_\t_\t_\t_\t_\t_
2.1\tx\t_\tX\t_\t_\t_\t_\t_\t_

1\t#\t#\tSYM\t_\t_\t_\t_\t_\t_
"""


def test_conll_is_read(tmp_path):
    file = tmp_path / "a.conll"
    file.write_text("-DOCSTART- O\n\nEU NNP B-ORG\nrejects VBZ O\n\n\n# # O\n. . O")
    one, two = read_conll(file)
    assert (one.tokens, one.tags) == (("EU", "rejects"), ("B-ORG", "O"))
    assert two.tokens == ("#", ".")
    assert read_conll(file, 0, 1)[0].tags == ("NNP", "VBZ")
    file.write_text(CONLLU, encoding="utf-8-sig")
    one, two = read_conll(file, 1, 3)
    assert (one.tokens, one.tags) == (("de", "le"), ("ADP", "DET"))
    assert (two.tokens, two.tags) == (("#",), ("SYM",))


def test_conll_is_written_as_it_is_read(tmp_path):
    sentences = [(("a", "b"), ("X", "Y")), (("c",), ("X",))]
    file = tmp_path / "b.conll"
    file.write_text("".join(write_conll(sentences)))
    assert [(s.tokens, s.tags) for s in read_conll(file)] == sentences


BAD = {
    "": "is empty",
    "  \n\n": "is empty",
    "a X\nb\n": "line 2 of .* has 1 columns, token_column is 0",
    "a\tX\n\tY\n": "line 2 of .* has an empty column",
    "# only a comment\n\n#\n# \t\n": "line 4 of .* has an empty column",
    "# only a comment\n-DOCSTART-\tO\n": "has no token",
    "a X\n\nb X\n": "all tokens of .* have the tag 'X'",
    "a X\n\nb Y\n": "has 2 sentences, need at least 10",
}


@pytest.mark.parametrize(("text", "error"), BAD.items())
def test_a_bad_file_is_one_error(text, error, tmp_path):
    file = tmp_path / "bad.conll"
    file.write_text(text)
    with pytest.raises(ValueError, match=error):
        Tag(conll=file).data()


def test_a_file_that_cannot_be_read_is_one_error(tmp_path):
    with pytest.raises(ValueError, match="does not exist"):
        Tag(conll=tmp_path / "nowhere").data()
    with pytest.raises(ValueError, match="cannot be read"):
        Tag(conll=tmp_path).data()
    (tmp_path / "latin").write_bytes("é X".encode("latin-1"))
    with pytest.raises(ValueError, match=r"not UTF-8: .* at byte 0"):
        Tag(conll=tmp_path / "latin").data()
    (tmp_path / "marked").write_bytes("\ufeffa".encode() + b"\xff")  # the place is the file's
    with pytest.raises(ValueError, match="not UTF-8: invalid start byte at byte 4"):
        Tag(conll=tmp_path / "marked").data()
    (tmp_path / "other").write_text("a X\nb Q\n")
    facts = {"python": False, **Vocabulary([], [], [], ["X", "Y"]).facts}
    with pytest.raises(ValueError, match=r"the tag 'Q' is none of the model's, which are X, Y"):
        Tag().read(tmp_path / "other", facts)


def test_shapes_tell_case_digits_and_quotes():
    assert [shape(t) for t in ("ab", "Ab", "AB", "a1B", "12", "'x y'", "==")] == [
        *("a", "Aa", "A", "a0A", "0", "'a a'", "=="),
    ]


def test_a_vocabulary_knows_what_is_frequent():
    tokens = [["the", "dog", "the"], ["Cat", "the"]]
    vocabulary = Vocabulary.of(tokens, ["D", "N"], min_count=2)
    assert vocabulary.facts["words"] == ["the"]
    assert vocabulary.facts["shapes"] == ["a"]  # of "the" and "dog"; one word alone is "Aa"
    ids = vocabulary.encode(["the", "new", "Cat"])
    # Word, shape and ending; first in each part is what is unknown, and no ending is frequent.
    np.testing.assert_array_equal(ids, [[1, 3, 4], [0, 3, 4], [0, 2, 4]])
    assert ids.max() < vocabulary.size
    same = Vocabulary.from_facts(vocabulary.facts)
    np.testing.assert_array_equal(same.encode(["Cat", "the"]), vocabulary.encode(["Cat", "the"]))


def small():
    """Ids of sentences and tags: "a" is 0 twice and 1 once; unknown words are of shapes 4 and 5."""
    xs = [[[1, 4, 7]], [[1, 4, 7], [2, 4, 7]], [[0, 5, 7], [1, 4, 7]]]
    targets = [[0], [0, 1], [1, 1]]
    return [np.array(x, np.int32) for x in xs], [np.array(t, np.int32) for t in targets]


def test_the_most_frequent_tag_is_counted():
    xs, targets = small()
    tagger = BigramTagger.of(xs, targets, size=9, tags=3)
    asked = [np.array([[1, 4, 7], [2, 4, 7], [0, 5, 7], [0, 5, 8], [0, 4, 8]], np.int32)]
    # Seen, seen, a rare word of that shape and ending, of that shape, and none: 1 is most frequent.
    np.testing.assert_array_equal(tagger.most_frequent(asked)[0], [0, 1, 1, 1, 1])
    assert errors([np.array([0, 1])], [np.array([0, 2])]) == 50.0


def test_the_bigram_tagger_takes_the_likeliest_of_all_paths():
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 7, 30)  # more than are padded alike
    xs = [
        np.stack([rng.integers(0, 4, n), rng.integers(4, 6, n), rng.integers(6, 8, n)], axis=1)
        for n in lengths
    ]
    targets = [rng.integers(0, 3, n) for n in lengths]
    tagger, smoothing = BigramTagger.of(xs, targets, size=8, tags=3), 0.1
    # By hand: what is known as a word is one, the rest are a shape with an ending.
    symbols = [[str(w) if w else f"{s}/{e}" for w, s, e in x.tolist()] for x in xs]
    pairs = list(zip(itertools.chain(*symbols), np.concatenate(targets).tolist(), strict=True))
    starts = [t[0] for t in targets]
    moves = [(a, b) for t in targets for a, b in itertools.pairwise(t.tolist())]
    size = 8 + len({s for s, _ in pairs if "/" in s})

    def score(words, tags):
        total = np.log((starts.count(tags[0]) + smoothing) / (len(starts) + 3 * smoothing))
        for a, b in itertools.pairwise(tags):
            leaving = sum(a == first for first, _ in moves)
            total += np.log((moves.count((a, b)) + smoothing) / (leaving + 3 * smoothing))
        for word, tag in zip(words, tags, strict=True):
            each = sum(tag == t for _, t in pairs)
            total += np.log((pairs.count((word, tag)) + smoothing) / (each + smoothing * size))
        return total

    found = tagger.viterbi(xs, smoothing)
    for words, tags in zip(symbols, found, strict=True):
        best = max(itertools.product(range(3), repeat=len(words)), key=lambda y: score(words, y))
        assert score(words, tags.tolist()) == pytest.approx(score(words, best))


def test_the_bigram_tagger_takes_each_sentence_by_itself():
    rng = np.random.default_rng(1)
    lengths = rng.integers(1, 12, 200)
    targets = [np.cumsum(rng.random(n) < 0.2) % 3 for n in lengths]  # what comes depends on what is
    words = [np.where(rng.random(len(t)) < 0.4, t, rng.integers(0, 3, len(t))) for t in targets]
    xs = [np.stack([w, w + 3, w + 6], axis=1).astype(np.int32) for w in words]
    tagger = BigramTagger.of(xs, targets, size=9, tags=3)
    alone = [tagger.viterbi([ids], 1.0)[0].tolist() for ids in xs]
    assert [tags.tolist() for tags in tagger.viterbi(xs, 1.0)] == alone


def test_it_learns_what_counting_cannot(tmp_path):
    """A word's tag is that of the word behind it, which a bigram tagger never sees in time."""
    rng = np.random.default_rng(0)
    lines = []
    for _ in range(300):
        last = rng.integers(2)
        lines.append("\n".join([*["x " + "AB"[last]] * int(rng.integers(2, 5)), f"{last} N"]))
    file = tmp_path / "file.conll"
    file.write_text("\n\n".join(lines))
    task = Tag(conll=file, hidden_size=8, embedding_size=8, batch_size=16, steps=120,
               learning_rate=0.03, dropout=0.0)  # fmt: skip
    result = run_task(task, tmp_path / "run")
    assert result.scores["model"] < 1
    assert result.scores["model"] < result.scores["bigram tagger"] / 2
    run = load_run(tmp_path / "run", Tag.of)
    answer = "".join(run.system.predict(run.state.params, "x x 1\nx 0"))
    assert answer == "x\tB\nx\tB\n1\tN\n\nx\tA\n0\tN"


def test_padding_never_matters():
    task = Tag(hidden_size=4, embedding_size=4)
    vocabulary = Vocabulary(["a", "b"], ["a"], ["a"], ["X", "Y"])
    system = task.system({"python": False, **vocabulary.facts})
    params = jax.tree.map(lambda x: 3 * x, system.init(jax.random.key(0)))  # of some effect
    lines = [" ".join("abbaab"[:n]) for n in range(1, 7)]  # more lengths than are padded alike
    both = "".join(system.predict(params, "\n".join(lines))).split("\n\n")
    alone = ["".join(system.predict(params, line)) for line in lines]
    assert both == alone
