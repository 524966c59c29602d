"""A generated language: Spanish sentences and what they are in English.

What differs, and so cannot be done word by word: articles and adjectives agree with their noun, and
verbs with their subject; the adjective stands behind the noun; a pronoun that is an object stands
before the verb, one that is a subject is left out; ser and estar are both to be; English negates
and asks with do; a person who is an object is marked by "a"; what is liked is the subject. A
sentence has up to four clauses of one tense, and "she" is whoever the clause before was about.
There are 596,676,313,494,136,617 sentences of one clause, each of one meaning.

    la niña no lee porque tiene sueño .     the girl does not read because she is sleepy .
"""

from __future__ import annotations

from typing import Any, NamedTuple

from rnnjax.tasks.translate import lexicon
from rnnjax.tasks.translate.choices import Draw, Refused, count
from rnnjax.tasks.translate.lexicon import FUTURE, IT, ME, PAST, PRESENT, THEY, WE, YOU, Verb

MOST = 4  # clauses of a sentence
Pairs = tuple[tuple[str, str], ...]


class Phrase(NamedTuple):
    """Whom or what a clause is about.

    Attributes:
      spanish, english: the text.
      kind: of the noun.
      person: of `lexicon.PERSONS`, in Spanish.
      gender: 0 is masculine, 1 feminine.
      pronoun: what it is called again in English.
      noun: the noun itself; empty for pronouns and names.
      pairs: which words stand together in it, (noun, adjective).
      left_out: whether it is a pronoun that Spanish leaves out.
    """

    spanish: str
    english: str
    kind: str
    person: int = IT
    gender: int = 0
    pronoun: str = ""
    noun: str = ""
    pairs: Pairs = ()
    left_out: bool = False

    @property
    def features(self) -> Any:
        """What a clause asks of it."""
        return self.kind, self.person, self.gender, self.pronoun, self.left_out, bool(self.noun)

    @property
    def english_person(self) -> int:
        """The person of the English verb: usted is you."""
        return YOU if self.pronoun == "you" else self.person


class Predicate(NamedTuple):
    """What is said of a subject.

    Attributes:
      verb: the verb, or the one that an infinitive follows.
      near: what stands behind the Spanish verb, in a question too, before the subject.
      spanish, english: what stands behind the verb, or behind `near`.
      english_verb: the verb whose English is meant; as `verb` where it is None.
      clitic: the pronoun before the Spanish verb.
      pairs: which words stand together in it.
    """

    verb: Verb
    spanish: str = ""
    english: str = ""
    english_verb: Verb | None = None
    clitic: str = ""
    pairs: Pairs = ()
    near: str = ""

    @property
    def features(self) -> Any:
        """What the rest of a clause asks of it: whether its forms say when, and who."""
        return _ambiguous(self.verb, WE), _ambiguous(self.verb, ME), _unmarked(self.verb)


class Said(NamedTuple):
    """A subject and a predicate that go together."""

    whose: Phrase
    what: Predicate

    @property
    def features(self) -> Any:
        """What the rest of a clause asks of them."""
        return self.whose.features, self.what.features


class Clause(NamedTuple):
    """A clause of both languages, and whom the next one may be about without naming them."""

    spanish: str
    english: str
    pairs: Pairs = ()
    subject: Phrase | None = None

    @property
    def features(self) -> Any:
        """What the next clause asks of it."""
        return self.subject and self.subject.features


# --- whom and what --------------------------------------------------------------------------------

_CALLED = (("he", "she"), ("they", "they"))
NAMES = tuple(
    Phrase(name, name, "person", IT, gender, _CALLED[0][gender])
    for gender, names in enumerate((("juan", "pedro", "luis"), ("maría", "ana", "carmen")))
    for name in names
)
# Where an adjective agrees with them, those that say it are women, too.
PRONOUNS = tuple(
    Phrase(
        "" if left_out else spanish, english, "person", person, gender, english, "", (), left_out
    )
    for spanish, english, person, genders, dropped in (
        ("yo", "i", ME, (0, 1), (False, True)),
        ("tú", "you", YOU, (0, 1), (False, True)),
        ("él", "he", IT, (0,), (False,)),
        ("ella", "she", IT, (1,), (False,)),
        ("usted", "you", IT, (0, 1), (False,)),
        ("nosotros", "we", WE, (0,), (False, True)),
        ("nosotras", "we", WE, (1,), (False, True)),
        ("ellos", "they", THEY, (0,), (False,)),
        ("ellas", "they", THEY, (1,), (False,)),
        ("ustedes", "you", THEY, (0, 1), (False,)),
    )
    for gender in genders
    for left_out in dropped
)
WHO = Phrase("quién", "who", "person")
# Objects before the verb: Spanish, English, and the person that cannot be their subject.
CLITICS = (
    ("me", "me", ME), ("te", "you", YOU), ("nos", "us", WE),
    ("lo", "him", None), ("la", "her", None), ("los", "them", None), ("las", "them", None),
)  # fmt: skip
THINGS = (("lo", "it"), ("la", "it"), ("los", "them"), ("las", "them"))


def noun_phrase(choose: Draw, kinds: tuple[str, ...], use: str = "") -> Phrase:
    """A noun with its article and perhaps an adjective.

    Args:
      choose: what chooses.
      kinds: of nouns.
      use: "" with an article; "object", where there may be none; "there", for what there is;
        "like", for what is liked, which has the article in Spanish alone; "several", without one
        and of several, where they can be counted.
    """
    noun = choose(lexicon.nouns(kinds))
    mass = noun.kind in lexicon.UNCOUNTED
    amount = "mass" if mass else choose(("one", "several")) if use != "several" else "several"
    several = amount == "several"
    options = lexicon.DETERMINERS[amount]
    if use == "like":
        options = [option for option in options if option[2] in lexicon.DEFINITE]
    elif use == "there":
        options = [o for o in options if o[2].removeprefix("all ") not in lexicon.DEFINITE]
    if use in ("object", "there") and (mass or (several and noun.kind != "person")):
        options = (*options, *[lexicon.NONE] * 3)
    article = (lexicon.NONE,) if use == "several" else options
    *forms, english = choose(article)
    spanish = forms[noun.gender]
    if noun.spanish[0] in lexicon.FEMININE_WITH_EL and not several:
        spanish = {"la": "el", "una": "un"}.get(spanish, spanish)
    if use == "like" and english == "the" and amount != "one":
        english = ""
    spanish, more, pairs = f"{spanish} {noun.spanish[several]}", "", ()
    if choose((False, False, True)):
        adjective = choose(lexicon.adjectives(noun.kind, beside=True))
        very = ("muy", "very") if adjective.graded and choose((False, False, True)) else ("", "")
        spanish = f"{spanish} {very[0]} {adjective.forms[several][noun.gender]}"
        more, pairs = f"{very[1]} {adjective.english}", ((noun.spanish[0], adjective.forms[0][0]),)
    return Phrase(
        spanish,
        f"{english} {more} {noun.english[several]}",
        noun.kind,
        THEY if several else IT,
        noun.gender,
        _CALLED[several][noun.gender] if noun.kind == "person" or several else "it",
        noun.spanish[0],
        pairs,
    )


def person(choose: Draw) -> Phrase:
    """Somebody who is no pronoun."""
    if choose((True, False, False)):
        return choose(NAMES)
    return choose.part(noun_phrase, ("person",))


def subject(choose: Draw, kinds: tuple[str, ...], before: Phrase | None, *, agrees: bool) -> Phrase:
    """Whom a clause is about.

    Args:
      choose: what chooses.
      kinds: of nouns that can be.
      before: whom the clause before was about, who can be left out.
      agrees: whether an adjective agrees with it, so that it matters whether "yo" is a woman.
    """
    if before and before.kind in kinds and choose((True, False)):
        return before._replace(spanish="", english=before.pronoun, pairs=(), noun="", left_out=True)
    kind = choose(("noun", "noun", "pronoun"))
    if kind == "pronoun" and "person" in kinds:
        found = choose(PRONOUNS)
        if found.gender and not agrees and (found.left_out or found.pronoun in ("i", "you")):
            raise Refused
        if found.left_out and before and before.person == found.person:
            raise Refused  # it is the one from before
        return found
    if kind == "pronoun":
        raise Refused
    if kinds == ("person",):
        return choose.part(person)
    return choose.part(noun_phrase, kinds)


# --- what is said of them -------------------------------------------------------------------------


def located(choose: Draw, *, thing: bool = False) -> tuple[str, str]:
    """A place where something is."""
    kind = choose(("in", "in", "near"))
    if kind == "near":
        (spanish, english), (place, there) = choose(lexicon.NEAR), choose(lexicon.PLACES)
        return f"{spanish} {place}", f"{english} {there.split(' ', 1)[1]}"
    place, there = choose((*lexicon.PLACES, *lexicon.FURNITURE) if thing else lexicon.PLACES)
    return f"en {place}", there


def accompanied(choose: Draw, whose: Phrase) -> tuple[str, str, Pairs]:
    """With whom, and which words stand together in it."""
    with_me = (("conmigo", "me", ME), ("contigo", "you", YOU), ("con nosotros", "us", WE))
    if choose((True, False, False)):
        spanish, english, who = choose(with_me)
        _apart(who, whose)
        return spanish, f"with {english}", ()
    other = choose.part(person)
    return f"con {other.spanish}", f"with {other.english}", other.pairs


def _apart(who: int | None, whose: Phrase) -> None:
    """Nobody does it to themselves."""
    if who is not None and (who == whose.person or who == whose.english_person):
        raise Refused
    if (who, whose.person) in ((ME, WE), (WE, ME)):
        raise Refused


def describing(choose: Draw, whose: Phrase) -> Predicate:
    """What somebody or something is like: ser or estar."""
    adjective = choose(lexicon.adjectives(whose.kind))
    several = whose.person in (WE, THEY)
    very = ("muy", "very") if adjective.graded and choose((False, False, True)) else ("", "")
    near = f"{very[0]} {adjective.forms[several][whose.gender]}"
    pairs = ((whose.noun, adjective.forms[0][0]),) if whose.noun else ()
    english = f"{very[1]} {adjective.english}"
    return Predicate(lexicon.being()[adjective.verb], "", english, pairs=pairs, near=near)


def doing(choose: Draw, verb: Verb, frame: str, whose: Phrase) -> Predicate:
    """What somebody does: a verb and what goes with it."""
    spanish = english = clitic = near = ""
    pairs: Pairs = ()
    if frame in ("rest", "in", "at"):
        more = choose(("", "", "place", "manner", "with")) if frame != "at" else "place"
        if more == "place":
            if frame == "rest":
                raise Refused
            spanish, english = located(choose)
        elif more == "manner":
            near, english = choose(lexicon.MANNERS)
        elif more == "with":
            spanish, english, pairs = accompanied(choose, whose)
    elif frame == "to":
        place, there = choose(lexicon.PLACES)
        spanish, english = f"a {place}", f"to {there.split(' ', 1)[1]}"
    elif frame == "give":
        what = choose.part(noun_phrase, ("thing", "text"), "object")
        pairs = what.pairs
        if choose((True, False)):
            clitic, whom, who = choose([one for one in CLITICS if one[2] is not None])
            _apart(who, whose)
            spanish, english = what.spanish, f"{whom} {what.english}"
        else:
            whom = choose.part(person)
            pairs += whom.pairs
            clitic = "les" if whom.person == THEY else "le"
            spanish = f"{what.spanish} a {whom.spanish}"
            english = f"{whom.english} {what.english}"
    elif frame == "pronoun":
        if "person" in verb.takes:
            clitic, english, who = choose(CLITICS)
            _apart(who, whose)
        else:
            clitic, english = choose(THINGS)
    elif frame == "person":
        whom = choose.part(person)
        spanish, english, pairs = f"a {whom.spanish}", whom.english, whom.pairs
    else:
        what = choose.part(noun_phrase, (frame,), "object")
        spanish, english, pairs = what.spanish, what.english, what.pairs
    pairs += _together(whose, verb)
    return Predicate(verb, spanish, english, clitic=clitic, pairs=pairs, near=near)


def with_modal(choose: Draw, whose: Phrase, said: Predicate, future: bool) -> Predicate:
    """The same wanted, possible, due or about to be: an infinitive."""
    modal = choose(lexicon.modals())
    if (modal.spanish == "ir a" and future) or modal.spanish == said.verb.spanish:
        raise Refused
    done = said.english_verb or said.verb
    return said._replace(
        verb=modal,
        english_verb=modal,
        near=f"{said.verb.spanish} {said.near}",
        english=f"{done.english} {said.english}",
        pairs=said.pairs + _together(whose, modal),
    )


def _together(whose: Phrase, verb: Verb) -> Pairs:
    """A noun and its verb."""
    return ((whose.noun, verb.spanish.split()[0]),) if whose.noun else ()


def _frames(verb: Verb) -> tuple[str, ...]:
    """What goes with a verb: one of the kinds it takes, or a pronoun in their place."""
    # "Lo quiero" is not "ME want it".
    things = not {"rest", "in", "at", "to"} & {*verb.takes} and verb.takes != ("give",)
    pronouns = max(1, len(verb.takes) // 2) * (things and verb.spanish != "querer")
    return (*verb.takes, *["pronoun"] * pronouns)


# --- clauses --------------------------------------------------------------------------------------


def clause(choose: Draw, tense: str, before: Phrase | None, first: bool) -> Clause:
    """A clause that states something; the first one may say when.

    Args:
      choose: what chooses.
      tense: present, past or future.
      before: whom the clause before was about, if it may be left out.
      first: whether it opens the sentence.
    """
    kind = choose(("does",) * 12 + ("is",) * 6 + ("there", "there", "likes", "likes", "aged"))
    if kind == "there":
        return there_is(choose, tense, first)
    if kind == "likes":
        return likes(choose, tense, first)
    whose, said = choose.part(said_of, kind, before, tense == FUTURE)
    polarity = choose(("", "", "no") if kind == "aged" else ("", "", "", "no", "nunca"))
    time = _time(choose, tense, first and polarity != "nunca" and kind != "aged")
    _told_apart(whose, said.verb, tense, named=bool(time[0]) or not first, before=before)
    return stated(whose, said, tense, polarity, time)


def stated(
    whose: Phrase, said: Predicate, tense: str, polarity: str, time: tuple[str, str] = ("", "")
) -> Clause:
    """A subject and what is said of it."""
    verb = lexicon.conjugated(said.verb, tense)[whose.person]
    negated = {"": "", "no": "not", "nunca": "never"}[polarity]
    _, group = lexicon.verb_group(
        said.english_verb or said.verb, whose.english_person, tense, negated
    )
    return Clause(
        f"{time[0]} {whose.spanish} {polarity} {said.clitic} {verb} {said.near} {said.spanish}",
        f"{whose.english} {group} {said.english} {time[1]}",
        whose.pairs + said.pairs,
        whose,
    )


def said_of(choose: Draw, kind: str, before: Phrase | None, future: bool) -> Said:
    """A subject and what is said of it: what it "is", "does", or how old it is ("aged")."""
    if kind == "is":
        # Only what may be said of one kind of noun is chosen with it.
        kinds = choose((("person",), ("person",), ("animal",), ("thing",), ("door",), ("text",),
                        ("clothes",), ("food",), ("dish",), ("drink",)))  # fmt: skip
        how = choose(("like", "like", "where"))
        if how == "where" and kinds[0] in ("dish", "drink"):
            raise Refused
        whose = subject(choose, kinds, before, agrees=how == "like")
        if how == "like":
            return Said(whose, choose.part(describing, whose))
        place, there = located(choose, thing=kinds[0] not in ("person", "animal"))
        return Said(whose, Predicate(lexicon.being()["estar"], place, there))
    if kind == "aged":
        whose = subject(choose, ("person",), before, agrees=False)
        age, years = choose(lexicon.AGES)
        return Said(whose, _having(whose, f"{age} años", f"{years} years old"))
    if choose((True, *[False] * 7)):
        whose = subject(choose, ("person",), before, agrees=False)
        return Said(whose, _having(whose, *choose(lexicon.HAD)))
    verb = choose(lexicon.verbs())
    frame = choose(_frames(verb))
    whose = subject(choose, verb.subjects, before, agrees=False)
    said = choose.part(doing, verb, frame, whose)
    if whose.kind == "person" and choose((True, *[False] * 4)):
        said = with_modal(choose, whose, said, future)
    return Said(whose, said)


def _having(whose: Phrase, spanish: str, english: str) -> Predicate:
    """What one has in Spanish and is in English."""
    verb = next(verb for verb in lexicon.verbs() if verb.spanish == "tener")
    pairs = _together(whose, verb)
    return Predicate(verb, "", english, lexicon.being()["estar"], near=spanish, pairs=pairs)


def _time(choose: Draw, tense: str, first: bool) -> tuple[str, str]:
    if first and choose((True, False, False)):
        return choose(lexicon.TIMES[tense])
    return "", ""


def _told_apart(
    whose: Phrase, verb: Verb, tense: str, *, named: bool, before: Phrase | None
) -> None:
    """The Spanish clause must say who does it and when: "hablamos" alone is present and past."""
    if tense != PAST:
        return
    if _ambiguous(verb, whose.person) and not named:
        raise Refused
    told = before is not None and before.person == ME
    if whose.left_out and whose.person == ME and _unmarked(verb) and not told:
        raise Refused


def _ambiguous(verb: Verb, person: int) -> bool:
    """Whether a form is one of the present and of the past: hablamos."""
    present, past = (lexicon.conjugated(verb, tense)[person] for tense in (PRESENT, PAST))
    return present == past


def _unmarked(verb: Verb) -> bool:
    """Whether a past form is that of yo and of él: tenía."""
    forms = lexicon.conjugated(verb, PAST)
    return forms[ME] == forms[IT]


def there_is(choose: Draw, tense: str, first: bool) -> Clause:
    """What there is somewhere: hay."""
    kinds = choose((("person",), ("animal",), ("thing",), ("food",), ("text",), ("dish", "drink")))
    negated = choose((False, False, True))
    what = choose.part(noun_phrase, kinds, "several" if negated else "there")
    place, where = located(choose, thing=kinds[0] not in ("person", "animal"))
    time = _time(choose, tense, first)
    verb = {PRESENT: "hay", PAST: "había", FUTURE: "habrá"}[tense]
    _, group = lexicon.verb_group(lexicon.being()["estar"], what.person, tense)
    none = ("no", "no") if negated else ("", "")
    return Clause(
        f"{time[0]} {none[0]} {verb} {what.spanish} {place}",
        f"there {group} {none[1]} {what.english} {where} {time[1]}",
        what.pairs,
    )


def likes(choose: Draw, tense: str, first: bool) -> Clause:
    """What somebody likes: gustar, of which what is liked is the subject."""
    what = choose.part(
        noun_phrase,
        ("animal", "thing", "door", "clothes", "text", "food", "dish", "drink"),
        "like",
    )
    polarity, negated = choose((("", ""), ("", ""), ("no", "not"), ("nunca", "never")))
    to, english, who = "", "", IT
    if choose((True, False)):
        clitic, english, who = choose((("me", "i", ME), ("te", "you", YOU), ("nos", "we", WE)))
        pairs: Pairs = ()
    else:
        whom = choose.part(person)
        to, english, who, pairs = f"a {whom.spanish}", whom.english, whom.person, whom.pairs
        clitic = "les" if who == THEY else "le"
    verb = {PRESENT: ("gusta", "gustan"), PAST: ("gustaba", "gustaban"),
            FUTURE: ("gustará", "gustarán")}[tense][what.person == THEY]  # fmt: skip
    like = Verb("gustar", "like", "liked", (), (), ())
    _, group = lexicon.verb_group(like, who, tense, negated)
    return Clause(
        f"{to} {polarity} {clitic} {verb} {what.spanish}",
        f"{english} {group} {what.english}",
        pairs + what.pairs,
    )


# --- questions and exclamations -------------------------------------------------------------------


def question(choose: Draw, tense: str) -> Clause:
    """A question: the verb before its subject, and do before the English one."""
    kind = choose(("whether", "whether", "why", "when", "where", "what", "how many", "who"))
    polarity = choose(("", "", "no")) if kind in ("whether", "why") else ""
    if kind == "who":
        return _ended("¿", stated(*_who(choose, tense), tense, ""), "?")
    front = {
        "whether": ("", ""), "why": ("por qué", "why"), "when": ("cuándo", "when"),
        "where": ("dónde", "where"), "what": ("qué", "what"), "how many": ("", ""),
    }[kind]  # fmt: skip
    time = ("", "")
    pairs: Pairs = ()
    if kind == "where":
        kinds = choose((("person",), ("animal",), ("thing",), ("text",)))
        whose = subject(choose, kinds, None, agrees=False)
        said = Predicate(lexicon.being()["estar"])
    elif kind in ("what", "how many"):
        things = ("thing", "clothes", "text", "food")
        fits = [verb for verb in lexicon.verbs() if {*things} & {*verb.takes}]
        verb = choose(fits)
        whose = subject(choose, verb.subjects, None, agrees=False)
        said = Predicate(verb, pairs=_together(whose, verb))
        if kind == "how many":
            several = tuple(thing for thing in things if thing in verb.takes)
            what = choose.part(noun_phrase, several, "several")
            front = f"cuánt{'oa'[what.gender]}s {what.spanish}", f"how many {what.english}"
            pairs = what.pairs
    else:
        whose, said = choose.part(said_of, choose(("does", "does", "is")), None, tense == FUTURE)
        if kind == "whether":
            time = _time(choose, tense, True)
    if whose.person == ME or whose.spanish in ("tú", "nosotros", "nosotras"):
        raise Refused  # a question names them only where it must
    _told_apart(whose, said.verb, tense, named=bool(time[0]), before=None)
    verb = lexicon.conjugated(said.verb, tense)[whose.person]
    negated = "not" if polarity else ""
    helper, group = lexicon.verb_group(
        said.english_verb or said.verb, whose.english_person, tense, negated, asks=True
    )
    asked = Clause(
        f"{front[0]} {polarity} {said.clitic} {verb} {said.near} {whose.spanish} "
        f"{said.spanish} {time[0]}",
        f"{front[1]} {helper} {whose.english} {group} {said.english} {time[1]}",
        pairs + whose.pairs + said.pairs,
    )
    return _ended("¿", asked, "?")


def _who(choose: Draw, tense: str) -> tuple[Phrase, Predicate]:
    verb = choose([verb for verb in lexicon.verbs() if "person" in verb.subjects])
    said = choose.part(doing, verb, choose(_frames(verb)), WHO)
    return WHO, with_modal(choose, WHO, said, tense == FUTURE) if choose(
        (True, *[False] * 4)
    ) else said


def exclamation(choose: Draw, tense: str) -> Clause:
    """What something is like: "¡qué bonita es la casa!" is "how pretty the house is!"."""
    kinds = choose((("person",), ("animal",), ("thing",), ("text",), ("clothes",), ("food",)))
    whose = choose.part(noun_phrase, kinds)
    adjective = choose([one for one in lexicon.adjectives(kinds[0]) if one.graded])
    verb = lexicon.being()[adjective.verb]
    several = whose.person == THEY
    said = adjective.forms[several][whose.gender]
    _, group = lexicon.verb_group(verb, whose.person, tense)
    shouted = Clause(
        f"qué {said} {lexicon.conjugated(verb, tense)[whose.person]} {whose.spanish}",
        f"how {adjective.english} {whose.english} {group}",
        (*whose.pairs, (whose.noun, adjective.forms[0][0])),
    )
    return _ended("¡", shouted, "!")


# --- sentences ------------------------------------------------------------------------------------


def sentence(choose: Draw, most: int = MOST) -> Clause:
    """A sentence of at most so many clauses."""
    form = choose(("state",) * 15 + ("ask",) * 4 + ("shout",))
    tense = choose((PRESENT, PRESENT, PAST, FUTURE))
    if form == "ask":
        return question(choose, tense)
    if form == "shout":
        return exclamation(choose, tense)
    lengths = [n for n in (1, 1, 1, 1, 2, 2, 2, 3, 3, 4) if n <= most]
    spanish, english = choose((("", ""),) * 40 + lexicon.OPENERS)
    told = choose.part(joined, tense, None, choose(lengths), True)
    return _ended(spanish, told._replace(english=f"{english} {told.english}"), ".")


def joined(choose: Draw, tense: str, before: Phrase | None, clauses: int, first: bool) -> Clause:
    """So many clauses, with what joins them."""
    one = choose.part(clause, tense, before, first)
    if clauses == 1:
        return one._replace(subject=None)
    (y, and_), rest = (
        choose(lexicon.JOINED),
        choose.part(joined, tense, one.subject, clauses - 1, False),
    )
    return Clause(
        f"{one.spanish}{y} {rest.spanish}",
        f"{one.english}{and_} {rest.english}",
        one.pairs + rest.pairs,
    )


def _ended(begin: str, said: Clause, end: str) -> Clause:
    """Both texts as they are written, the symbols apart."""
    spanish = lexicon.spanish(f"{begin} {said.spanish} {end}".replace(",", " ,"))
    english = lexicon.english(f"{said.english} {end}".replace(",", " ,"))
    return Clause(spanish, english, said.pairs)


def sentences(most: int = MOST) -> int:
    """How many sentences there are, of at most so many clauses."""
    return count(sentence, most)
