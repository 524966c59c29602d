"""The model that writes: an encoder, a bridge, and a decoder that may look at what was encoded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import rnnjax
from rnnjax import Cell, attention
from rnnjax.attention import AttendState
from rnnjax.initializers import PRESETS
from rnnjax.tasks._tied import tied_readout
from rnnjax.train.task import CELLS

Array = jax.Array
FORGET_BIAS = 4.0  # a half-life of 38 steps
END = 0  # ends what is written, and is what the decoder reads first
SCORES = {
    "additive": attention.additive,
    "dot": lambda size: attention.dot(),
    "general": lambda size: attention.general(),
    "concat": attention.concat,
    "scaled-dot": attention.scaled_dot,
    "monotonic": lambda size: attention.monotonic(attention.general()),
    "local": lambda size: attention.local(attention.general(), size),
}


class Encoded(NamedTuple):
    """What an encoder makes.

    Attributes:
      memory: what the decoder may look at, [S, B, M].
      lengths: how many of its places are real, [B]; None for all.
      summaries: what each layer of the decoder begins from, arrays [B, F].
    """

    memory: Array
    lengths: Array | None
    summaries: list[Array]


class Encoder(NamedTuple):
    """What makes a memory of what is read.

    Attributes:
      init: key -> params.
      encode: (params, xs, lengths, key) -> `Encoded`; without a key there is no noise.
      memory_size: M.
      xs: what is read, of one step and one row, as `jax.eval_shape` has it.
      told: whether the decoder reads the first summary once, as it does the vector of a symbol,
        before all symbols; else its layers begin from states that are made of their summaries.
    """

    init: Callable[[Array], Any]
    encode: Callable[[Any, Any, Array | None, Array | None], Encoded]
    memory_size: int
    xs: Any
    told: bool = False


class EncoderDecoder(NamedTuple):
    """An encoder and a decoder, as functions; their parameters are a dict of the parts.

    Attributes:
      init: key -> params.
      encode: (params, xs, lengths, key) -> `Encoded`.
      start: (params, encoded, key, rate) -> the decoder's state before it reads anything; with a
        rate, that of `sampled`.
      decoder: the cell from symbols to logits; its parameters are `params["decoder"]`.
      sampled: the same under `rnnjax.scheduled_sampling`.
      looked: (params, encoded, symbols [T, B]) -> what share each place of the memory got when they
        were read, [T, B, S]; None for a model without attention.
    """

    init: Callable[[Array], Any]
    encode: Callable[..., Encoded]
    start: Callable[..., Any]
    decoder: Cell
    sampled: Cell
    looked: Callable[[Any, Encoded, Array], Array] | None


def recurrent_encoder(
    symbols: int,
    *,
    cell: str,
    hidden_size: int,
    layers: int,
    embedding_size: int,
    bidirectional: bool,
    reverse: bool,
    dropout: float,
) -> Encoder:
    """Reads symbols [S, B]: their vectors, then recurrent layers, the last one's outputs.

    With `reverse` the symbols are read from the last one to the first, as Sutskever et al. do.

    Args:
      symbols: how many symbols there are.
      cell: "elman", "lstm" or "gru".
      hidden_size: units of each layer, and of each direction.
      layers: how many recurrent layers.
      embedding_size: length of a symbol's vector.
      bidirectional: whether each layer reads both ways.
      reverse: whether the source is read from its end.
      dropout: the rate at which features of the vectors and between layers are dropped.

    Reference:
      Sutskever, Vinyals & Le, Sequence to Sequence Learning with Neural Networks, NeurIPS 2014,
      arXiv:1409.3215.
    """
    parts: dict[str, Any] = {"embed": rnnjax.embed(symbols, embedding_size)}
    for n in range(layers):
        parts |= {f"noise_{n}": rnnjax.dropout(dropout)} if dropout else {}
        inner = CELLS[cell](hidden_size)
        parts[f"rnn_{n}"] = rnnjax.bidirectional(inner) if bidirectional else inner
    network = rnnjax.serial(**parts)

    def encode(params: Any, xs: Array, lengths: Array | None, key: Array | None) -> Encoded:
        lengths = jnp.full(xs.shape[1:], len(xs)) if lengths is None else lengths
        xs = rnnjax.reverse_sequences(xs, lengths) if reverse else xs
        state, memory = network.apply(params, xs, lengths=lengths, key=key)
        ends = [jax.tree.leaves(state[f"rnn_{n}"]) for n in range(layers)]
        return Encoded(memory, lengths, [jnp.concatenate(leaves, axis=-1) for leaves in ends])

    size = hidden_size * (1 + bidirectional)
    spec = jax.ShapeDtypeStruct((1, 1), jnp.int32)
    return Encoder(lambda key: network.init(key, rnnjax.tokens()), encode, size, spec)


def encoder_decoder(
    encoder: Encoder,
    symbols: int,
    *,
    cell: str,
    hidden_size: int,
    layers: int,
    embedding_size: int,
    attends: str,
    look: str,
    dropout: float,
    tied: bool,
) -> EncoderDecoder:
    """An encoder, and a decoder that begins from its summaries and looks at its memory.

        memory, e = encoder(xs)
        s_0 of layer n = e_n W_n + b_n,  or s_0, _ = layers(0, e_1 W + b)  where it is told e
        w_0 = end;  s_t, y_t = decoder(s_{t-1}, E[w_{t-1}]), which looks before or after its step
        logits_t = tanh(y_t W + b) Eᵀ + b'                   of a tied readout

    Args:
      encoder: what encodes.
      symbols: V, how many symbols can be written, the end symbol 0 among them.
      cell: "elman", "lstm" or "gru".
      hidden_size: units of each layer.
      layers: how many recurrent layers; the lowest one looks.
      embedding_size: length of a symbol's vector.
      attends: one of `SCORES`, or "none" for a decoder that has the summaries alone.
      look: "before" each step, as Bahdanau et al. do, or "after" it, as Luong et al. do.
      dropout: the rate at which features are dropped: of vectors, between layers, of what is read
        out.
      tied: whether the readout uses the vectors of the symbols.

    Reference:
      Sutskever, Vinyals & Le, 2014, arXiv:1409.3215; Cho et al., Learning Phrase Representations
      using RNN Encoder–Decoder for Statistical Machine Translation, EMNLP 2014, arXiv:1406.1078;
      Bahdanau, Cho & Bengio, 2015, arXiv:1409.0473; Luong, Pham & Manning, 2015, arXiv:1508.04025.
    """
    inner, noise = CELLS[cell](hidden_size), rnnjax.dropout(dropout)
    if encoder.told and cell == "lstm":  # what is read once is to be remembered to the end
        remembering = PRESETS["rnnjax"]._replace(forget_bias=FORGET_BIAS)
        inner = rnnjax.lstm(hidden_size, init=remembering)
    names = [f"rnn_{n}" for n in range(layers)]

    def attending(*, shows: bool = False) -> Cell:
        score, size = SCORES[attends](hidden_size), encoder.memory_size
        if look == "before":
            return rnnjax.attend(inner, size, score, output="weights" if shows else "both")
        output = "weights" if shows else "vector"
        return rnnjax.attend_after(inner, size, score, hidden_size, output=output)

    before: dict[str, Cell] = {"noise_0": noise} if dropout else {}
    body = {**before, names[0]: inner if attends == "none" else attending()}
    for n, name in enumerate(names[1:], 1):
        body |= {f"noise_{n}": noise} if dropout else {}
        body[name] = inner
    recurrent, recurrent_names = rnnjax.stack(**body), list(body)
    body |= {"noise": noise} if dropout else {}
    body |= {"project": rnnjax.linear(embedding_size), "bent": rnnjax.activation("tanh")}
    embed = rnnjax.embed(symbols, embedding_size)
    if tied:
        decoder = tied_readout(symbols, embedding_size, **body)
    else:
        decoder = rnnjax.stack(embed=embed, **body, readout=rnnjax.linear(symbols))
    sampled = rnnjax.scheduled_sampling(decoder, symbols, feed="sample")

    def init(key: Array) -> dict[str, Any]:
        keys = jax.random.split(key, 2 + layers)
        encoding = encoder.init(keys[0])
        decoding = decoder.init(keys[1], rnnjax.tokens())
        xs = jax.tree.map(lambda spec: jnp.zeros(spec.shape, spec.dtype), encoder.xs)
        summaries = jax.eval_shape(encoder.encode, encoding, xs, None, None).summaries
        zeros = jax.eval_shape(decoder.initial_state, decoding)
        sizes = {
            name: sum(leaf.size for leaf in jax.tree.leaves(own(zeros[name]))) for name in names
        }
        sizes = {"told": embedding_size} if encoder.told else sizes
        bridge = {
            name: rnnjax.linear(size).init(k, summary.shape[-1])
            for (name, size), k, summary in zip(
                sizes.items(), keys[2 : 2 + len(sizes)], summaries, strict=True
            )
        }
        return {"encoder": encoding, "bridge": bridge, "decoder": decoding}

    def encode(params: Any, xs: Any, lengths: Any = None, key: Array | None = None) -> Encoded:
        return encoder.encode(params["encoder"], xs, lengths, key)

    def own(state: Any) -> Any:
        """The state of the recurrent cell inside a layer."""
        return state.cell if isinstance(state, AttendState) else state

    def by_name(decoding: Any) -> dict[str, Any]:
        """The decoder's parameters by the names of its parts."""
        return {"embed": rnnjax.EmbedParams(decoding.table), **decoding.body} if tied else decoding

    def begun(params: Any, zero: Any, summary: Array) -> Any:
        """A layer's state, made of a summary."""
        leaves, tree = jax.tree.flatten(own(zero))
        made = summary @ params.w + params.b
        made = jnp.split(made, np.cumsum([leaf.shape[-1] for leaf in leaves])[:-1], axis=-1)
        made = tree.unflatten(made)
        return zero._replace(cell=made) if isinstance(zero, AttendState) else made

    def start(params: Any, encoded: Encoded, key: Array | None = None, rate: Any = None) -> Any:
        batch, decoding = encoded.summaries[0].shape[:-1], params["decoder"]
        keys = (None, None) if key is None else jax.random.split(key)
        state = decoder.initial_state(decoding, batch, key=keys[0])
        if not encoder.told:
            for name, summary in zip(names, encoded.summaries, strict=True):
                state[name] = begun(params["bridge"][name], state[name], summary)
        if attends != "none":
            state = attention.start(
                decoder, decoding, encoded.memory, lengths=encoded.lengths, state=state
            )
        if encoder.told:
            bridge, parts = params["bridge"]["told"], by_name(decoding)
            x = encoded.summaries[0] @ bridge.w + bridge.b
            held = {name: state[name] for name in recurrent_names}
            after, _ = rnnjax.unroll(recurrent, {name: parts[name] for name in held}, held, x[None])
            state |= after
        if rate is None:
            return state
        # Its rate, and not those of the noise inside.
        outer = rnnjax.set_rates(sampled.initial_state(decoding, batch, key=keys[1]), rate)
        return outer._replace(cell=outer.cell._replace(cell=state))

    def looked(params: Any, encoded: Encoded, symbols: Array) -> Array:
        cell = rnnjax.stack(embed=embed, **before, **{names[0]: attending(shows=True)})
        parts = by_name(params["decoder"])
        parts = {name: parts[name] for name in ("embed", *before, names[0])}
        state = {"embed": (), **start(params, encoded)}
        _, weights = rnnjax.unroll(cell, parts, {name: state[name] for name in parts}, symbols)
        return weights.mean(axis=-2)

    return EncoderDecoder(
        init, encode, start, decoder, sampled, None if attends == "none" else looked
    )
