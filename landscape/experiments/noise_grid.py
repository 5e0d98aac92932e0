"""The analogy with SGD's noise: a grid of step size eta x draws M x radius at an equal number of gradients.

The noise of a search that takes steps eta along the mean of M noisy gradients has, for steps short beside what the
gradient changes over, the temperature eta / M (Mandt et al. 2017, arXiv:1704.04289; Smith & Le 2018, arXiv:1710.06451).
If that is what makes results flat, flatness at the end is a function of eta / M at each radius. At an equal number of
gradients G the way gone, eta G / M, is a function of eta / M too: so the radius 0, which has no noise, is in the grid
as the control, and a collapse there is one of the way gone.

Steps are plain ones, eta g / ||g0||, g0 the source's own gradient at the image: sign and normalised steps would hide
how much of g is noise.
"""

import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, ArrayLike, Float

from landscape import objectives, runs, samplers
from landscape.attacks import rules
from landscape.ensembles import map_members
from landscape.experiments.noise_setting import NoiseSetting, search_of, source_keys
from landscape.experiments.setting import example_keys
from landscape.measures.flatness import flatness
from landscape.search import scaled, search
from landscape.spaces import l2_norm, per_example, pixels
from landscape.types import Arrays

EDGE = 1e-3  # of the radius: how near the boundary counts as there


class Cell(NamedTuple):
    """One setting of the grid; arrays [C] of all. eta: L2 pixels of the first step. draws: M. radius: of the noise."""

    eta: np.ndarray
    draws: np.ndarray
    radius: np.ndarray


def cells_of(config, num_pixels: int) -> Cell:
    """All settings. Step sizes of the config are shares of the ball's L2 radius: epsilon sqrt(D) of an L-inf ball."""
    reach = config.pixels.epsilon * (num_pixels**0.5 if config.pixels.norm == "linf" else 1.0)
    grid = config.grid
    every = list(itertools.product(grid.radii, grid.num_draws, grid.step_sizes))
    radius, draws, eta = (np.asarray(column) for column in zip(*every, strict=True))
    return Cell((reach * eta).astype(np.float32), draws.astype(np.int32), radius)


def grid(config, run: runs.Run, noisy: NoiseSetting, sigma: float) -> Arrays:
    """Searches away from the true class in pixels at every setting, and how flat their ends are.

    grid_margin, grid_drop (logits: tracked margin at the end, and its mean drop under noise sigma), grid_success,
    grid_moved (pixels), grid_boundary (share of the coordinates, see `at_boundary`), each [grid_cell, member, example];
    grid_right [member, example]: whether the source classifies the image rightly; grid_eta, grid_draws, grid_radius
    [grid_cell].
    """
    apply, chosen = noisy.classifier.apply, noisy.test
    ball = search_of(config, noisy, "pixels")
    cells = cells_of(config, chosen.x[0].size)
    objective = objectives.descend(apply, objectives.gap)
    count = config.grid.num_evaluations

    def member(own, key, radius, cells, keys, x, label, sigma):
        first = l2_norm(jax.grad(lambda z: jnp.sum(objective(own, z, label)))(x))

        def one(cell):
            plain = optax.stateless(lambda g, _: -cell.eta * scaled(g, first))
            found = search(
                key,
                x,
                label,
                objective=objective,
                space=pixels(ball.norm),
                sampler=samplers.ball(own, cell.radius, kind=config.noise.kind),
                optimizer=rules.mean_of(plain, cell.draws),
                epsilon=radius,
                num_steps=count,
            ).z
            logits = apply(own, found)
            tracked = jnp.argmax(logits, axis=-1)
            trials = {"sigmas": sigma[None], "num_trials": config.measure.num_trials}
            return {
                "grid_margin": objectives.margin(logits, tracked),
                "grid_drop": flatness(keys, own, found, tracked, apply=apply, **trials)["margin_drop"][0],
                "grid_success": (tracked != label).astype(jnp.float32),
                "grid_moved": l2_norm(found - x),
                "grid_boundary": at_boundary(found, x, radius, norm=ball.norm),
            }

        right = jnp.argmax(apply(own, x), axis=-1) == label
        return jax.lax.map(one, cells), right

    program = jax.jit(lambda shared, *a: map_members(member, *a, shared=shared, how=noisy.how))
    keys = example_keys(config.seed, "noise.grid", chosen.ids)
    draws = source_keys(config, "noise.grid", noisy.seeds)

    def work(start: int, stop: int) -> Arrays:
        rows = slice(start, stop)
        images = (jnp.asarray(chosen.x[rows]), jnp.asarray(chosen.label[rows]))
        shared = (jax.tree.map(jnp.asarray, cells), keys[rows], *images, jnp.float32(sigma))
        told, right = program(shared, noisy.sources, draws, jnp.asarray(ball.radius))
        dims = ("grid_cell", "member", "example")
        arrays = {name: (dims, np.moveaxis(np.asarray(value), 0, 1)) for name, value in told.items()}
        return arrays | {"grid_right": (dims[1:], np.asarray(right))}

    arrays = runs.chunks(run, "grid", work, len(chosen.label), config.noise.num_validation)
    return arrays | {
        "grid_eta": (("grid_cell",), cells.eta),
        "grid_draws": (("grid_cell",), cells.draws),
        "grid_radius": (("grid_cell",), cells.radius),
    }


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
