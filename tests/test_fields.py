"""The vocabulary of parameter fields, and weight decay by it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import CELLS, parameters
from cells import KNOWN
from combine.transformations import TRANSFORMATIONS, D
from oracles import assert_bitwise
from test_attention import SCORES

import rnnjax
from rnnjax._fields import FIELDS, field

# What stands between the root and a field: parts, which are no fields themselves.
INNER = {"cell", "forward", "backward", "score"}
PARAMS = {name: parameters(name) for name in CELLS} | {
    name: make(rnnjax.lstm(3)).init(jax.random.key(0), D) for name, make in TRANSFORMATIONS.items()
}
PARAMS |= (
    {name: known.cell.init(jax.random.key(0), known.spec) for name, known in KNOWN.items()}
    | {
        name: rnnjax.attend_after(rnnjax.gru(3), 3, score, 3).init(jax.random.key(0), D)
        for name, score in SCORES.items()
    }
    | {
        "bidirectional": rnnjax.bidirectional(rnnjax.gru(3)).init(jax.random.key(0), D),
    }
)


@pytest.mark.parametrize("name", PARAMS)
def test_every_field_is_in_the_vocabulary(name):
    for path, _ in jax.tree.leaves_with_path(PARAMS[name]):
        names = [entry.name for entry in path if isinstance(entry, jax.tree_util.GetAttrKey)]
        known = [field(name) for name in names if name not in INNER]
        # What lies below "initial" or "logit_rate" is a state's.
        assert known, path
        assert known[0] is not None, path


@pytest.mark.parametrize("name", PARAMS)
def test_adamw_leaves_biases_and_gains_undecayed(name):
    params = jax.tree.map(jnp.ones_like, PARAMS[name])
    mask = rnnjax.decays(params)
    assert jax.tree.structure(mask) == jax.tree.structure(params)
    tx = optax.adamw(1.0, weight_decay=0.5, mask=rnnjax.decays)
    zeros = jax.tree.map(jnp.zeros_like, params)
    with jax.numpy_dtype_promotion("standard"):  # optax relies on it
        updates, _ = tx.update(zeros, tx.init(params), params)
    after = optax.apply_updates(params, updates)
    assert_bitwise(after, jax.tree.map(lambda p, m: 0.5 * p if m else p, params, mask))
    for (path, decayed), leaf in zip(
        jax.tree.leaves_with_path(mask), jax.tree.leaves(params), strict=True
    ):
        if decayed:
            assert leaf.ndim == 2, path


def test_decays_by_hand():
    model = rnnjax.stack(
        embed=rnnjax.embed(5, 3),
        rnn=rnnjax.learned_state(rnnjax.learned_leaky(rnnjax.gru(4))),
        norm=rnnjax.layer_norm(),
        readout=rnnjax.linear(2),
    )
    mask = rnnjax.decays(model.init(jax.random.key(0), rnnjax.tokens()))
    assert mask["embed"].table is False
    leaky = mask["rnn"].cell
    assert leaky.cell == rnnjax.GRUParams(w_x=True, w_h=True, b=False, b_n=False)
    assert leaky.logit_rate is False
    assert mask["rnn"].initial is False
    assert mask["norm"] == (False, False)
    assert mask["readout"] == (True, False)
    ours = {"kernel": np.ones((2, 2)), "b": np.ones(2), "w": np.ones((2, 2))}
    assert rnnjax.decays(ours) == {"kernel": True, "b": False, "w": True}


def test_a_part_may_be_named_as_a_field():
    model = rnnjax.stack(b=rnnjax.gru(4), scale=rnnjax.linear(3), initial=rnnjax.lstm(2))
    mask = rnnjax.decays(model.init(jax.random.key(0), 3))
    assert (mask["b"].w_h, mask["scale"].w, mask["initial"].w_x) == (True, True, True)
    assert (mask["b"].b, mask["scale"].b, mask["initial"].b) == (False, False, False)
    learned = rnnjax.learned_state(rnnjax.stack(w=rnnjax.gru(4)))
    assert rnnjax.decays(learned.init(jax.random.key(0), 3)).initial == {"w": False}


def test_the_longest_name_counts():
    assert field("w_x") is FIELDS["w_x"]
    assert field("w_forget") is FIELDS["w"]
    assert field("b_n") is FIELDS["b"]
    assert field("weights") is None
