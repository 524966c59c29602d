# %% [markdown]
# # Sequence to sequence, with attention
#
# A date is read letter by letter, *saturday, 28 november 2026*, and written as *2026-11-28*. What
# is read and what is written differ in length and order, so one network reads and another one
# writes. We train two such pairs: in one the writer has nothing but the last state of the reader,
# in the other it may also look back at every letter. The second one learns much faster, and we can
# see where it looks. Takes about two minutes on two cores.

# %%
import calendar
import datetime
import os
from functools import partial

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

import rnnjax
from rnnjax import attention, train

QUICK = bool(os.environ.get("RNNJAX_QUICK"))
UNITS, STEPS, BATCH = (32, 150, 32) if QUICK else (64, 500, 64)
DAYS, TESTED = (1500, 100) if QUICK else (6000, 500)

# %% [markdown]
# ## Pairs of sequences
#
# A few ways in which people write a day, and the one way in which ISO 8601 does. No day of the test
# is trained on, in any form.


# %%
def forms(day):
    month, weekday = calendar.month_name[day.month], calendar.day_name[day.weekday()]
    return [
        f"{day.day} {month} {day.year}",
        f"{month} {day.day}, {day.year}",
        f"{weekday}, {day.day} {month} {day.year}",
        f"{day.day} {month[:3]} {day.year}",
        f"{month[:3]} {day.day} {day.year}",
        f"{day.day}.{day.month}.{day.year}",
    ]


rng = np.random.default_rng(0)
days = rng.permutation(36525)[: DAYS + TESTED]  # of a hundred years
days = [datetime.date(1950, 1, 1) + datetime.timedelta(int(n)) for n in days]
pairs = [(str(rng.choice(forms(day))).lower(), f"{day:%Y-%m-%d}") for day in days]
for source, target in pairs[:4]:
    print(f"{source:30} → {target}")

# %% [markdown]
# Symbols are numbers. Symbol 0 ends what is written; the writer also reads it first.

# %%
END = 0
symbols = ["¶", *sorted(set("".join(source + target for source, target in pairs)))]
index = {symbol: n for n, symbol in enumerate(symbols)}


def encoded(text):
    return np.array([index[symbol] for symbol in text])


def decoded(ids):
    return "".join(symbols[n] for n in ids).partition("¶")[0]


ids = [(encoded(source), encoded(target + "¶")) for source, target in pairs]
xs, targets = zip(*ids, strict=True)
source = train.sequences(xs[:DAYS], targets[:DAYS], batch_size=BATCH, aligned=False, buckets=1)

# %% [markdown]
# ## Reader and writer
#
# The reader (*encoder*) goes over the letters in both directions and leaves an output at each one:
# $m_1, …, m_S$. The writer (*decoder*) begins from the reader's last state and reads what it wrote
# last. Without attention that is all it has: $h_0$ must hold the whole date (Sutskever, Vinyals &
# Le, 2014).
#
# With attention it asks, before each step, how well every place fits what it is doing now
# (Bahdanau, Cho & Bengio, 2015):
#
# $$e_{ts} = v^\top \tanh(h_{t-1} W + m_s U + b), \qquad
#   a_{ts} = \frac{\exp e_{ts}}{\sum_r \exp e_{tr}}, \qquad
#   c_t = \sum_s a_{ts} m_s$$
#
# and steps on $[x_t, c_t]$. `attend` makes that of any cell. The rest of the model is the same.

# %%
V = len(symbols)
encoder = rnnjax.serial(
    embed=rnnjax.embed(V, UNITS // 2), rnn=rnnjax.bidirectional(rnnjax.gru(UNITS))
)
bridge = rnnjax.linear(UNITS)


def decoder(attends, output="both"):
    rnn = rnnjax.gru(UNITS)
    if attends:
        rnn = rnnjax.attend(rnn, 2 * UNITS, attention.additive(UNITS), output=output)
    parts = {"embed": rnnjax.embed(V, UNITS // 2), "rnn": rnn}
    if output == "weights":  # to see where it looks
        return rnnjax.stack(**parts)
    return rnnjax.stack(**parts, readout=rnnjax.linear(V))


def init(attends):
    k_encoder, k_bridge, k_decoder = jax.random.split(jax.random.key(0), 3)
    return {
        "encoder": encoder.init(k_encoder, rnnjax.tokens()),
        "bridge": bridge.init(k_bridge, 2 * UNITS),
        "decoder": decoder(attends).init(k_decoder, rnnjax.tokens()),
    }


# %% [markdown]
# `start` is where the two meet: the writer's state before its first step. The memory enters it
# once, with the true length of each row, so that no weight ever falls on padding.


# %%
def start(params, attends, xs, lengths):
    ends, memory = encoder.apply(params["encoder"], xs, lengths=lengths)
    summary = jnp.concatenate([ends["rnn"].forward, ends["rnn"].backward], axis=-1)
    _, h = bridge.step(params["bridge"], (), summary)
    state = decoder(attends).initial_state(params["decoder"], lengths.shape)
    if not attends:
        return {**state, "rnn": h}
    state = {**state, "rnn": state["rnn"]._replace(cell=h)}
    return attention.start(
        decoder(attends), params["decoder"], memory, lengths=lengths, state=state
    )


def shifted(targets):
    return jnp.concatenate([jnp.full_like(targets[:1], END), targets[:-1]])


def loss_of(attends):
    def loss(params, carried, batch, key):
        state = start(params, attends, batch.xs, batch.lengths)
        # Teacher forcing: in training the writer reads what it should have written.
        _, logits = rnnjax.unroll(
            decoder(attends), params["decoder"], state, shifted(batch.targets)
        )
        return train.cross_entropy(logits, batch.targets).mean, (carried, {})

    return loss


# %% [markdown]
# ## Training
#
# The figure that counts is not the loss but how many unseen dates are written without any mistake,
# when the writer has to read its own words. `greedy` writes the likeliest symbol at each step.

# %%
test_xs, test_lengths = rnnjax.pad(xs[DAYS:])
test_targets, _ = rnnjax.pad(targets[DAYS:])
truth = [target for _, target in pairs[DAYS:]]


@partial(jax.jit, static_argnums=1)
def judged(params, attends):
    state = start(params, attends, test_xs, test_lengths)
    cell, own = decoder(attends), params["decoder"]
    _, logits = rnnjax.unroll(cell, own, state, shifted(test_targets))
    first = jnp.full(len(truth), END)
    written = rnnjax.decoding.greedy(cell, own, state, first, length=12, end=END).symbols
    return written, train.cross_entropy(logits, test_targets).mean


def evaluate(params, attends):
    written, nats = judged(params, attends)
    answers = [decoded(row) for row in np.asarray(written).T]
    wrong = np.mean([ours != right for ours, right in zip(answers, truth, strict=True)])
    return answers, {"% wrong": 100 * wrong, "nats a symbol, teacher-forced": float(nats)}


def trained(attends):
    curve = []  # of evaluations

    def keep(record):
        if "evaluation" in record:
            curve.append((record["step"], record["evaluation"]["% wrong"]))

    optimizer = train.optimizer("adam", optax.cosine_decay_schedule(4e-3, STEPS), clip_norm=1.0)
    state = train.fit(
        train.make_train_step(loss_of(attends), optimizer),
        train.init_train_state(init(attends), optimizer, jax.random.key(1)),
        source,
        steps=STEPS,
        evaluate=lambda state: evaluate(state.params, attends)[1],
        evaluate_every=STEPS // 10,
        callbacks=[keep],
    )
    return state.params, np.array(curve)


params, curves = {}, {}
for attends in (False, True):
    params[attends], curves[attends] = trained(attends)

# %%
figure, axes = plt.subplots(figsize=(6, 3.2), layout="constrained")
for attends, style in ((False, "o--"), (True, "s-")):
    axes.plot(*curves[attends].T, style, label="with attention" if attends else "without")
axes.set(xlabel="training step", ylabel="unseen dates wrong, %", ylim=(-3, 103))
axes.legend()
plt.show()

# %% [markdown]
# After the same number of steps on the same data attention is far ahead. Without it each date has
# to pass through one vector, which the network must first learn to fill and to read; and the longer
# the text, the more it has to hold.

# %%
answers, figures = {}, {}
for attends in params:
    answers[attends], figures[attends] = evaluate(params[attends], attends)
    said = ", ".join(f"{figure:.4g} {name}" for name, figure in figures[attends].items())
    print(f"{'with attention' if attends else 'without':14}: {said}")
for (text, right), answer in list(zip(pairs[DAYS:], answers[True], strict=True))[:6]:
    print(f"{text:30} → {answer}  {'' if answer == right else 'wrong'}")

wrong, nats = ({a: figures[a][name] for a in figures} for name in figures[True])
assert nats[True] < 0.95 * nats[False]
if not QUICK:
    assert wrong[True] < 10
    assert wrong[True] < wrong[False] / 2

# %% [markdown]
# ## Where it looked
#
# The weights $a_{ts}$ are a table: a row for each symbol written, a column for each letter read.
# The same parameters in a decoder with `output="weights"` show it. Nobody told the model what
# belongs together; it learnt it, because it helped.

# %%
shown = ["28 november 2026", "november 28, 2026", "saturday, 28 november 2026"]
letters, lengths = rnnjax.pad([encoded(text) for text in shown])
answer = jnp.tile(encoded("2026-11-28¶")[:, None], (1, len(shown)))


@jax.jit
def looks(params):
    state = start(params, True, letters, lengths)
    parts = {name: params["decoder"][name] for name in ("embed", "rnn")}
    state = {name: state[name] for name in parts}
    return rnnjax.unroll(decoder(True, "weights"), parts, state, shifted(answer))[1]


weights = looks(params[True])  # [T, B, 1, S]
figure, panels = plt.subplots(3, 1, figsize=(7, 9.5), layout="constrained")
for n, (axes, text) in enumerate(zip(panels, shown, strict=True)):
    axes.imshow(weights[:, n, 0, : len(text)], cmap="gray_r", vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(len(text)), list(text), family="monospace")
    axes.set_yticks(range(len(answer)), list("2026-11-28¶"), family="monospace")
    axes.set(ylabel="written")
panels[-1].set_xlabel("read; the darker, the more it looked there")
plt.show()
for n, text in enumerate(shown):
    day = slice(max(0, text.index("28") - 1), text.index("28") + 3)  # and its neighbours
    found = weights[8:10, n, 0, day].sum(-1)  # of 2 and 8, the last two digits
    assert QUICK or found.min() > 0.5

# %% [markdown]
# The digits of the year and of the day are looked up where they stand, those of the month in the
# letters of its name, and none of them in the name of the weekday. Reading the table against the
# text is how a model like this is debugged.
#
# **Try:** write the text backwards; `attention.monotonic(attention.general())`, which looks along a
# diagonal, and so fails here; `beam_search` in place of `greedy`.
