"""Sentences: the grammar that makes them, what of it is held out, which files of a user do."""

import dataclasses
import itertools
import re
import unicodedata

import numpy as np
import pytest

from rnnjax.tasks._writing.pairs import TRAIN, VALIDATION, Part, Symbols, by_hash
from rnnjax.tasks.translate import Dialogue, Summarise, Translate, grammar, lexicon
from rnnjax.tasks.translate.choices import Draw, Refused, count, draw, every
from rnnjax.tasks.translate.corpus import SEEN, UNSEEN, corpus, is_unseen
from rnnjax.tasks.translate.formats import read_turns
from rnnjax.tasks.translate.sentences import words, written

# --- words ----------------------------------------------------------------------------------------


def test_spanish_and_english_are_inflected():
    nouns = {noun.spanish[0]: noun for noun in lexicon.nouns()}
    found = {name: (nouns[name].spanish[1], nouns[name].english[1]) for name in (
        "canción", "lápiz", "árbol", "rey", "café", "ratón", "tomate", "cuchillo", "camión", "caja",
    )}  # fmt: skip
    assert found == {
        "canción": ("canciones", "songs"), "lápiz": ("lápices", "pencils"),
        "árbol": ("árboles", "trees"), "rey": ("reyes", "kings"), "café": ("cafés", "coffees"),
        "ratón": ("ratones", "mice"), "tomate": ("tomates", "tomatoes"),
        "cuchillo": ("cuchillos", "knives"), "camión": ("camiones", "lorries"),
        "caja": ("cajas", "boxes"),
    }  # fmt: skip
    assert len(nouns) == len(lexicon.nouns())
    forms = {one.english: one.forms for one in lexicon.adjectives()}
    assert forms["english"] == (("inglés", "inglesa"), ("ingleses", "inglesas"))
    assert forms["young"] == (("joven", "joven"), ("jóvenes", "jóvenes"))
    assert forms["easy"][1] == ("fáciles", "fáciles")


VERBS = {
    "cerrar": ("cierro cierras cierra cerramos cierran", "cerré cerraste cerró cerramos cerraron"),
    "pedir": ("pido pides pide pedimos piden", "pedí pediste pidió pedimos pidieron"),
    "dormir": ("duermo duermes duerme dormimos duermen",
               "dormí dormiste durmió dormimos durmieron"),
    "abrazar": ("abrazo abrazas abraza abrazamos abrazan",
                "abracé abrazaste abrazó abrazamos abrazaron"),
    "leer": ("leo lees lee leemos leen", "leí leíste leyó leímos leyeron"),
    "jugar": ("juego juegas juega jugamos juegan", "jugué jugaste jugó jugamos jugaron"),
    "buscar": ("busco buscas busca buscamos buscan", "busqué buscaste buscó buscamos buscaron"),
    "traer": ("traigo traes trae traemos traen", "traje trajiste trajo trajimos trajeron"),
    "ir": ("voy vas va vamos van", "fui fuiste fue fuimos fueron"),
    "tener": ("tengo tienes tiene tenemos tienen", "tenía tenías tenía teníamos tenían"),
    "vivir": ("vivo vives vive vivimos viven", "vivía vivías vivía vivíamos vivían"),
}  # fmt: skip


@pytest.mark.parametrize("infinitive", VERBS)
def test_verbs_are_conjugated(infinitive):
    verb = next(verb for verb in lexicon.verbs() if verb.spanish == infinitive)
    for tense, forms in zip((lexicon.PRESENT, lexicon.PAST), VERBS[infinitive], strict=True):
        assert " ".join(lexicon.conjugated(verb, tense)) == forms
    stem = {"tener": "tendr"}.get(infinitive, infinitive)
    future = [f"{stem}{end}" for end in ("é", "ás", "á", "emos", "án")]
    assert list(lexicon.conjugated(verb, lexicon.FUTURE)) == future


@pytest.mark.parametrize(
    ("verb", "asked", "group"),
    [
        ("estudiar", ("present", ""), " studies"),
        ("estudiar", ("past", "never"), " never studied"),
        ("buscar", ("present", "not"), "does not look for"),
        ("buscar", ("future", "never"), "will never look for"),
        ("tener", ("present", ""), " has"),
        ("estar", ("past", "not"), "was not"),
        ("estar", ("future", ""), "will be"),
        ("poder", ("present", "not"), "can not"),
        ("poder", ("future", ""), "will be able to"),
        ("ir a", ("past", "never"), "was never going to"),
    ],
)
def test_english_verbs_have_helpers(verb, asked, group):
    known = [*lexicon.verbs(), *lexicon.modals(), *lexicon.being().values()]
    verb = next(one for one in known if one.spanish == verb)
    found = lexicon.verb_group(verb, lexicon.IT, *asked)
    assert (found[0], " ".join(found[1].split())) == ("", group.strip())


def test_words_beside_each_other():
    assert lexicon.spanish("veo a el niño de el parque y iré y hielo") == (
        "veo al niño del parque e iré y hielo"
    )
    assert lexicon.english("a old dog can not eat a apple") == "an old dog cannot eat an apple"


# --- the grammar ----------------------------------------------------------------------------------

# A few words of each kind, so that all sentences can be gone through.
FEW = {
    "_NOUNS": {
        "person": "niña f girl", "animal": "águila f eagle", "thing": "lápiz m pencil",
        "door": "puerta f door", "clothes": "abrigo m coat", "text": "canción f song",
        "food": "huevo m egg", "dish": "pan m bread", "drink": "agua f water",
    },
    "_ADJECTIVES": """listo clever person ser+; listo ready person estar*; rojo red thing ser;
        frío cold drink estar""",
    "_VERBS": """hablar speak/spoke person in;
        tener have/had person clothes vowel=ie yo=tengo past=state future=tendr;
        dar give/gave person give yo=doy past=di,diste,dio,dimos,dieron;
        ver see/saw person person yo=veo past=vi,viste,vio,vimos,vieron;
        comer eat/ate animal food""",
    "_MODALS": """ir_a be_going_to/was person - forms=voy,vas,va,vamos,van
        past=iba,ibas,iba,íbamos,iban""",
    "DETERMINERS": {
        "one": (("el", "la", "the"),), "several": (("los", "las", "the"),),
        "mass": (("el", "la", "the"),),
    },
    "AGES": (("diez", "ten"),), "HAD": (("sed", "thirsty"),), "MANNERS": (("bien", "well"),),
    "PLACES": (("el parque", "in the park"),), "FURNITURE": (("la mesa", "on the table"),),
    "NEAR": (("cerca de", "near"),),
    "TIMES": {
        "present": (("hoy", "today"),), "past": (("ayer", "yesterday"),),
        "future": (("mañana", "tomorrow"),),
    },
    "OPENERS": (("sé que", "i know that"),), "JOINED": ((" y", " and"),),
}  # fmt: skip


@pytest.fixture
def few(monkeypatch):
    """The grammar of a few words."""
    caches = (lexicon.nouns, lexicon.adjectives, lexicon.verbs, lexicon.modals)
    for name, table in FEW.items():
        monkeypatch.setattr(lexicon, name, table)
    spoken = ("yo", "usted", "nosotras", "ellas")
    for name, some in {
        "NAMES": grammar.NAMES[:1],
        "CLITICS": (grammar.CLITICS[0], *grammar.CLITICS[3:5]),
        "THINGS": grammar.THINGS[:1],
        "PRONOUNS": tuple(
            p
            for p in grammar.PRONOUNS
            if p.spanish in spoken or (p.left_out and p.person in (lexicon.ME, lexicon.WE))
        ),
    }.items():
        monkeypatch.setattr(grammar, name, some)
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


SENTENCES = """
    la niña no tiene abrigos . = the girl does not have coats .
    la veo . = i see her .
    me ven las niñas . =
    la niña nunca me ve . = the girl never sees me .
    ¿ tienen las niñas el abrigo ? = do the girls have the coat ?
    ¿ qué tenía la niña ? = what did the girl have ?
    ¿ cuántos abrigos tendrá juan ? = how many coats will juan have ?
    ¿ por qué no comió huevos el águila ? =
    ¿ por qué no comió el águila huevos ? = why did the eagle not eat eggs ?
    ¿ quién ve a la niña ? = who sees the girl ?
    ¿ está fría el agua ? = is the water cold ?
    el águila come el huevo . = the eagle eats the egg .
    las águilas están cerca del parque . = the eagles are near the park .
    somos muy listas . = we are very clever .
    la niña está lista . = the girl is ready .
    usted es lista . = you are clever .
    juan tenía sed ayer . =
    ayer juan tenía sed . = juan was thirsty yesterday .
    ¿ tiene sed la niña lista ? = is the clever girl thirsty ?
    la niña tiene diez años . = the girl is ten years old .
    ayer hablamos bien . = we spoke well yesterday .
    hablamos bien . = we speak well .
    yo tenía sed . = i was thirsty .
    tenía sed . =
    juan me da canciones . = juan gives me songs .
    la niña le dio el lápiz rojo a juan . = the girl gave juan the red pencil .
    vamos a hablar conmigo . =
    la niña va a hablar conmigo . = the girl is going to speak with me .
    la niña irá a hablar . =
    me gusta el pan . = i like bread .
    a las niñas no les gustaban las puertas . = the girls did not like doors .
    hay agua fría en la mesa . = there is cold water on the table .
    no habrá lápices rojos en el parque . = there will be no red pencils in the park .
    ¡ qué lista era la niña ! = how clever the girl was !
    sé que la niña habla con juan . = i know that the girl speaks with juan .
"""


def test_sentences_by_hand_and_how_many_there_are(few):
    pairs = [(found.spanish, found.english) for found in every(grammar.sentence, 1)]
    assert len(pairs) == len(set(pairs)) == grammar.sentences(1) > 100_000
    english = dict(pairs)
    assert len(english) == len(pairs), "a sentence that is several things in English"
    for line in SENTENCES.strip().splitlines():
        spanish, _, right = map(str.strip, line.partition("="))
        assert english.get(spanish, "") == right, spanish


def test_a_clause_is_about_whoever_the_one_before_was_about(few):
    girl = grammar.Phrase("la niña", "the girl", "person", gender=1, pronoun="she", noun="niña")
    options = every(grammar.said_of, "is", girl, False)
    said = [grammar.stated(*pair, lexicon.PRESENT, "") for pair in options]
    english = {" ".join(c.spanish.split()): " ".join(c.english.split()) for c in said}
    assert english["está lista"] == "she is ready"
    assert english["estamos listas"] == "we are ready"
    assert "está fría" not in english  # the water
    assert not any(clause.pairs for clause in said if not clause.subject.noun)


def test_longer_sentences_are_one_thing_in_english_too(few):
    rng, found, most = np.random.default_rng(0), {}, 0
    for _ in range(3000):
        said = draw(grammar.sentence, rng)
        assert found.setdefault(said.spanish, said.english) == said.english
        most = max(most, len(re.findall(r"\b[ye]\b", said.spanish)))
    assert most == grammar.MOST - 1


def three(choose):
    """One of the first three, then a letter; never both 3 and b."""
    found = choose((1, 2, 2, 3)), choose("ab")
    if found == (3, "b"):
        raise Refused
    return found


def test_choices_are_drawn_gone_through_and_counted_alike():
    pairs = [(1, "a"), (1, "b"), (2, "a"), (2, "b"), (3, "a")]
    assert list(every(three)) == pairs
    assert count(three) == 5
    rng = np.random.default_rng(0)
    drawn = [draw(three, rng) for _ in range(3000)]
    assert set(drawn) == set(pairs)
    assert drawn.count((2, "a")) / drawn.count((1, "a")) == pytest.approx(2, rel=0.15)
    with pytest.raises(Refused):
        Draw(rng)(())


def test_the_grammar_says_how_many_sentences_it_has():
    assert f"{grammar.sentences(1):,} sentences of one clause" in " ".join(grammar.__doc__.split())
    assert grammar.sentences(1) > 100_000


# --- what is held out -----------------------------------------------------------------------------


def combinations():
    """What says which nouns stand before an adjective or a verb, by their forms alone."""
    nouns = {form: noun.spanish[0] for noun in lexicon.nouns() for form in noun.spanish}
    adjectives = {
        form: one.forms[0][0]
        for one in lexicon.adjectives()
        for form in itertools.chain(*one.forms)
    }
    verbs = {
        lexicon.conjugated(verb, tense)[person]: verb.spanish
        for verb in lexicon.verbs()
        for tense in lexicon.TENSES
        for person in (lexicon.IT, lexicon.THEY)
    }
    between = {"no", "nunca", "me", "te", "nos", "lo", "la", "los", "las", "le", "les"}

    def found(text):
        # Of "cuántas cajas pide" the boxes are no subject.
        tokens = [*re.sub(r"cuánt.s \w+", "", text).split(), "", ""]
        for n, token in enumerate(tokens):
            if token in nouns:
                noun = nouns[token]
                yield noun, adjectives.get(tokens[n + 1 + (tokens[n + 1] == "muy")])
                after = itertools.dropwhile(between.__contains__, tokens[n + 1 :])
                yield noun, verbs.get(next(after))

    return found


def test_no_training_sentence_has_a_combination_that_is_held_out():
    parts = corpus(3000)
    assert [len(part) for part in parts.values()] == [3000, 500, 500, 500]
    sources = [{source for source, _ in part} for part in parts.values()]
    assert sum(map(len, sources)) == len(set.union(*sources)) == 4500
    found = combinations()
    unseen = {
        name: [text for text, _ in part if any(is_unseen(pair) for pair in found(text) if pair[1])]
        for name, part in parts.items()
    }
    assert [len(unseen[name]) for name in (TRAIN, VALIDATION, SEEN)] == [0, 0, 0]
    assert len(unseen[UNSEEN]) > 250
    pairs = [pair for text, _ in parts[TRAIN] for pair in found(text) if pair[1]]
    assert len(pairs) > 1500
    assert len({noun for noun, _ in pairs}) > 80
    share = np.mean([is_unseen((f"{n}", f"{m}")) for n in range(60) for m in range(60)])
    assert share == pytest.approx(1 / 20, rel=0.2)


def test_each_kind_has_figures_of_its_own():
    pytest.importorskip("sacrebleu")
    task = Translate()
    answers = [[words(text)] for text in ("a b c d.", "e f g h.", "a b d c.", "h g f e.")]
    part = Part([["x"]] * 4, answers, ["new", "old", "new", "old"])
    wrote = [words(text) for text in ("a b c d.", "e f g h.", "a b d c.", "x")]
    found = task.figures(wrote, part)
    assert next(iter(found)) == "100 - BLEU"
    assert (found["% wrong"], found["% wrong, new"], found["% wrong, old"]) == (25, 0, 50)
    alone = task.figures(wrote[1::2], Part([["x"]] * 2, answers[1::2]))
    assert found["100 - BLEU, old"] == alone["100 - BLEU"] > found["100 - BLEU, new"]
    assert part.some([3, 0]).kinds == ["old", "new"]
    assert part._replace(kinds=()).some([3, 0]).kinds == ()


def test_a_sentence_of_unknown_words_is_refused_where_all_are_known():
    facts = {"read": {"known": ["el", "perro"], "unknown": False}}
    with pytest.raises(ValueError, match="'el gato' has 'gato', which the training data have not"):
        Translate().asked("el gato", facts)
    facts["read"]["unknown"] = True
    assert Translate().asked("El gato", facts) == [["el", "gato"]]


# --- words and files ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("¿Dónde está, dices?", "¿ dónde está , dices ?"),
        ("She doesn't know (yet): 3.5% of twenty-one.",
         "she doesn't know ( yet ) : 3.5 % of twenty-one ."),
        ('he said "no, no" twice!', 'he said " no , no " twice !'),
        ("cafe\u0301", "caf\u00e9"),
    ],
)  # fmt: skip
def test_words_and_the_text_they_make(text, tokens):
    assert words(text) == tokens.split()
    assert written(words(text, lower=False)) == unicodedata.normalize("NFC", text)


def pairs(tmp_path, lines, name="a.tsv"):
    file = tmp_path / name
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def test_files_of_pairs_and_two_files_are_read_alike(tmp_path):
    lines = [(f"uno dos {n % 30}", f"one two {n}") for n in range(60)]
    task = Translate(pairs=pairs(tmp_path, map("\t".join, lines)))
    both = [pairs(tmp_path, side, f"{n}") for n, side in enumerate(zip(*lines, strict=True))]
    other = Translate(source_file=both[0], target_file=both[1])
    data, same = task.data(), other.data()
    assert data == same
    assert [len(part.sources) for part in data[:3]] == [26, 2, 2]
    assert {len(some) for part in data[:3] for some in part.answers} == {2}
    read, wrote = (Symbols(**data.facts[side]) for side in ("read", "written"))
    assert wrote.known == ["one", "two"]  # each number is there once
    assert read.unknown
    assert wrote.unknown
    assert wrote.ids([["one", "7", "99"]])[0].tolist() == [1, 3, 3]
    assert task.read(task.pairs, data.facts).sources[0] == ["uno", "dos", "0"]
    kept = dataclasses.replace(task, min_count=1).data()
    assert len(kept.facts["written"]["known"]) == 2 + 52
    swapped = [f"{a} {b}\t{b} {a}" for a in "uvwxyz" for b in "uvwxyz"]
    facts = Translate(pairs=pairs(tmp_path, swapped, "b.tsv")).data().facts
    assert facts["read"] == facts["written"] == {"known": list("uvwxyz"), "unknown": True}


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ("a\nb\nc\n", "a\nb\n", "has 3 lines and .* 2: each line of one must be the same line"),
        ("a\n\nc\n", "a\nb\nc\n", "one, line 2 is empty: leave it out of both files"),
        ("a\nb\nc\n", "a\n \nc\n", "two, line 2 is empty"),
        ("a\nb\n", "a\nb\n", "one has 2 different sources, need at least 3"),
        ("a\nb\nc\n", "a\nb\nc\n", "no word that is read occurs 2 times in the training part"),
        ("", "a\n", "one is empty"),
        (None, "a\n", "one does not exist"),
        ("a\n", None, "two does not exist"),
    ],
)
def test_a_bad_pair_of_files_is_one_error(first, second, said, tmp_path):
    for name, text in (("one", first), ("two", second)):
        if text is not None:
            (tmp_path / name).write_text(text)
    task = Translate(source_file=tmp_path / "one", target_file=tmp_path / "two")
    with pytest.raises(ValueError, match=said):
        task.data()


def test_a_file_of_one_column_is_one_error(tmp_path):
    file = pairs(tmp_path, ["a\tb", "c"])
    with pytest.raises(ValueError, match="line 2 must be what is read, a tab, and what is to be"):
        Translate(pairs=file).data()
    with pytest.raises(ValueError, match="does not exist"):
        Translate(pairs=tmp_path / "nowhere").data()


@pytest.mark.parametrize(
    ("task", "said"),
    [
        (Translate(source_file="a"), "source_file and target_file go together"),
        (Translate(target_file="a"), "source_file and target_file go together"),
        (Translate(pairs="a", source_file="b", target_file="c"), "not both"),
        (Translate(generated=0), "generated"),
        (Translate(min_count=0), "min_count"),
        (Dialogue(), "dialogue learns from dialogues of your own: --text FILE"),
        (Summarise(), "summarise learns from texts of your own: --text FILE, a .csv with the col"),
        (Summarise(text="a", length=0), "length"),
    ],
)
def test_settings_that_will_not_do(task, said):
    with pytest.raises(ValueError, match=said):
        task.check()


def test_each_turn_answers_the_one_before(tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("\n\n Hi. \nHello!\nBye\n \n\nalone\n\nA\nB\n")
    texts, groups = read_turns(file)
    assert texts == [("Hi.", "Hello!"), ("Hello!", "Bye"), ("A", "B")]
    assert groups[0] == groups[1] != groups[2]
    file.write_text("\n".join(map(str, range(62))))
    texts, groups = read_turns(file)
    assert len(texts) == 61
    assert [groups.count(group) for group in dict.fromkeys(groups)] == [20, 20, 20, 1]
    train, validation, test = by_hash(texts, 0.05, 0.05, file, groups)
    assert sorted(map(len, (train, validation, test)))[0] in (1, 20)
    assert sorted(train + validation + test) == sorted(texts)
    task = Dialogue(text=file, min_count=1)
    assert task.read(file, {}).answers[0] == [["1"]]
    file.write_text("a\n\nb\n\nc\n")
    with pytest.raises(ValueError, match="no turn is answered: a dialogue is a turn a line"):
        read_turns(file)
    file.write_text("a\nb\n\nc\nd\n")
    with pytest.raises(ValueError, match="has 2 different parts, need at least 3"):
        task.data()


def test_texts_and_what_sums_them_up(tmp_path):
    rows = [(f"news {n} is here, and more", f"news {n} is here") for n in range(40)]
    csv = pairs(tmp_path, ["title,text", *(f'{b},"{a}"' for a, b in rows)], "a.csv")
    tsv = pairs(tmp_path, map("\t".join, rows))
    task = Summarise(text=csv, summary_column="title", length=5)
    data = task.data()
    assert data == dataclasses.replace(task, text=tsv).data()
    assert {len(tokens) for tokens in data.train.sources} == {5}
    assert data.train.sources[0][2:] == ["is", "here", ","]
    assert task.read(tsv, {}).answers[7] == [["news", "7", "is", "here"]]
    pytest.importorskip("sacrebleu")
    scores = task.baselines(data)
    assert scores["the first 4 words"] == pytest.approx(0, abs=1e-9)
    assert scores["the text unchanged"] > 10
    with pytest.raises(
        ValueError, match="has no column 'summary', but title, text: name the right"
    ):
        Summarise(text=csv).data()
    with pytest.raises(ValueError, match="line 2 must be what is read"):
        Summarise(text=pairs(tmp_path, ["a\tb", "c"])).data()
    with pytest.raises(ValueError, match="cannot be read"):
        Summarise(text=tmp_path / "nowhere.csv").data()
