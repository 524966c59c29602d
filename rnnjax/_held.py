"""Floor 0: putting what a state holds into it, wherever in the state it stands."""

from __future__ import annotations

import jax

from rnnjax._cell import Held, PyTree, State, is_held


def hold(state: State, value: PyTree, *, at: str = "") -> State:
    """Puts a value into the state of a cell that holds one: a memory, an image, a goal.

    It goes to the one `Held` whose value has its tree: of any depth, in a stack or in another cell
    around it.

    Args:
      state: the state, such as `initial_state` gives.
      value: what it is to hold, every leaf [*B, ...], of any size.
      at: where, by its path in the state, as in "decoder" for `stack(embed=..., decoder=...)`;
        needed where several would do.

    Returns:
      The state, holding the value.

    Raises:
      ValueError: no place or more than one has the value's tree below `at`.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> def no_goal(params, batch=(), *, key=None):
      ...     return rnnjax.Held(jnp.zeros((*batch, 2)))
      >>> goal = rnnjax.Cell(
      ...     name="goal",
      ...     init=lambda key, x_spec: (),
      ...     initial_state=no_goal,
      ...     step=lambda params, state, x: (state, jnp.concatenate([x, state.value], -1)),
      ... )
      >>> model = rnnjax.stack(goal=goal, rnn=rnnjax.gru(4))
      >>> params = model.init(jax.random.key(0), 3)
      >>> state = rnnjax.hold(model.initial_state(params, (1,)), jnp.array([[0.0, 1.0]]), at="goal")
      >>> print(state["goal"].value)
      [[0. 1.]]
    """
    tree = jax.tree.structure(value)
    nodes, states = jax.tree.flatten_with_path(state, is_leaf=is_held)
    places = [path_name(path) if is_held(node) else None for path, node in nodes]
    fitting = [
        i
        for i, (place, (_, node)) in enumerate(zip(places, nodes, strict=True))
        if place is not None and below(place, at) and jax.tree.structure(node.value) == tree
    ]
    if len(fitting) != 1:
        known = ", ".join(place or "the state itself" for place in places if place is not None)
        found = ", ".join(places[i] or "" for i in fitting) or "none"
        raise ValueError(
            f"hold: one place of the value's tree is needed below {at or 'the state'}, found "
            f"{found}; what the state holds: {known or 'nothing'}"
        )
    leaves = [node for _, node in nodes]
    leaves[fitting[0]] = Held(value)
    return states.unflatten(leaves)


def path_name(path: tuple) -> str:
    """A path of a tree as a user writes it: names with dots between."""
    return jax.tree_util.keystr(path, simple=True, separator=".")


def below(place: str, at: str) -> bool:
    """Whether a place is at a path or below it; everything is below the empty one."""
    return not at or f"{place}.".startswith(f"{at}.")
