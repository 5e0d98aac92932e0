"""Stage of a transfer run: searches guided by k members, by one with noise or by one at random, tried on held-out ones.

Guide sets of k members run on disjoint blocks of the attackers, which together are all of them; each member of a block
gives one gradient a step. Sets of one member run on every attacker, with noise of `config.noise` on its weights (drawn
at every step, or once), or drawing from its trajectory. Two budgets come of one search: "steps", where every set takes
T steps, and "gradients", where k members take T / k of them, so that all spend T gradients: the last iterate of either,
each with its own step size, chosen on validation images from one grid by the margin that the unperturbed guides have
lost at the end.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from landscape import ensembles, objectives, runs, samplers, spaces
from landscape.ensembles import Rows, map_members
from landscape.experiments.base import run_once
from landscape.experiments.descriptions import Description
from landscape.experiments.setting import Examples, stage_key
from landscape.experiments.transfer import GUIDES
from landscape.experiments.transfer.config import BUDGETS, MEMBERS, GuideSet, guide_sets
from landscape.experiments.transfer.members import Members
from landscape.models.repair import statistics_of
from landscape.samplers import Sampler
from landscape.search import search, steepest
from landscape.spaces import Space
from landscape.training import classifier_members, trajectory
from landscape.types import Ensemble

KEY = "ladder"  # of the random numbers; another word draws others than earlier runs have
# Arrays of one guide set in one search.
OF_ONE_SET = {
    n: q._replace(dims=tuple(d for d in q.dims if d not in ("search", "guide_set"))) for n, q in GUIDES.items()
}


class Guides(NamedTuple):
    """What guide sets draw from: attackers [A, ...], the trajectory of each [A, K, ...], keys of frozen draws [A]."""

    attackers: Ensemble
    trajectory: Ensemble
    frozen: jax.Array


class Place(NamedTuple):
    """Where one search moves.

    name: "pixels" or "manifold". norm, radius: of the ball, pixels or units of the latent. space: of the variables
    `own` of the one autoencoder that all guide sets share.
    """

    name: str
    norm: str
    radius: float
    space: Callable[[Ensemble], Space]
    own: Ensemble


def guides_of(config, run: runs.Run, members: Members) -> Guides:
    """Restores or walks the trajectories of the attackers, where a guide set asks for them."""
    own = classifier_members.members_of(config)[: config.num_attackers]
    keys = [jax.random.fold_in(stage_key(config.seed, f"{KEY}.frozen"), member.seed) for member in own]
    if not {"trajectory", "swag"} & set(config.guides.sets):
        walked = jax.tree.map(lambda leaf: leaf[:, None], members.attackers)  # nothing draws from it
    else:
        dataset = members.prepared.dataset
        walked = trajectory.ensemble(run, config, dataset, members.classifier, own, members.attackers)
    return Guides(members.attackers, walked, jnp.stack(keys))


def place_of(config, members: Members, cell: Description | None, name: str) -> Place:
    """Where a search moves; on the manifold, that of the one autoencoder."""
    if name == "pixels":
        norm = config.pixels.norm
        return Place(name, norm, float(config.pixels.epsilon), lambda _: spaces.pixels(norm), ())
    own, functions = ensembles.take(cell.ensemble, 0), cell.autoencoder

    def space(own):
        return spaces.latent(
            lambda x: functions.encode(own, x), lambda z: functions.decode(own, functions.project(own, z))
        )

    z = functions.encode(own, jnp.asarray(members.validation.x))
    centred = z - jnp.mean(z, axis=0, keepdims=True)
    typical = float(jnp.sqrt(jnp.mean(jnp.square(spaces.l2_norm(centred)))))
    return Place(name, "l2", float(config.manifold.epsilon) * typical, space, own)


def blocks_of(guides: GuideSet, count: int) -> np.ndarray:
    """The attackers of each disjoint block, [B, size]."""
    return np.arange(count - count % guides.size).reshape(-1, guides.size)


def ascent(config, members: Members, sources: Guides, place: Place, guides: GuideSet) -> Callable:
    """program(x, label, step_size) -> (images [B, budget, N, H, W, C], goal [B, budget, N]) of a guide set's blocks.

    goal: minus the mean margin of the label over the unperturbed members of the block, logits.
    """
    apply, num_steps, largest = members.classifier.apply, config.guides.num_steps, config.guides.sizes[-1]
    blocks = blocks_of(guides, ensembles.size(sources.attackers))
    lower = objectives.descend(apply, objectives.gap)
    together = objectives.averaged(objectives.descend(apply, objectives.gap))
    # Frames come every T / largest steps: that of T / k steps is the (largest / k)th.
    at = np.asarray([largest // guides.gradients - 1, largest - 1])

    def of_block(block: Ensemble, walked: Ensemble, frozen: jax.Array, number, shared, x, label, step_size):
        bank, own = shared
        if guides.alone:
            sampler = _alone(config, members, guides, block, walked, frozen, bank)
        else:
            sampler = _together(config, members, guides, block, bank)
        space = place.space(own)
        found = search(
            jax.random.fold_in(stage_key(config.seed, f"{KEY}.{place.name}"), number),
            space.encode(x),
            label,
            objective=lower if guides.alone else together,
            space=space,
            sampler=sampler,
            optimizer=steepest(place.norm, step_size * place.radius),
            epsilon=place.radius,
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
        shared, x, label, step_size = common
        arguments = (shared, Rows(x), Rows(label), step_size)
        return tuple(jnp.moveaxis(a, 2, 1) for a in map_members(of_block, *per_block, shared=arguments, how=how))

    first = blocks[:, 0]
    per_block = (
        ensembles.take(sources.attackers, blocks),
        ensembles.take(sources.trajectory, first),
        sources.frozen[first],
        jnp.asarray(first),
    )
    bank = jnp.asarray(members.validation.x)

    def ascend(x, label, step_size):
        common = ((bank, place.own), jnp.asarray(x), jnp.asarray(label), jnp.float32(step_size))
        return program(common, *per_block)

    return ascend


def _alone(config, members: Members, guides: GuideSet, block: Ensemble, walked, frozen, bank) -> Sampler:
    """One classifier a step: a member of the block, a draw from its trajectory, or the first member with noise."""
    own = jax.tree.map(lambda leaf: leaf[0], block)
    sampler = {
        "random": lambda: samplers.member(block),
        "trajectory": lambda: samplers.member(walked),
        "swag": lambda: samplers.swag(samplers.fit_swag(walked)),
    }.get(guides.guidance, lambda: samplers.ball(own, guides.radius, kind=config.noise.kind))()
    if config.noise.re_estimate:
        sampler = samplers.re_estimated(sampler, statistics_of(members.classifier), bank)
    return samplers.frozen(sampler, frozen) if guides.guidance == "frozen" else sampler


def _together(config, members: Members, guides: GuideSet, block: Ensemble, bank) -> Sampler:
    """All members of a block at once, each with noise of its own."""
    if guides.guidance == MEMBERS:
        return samplers.fixed(block)

    def draw(key, source):
        block, bank = source

        def one(key, variables):
            noisy = samplers.perturb(key, variables, guides.radius, kind=config.noise.kind)
            return statistics_of(members.classifier)(noisy, bank) if config.noise.re_estimate else noisy

        return jax.vmap(one)(jax.random.split(key, guides.size), block)

    return Sampler(draw, (block, bank))


def guided(config, run: runs.Run, members: Members, cell: Description | None) -> xr.Dataset:
    """Every guide set, its step sizes tuned on validation images, tried on the held-out classifiers on test images."""
    sources, held_out, sets = guides_of(config, run, members), members.held_out, guide_sets(config)
    count = min(config.guides.num_examples, len(members.test.label))
    validation, test = (Examples(*(part[:count] for part in images)) for images in (members.validation, members.test))
    sizes = [float(s) for s in config.guides.step_sizes]
    errs = jax.jit(held_out.errs)

    def of_set(place: Place, guides: GuideSet) -> dict[str, Any]:
        ascend = ascent(config, members, sources, place, guides)
        goals = [np.asarray(ascend(validation.x, validation.label, s)[1]).mean(axis=(0, 2)) for s in sizes]
        chosen = np.asarray(sizes)[np.argmax(goals, axis=0)]
        taken = [ascend(test.x, test.label, s)[0] for s in chosen]
        images = jnp.stack([found[:, b] for b, found in enumerate(taken)], axis=1)
        wrong = np.asarray(errs(held_out.groups, images, jnp.asarray(test.label))).astype(np.float32)
        by_block = np.full((len(BUDGETS), config.num_attackers, count), np.nan, np.float32)
        by_block[:, : wrong.shape[1]] = wrong.mean(axis=0).swapaxes(0, 1)
        found = {"tuning": np.stack(goals), "chosen_step": chosen, "block_wrong": by_block}
        return found | {"guided_wrong": wrong.mean(axis=1).swapaxes(0, 1)}

    def start_of(place: Place) -> dict[str, Any]:
        space = place.space(place.own)
        start = space.decode(space.encode(jnp.asarray(test.x)))
        return {"start_wrong": errs(held_out.groups, start, jnp.asarray(test.label))}

    parts = []
    for name in config.guides.searches:
        place = place_of(config, members, cell, name)
        start = run_once(run, f"guides.{name}.start", partial(start_of, place), OF_ONE_SET)
        found = [run_once(run, f"guides.{name}.{g.name}", partial(of_set, place, g), OF_ONE_SET) for g in sets]
        parts.append(xr.concat(found, "guide_set").merge(start))
    about = {name: ("guide_set", [getattr(g, name) for g in sets]) for name in ("guidance", "size")}
    about |= {"search": list(config.guides.searches), "guide_set": [g.name for g in sets], "budget": list(BUDGETS)}
    about |= {"step_size": np.asarray(sizes), "guided_example": test.ids}
    found = xr.concat(parts, "search").assign_coords(about)
    return found.transpose("search", "guide_set", "step_size", "budget", "block", "held_out", "guided_example")
