"""Which symbols may come next: brackets, counting, and the embedded Reber grammar."""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax.tasks.controlled._base import Batch, Symbolic, real_steps

Array = jax.Array
START, END = "^", "$"


@dataclasses.dataclass(frozen=True)
class Grammar(Symbolic):
    """A task that asks at every step for the set of all symbols that may come next.

    A step is right if exactly these have a probability above 1/2, and a sequence if all steps are.
    """

    kind: ClassVar[Literal["class", "set", "numbers"]] = "set"

    def legal(self, symbols: Array) -> Array:
        """What may come behind each beginning of sound symbols, bool [S, B, C]."""
        raise NotImplementedError

    def solved(self, symbols: Array, lengths: Array) -> tuple[Array, Array]:
        """What may come, asked for everywhere."""
        return self.legal(symbols), real_steps(lengths, len(symbols))

    def written(self, request: str) -> str:
        """A beginning of a word, behind its start."""
        return START + request

    def text(self, letters: str) -> str:
        """A beginning of a word, as it is asked for."""
        return letters.removeprefix(START)

    def asked_for(self, request: str) -> tuple[Batch, str]:
        """The letters of a request; ValueError for one that cannot stand where it does."""
        batch, text = super().asked_for(request)
        letters = self.written(text)
        for place, allowed in enumerate(np.asarray(batch.targets[:-1, 0]), 1):
            names = [name for name, may in zip(self.outputs, allowed, strict=True) if may]
            if letters[place] not in names:
                raise ValueError(
                    f"behind {self.text(letters[:place])!r} comes {' or '.join(names)}, not "
                    f"{letters[place]}: {text!r}"
                )
        return batch, text


# --- brackets ------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Dyck1(Grammar):
    """Balanced brackets of one kind: which may come next, where $ is the end.

    Words of one length are all equally likely; lengths are even.

    Reference:
      Suzgun et al., LSTM Networks Can Perform Dynamic Counting, 2019, arXiv:1906.03648; the set of
      next symbols as Gers & Schmidhuber, IEEE Transactions on Neural Networks 12(6), 2001.
    """

    name: ClassVar[str] = "dyck-1"
    about: ClassVar[str] = "which brackets may come next in a balanced word of one kind"
    least: ClassVar[int] = 2
    reads: ClassVar[str] = START + "()"
    outputs: ClassVar[tuple[str, ...]] = (*"()", END)
    form: ClassVar[str] = "[()]+"
    form_said: ClassVar[str] = "the beginning of a balanced word of brackets, as (()("

    shortest: int = 2

    def symbols(self, key: Array, sizes: Array, most: int) -> tuple[Array, Array]:
        """Balanced words, behind the start."""
        k_way, k_kind = jax.random.split(key)
        sizes = sizes - sizes % 2
        kinds = (len(self.reads) - 1) // 2
        chosen = jax.random.randint(k_kind, (most, *sizes.shape), 0, kinds)
        chance = jax.random.uniform(k_way, chosen.shape)

        def step(depth: Array, now: tuple[Array, ...]) -> tuple[Array, Array]:
            chance, t = now
            left = sizes - t
            # Of all ways from here to depth 0, the share that goes up first: a ballot problem.
            share = (depth + 2) * (left - depth) / (2 * (depth + 1) * jnp.maximum(left, 1))
            up = chance < share
            return depth + jnp.where(up, 1, -1), up

        _, up = jax.lax.scan(step, jnp.zeros_like(sizes), (chance, jnp.arange(most)))
        up = up & real_steps(sizes, most)
        _, inner = _open(up, chosen)
        # A bracket that closes is that of the innermost one which was open before it.
        before = jnp.concatenate([jnp.zeros_like(inner[:1]), inner[:-1]])
        words = jnp.where(up, 1 + 2 * chosen, 2 + 2 * before)
        return jnp.concatenate([jnp.zeros_like(words[:1]), words]), sizes + 1

    def legal(self, symbols: Array) -> Array:
        """Every bracket may open; the innermost open one may close, and the end come if none is."""
        up = symbols % 2 == 1
        depth, inner = _open(up, jnp.where(up, symbols // 2, 0), symbols != 0)
        kinds = (len(self.reads) - 1) // 2
        closes = (inner[..., None] == jnp.arange(kinds)) & (depth[..., None] > 0)
        opens = jnp.ones_like(closes)
        pairs = jnp.stack([opens, closes], axis=-1).reshape(*depth.shape, 2 * kinds)
        return jnp.concatenate([pairs, depth[..., None] == 0], axis=-1)


def _open(up: Array, kinds: Array, bracket: Array | None = None) -> tuple[Array, Array]:
    """How many brackets are open behind each step, and the kind of the innermost, [S, B].

    Args:
      up: where one opens, bool [S, B].
      kinds: of which kind.
      bracket: where one opens or closes; everywhere, unless it is given.
    """
    bracket = jnp.ones_like(up) if bracket is None else bracket
    rows = jnp.arange(up.shape[1])

    def step(state: tuple[Array, Array], now: tuple[Array, ...]) -> tuple[tuple, tuple]:
        depth, stack = state
        up, kind, bracket = now
        stack = stack.at[depth, rows].set(jnp.where(up, kind, stack[depth, rows]))
        # What closes at depth 0 is padding.
        depth = jnp.where(bracket, jnp.maximum(depth + jnp.where(up, 1, -1), 0), depth)
        return (depth, stack), (depth, stack[jnp.maximum(depth - 1, 0), rows])

    empty = jnp.zeros_like(kinds[0]), jnp.zeros((len(up) + 1, up.shape[1]), kinds.dtype)
    return jax.lax.scan(step, empty, (up, kinds, bracket))[1]


@dataclasses.dataclass(frozen=True)
class Dyck2(Dyck1):
    """Balanced brackets of two kinds: which may come next, where $ is the end.

    Words of one length are all equally likely; lengths are even.

    Reference:
      Suzgun et al., Memory-Augmented Recurrent Neural Networks Can Learn Generalized Dyck
      Languages, 2019, arXiv:1911.03329.
    """

    name: ClassVar[str] = "dyck-2"
    about: ClassVar[str] = "which brackets may come next in a balanced word of two kinds"
    reads: ClassVar[str] = START + "()[]"
    outputs: ClassVar[tuple[str, ...]] = (*"()[]", END)
    form: ClassVar[str] = r"[()\[\]]+"
    form_said: ClassVar[str] = "the beginning of a balanced word of brackets, as ([()"


# --- counting ------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class AnBn(Grammar):
    """As many b as there were a: which letters may come next, where $ is the end.

    Reference:
      Gers & Schmidhuber, LSTM Recurrent Networks Learn Simple Context-Free and Context-Sensitive
      Languages, IEEE Transactions on Neural Networks 12(6), 2001; on who counts: Weiss, Goldberg &
      Yahav, On the Practical Computational Power of Finite Precision RNNs, ACL 2018,
      arXiv:1805.04908.
    """

    name: ClassVar[str] = "anbn"
    about: ClassVar[str] = "which letters may come next in n a and n b"
    counted: ClassVar[str] = "a"
    reads: ClassVar[str] = START + "ab"
    outputs: ClassVar[tuple[str, ...]] = (*"ab", END)
    form: ClassVar[str] = "a+b*"
    form_said: ClassVar[str] = "letters a and no more letters b behind them, as aaab"

    T: int = 10
    longest: int = 200

    def symbols(self, key: Array, sizes: Array, most: int) -> tuple[Array, Array]:
        """The one word of each length, behind the start; the key is not heard."""
        del key
        letters = len(self.reads) - 1
        steps = jnp.arange(letters * most + 1)[:, None]
        # 0 for the start, then n times each letter.
        return jnp.minimum((steps + sizes - 1) // sizes, letters), letters * sizes + 1

    def legal(self, symbols: Array) -> Array:
        """Behind an a another one or a b; then each letter as often as there were a."""
        letters = len(self.reads) - 1
        counts = (symbols[..., None] == jnp.arange(letters + 1)).cumsum(axis=0)
        here = jnp.take_along_axis(counts, symbols[..., None], axis=-1)[..., 0]
        symbol = symbols[..., None]
        full = (here == counts[..., 1])[..., None]
        answers = jnp.arange(1, letters + 2)  # the end is the letter behind the last
        same = (answers == symbol) & ~full
        follows = (answers == symbol + 1) & full
        return jnp.where(symbol <= 1, (answers == 1) | ((answers == 2) & (symbol == 1)),
                         same | follows)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class AnBnCn(AnBn):
    """As many b and as many c as there were a: which letters may come next, where $ is the end.

    Reference:
      Gers & Schmidhuber, LSTM Recurrent Networks Learn Simple Context-Free and Context-Sensitive
      Languages, IEEE Transactions on Neural Networks 12(6), 2001.
    """

    name: ClassVar[str] = "anbncn"
    about: ClassVar[str] = "which letters may come next in n a, n b and n c"
    reads: ClassVar[str] = START + "abc"
    outputs: ClassVar[tuple[str, ...]] = (*"abc", END)
    form: ClassVar[str] = "a+b*c*"
    form_said: ClassVar[str] = "letters a, then as many b, then no more c, as aabbc"


# --- Reber ---------------------------------------------------------------------------------------

# From each state of the inner grammar, the letters that may come and where they lead; from 7 out.
INNER = ("B1", "T2 P3", "S2 X4", "T3 V5", "X3 S6", "P4 V6", "E7")


def _embedded() -> tuple[np.ndarray, int]:
    """The states behind each letter, [states, letters], -1 for none; and the last state.

    0 begins the word and 1 chooses the inner grammar's copy, whose states come twice; the letter
    that chose must come again before the last E.
    """
    letters, inner = "BTPSXVE", len(INNER) + 1
    last = 2 + 2 * inner + 1
    after = np.full((last + 1, len(letters)), -1)
    after[0, letters.index("B")] = 1
    for copy, chosen in enumerate("TP"):
        first = 2 + copy * inner
        after[1, letters.index(chosen)] = first
        for state, edges in enumerate(INNER):
            for letter, to in edges.split():
                after[first + state, letters.index(letter)] = first + int(to)
        after[first + inner - 1, letters.index(chosen)] = last - 1
    after[last - 1, letters.index("E")] = last
    return after, last


AFTER, LAST = _embedded()


@dataclasses.dataclass(frozen=True)
class EmbeddedReber(Grammar):
    """The embedded Reber grammar: which letters may come next, among them one from far back.

    B, then T or P, a word of the Reber grammar of so many letters, then the same T or P, then E.
    Words of one length are all equally likely: each passes as many forks of two ways as the others.

    Reference:
      Reber, Implicit Learning of Artificial Grammars, 1967; Cleeremans, Servan-Schreiber &
      McClelland, Neural Computation 1(3), 1989; as in Hochreiter & Schmidhuber, Neural Computation
      9(8), 1997, experiment 1.
    """

    name: ClassVar[str] = "embedded-reber"
    about: ClassVar[str] = "which letters may come next in a word of the embedded Reber grammar"
    counted: ClassVar[str] = "letters of the inner word"
    least: ClassVar[int] = 5
    reads: ClassVar[str] = "BTPSXVE"
    outputs: ClassVar[tuple[str, ...]] = tuple("BTPSXVE")
    form: ClassVar[str] = "B[BTPSXVE]*"
    form_said: ClassVar[str] = "the beginning of a word of the grammar, as BTBTXSET"

    T: int = 20
    shortest: int = 5
    longest: int = 160

    def symbols(self, key: Array, sizes: Array, most: int) -> tuple[Array, Array]:
        """Words of the grammar, but for their last E."""
        with np.errstate(divide="ignore"):
            shares = jnp.asarray(np.log(_shares(most + 4)), jnp.result_type(float))
        after, lengths = jnp.asarray(AFTER), sizes + 4

        def step(state: Array, now: tuple[Array, Array]) -> tuple[Array, Array]:
            key, t = now
            # Padding goes on from the last state, which leads nowhere, as if it began anew.
            left = jnp.maximum(lengths - t, 0)
            letter = jax.random.categorical(key, shares[left, state])
            return jnp.maximum(after[state, letter], 0), letter

        keys = jax.random.split(key, most + 3)
        start = jnp.zeros_like(sizes)
        return jax.lax.scan(step, start, (keys, jnp.arange(most + 3)))[1], lengths - 1

    def legal(self, symbols: Array) -> Array:
        """The letters that lead on from where the word has come to."""
        after = jnp.asarray(AFTER)

        def step(state: Array, letter: Array) -> tuple[Array, Array]:
            state = jnp.maximum(after[state, letter], 0)
            return state, after[state] >= 0

        return jax.lax.scan(step, jnp.zeros_like(symbols[0]), symbols)[1]

    def written(self, request: str) -> str:
        """The word as it is: its B is a letter of it."""
        return request


def _shares(longest: int) -> np.ndarray:
    """How likely each letter is, [left, state, letter], where so many letters are left to the end.

    As many words go on with it as there are ways from there to the end with the letters that are
    left. Where there is none at all, all letters are alike.
    """
    ends = np.eye(len(AFTER))[LAST]
    shares = np.ones((longest + 1, *AFTER.shape))
    for left in range(1, longest + 1):
        ways = np.where(AFTER >= 0, ends[AFTER], 0)
        ends = ways.sum(axis=1)
        some = ends > 0
        shares[left, some] = ways[some] / ends[some, None]
        ends = ends / ends.max()  # their ratios matter, and the number of ways grows fast
    return shares
