"""Words of Spanish and English, and how they are inflected."""

from __future__ import annotations

import functools
import re
from typing import NamedTuple

# What a verb's six persons are without vosotros: yo, tú, él, nosotros, ellos.
PERSONS = ME, YOU, IT, WE, THEY = range(5)
PRESENT, PAST, FUTURE = TENSES = ("present", "past", "future")

# --- tables ---------------------------------------------------------------------------------------

# Spanish, gender, English (and its plural where it is irregular), by kind.
_NOUNS = {
    "person": """
        niño m boy/children; niña f girl; actor m actor; actriz f actress; médico m doctor;
        enfermera f nurse; profesor m teacher; profesora f teacher; amigo m friend; amiga f friend;
        hermano m brother; hermana f sister; abuelo m grandfather/grandparents;
        abuela f grandmother; vecino m neighbour; vecina f neighbour; tío m uncle; tía f aunt;
        primo m cousin; prima f cousin; cocinero m cook; abogado m lawyer; pintor m painter;
        rey m king; reina f queen; hijo m son/children; hija f daughter; padre m father/parents;
        madre f mother""",
    "animal": """
        perro m dog; gato m cat; caballo m horse; pájaro m bird; vaca f cow; oveja f sheep/sheep;
        ratón m mouse/mice; pez m fish/fish; águila f eagle; conejo m rabbit; león m lion;
        gallina f hen""",
    "thing": """
        casa f house; mesa f table; silla f chair; coche m car; bicicleta f bicycle; barco m boat;
        camión m lorry; llave f key; reloj m clock; lápiz m pencil; flor f flower; árbol m tree;
        cuadro m painting; mapa m map; foto f photo/photos; lámpara f lamp; cuchara f spoon;
        cuchillo m knife/knives; vaso m glass; plato m plate; botella f bottle; pelota f ball;
        guitarra f guitar; regalo m gift; moneda f coin; espejo m mirror; manta f blanket""",
    "door": "puerta f door; ventana f window; caja f box; tienda f shop",
    "clothes": "camisa f shirt; vestido m dress; zapato m shoe; sombrero m hat; abrigo m coat",
    "text": "libro m book; carta f letter; poema m poem; novela f novel; canción f song",
    "food": """
        manzana f apple; naranja f orange; huevo m egg; pastel m cake; tomate m tomato/tomatoes;
        patata f potato/potatoes; pera f pear; galleta f biscuit""",
    "dish": "pan m bread; carne f meat; arroz m rice; queso m cheese; sopa f soup; miel f honey",
    "drink": "agua f water; leche f milk; café m coffee; vino m wine; té m tea; zumo m juice",
}
UNCOUNTED = ("dish", "drink")
FEMININE_WITH_EL = ("agua", "águila")  # whose first a is stressed: el agua fría

# Spanish (and its feminine where that is irregular), English, kinds of nouns, ser or estar. A plus:
# it goes with "muy"; a star: it is never beside its noun, only behind the verb.
_ADJECTIVES = """
    alto tall person ser+; bajo short person ser+; joven young person,animal ser+;
    viejo old person,animal,thing,door,clothes,text ser+; rico rich person ser+;
    pobre poor person ser+; inteligente intelligent person,animal ser+; amable kind person ser+;
    simpático nice person ser+; famoso famous person,text ser+; fuerte strong person,animal ser+;
    débil weak person,animal ser+; perezoso lazy person,animal ser+; serio serious person,text ser+;
    español/española spanish person,text,dish ser; inglés/inglesa english person,text,thing ser;
    alemán/alemana german person,text,thing ser; listo clever person,animal ser+;
    aburrido boring person,text ser+; cansado tired person,animal estar+;
    enfermo sick person,animal estar+; ocupado busy person estar+; contento happy person estar+;
    triste sad person estar+; enfadado angry person estar+; preocupado worried person estar+;
    listo ready person estar*; aburrido bored person estar*;
    grande big animal,thing,door,clothes,food ser+;
    pequeño small animal,thing,door,clothes,food ser+; rápido fast animal ser+;
    lento slow animal ser+; peligroso dangerous animal ser+;
    hermoso beautiful animal,thing,text ser+; salvaje wild animal ser;
    blanco white animal,thing,door,clothes ser; negro black animal,thing,door,clothes ser;
    rojo red thing,door,clothes,food ser; amarillo yellow thing,door,clothes ser;
    verde green thing,door,clothes ser; azul blue thing,door,clothes ser;
    gris grey animal,thing,door,clothes ser; nuevo new thing,door,clothes,text ser;
    bonito pretty thing,door,clothes,text ser+; feo ugly thing,door,clothes ser+;
    caro expensive thing,door,clothes,food,dish,drink ser+;
    barato cheap thing,door,clothes,food,dish,drink ser+; antiguo ancient thing,text ser+;
    moderno modern thing,door,text ser+; pesado heavy thing,door ser+; largo long clothes,text ser+;
    corto short clothes,text ser+; interesante interesting text ser+;
    importante important text ser+; difícil difficult text ser+; fácil easy text ser+;
    sucio dirty thing,door,clothes,animal estar+; limpio clean thing,door,clothes,animal estar+;
    roto broken thing,door,clothes estar; abierto open door estar; cerrado closed door estar;
    dulce sweet food,drink ser+; salado salty dish ser+; fresco fresh food,dish,drink estar+;
    frío cold food,dish,drink estar+; caliente hot food,dish,drink estar+;
    delicioso delicious food,dish,drink estar
"""
_PLURALS = {"joven": "jóvenes"}

# Spanish, English (and its past where it is irregular), kinds of its subject; then the kinds of its
# objects, or: rest, none; in, none, and where it is done, which "at" never lacks; to, where it
# leads; give, to whom what. At last what is irregular: the stem's stressed vowel, its vowel before
# -ió, forms; a state has the imperfect for its past.
_VERBS = """
    comer eat/ate person,animal food,dish; beber drink/drank person,animal drink;
    comprar buy/bought person thing,clothes,text,food,dish,drink,give;
    vender sell/sold person thing,clothes,text,food,dish,give;
    preparar prepare person food,dish,drink; cortar cut/cut person food,dish;
    pedir ask_for/asked person thing,food,dish,drink vowel=i low=i; llevar wear/wore person clothes;
    lavar wash person,animal thing,clothes; pintar paint person thing,door;
    romper break/broke person,animal thing,door;
    perder lose/lost person thing,clothes,text vowel=ie;
    encontrar find/found person,animal person,animal,thing,clothes,text,food vowel=ue;
    buscar look_for/looked person,animal person,animal,thing,clothes,text,food;
    mirar look_at/looked person,animal person,animal,thing,door; abrir open person door;
    cerrar close person door vowel=ie; usar use person thing;
    robar steal/stole person,animal thing,food; esconder hide/hid person,animal thing,text,food;
    reparar repair person thing,door; dibujar draw/drew person animal,thing;
    recibir receive person text,thing;
    necesitar need person thing,clothes,text,food,dish,drink past=state;
    querer want person thing,clothes,text,food,dish,drink vowel=ie past=state future=querr;
    tener have/had person animal,thing,clothes,text,food vowel=ie yo=tengo past=state future=tendr;
    ver see/saw person,animal person,animal,thing,text yo=veo past=vi,viste,vio,vimos,vieron;
    leer read/read person text low=y; escribir write/wrote person text;
    conocer know/knew person person yo=conozco past=state; ayudar help person person;
    llamar call person person; visitar visit person person;
    esperar wait_for/waited person,animal person; escuchar listen_to/listened person,animal person;
    saludar greet person person; invitar invite person person; besar kiss person person;
    abrazar hug/hugged person person; entender understand/understood person person,text vowel=ie;
    recordar remember person person,text vowel=ue; olvidar forget/forgot person person,text,thing;
    amar love person,animal person past=state; odiar hate person person past=state;
    admirar admire person person,text past=state;
    dar give/gave person give yo=doy past=di,diste,dio,dimos,dieron; mandar send/sent person give;
    prestar lend/lent person give; mostrar show person give,thing vowel=ue;
    traer bring/brought person thing,food,dish,drink,give yo=traigo past=traj;
    dormir sleep/slept person,animal in vowel=ue low=u; correr run/ran person,animal in,to;
    nadar swim/swam person,animal in; llorar cry person in; cantar sing/sang person in;
    bailar dance person in; trabajar work person in; estudiar study/studied person in;
    viajar travel/travelled person rest,to; caminar walk person,animal in,to;
    llegar arrive person rest; salir leave/left person rest yo=salgo future=saldr;
    saltar jump person,animal in; jugar play person,animal in vowel=ue;
    volver come_back/came person rest,to vowel=ue; descansar rest person,animal in;
    gritar shout person in;
    ir go/went person,animal to forms=voy,vas,va,vamos,van past=fui,fuiste,fue,fuimos,fueron;
    vivir live person,animal at past=state
"""
_MODALS = """
    querer want_to/wanted person - vowel=ie past=state future=querr;
    poder can/could person - vowel=ue past=state future=podr;
    tener_que have_to/had person - vowel=ie yo=tengo past=state future=tendr;
    ir_a be_going_to/was person - forms=voy,vas,va,vamos,van past=iba,ibas,iba,íbamos,iban
"""
_BEING = """
    ser be/was - - forms=soy,eres,es,somos,son past=era,eras,era,éramos,eran;
    estar be/was - - forms=estoy,estás,está,estamos,están past=state
"""
# What one has in Spanish and is in English.
HAD = (
    ("hambre", "hungry"), ("sed", "thirsty"), ("calor", "hot"), ("sueño", "sleepy"),
    ("miedo", "afraid"), ("prisa", "in a hurry"), ("razón", "right"),
)  # fmt: skip

# Masculine and feminine, English; of one, of several, of what is not counted, and of none.
DETERMINERS = {
    "one": (
        ("el", "la", "the"), ("un", "una", "a"), ("este", "esta", "this"), ("ese", "esa", "that"),
        ("mi", "mi", "my"), ("tu", "tu", "your"), ("nuestro", "nuestra", "our"),
        ("otro", "otra", "another"),
    ),
    "several": (
        ("los", "las", "the"), ("estos", "estas", "these"), ("esos", "esas", "those"),
        ("mis", "mis", "my"), ("tus", "tus", "your"), ("nuestros", "nuestras", "our"),
        ("otros", "otras", "other"), ("muchos", "muchas", "many"),
        ("todos los", "todas las", "all the"), ("dos", "dos", "two"), ("tres", "tres", "three"),
        ("cuatro", "cuatro", "four"), ("cinco", "cinco", "five"), ("seis", "seis", "six"),
        ("siete", "siete", "seven"), ("ocho", "ocho", "eight"), ("diez", "diez", "ten"),
        ("doce", "doce", "twelve"), ("veinte", "veinte", "twenty"), ("cien", "cien", "a hundred"),
        ("doscientos", "doscientas", "two hundred"),
    ),
    "mass": (
        ("el", "la", "the"), ("este", "esta", "this"), ("ese", "esa", "that"), ("mi", "mi", "my"),
        ("tu", "tu", "your"), ("nuestro", "nuestra", "our"), ("mucho", "mucha", "a lot of"),
    ),
}  # fmt: skip
NONE = ("", "", "")
# What is liked is always some of these; and what there is, none.
DEFINITE = ("the", "this", "these", "that", "those", "my", "your", "our")

AGES = (
    ("tres", "three"), ("cuatro", "four"), ("cinco", "five"), ("seis", "six"), ("siete", "seven"),
    ("ocho", "eight"), ("nueve", "nine"), ("diez", "ten"), ("once", "eleven"), ("doce", "twelve"),
    ("trece", "thirteen"), ("catorce", "fourteen"), ("quince", "fifteen"), ("veinte", "twenty"),
    ("treinta", "thirty"), ("cuarenta", "forty"), ("cincuenta", "fifty"), ("sesenta", "sixty"),
    ("setenta", "seventy"), ("ochenta", "eighty"), ("noventa", "ninety"),
)  # fmt: skip
# Where things are and are done: with what stands before it in English.
PLACES = (
    ("la cocina", "in the kitchen"), ("el jardín", "in the garden"), ("el parque", "in the park"),
    ("la escuela", "at the school"), ("el mercado", "at the market"), ("la playa", "on the beach"),
    ("la biblioteca", "in the library"), ("el hospital", "in the hospital"),
    ("la calle", "in the street"), ("la iglesia", "in the church"),
    ("la estación", "at the station"), ("la plaza", "in the square"), ("el museo", "in the museum"),
    ("el pueblo", "in the village"), ("la oficina", "in the office"),
    ("el restaurante", "in the restaurant"), ("la ciudad", "in the city"),
)  # fmt: skip
FURNITURE = (
    ("la mesa", "on the table"), ("la silla", "on the chair"), ("el suelo", "on the floor"),
    ("la caja", "in the box"),
)  # fmt: skip
NEAR = (
    ("cerca de", "near"), ("lejos de", "far from"), ("detrás de", "behind"),
    ("delante de", "in front of"), ("al lado de", "next to"),
)  # fmt: skip
MANNERS = (
    ("mucho", "a lot"), ("bien", "well"), ("despacio", "slowly"), ("rápidamente", "quickly"),
    ("aquí", "here"),
)  # fmt: skip
TIMES = {
    PRESENT: (
        ("hoy", "today"), ("ahora", "now"), ("todos los días", "every day"),
        ("por la mañana", "in the morning"), ("los lunes", "on mondays"),
        ("los domingos", "on sundays"),
    ),
    PAST: (
        ("ayer", "yesterday"), ("la semana pasada", "last week"), ("el año pasado", "last year"),
        ("anoche", "last night"), ("hace dos días", "two days ago"),
        ("hace tres semanas", "three weeks ago"), ("hace cinco años", "five years ago"),
    ),
    FUTURE: (
        ("mañana", "tomorrow"), ("la semana que viene", "next week"),
        ("el año que viene", "next year"), ("dentro de dos días", "in two days"),
        ("dentro de tres semanas", "in three weeks"), ("esta noche", "tonight"),
    ),
}  # fmt: skip
# What joins clauses, the likelier ones more than once.
JOINED = (
    (" y", " and"), (" y", " and"), (", pero", ", but"), (", pero", ", but"),
    (" porque", " because"), (" porque", " because"), (", así que", ", so"),
    (" aunque", " although"),
)  # fmt: skip
OPENERS = (
    ("creo que", "i think that"), ("sé que", "i know that"), ("dicen que", "they say that"),
    ("es verdad que", "it is true that"),
)  # fmt: skip


# --- words ----------------------------------------------------------------------------------------


class Noun(NamedTuple):
    """A noun: its forms of one and of several; gender 0 is masculine, 1 feminine."""

    spanish: tuple[str, str]
    english: tuple[str, str]
    gender: int
    kind: str


class Adjective(NamedTuple):
    """An adjective: forms[number][gender], the nouns it is said of, and its verb."""

    forms: tuple[tuple[str, str], tuple[str, str]]
    english: str
    kinds: tuple[str, ...]
    verb: str
    graded: bool
    beside: bool


class Verb(NamedTuple):
    """A verb: `english` is its base with what follows it, as `past` is its past alone."""

    spanish: str
    english: str
    past: str
    subjects: tuple[str, ...]
    takes: tuple[str, ...]
    irregular: tuple[tuple[str, str], ...]


def _entries(table: str) -> list[list[str]]:
    return [entry.split() for entry in table.split(";")]


@functools.cache
def nouns(kinds: tuple[str, ...] = tuple(_NOUNS)) -> tuple[Noun, ...]:
    """The nouns of some kinds."""
    found = []
    for kind in kinds:
        for spanish, gender, english in _entries(_NOUNS[kind]):
            one, _, several = english.partition("/")
            english = (one, several or _with_s(one))
            found.append(Noun((spanish, plural(spanish)), english, "mf".index(gender), kind))
    return tuple(found)


@functools.cache
def adjectives(kind: str = "", *, beside: bool = False) -> tuple[Adjective, ...]:
    """The adjectives of a kind of nouns; those alone that stand beside one."""
    found = []
    for spanish, english, kinds, verb in _entries(_ADJECTIVES):
        masculine, _, feminine = spanish.partition("/")
        feminine = feminine or (re.sub("o$", "a", masculine))
        forms = ((masculine, feminine), (plural(masculine), plural(feminine)))
        graded, alone = verb.endswith("+"), verb.endswith("*")
        found.append(
            Adjective(forms, english, tuple(kinds.split(",")), verb.strip("+*"), graded, not alone)
        )
    return tuple(
        one for one in found if (not kind or kind in one.kinds) and (one.beside or not beside)
    )


def _verbs(table: str) -> tuple[Verb, ...]:
    found = []
    for spanish, english, subjects, takes, *irregular in _entries(table):
        base, _, past = english.partition("/")
        base, spanish = base.replace("_", " "), spanish.replace("_", " ")
        pairs = tuple((name, forms) for name, _, forms in (p.partition("=") for p in irregular))
        past = past or _with_ed(base.split()[0])
        of, takes = (tuple(words.split(",")) for words in (subjects, takes))
        found.append(Verb(spanish, base, past, of, takes, pairs))
    return tuple(found)


@functools.cache
def verbs() -> tuple[Verb, ...]:
    """All verbs but those below."""
    return _verbs(_VERBS)


@functools.cache
def modals() -> tuple[Verb, ...]:
    """Those that an infinitive follows."""
    return _verbs(_MODALS)


@functools.cache
def being() -> dict[str, Verb]:
    """Ser and estar."""
    return {verb.spanish: verb for verb in _verbs(_BEING)}


# --- Spanish --------------------------------------------------------------------------------------


def plural(word: str) -> str:
    """The plural of a noun or an adjective: canciones, luces, cafés."""
    if word in _PLURALS:
        return _PLURALS[word]
    if word[-1] in "aeiouáéó":
        return f"{word}s"
    if word[-1] == "z":
        return f"{word[:-1]}ces"
    if word[-2] in (plain := dict(zip("áéíóú", "aeiou", strict=True))) and word[-1] in "ns":
        word = word[:-2] + plain[word[-2]] + word[-1]
    return f"{word}es"


_ENDINGS = {
    "ar": ("o as a amos an", "é aste ó amos aron", "aba abas aba ábamos aban"),
    "er": ("o es e emos en", "í iste ió imos ieron", "ía ías ía íamos ían"),
    "ir": ("o es e imos en", "í iste ió imos ieron", "ía ías ía íamos ían"),
}
_STRONG = "e iste o imos ieron"


@functools.cache
def conjugated(verb: Verb, tense: str) -> tuple[str, ...]:
    """The forms for yo, tú, él, nosotros, ellos.

    The past is what is told of once, the preterite; of a state, as of a wish, it is the imperfect.
    """
    irregular, (infinitive, *rest) = dict(verb.irregular), verb.spanish.split()
    stem, ending = infinitive[:-2], infinitive[-2:]
    present, preterite, imperfect = map(str.split, _ENDINGS[ending])
    if tense == FUTURE:
        whole = irregular.get("future", infinitive)
        forms = [f"{whole}{e}" for e in "é ás á emos án".split()]
    elif tense == PRESENT:
        forms = irregular.get("forms", "").split(",")
        if not forms[0]:
            stressed = re.sub("[eou](?=[^eou]*$)", irregular.get("vowel", r"\g<0>"), stem)
            forms = [f"{stem if n == WE else stressed}{e}" for n, e in enumerate(present)]
            forms[ME] = irregular.get("yo", forms[ME])
    elif irregular.get("past") == "state":
        forms = [f"{stem}{e}" for e in imperfect]
    elif "," in irregular.get("past", ""):
        forms = irregular["past"].split(",")
    elif "past" in irregular:
        forms = [f"{irregular['past']}{e}" for e in _STRONG.split()]
        forms[THEY] = forms[THEY].replace("ji", "j")
    else:
        forms = [f"{stem}{e}" for e in preterite]
        for spelt, before_e in (("c", "qu"), ("g", "gu"), ("z", "c")):
            if ending == "ar" and stem.endswith(spelt):
                forms[ME] = f"{stem[: -len(spelt)]}{before_e}é"
        low = irregular.get("low", "")
        if low == "y":
            forms = [re.sub("i(?=s|m)", "í", form) for form in forms]
            forms[IT], forms[THEY] = f"{stem}yó", f"{stem}yeron"
        elif low:
            for n in (IT, THEY):
                forms[n] = re.sub("[eo](?=[^eo]*$)", low, stem) + preterite[n]
    return tuple(" ".join([form, *rest]) for form in forms)


def spanish(text: str) -> str:
    """The text with what words become beside each other: al, del, e instead of y."""
    text = " ".join(text.split())
    text = re.sub(r"\b(a|de) el\b", lambda found: f"{found[1]}l", text)
    return re.sub(r"\by (?=h?i(?!e))", "e ", text)


# --- English --------------------------------------------------------------------------------------


def _with_s(word: str) -> str:
    """Boxes, cities, goes: of a noun several, of a verb the third person."""
    if re.search("[^aeiou]y$", word):
        return f"{word[:-1]}ies"
    return f"{word}es" if re.search("(s|x|z|ch|sh|o)$", word) else f"{word}s"


def _with_ed(base: str) -> str:
    if re.search("[^aeiou]y$", base):
        return f"{base[:-1]}ied"
    return f"{base}d" if base.endswith("e") else f"{base}ed"


_BE = {PRESENT: "am are is are are".split(), PAST: "was were was were were".split()}


def verb_group(
    verb: Verb, person: int, tense: str, polarity: str = "", *, asks: bool = False
) -> tuple[str, str]:
    """What stands before the subject of a question, and what behind any subject.

        eats        does … eat        will not look for        is never hungry

    Args:
      verb: the verb, of which the English is looked at.
      person: of the subject.
      tense: present, past or future.
      polarity: "", "not" or "never".
      asks: whether it is a question.
    """
    first, *rest = verb.english.split()
    if tense == FUTURE:
        helper, first = "will", {"can": "be able to"}.get(first, first)
    elif first == "be":
        helper, first = _BE[tense][person], ""
    elif first == "can":
        helper, first = verb.past if tense == PAST else "can", ""
    elif asks or polarity == "not":
        helper = "did" if tense == PAST else "does" if person == IT else "do"
    else:
        helper = ""
        if tense == PAST:
            first = verb.past
        elif person == IT:
            first = {"have": "has"}.get(first, _with_s(first))
    behind = " ".join([polarity, first, *rest])
    return (helper, behind) if asks else ("", f"{helper} {behind}")


def english(text: str) -> str:
    """The text with what words become beside each other: an apple, cannot."""
    text = " ".join(text.split())
    return re.sub(r"\bcan not\b", "cannot", re.sub(r"\ba (?=[aeiou])", "an ", text))
