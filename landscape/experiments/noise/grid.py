"""Step size eta x draws M x radius of the noise, at an equal number of gradients: is it the noise of SGD?

The noise of a search that takes steps eta along the mean of M noisy gradients has, for steps short beside what the
gradient changes over, the temperature eta / M (Mandt et al. 2017, arXiv:1704.04289; Smith & Le 2018, arXiv:1710.06451).
If that is what makes results flat, flatness at the end is a function of eta / M at each radius. At an equal number of
gradients G the distance covered, eta G / M, is a function of eta / M too: so radius 0, which has no noise, is in the
grid as the control, and a collapse there is one of the distance.

Steps are plain ones, eta g / ||g0||, g0 the source's own gradient at the image: sign and normalised steps would hide
how much of g is noise.
"""

import itertools
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import xarray as xr
from jaxtyping import Array, ArrayLike, Float

from landscape import objectives, runs, samplers
from landscape.attacks import rules
from landscape.ensembles import map_members
from landscape.experiments.base import Stage, run_stage
from landscape.experiments.noise import OTHERS, POINT
from landscape.experiments.noise.searches import Sources, search_of, source_keys
from landscape.experiments.setting import as_dataset, example_keys
from landscape.measures.flatness import flatness
from landscape.models.repair import statistics_of
from landscape.search import scaled, search
from landscape.spaces import l2_norm, per_example, pixels

EDGE = 1e-3  # of the radius: how near the boundary counts as there


class Grid(NamedTuple):
    """Points of the grid [C]. eta: L2 pixels of the first step. draws: M. radius: of the noise."""

    eta: np.ndarray
    draws: np.ndarray
    radius: np.ndarray


def step_lengths(config, num_pixels: int) -> np.ndarray:
    """eta, L2 pixels: shares of the ball's L2 radius, which is epsilon sqrt(D) of an L-inf ball."""
    reach = config.pixels.epsilon * (num_pixels**0.5 if config.pixels.norm == "linf" else 1.0)
    return (reach * np.asarray(config.grid.step_sizes)).astype(np.float32)


def points_of(config, num_pixels: int) -> Grid:
    """All points, radius by radius, draws by draws."""
    every = itertools.product(config.grid.radii, config.grid.num_draws, step_lengths(config, num_pixels))
    radius, draws, eta = (np.asarray(column) for column in zip(*every, strict=True))
    return Grid(eta, draws.astype(np.int32), radius)


def compute(config, run: runs.Run, sources: Sources, sigma: np.ndarray) -> xr.Dataset:
    """Searches away from the true class in pixels at every point of the grid, and how flat their ends are.

    sigma: of the input noise, for each source, [S].
    """
    apply, chosen = sources.classifier.apply, sources.test
    ball = search_of(config, sources, "pixels")
    points = points_of(config, chosen.x[0].size)
    objective = objectives.descend(apply, objectives.log_odds)

    def member(own, key, radius, sigma, points, keys, x, label, training):
        first = l2_norm(jax.grad(lambda z: jnp.sum(objective(own, z, label)))(x))

        def one(point):
            plain = optax.stateless(lambda g, _: -point.eta * scaled(g, first))
            noisy = samplers.ball(own, point.radius, kind=config.noise.kind)
            if config.noise.re_estimate:
                noisy = samplers.re_estimated(noisy, statistics_of(sources.classifier), training)
            found = search(
                key,
                x,
                label,
                objective=objective,
                space=pixels(ball.norm),
                sampler=noisy,
                optimizer=rules.mean_of(plain, point.draws),
                epsilon=radius,
                num_steps=config.grid.num_evaluations,
            ).z
            logits = apply(own, found)
            tracked = jnp.argmax(logits, axis=-1)
            trials = {"sigmas": sigma[None], "num_trials": config.measure.num_trials}
            return {
                "grid_margin": objectives.margin(logits, tracked),
                "grid_margin_drop": flatness(keys, own, found, tracked, apply=apply, **trials)["margin_drop"][0],
                "grid_at_boundary": at_boundary(found, x, radius, norm=ball.norm),
            }

        right = jnp.argmax(apply(own, x), axis=-1) == label
        return jax.lax.map(one, points), right

    def work(chunk: Mapping[str, jax.Array], points, each, training) -> dict[str, jax.Array]:
        keys = example_keys(config.seed, "noise.grid", chunk["example"])
        shared = (points, keys, chunk["x"], chunk["true_label"], training)
        found, right = map_members(member, *each, shared=shared, how=sources.how)
        shape = [len(config.grid.radii), len(config.grid.num_draws), len(config.grid.step_sizes)]
        arrays = {name: jnp.moveaxis(value, 0, 1).reshape(*shape, *right.shape) for name, value in found.items()}
        return arrays | {"grid_right": right}

    keys = source_keys(config, "noise.grid", sources.seeds)
    each = (sources.ensemble, keys, jnp.asarray(ball.radius), jnp.asarray(sigma))
    shared = {"points": jax.tree.map(jnp.asarray, points), "each": each, "training": sources.training}
    stage = Stage(f"grid{sources.suffix}", work, as_dataset(chosen), config.noise.num_validation, shared)
    found = run_stage(run, stage, OTHERS)
    axes = (config.grid.radii, config.grid.num_draws, step_lengths(config, chosen.x[0].size))
    return found.assign_coords({name: np.asarray(values) for name, values in zip(POINT, axes, strict=True)})


def at_boundary(
    z: Float[Array, "N ..."], x: Float[Array, "N ..."], radius: ArrayLike, *, norm: str
) -> Float[Array, " N"]:
    """Share of the coordinates of z that the boundary of what is allowed around x holds back.

    Of an L-inf ball those `radius` away; of an L2 ball all, once z is. In both, coordinates that moved to 0 or 1.
    """
    delta = z - x
    far = radius * (1 - EDGE)
    held = jnp.abs(delta) >= far if norm == "linf" else per_example(l2_norm(delta) >= far, delta) > 0
    held |= (delta != 0) & ((z <= 0) | (z >= 1))
    return jnp.mean(held.reshape(len(z), -1), axis=-1)
