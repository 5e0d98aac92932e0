"""Stage of `shared`: searches guided by k members, by one with noise, by one at random, all judged by held-out members.

A *rung* is how a search is guided. Rungs of k members run on disjoint blocks of the attackers, which together are all
of them; each member of a block gives one gradient a step. Rungs of one member run on every attacker, with noise of
`config.noise` on its weights (redrawn at every step, or frozen), or drawing from its trajectory. Two budgets are told
from one search: "steps", where every rung takes T steps, and "gradients", where k members take T / k of them, so that
all spend T gradients: the last iterate of either, each with its own step size, chosen on validation images from one
grid by the margin that the unperturbed guides have lost at the end.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from landscape import ensembles, objectives, runs, samplers, spaces
from landscape.ensembles import Rows, map_members
from landscape.experiments.autoencoder_cells import Cell
from landscape.experiments.setting import Examples, stage_key
from landscape.experiments.shared_setting import HELD_OUT, SharedSetting
from landscape.models.repair import statistics_of
from landscape.samplers import Sampler
from landscape.search import search, steepest
from landscape.spaces import Space
from landscape.training import classifier_members, trajectory
from landscape.types import Arrays, Ensemble

BUDGETS = ("gradients", "steps")
MEMBERS = "members"


class Rung(NamedTuple):
    """How a search is guided: its name, the members of a block, and the radius of the noise on their weights."""

    name: str
    size: int
    radius: float

    @property
    def alone(self) -> bool:
        """Whether one gradient is taken a step, whatever the size of the block."""
        return self.name not in (MEMBERS, "members_ball")

    @property
    def gradients(self) -> int:
        """Gradients a step."""
        return 1 if self.alone else self.size


def rungs_of(config) -> list[Rung]:
    """All rungs in order: k members, then the others that the config names."""
    sizes, radius = config.ladder.sizes, float(config.noise.radius)
    found = [Rung(MEMBERS, k, 0.0) for k in sizes]
    for name in config.ladder.rungs:
        if name == "members_ball":
            found += [Rung(name, k, radius) for k in sizes[1:]]  # of one it is the ball
        else:
            found.append(Rung(name, sizes[-1] if name == "random" else 1, radius * (name in ("ball", "frozen"))))
    return found


class Guides(NamedTuple):
    """What rungs draw from: attackers [A, ...], the trajectory of each [A, K, ...], keys of frozen draws [A]."""

    attackers: Ensemble
    trajectory: Ensemble
    frozen: jax.Array


class Ground(NamedTuple):
    """Where one search moves.

    name: "pixels" or "manifold". norm, radius: of the ball, pixels or units of the latent. space: of the variables
    `own` of the one autoencoder that all rungs share.
    """

    name: str
    norm: str
    radius: float
    space: Callable[[Ensemble], Space]
    own: Ensemble


def guides_of(config, run: runs.Run, shared: SharedSetting) -> Guides:
    """Restores or walks the trajectories of the attackers, where a rung asks for them."""
    members = classifier_members.members_of(config)[: config.num_attackers]
    keys = [jax.random.fold_in(stage_key(config.seed, "ladder.frozen"), member.seed) for member in members]
    if not {"trajectory", "swag"} & set(config.ladder.rungs):
        walked = jax.tree.map(lambda leaf: leaf[:, None], shared.attackers)  # nothing draws from it
    else:
        dataset = shared.prepared.dataset
        walked = trajectory.ensemble(run, config, dataset, shared.classifier, members, shared.attackers)
    return Guides(shared.attackers, walked, jnp.stack(keys))


def ground_of(config, shared: SharedSetting, cell: Cell, name: str) -> Ground:
    """Where a search moves; on the manifold, that of the one autoencoder."""
    if name == "pixels":
        return Ground(
            name, config.pixels.norm, float(config.pixels.epsilon), lambda _: spaces.pixels(config.pixels.norm), ()
        )
    own = ensembles.take(cell.ensemble, 0)
    functions = cell.autoencoder

    def space(own):
        return spaces.latent(
            lambda x: functions.encode(own, x), lambda z: functions.decode(own, functions.project(own, z))
        )

    z = functions.encode(own, jnp.asarray(shared.validation.x))
    centred = z - jnp.mean(z, axis=0, keepdims=True)
    typical = float(jnp.sqrt(jnp.mean(jnp.square(spaces.l2_norm(centred)))))
    return Ground(name, "l2", float(config.manifold.epsilon) * typical, space, own)


def blocks_of(rung: Rung, count: int) -> np.ndarray:
    """The attackers of each disjoint block, [B, size]."""
    return np.arange(count - count % rung.size).reshape(-1, rung.size)


def climber(config, shared: SharedSetting, guides: Guides, ground: Ground, rung: Rung) -> Callable:
    """program(x, label, step_size) -> (images [B, budget, N, H, W, C], goal [B, budget, N]) of a rung's blocks.

    goal: minus the mean margin of the label over the unperturbed members of the block, logits.
    """
    apply, num_steps, largest = shared.classifier.apply, config.ladder.num_steps, config.ladder.sizes[-1]
    blocks = blocks_of(rung, ensembles.size(guides.attackers))
    lower = objectives.descend(apply, objectives.gap)
    together = objectives.averaged(apply, partial(objectives.descend, value_fn=objectives.gap), "loss")
    # Frames come every T / largest steps: that of T / k steps is the (largest / k)th.
    at = np.asarray([largest // rung.gradients - 1, largest - 1])

    def of_block(block: Ensemble, walked: Ensemble, frozen: jax.Array, number, shared_with, x, label, step_size):
        bank, own = shared_with
        if rung.alone:
            sampler = _alone(config, shared, rung, block, walked, frozen, bank)
        else:
            sampler = _together(config, shared, rung, block, bank)
        space = ground.space(own)
        z0 = space.encode(x)
        found = search(
            jax.random.fold_in(stage_key(config.seed, f"ladder.{ground.name}"), number),
            z0,
            label,
            objective=lower if rung.alone else together,
            space=space,
            sampler=sampler,
            optimizer=steepest(ground.norm, step_size * ground.radius),
            epsilon=ground.radius,
            num_steps=num_steps,
            frames=largest,
        )
        images = jax.lax.map(space.decode, found.frames[at])

        def margin(variables):
            return jax.lax.map(lambda x: objectives.margin(apply(variables, x), label), images)

        goal = -jnp.mean(jax.lax.map(margin, block), axis=0)
        return jnp.moveaxis(images, 1, 0), goal.T

    how = ensembles.parse(config.mapping, len(blocks))

    @jax.jit
    def program(common, *per_block):
        shared_with, x, label, step_size = common
        shared = (shared_with, Rows(x), Rows(label), step_size)
        return tuple(jnp.moveaxis(a, 2, 1) for a in map_members(of_block, *per_block, shared=shared, how=how))

    first = blocks[:, 0]
    per_block = (
        ensembles.take(guides.attackers, blocks),
        ensembles.take(guides.trajectory, first),
        guides.frozen[first],
        jnp.asarray(first),
    )
    bank = jnp.asarray(shared.validation.x)

    def climb(x, label, step_size):
        common = ((bank, ground.own), jnp.asarray(x), jnp.asarray(label), jnp.float32(step_size))
        return program(common, *per_block)

    return climb


def _alone(config, shared: SharedSetting, rung: Rung, block: Ensemble, walked, frozen, bank) -> Sampler:
    """One classifier a step: a member of the block, a draw from its trajectory, or the first member with noise."""
    own = jax.tree.map(lambda leaf: leaf[0], block)
    sampler = {
        "random": lambda: samplers.member(block),
        "trajectory": lambda: samplers.member(walked),
        "swag": lambda: samplers.swag(samplers.fit_swag(walked)),
    }.get(rung.name, lambda: samplers.ball(own, rung.radius, kind=config.noise.kind))()
    if config.noise.re_estimate:
        sampler = samplers.re_estimated(sampler, statistics_of(shared.classifier), bank)
    return samplers.frozen(sampler, frozen) if rung.name == "frozen" else sampler


def _together(config, shared: SharedSetting, rung: Rung, block: Ensemble, bank) -> Sampler:
    """All members of a block at once, each with noise of its own."""

    if rung.name == MEMBERS:
        return samplers.fixed(block)

    def draw(key, source):
        block, bank = source

        def one(key, variables):
            noisy = samplers.perturb(key, variables, rung.radius, kind=config.noise.kind)
            return statistics_of(shared.classifier)(noisy, bank) if config.noise.re_estimate else noisy

        return jax.vmap(one)(jax.random.split(key, rung.size), block)

    return Sampler(draw, (block, bank))


def ladder(config, run: runs.Run, shared: SharedSetting, cell: Cell) -> Arrays:
    """Every rung, its step sizes tuned on validation images, judged by the held-out members on test images.

    ladder_tuning [search, rung, step_size, budget]: mean goal on validation images, logits. ladder_step [search, rung,
    budget]: step size taken. ladder_wrong [search, rung, budget, judge, ladder_example]: share of blocks whose result
    the held-out member errs on. ladder_block [search, rung, budget, block, ladder_example]: share of judges that err on
    each block's result, NaN where blocks are fewer. ladder_start [search, judge, ladder_example]: whether it errs where
    searches start, on the manifold the reconstruction.
    """
    guides = guides_of(config, run, shared)
    held_out = shared.judges.take(np.flatnonzero(shared.names == HELD_OUT))
    count = min(config.ladder.num_examples, len(shared.test.label))
    validation = _first(shared.validation, count)
    test = _first(shared.test, count)

    @jax.jit
    def judged(groups, images, label):
        """Whether each judge errs on images [B, budget, N, ...]: [J, B, budget, N]."""
        flat = images.reshape(-1, *images.shape[2:])

        def judge(apply, variables, flat, label):
            return jax.lax.map(lambda x: jnp.argmax(apply(variables, x), axis=-1) != label, flat)

        found = held_out.map(judge, groups, flat, label)
        return found.reshape(found.shape[0], *images.shape[:3])

    sizes = [float(s) for s in config.ladder.step_sizes]
    rungs = rungs_of(config)

    def of_rung(ground: Ground, rung: Rung) -> Arrays:
        climb = climber(config, shared, guides, ground, rung)
        goals = [np.asarray(climb(validation.x, validation.label, s)[1]).mean(axis=(0, 2)) for s in sizes]
        chosen = np.asarray(sizes)[np.argmax(goals, axis=0)]
        taken = [climb(test.x, test.label, s) for s in chosen]
        images = jnp.stack([found[0][:, b] for b, found in enumerate(taken)], axis=1)
        wrong = np.asarray(judged(held_out.groups, images, jnp.asarray(test.label))).astype(np.float32)
        by_block = np.full((len(BUDGETS), config.num_attackers, count), np.nan, np.float32)
        by_block[:, : wrong.shape[1]] = wrong.mean(axis=0).swapaxes(0, 1)
        return {
            "ladder_tuning": (("step_size", "budget"), np.stack(goals)),
            "ladder_step": (("budget",), chosen),
            "ladder_wrong": (("budget", "judge", "ladder_example"), wrong.mean(axis=1).swapaxes(0, 1)),
            "ladder_block": (("budget", "block", "ladder_example"), by_block),
        }

    def start_of(ground: Ground) -> Arrays:
        space = ground.space(ground.own)
        start = space.decode(space.encode(jnp.asarray(test.x)))[None, None]
        wrong = np.asarray(judged(held_out.groups, start, jnp.asarray(test.label)))
        return {"ladder_start": (("judge", "ladder_example"), wrong[:, 0, 0])}

    parts, starts = [], []
    for name in config.ladder.searches:
        ground = ground_of(config, shared, cell, name)
        starts.append(runs.once(run, f"ladder.{name}.start", partial(start_of, ground))["ladder_start"])
        found = [
            runs.once(run, f"ladder.{name}.{rung.name}.{rung.size}", partial(of_rung, ground, rung)) for rung in rungs
        ]
        parts.append({n: (("rung", *dims), np.stack([f[n][1] for f in found])) for n, (dims, _) in found[0].items()})
    found = {n: (("search", *dims), np.stack([part[n][1] for part in parts])) for n, (dims, _) in parts[0].items()}
    return found | {"ladder_start": (("search", *starts[0][0]), np.stack([value for _, value in starts]))}


def _first(chosen: Examples, count: int) -> Examples:
    return Examples(*(part[:count] for part in chosen))
