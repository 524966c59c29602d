# %% [markdown]
# # Acting with memory
#
# An agent sees a sign, walks down a corridor in which there is nothing to see, and at its end has
# to turn the way the sign said. What it sees at the end is the same either way: an agent without
# memory can only guess. We write the maze, the agent and the learning (A2C) in JAX, train one agent
# with a GRU and one without, three times each, and look at what the GRU keeps. Takes about a minute
# on two cores.

# %%
import os
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import rnnjax
from rnnjax import train

QUICK = bool(os.environ.get("RNNJAX_QUICK"))
CORRIDOR, UPDATES = (3, 150) if QUICK else (10, 800)
ROWS, STEPS, UNITS, SEEDS = 64, 32, 32, 3  # mazes side by side, steps of a rollout

# %% [markdown]
# ## The maze
#
# A T-maze after Bakker (2001). The agent sees two numbers: the sign, ±1 at the first place and 0
# elsewhere, and whether it stands at the junction. It may go on, turn left or turn right. The turn
# that the sign said is worth 1, the other one -1, as is a walk that takes too long, and every step
# costs a little. Everything is an array over `ROWS` mazes, so there is nothing to be mapped.
# An episode that has ended begins anew at once.

# %%
ON, LEFT, RIGHT = 0, 1, 2
COST, LIMIT = 0.02, 5 * CORRIDOR


class Maze(NamedTuple):
    sign: jax.Array  # LEFT or RIGHT, [B]
    place: jax.Array  # 0 .. CORRIDOR, [B]
    time: jax.Array  # steps since the episode began, [B]


def fresh(key, rows):
    zeros = jnp.zeros(rows, int)
    return Maze(jax.random.randint(key, (rows,), LEFT, RIGHT + 1), zeros, zeros)


def look(maze):
    sign = jnp.where(maze.place == 0, 2.0 * maze.sign - 3, 0.0)
    return jnp.stack([sign, (maze.place == CORRIDOR).astype(float)], axis=-1)


def move(maze, action, key):
    at_junction = maze.place == CORRIDOR
    turns = at_junction & (action != ON)
    correct = turns & (action == maze.sign)
    ends = turns | (maze.time + 1 == LIMIT)
    reward = jnp.where(correct, 1.0, jnp.where(ends, -1.0, 0.0)) - COST
    walked = maze.place + ((action == ON) & ~at_junction)
    after = Maze(maze.sign, walked, maze.time + 1)
    again = fresh(key, len(action))
    after = jax.tree.map(lambda new, old: jnp.where(ends, new, old), again, after)
    return after, reward, ends, correct


# %% [markdown]
# ## Two agents
#
# Each has 32 units and a readout of four numbers: the logits of the three actions, and the value
# $V$, what the agent expects to get from here on. They differ in one line. What has no memory is a
# cell like any other here: its state is empty. So all that follows is written once.

# %%
agents = {
    "with memory": rnnjax.stack(body=rnnjax.gru(UNITS), head=rnnjax.linear(4)),
    "without": rnnjax.stack(
        body=rnnjax.stack(rnnjax.linear(UNITS), rnnjax.activation("tanh")),
        head=rnnjax.linear(4),
    ),
}

# %% [markdown]
# ## Rollout: acting step by step
#
# The agent goes through its `step` as the world does. Where an episode begins, the state of the
# last one is put away.


# %%
def rollout(agent, params, carried, key):
    def step(carried, key):
        maze, state, begins = carried
        k_action, k_maze = jax.random.split(key)
        first = agent.initial_state(params, (ROWS,))
        state = jax.tree.map(lambda new, old: jnp.where(begins[:, None], new, old), first, state)
        seen = look(maze)
        state, outputs = agent.step(params, state, seen)
        action = jax.random.categorical(k_action, outputs[:, :3])
        maze, reward, ends, correct = move(maze, action, k_maze)
        return (maze, state, ends), (seen, begins, action, reward, ends, correct, outputs)

    return jax.lax.scan(step, carried, jax.random.split(key, STEPS))


def begin(agent, params, key):
    maze = fresh(key, ROWS)
    return maze, agent.initial_state(params, (ROWS,)), jnp.ones(ROWS, bool)


# %% [markdown]
# ## Replay: learning from the sequence
#
# To learn, the same steps are gone through again, now as one sequence with a gradient. `resets` say
# where episodes begin inside of it. It must give the numbers that the agent acted on; a loop which
# forgets a reset, or resets one step late, learns from an agent that never was.

# %%
agent = agents["with memory"]
params = agent.init(jax.random.key(0), 2)
carried = begin(agent, params, jax.random.key(1))
act = jax.jit(partial(rollout, agent))
for n in range(3):  # episodes now begin and end anywhere
    _, state, _ = carried
    carried, (seen, begins, *_, acted) = act(params, carried, jax.random.key(n))

_, replayed = rnnjax.unroll(agent, params, state, seen, resets=begins)
print(f"{int(begins.sum())} episodes begin in {ROWS} rows of {STEPS} steps")
print(f"largest difference of replay and action: {abs(replayed - acted).max():.1e}")
assert begins[1:].any()
assert jnp.allclose(replayed, acted, atol=1e-5)

# %% [markdown]
# ## A2C
#
# Was an action better than expected? The *advantage* says so, from the rewards behind it and the
# values along the way (Schulman et al., 2016):
#
# $$\delta_t = r_t + \gamma V_{t+1} - V_t, \qquad A_t = \delta_t + \gamma\lambda A_{t+1}$$
#
# where at the end of an episode $V_{t+1}$ and $A_{t+1}$ are 0. It is a recurrence itself, from the
# last step to the first. The policy $\pi$ then makes good actions likelier, the value learns to
# expect what came, and a little entropy keeps the agent curious (Mnih et al., 2016):
#
# $$L = -\overline{A_t \log \pi(a_t)} + \tfrac12 \overline{(V_t - R_t)^2} - \beta \overline{H(\pi)},
#   \qquad R_t = A_t + V_t \text{ as it was}$$

# %%
DISCOUNT, SMOOTH, CURIOUS = 0.97, 0.9, 0.02


def advantages(rewards, ends, values):
    lasting = DISCOUNT * (1 - ends[:-1].astype(float))
    surprise = rewards[:-1] + lasting * values[1:] - values[:-1]

    def step(_, later, now):
        surprise, lasting = now
        total = surprise + SMOOTH * lasting * later
        return total, total

    zero = jnp.zeros_like(values[0])
    return rnnjax.scan(step, None, zero, (surprise, lasting), reverse=True)[1]


def loss_of(agent):
    def loss(params, carried, batch, key):
        _, state, _ = carried
        carried, played = rollout(agent, jax.lax.stop_gradient(params), carried, key)
        seen, begins, actions, rewards, ends, correct, acted = played
        advantage = advantages(rewards, ends, acted[..., 3])
        wanted = advantage + acted[:-1, :, 3]

        _, outputs = rnnjax.unroll(agent, params, state, seen, resets=begins)
        log_p = jax.nn.log_softmax(outputs[:-1, :, :3])
        chosen = jnp.take_along_axis(log_p, actions[:-1, :, None], axis=-1)[..., 0]
        policy = -(advantage * chosen).mean()
        value = train.mean_squared_error(outputs[:-1, :, 3], wanted).mean / 2
        entropy = -(jnp.exp(log_p) * log_p).sum(-1).mean()

        episodes = jnp.maximum(ends.sum(), 1)
        shown = {"correct": correct.sum() / episodes, "reward": rewards.sum() / episodes}
        return policy + value - CURIOUS * entropy, (carried, shown)

    return loss


# %% [markdown]
# The world is part of what is carried from update to update, beside the agent's state. All seeds
# are trained side by side, one `vmap` over the training step.


# %%
def trained(agent):
    optimizer = train.optimizer("adam", 3e-3, clip_norm=0.5)
    step = train.make_train_step(loss_of(agent), optimizer)

    def start(key):
        k_params, k_maze, k_run = jax.random.split(key, 3)
        params = agent.init(k_params, 2)
        return train.init_train_state(params, optimizer, k_run, begin(agent, params, k_maze))

    @jax.jit
    def run(keys):
        def update(states, _):
            states, metrics = jax.vmap(step, in_axes=(0, None))(states, ())
            return states, metrics.more

        return jax.lax.scan(update, jax.vmap(start)(keys), None, length=UPDATES)

    states, metrics = run(jax.random.split(jax.random.key(0), SEEDS))
    return states.params, jax.tree.map(np.asarray, metrics)


params, curves = {}, {}
for name, agent in agents.items():
    params[name], curves[name] = trained(agent)

# %%
figure, axes = plt.subplots(figsize=(6.5, 3.4), layout="constrained")
width = max(1, UPDATES // 40)
for name, style in (("with memory", "-"), ("without", ":")):
    smooth = curves[name]["correct"].reshape(-1, width, SEEDS).mean(axis=1)
    steps = width * ROWS * STEPS * np.arange(1, len(smooth) + 1) / 1000
    for seed, line in enumerate(smooth.T):
        label = name if seed == 0 else None
        axes.plot(steps, 100 * line, style, color=f"C{list(agents).index(name)}", label=label)
axes.axhline(50, color="black", linewidth=0.8)
axes.set(xlabel="thousand steps in the maze", ylabel="correct turns, % of episodes", ylim=(0, 103))
axes.legend(loc="center right", bbox_to_anchor=(1, 0.7))
plt.show()

# %% [markdown]
# Both learn to walk to the junction. There one of them knows where to turn, and the other one
# can but guess. With the cost of its steps, the best possible return of an episode is $1 - 0.02\,(n
# + 1)$ for a corridor of $n$ steps; a guesser's is 1 less.

# %%
best = 1 - COST * (CORRIDOR + 1)
print(f"mean return of the last tenth of training; the best is {best:.2f}, a guess {best - 1:.2f}")
returns = {}
for name in agents:
    returns[name] = curves[name]["reward"][-UPDATES // 10 :].mean(axis=0)
    print(f"{name:12}", *(f"{x:6.2f}" for x in returns[name]))

assert (returns["without"] < best - 0.8).all()
assert (returns["with memory"] > best - (0.4 if QUICK else 0.2)).all()

# %% [markdown]
# ## What it keeps
#
# Two walks down the corridor, alike but for the sign. What the agent sees is the same from the
# second step on, so any difference is memory. Right: how much rather it would turn right than left.

# %%
first = jax.tree.map(lambda leaf: leaf[0], params)  # the first seed
walk = Maze(
    sign=jnp.tile(jnp.array([LEFT, RIGHT]), (CORRIDOR + 1, 1)),
    place=jnp.tile(jnp.arange(CORRIDOR + 1)[:, None], (1, 2)),
    time=jnp.zeros((CORRIDOR + 1, 2), int),
)
_, states = rnnjax.unroll(rnnjax.gru(UNITS), first["with memory"]["body"], None, look(walk))

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.4), layout="constrained")
order = jnp.argsort(states[-1, 0] - states[-1, 1])
shown = left.imshow((states[:, 0] - states[:, 1])[:, order].T, cmap="gray", aspect="auto")
left.set(xlabel="place in the corridor", ylabel="unit, in order of its last difference")
figure.colorbar(shown, label="h (sign left) - h (sign right)", pad=0.02)
for name, marker in (("with memory", "o"), ("without", "x")):
    _, outputs = rnnjax.unroll(agents[name], first[name], None, look(walk))
    for row, style, sign in ((0, "--", "left"), (1, "-", "right")):
        preference = outputs[:, row, RIGHT] - outputs[:, row, LEFT]
        right.plot(preference, style, marker=marker, color=f"C{list(agents).index(name)}",
                   markersize=4, label=f"{name}, sign {sign}")  # fmt: skip
right.set(xlabel="place in the corridor", ylabel="logit of right - logit of left")
right.legend(fontsize=8)
plt.show()

# %% [markdown]
# **Try:** let a walk that takes too long cost nothing at its end: the agent without memory then
# finds a trick that beats guessing. Which one? Or a corridor of 40 with rollouts of 16 steps. The
# gradient of truncated back-propagation then never reaches the sign, though the state is carried
# over the cut.
