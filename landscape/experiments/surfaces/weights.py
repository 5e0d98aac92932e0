"""Maps in weight space: test loss and errors of the classifiers at the points of a plane.

- random: around a member, along two random directions, each filter as long as the member's own (Li et al. 2018,
  arXiv:1712.09913), which is the unit of the coordinates.
- members: through the first three members (Garipov et al. 2018, arXiv:1802.10026); coordinates are L2 lengths.
- trajectory: through a member, in the plane that holds most of a walk of SGD from it; L2 lengths as well.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax.flatten_util import ravel_pytree

from landscape import ensembles, runs
from landscape.ensembles import map_members
from landscape.experiments import setting
from landscape.experiments.base import Stage, run_stage
from landscape.experiments.setting import Setting
from landscape.experiments.surfaces import COMPUTED
from landscape.measures import surface
from landscape.measures.weight_barrier import profile
from landscape.samplers import directed, draw
from landscape.training import classifier_members, trajectory
from landscape.types import Ensemble, Variables

WINDOW = 1.25  # half the side of a map over the distance of its furthest mark; of random directions 1
CHUNK = 2  # maps


class WeightMap(NamedTuple):
    """A plane in weight space. span: origin and two directions, leaves [3, ...]. marks: coordinates [P, 2].

    captured: the share of the marks' squared distances from the origin that lies in the plane.
    """

    kind: str
    member: int
    span: Ensemble
    marks: np.ndarray
    captured: float = 1.0

    @property
    def reach(self) -> float:
        """Half the side of the map."""
        return WINDOW * float(np.linalg.norm(self.marks, axis=1).max()) or 1.0


def compute(config, run: runs.Run, prepared: Setting) -> xr.Dataset:
    """The maps of `config.weights.planes`; an empty dataset where there are none."""
    found = list(maps(config, run, prepared))
    return surfaces_of(config, run, prepared, found) if found else xr.Dataset()


def maps(config, run: runs.Run, prepared: Setting) -> Iterator[WeightMap]:
    """The planes, each kind of the first members."""
    shown = range(min(config.weights.num_shown, len(prepared.members)))
    host = jax.tree.map(np.asarray, prepared.ensemble)
    if "random" in config.weights.planes:
        yield from (around(config.seed, ensembles.take(host, i), i) for i in shown)
    if "members" in config.weights.planes:
        yield between([ensembles.take(host, i) for i in range(3)])
    if "trajectory" in config.weights.planes:
        yield from walked(config, run, prepared, shown)


def around(seed: int, variables: Variables, member: int) -> WeightMap:
    """The plane of two random directions that are normalised filter by filter."""
    key = jax.random.fold_in(setting.stage_key(seed, "surfaces.weights"), member)
    make = jax.jit(lambda key, variables: directed(draw(key, variables), variables, kind="filter_normalised"))
    directions = [make(jax.random.fold_in(key, i), variables) for i in range(2)]
    return WeightMap("random", member, stacked([variables, *directions]), np.zeros((1, 2)))


def between(members: list[Variables]) -> WeightMap:
    """The plane through three classifiers, whose mean is its middle."""
    (a, unravel), *others = (ravel_pytree(one) for one in members)
    plane = surface.through(a, *(one for one, _ in others))
    middle = jnp.mean(plane.at, axis=0)
    span = (surface.point(plane, middle), plane.first, plane.second)
    return WeightMap("members", -1, spread(unravel, span), np.asarray(plane.at - middle[None]))


def walked(config, run: runs.Run, prepared: Setting, shown: Iterable[int]) -> Iterator[WeightMap]:
    """The planes of trajectories; the first mark is the member itself, where the walk began."""
    members = classifier_members.members_of(config)[: len(prepared.members)]
    points = trajectory.ensemble(run, config, prepared.dataset, prepared.classifier, members, prepared.ensemble)
    for i in shown:
        began, unravel = ravel_pytree(ensembles.take(prepared.ensemble, i))
        walk = ensembles.take(jax.tree.map(np.asarray, points), i)
        steps = [ravel_pytree(ensembles.take(walk, k))[0] for k in range(ensembles.size(walk))]
        axes, marks, captured = surface.principal(np.stack([began, *steps]))
        yield WeightMap("trajectory", i, spread(unravel, (began, *axes.astype(np.float32))), marks, captured)


def spread(unravel, span) -> Ensemble:
    """Origin and directions as pytrees of weights, leaves [3, ...]."""
    return stacked([unravel(jnp.asarray(one)) for one in span])


def stacked(parts: list[Variables]) -> Ensemble:
    """Leaves [P, ...], of NumPy."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *parts)


def surfaces_of(config, run: runs.Run, prepared: Setting, found: list[WeightMap]) -> xr.Dataset:
    """Mean loss and share of errors on test images at every point of every plane."""
    section, side = config.weights, config.weights.grid
    test = setting.examples(prepared.dataset, "test", section.num_examples, config.seed)
    at, how = surface.grid(side), ensembles.parse(config.mapping, min(CHUNK, len(found)))
    reach = np.asarray([one.reach for one in found], np.float32)

    def of_plane(span, reach, at, x, label):
        rows = jnp.concatenate([jnp.ones_like(at[:, :1]), reach * at], axis=1)
        loss, wrong = profile(span, rows, x[None], label, apply=prepared.classifier.apply)
        return {
            "weight_loss": jnp.mean(loss, axis=(1, 2)).reshape(side, side),
            "weight_error": jnp.mean(wrong, axis=(1, 2)).reshape(side, side),
        }

    def work(chunk, spans, at, x, label) -> dict[str, jax.Array]:
        own = ensembles.take(spans, chunk["number"])
        return map_members(of_plane, own, chunk["reach"], shared=(at, x, label), how=how)

    shared = {"spans": stacked([one.span for one in found]), "at": at, "x": test.x, "label": test.label}
    inputs = xr.Dataset({"number": ("weight_map", np.arange(len(found))), "reach": ("weight_map", reach)})
    data = run_stage(run, Stage("weights", work, inputs, CHUNK, shared, "weight_map"), COMPUTED)
    most = max(len(one.marks) for one in found)
    marks = [np.pad(one.marks, ((0, most - len(one.marks)), (0, 0)), constant_values=np.nan) for one in found]
    about = {"weight_reach": reach, "weight_kind": [one.kind for one in found]}
    about |= {"weight_member": [one.member for one in found], "weight_captured": [one.captured for one in found]}
    data = data.assign({name: ("weight_map", values) for name, values in about.items()})
    return data.assign(weight_mark=(("weight_map", "weight_mark_number", "axis"), np.stack(marks)))
