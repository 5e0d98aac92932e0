"""The stages of a surfaces run.

Members -> their attacks on test images -> images that every member gets right, and wrong afterwards -> what planes go
through (`point`) -> counts of the points of every plane on which members err -> log-odds along lines -> maps of a few
planes, of a latent and a hidden layer too -> maps in weight space (`weights`) -> the audit of the attack.
"""

from collections.abc import Callable
from functools import partial
from itertools import combinations
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from landscape import ensembles, objectives, runs
from landscape.attacks import projected
from landscape.data import Dataset
from landscape.ensembles import map_members
from landscape.experiments import audits, descriptions, setting
from landscape.experiments.base import Stage, run_stage
from landscape.experiments.inputs import read_inputs
from landscape.experiments.setting import Examples, Setting
from landscape.experiments.surfaces import COMPUTED, IMAGE, weights
from landscape.files import UserError
from landscape.measures import surface
from landscape.search import unit
from landscape.spaces import draw_flat, fold, l2_norm, per_example
from landscape.training import trajectory
from landscape.types import Apply

CHUNK_PIXELS = 4 * 1024 * 28 * 28  # of the points of all planes of a chunk: seconds for 8 default classifiers
T = np.linspace(-1, 2, 31, dtype=np.float32)  # on lines: 0 is the image, 1 the adversarial example
WINDOW = 1.3  # half the side of a map, in radii of its plane
DIRECTIONS = ("adversarial", "gradient", "random")


def compute(config, run: runs.Run) -> xr.Dataset:
    """Every array of a run; what is on disk is not computed again."""
    mine = three_of(config.inputs, config) if config.inputs else None  # before any long work
    prepared = setting.prepare(config, run, partial(check, config))
    chosen, adversarial, found = attacked(config, run, prepared)
    points = through(config, run, prepared, chosen, adversarial)
    first = slice(config.surfaces.num_examples)
    found, some = found.isel(example=first), Examples(*(part[first] for part in chosen))
    found = found.merge(counted(config, run, prepared, some, points[:, first]))
    found = found.merge(along(run, prepared, some, points[:, first]))
    found = found.merge(maps(config, run, prepared, chosen, points, mine))
    found = found.merge(weights.compute(config, run, prepared)).merge(audits.audit_dataset(config, run, prepared))
    coords = {"count": np.arange(1, len(prepared.members) + 1)} | setting.coordinates(prepared)
    return found.assign_coords(coords).assign_attrs(epsilon=config.search.epsilon, norm=config.search.norm)


def check(config, dataset: Dataset) -> None:
    """Refuses a data set with too few images, or images that the autoencoder does not fit."""
    trajectory.check(config, dataset, used="trajectory" in config.weights.planes)
    if "latent" in config.surfaces.planes:
        descriptions.check_manifold(config, dataset)


def three_of(path: str, config) -> Examples:
    """A user's three images.

    Raises:
      UserError: other than three.
    """
    found, _ = read_inputs(path, setting.load(config)[0])
    if len(found.label) != 3:
        raise UserError(f"inputs={path}: {len(found.label)} images; expected three, through which a plane goes")
    return found


def attacked(config, run: runs.Run, prepared: Setting) -> tuple[Examples, np.ndarray, xr.Dataset]:
    """Images, each member's own adversarial examples of them [S, N, H, W, C], and clean log-odds.

    They are the first images that every member classifies rightly and that its own attack turns, as many as are counted
    or shown; where there is none, those of which this holds for most members.
    """
    section, apply = config.surfaces, prepared.classifier.apply
    images = setting.shuffled(prepared.dataset, "test", section.num_candidates, config.seed)
    budget = {name: config.search[name] for name in ("norm", "epsilon", "num_steps", "num_restarts")}

    def of_member(variables, keys, x, label):
        z, logits = projected.multi_targeted(keys, variables, x, label, apply=apply, **budget), apply(variables, x)
        before, after = (jnp.argmax(own, axis=-1) == label for own in (logits, apply(variables, z)))
        return {"adversarial": z, "usable": before & ~after, "clean_log_odds": objectives.log_odds(logits, label)}

    def work(chunk, ensemble) -> dict[str, jax.Array]:
        keys = setting.example_keys(config.seed, "surfaces.attacked", chunk["example"])
        return map_members(of_member, ensemble, shared=(keys, chunk["x"], chunk["true_label"]), how=prepared.how)

    inputs, shared = setting.as_dataset(images)[["x", "true_label"]], {"ensemble": prepared.ensemble}
    found = run_stage(run, Stage("attacked", work, inputs, config.chunk, shared), COMPUTED)
    count = found.usable.sum("member").values
    usable = np.flatnonzero(count == len(prepared.members))
    if not len(usable):
        run.say(
            f"attacked: none of {len(images.label)} images is classified rightly by all {len(prepared.members)} "
            "members and turned by each one's attack; going on with those that are by most"
        )
        usable = np.argsort(-count, kind="stable")
    rows = usable[: max(section.num_examples, section.num_shown)]
    chosen = Examples(*(part[rows] for part in images))
    found = found.isel(example=rows)
    clean = found[["clean_log_odds"]].assign(num_candidates=((), np.int64(len(images.label))))
    return chosen, found.adversarial.values, clean


def through(config, run: runs.Run, prepared: Setting, chosen: Examples, adversarial: np.ndarray) -> np.ndarray:
    """What planes go through beside the image: [2 S + 2, N, H, W, C].

    S adversarial examples; S points as far away against the gradient of that member's log-odds; two along independent
    random directions, as far away as adversarial examples are in the mean over members.
    """
    value = objectives.descend(prepared.classifier.apply, objectives.log_odds)

    def of_member(variables, z, x, label):
        gradient = jax.grad(lambda x: jnp.sum(value(variables, x, label)))(x)
        return x + per_example(l2_norm(z - x), x) * unit(gradient, "l2")

    def work(chunk, ensemble) -> dict[str, jax.Array]:
        z, x = chunk["adversarial"], chunk["x"]
        down = map_members(of_member, ensemble, z, shared=(x, chunk["true_label"]), how=prepared.how)
        keys = setting.example_keys(config.seed, "surfaces.random", chunk["example"])
        length = per_example(jnp.mean(jax.vmap(l2_norm)(z - x[None]), axis=0), x)
        away = [unit(draw_flat(jax.random.normal, fold(keys, i), x), "l2") for i in range(2)]
        return {"point": jnp.concatenate([z, down, jnp.stack([x + length * v for v in away])])}

    inputs = setting.as_dataset(chosen)[["x", "true_label"]]
    inputs = inputs.assign(adversarial=(("member", "example", *IMAGE), adversarial))
    stage = Stage("points", work, inputs, config.chunk, {"ensemble": prepared.ensemble})
    return run_stage(run, stage, COMPUTED).point.values


# ---- areas ----


def planes_of(kinds: tuple[str, ...], num_members: int, num_examples: int) -> xr.Dataset:
    """The planes that are counted: each has the number of its image, of two points, and members where it is of some."""
    S, found = num_members, []
    ends = {"adversarial": [(i, j, i, j) for i, j in combinations(range(S), 2)]}
    ends |= {"gradient": [(S + i, 2 * S, i, -1) for i in range(S)], "random": [(2 * S, 2 * S + 1, -1, -1)]}
    for kind in (kind for kind in ends if kind in kinds):
        found += [(kind, image, *end) for end in ends[kind] for image in range(num_examples)]
    kind, *numbers = zip(*found, strict=True)
    names = ("image", "b", "c", "first", "second")
    arrays = {name: ("plane", np.asarray(own, np.int32)) for name, own in zip(names, numbers, strict=True)}
    return xr.Dataset(arrays | {"kind": ("plane", list(kind))})


def count_errors(
    apply: Apply, how: ensembles.Mapping, num_points: int, through: surface.Through | None = None
) -> Callable[..., dict[str, jax.Array]]:
    """(chunk of `planes_of`, ensemble, x, label, points) -> wrong, both and radius of every plane.

    The compiled program: every member at every point of the disc of every plane; what comes back are counts.
    """
    ring = surface.rings(num_points)
    at, ring = surface.grid(num_points)[ring >= 0], ring[ring >= 0]

    def of_member(variables, planes, at, label):
        return surface.surfaces(variables, planes, at, label, apply=apply, through=through).decision != label[:, None]

    def work(chunk, ensemble, x, label, points) -> dict[str, jax.Array]:
        image, first, second = (chunk[name] for name in ("image", "first", "second"))
        planes = jax.vmap(surface.through)(x[image], points[chunk["b"], image], points[chunk["c"], image])
        shared = (planes, jnp.asarray(at), label[image])
        wrong = map_members(of_member, ensemble, shared=shared, how=how)
        own = jnp.arange(wrong.shape[1])
        pair = wrong[first, own] & wrong[second, own] & (second >= 0)[:, None]
        both = surface.counts(pair[None], ring)[..., 0, 0]
        found = {"wrong": surface.counts(wrong, ring).astype(jnp.uint16), "both": both.astype(jnp.uint16)}
        return found | {"radius": jax.vmap(surface.radius)(planes)}

    return work


def counted(config, run: runs.Run, prepared: Setting, chosen: Examples, points: np.ndarray) -> xr.Dataset:
    """Counts of points on which members err, in every plane."""
    num_points = config.surfaces.grid
    planes = planes_of(config.surfaces.planes, len(prepared.members), len(chosen.label))
    ring = surface.rings(num_points)
    area = np.bincount(ring[ring >= 0])
    size = max(1, ensembles.roominess() * CHUNK_PIXELS // (area.sum() * chosen.x[0].size))
    work = count_errors(prepared.classifier.apply, prepared.how, num_points, prepared.classifier.through)
    bank = (jnp.asarray(one) for one in (chosen.x, chosen.label, points))
    shared = {"ensemble": prepared.ensemble} | dict(zip(("x", "label", "points"), bank, strict=True))
    inputs = planes[["image", "b", "c", "first", "second"]]
    found = run_stage(run, Stage("areas", work, inputs, int(size), shared, "plane"), COMPUTED)
    coords = {name: planes[name] for name in ("kind", "image", "first", "second")}
    return found.assign(coords | {"points": ("ring", area)}).assign_coords(ring=np.arange(len(area)))


# ---- lines ----


def along(run: runs.Run, prepared: Setting, chosen: Examples, points: np.ndarray) -> xr.Dataset:
    """What every member says along the line from the image to each member's point, in each direction."""
    apply, num_members = prepared.classifier.apply, len(prepared.members)

    def of_member(variables, x, label, points):
        def on_line(z):
            return jax.lax.map(lambda t: objectives.log_odds(apply(variables, x + t * (z - x)), label), jnp.asarray(T))

        return jax.lax.map(on_line, points)

    def work(chunk, ensemble) -> dict[str, jax.Array]:
        shared = (chunk["x"], chunk["true_label"], chunk["points"])
        return {"line": map_members(of_member, ensemble, shared=shared, how=prepared.how)}

    inputs = setting.as_dataset(chosen)[["x", "true_label"]]
    inputs = inputs.assign(points=(("point", "example", *IMAGE), points[: 2 * num_members + 1]))
    size = max(1, ensembles.roominess() * CHUNK_PIXELS // (len(T) * (2 * num_members + 1) * chosen.x[0].size))
    found = run_stage(run, Stage("lines", work, inputs, int(size), {"ensemble": prepared.ensemble}), COMPUTED)
    values = found.line.transpose("point", "t", "target", "example").values
    one = np.repeat(values[-1:], num_members, axis=0)  # the random direction, the same for all
    by_direction = np.stack([values[:num_members], values[num_members:-1], one])
    dims = ("direction", "member", "t", "target", "example")
    data = xr.Dataset({"line_log_odds": (dims, by_direction)}, {"direction": list(DIRECTIONS), "t": T})
    return data.transpose(*COMPUTED["line_log_odds"].dims)


# ---- maps ----


class Ways(NamedTuple):
    """Into the space of a plane and on from there; `both` is (variables of a classifier, `more`).

    encode: (both, x) -> points. decide: (both, points) -> logits. more: what is the same for all members. through: as
    `surface.surface` takes it, where points are images.
    """

    encode: Callable
    decide: Callable
    more: Any = ()
    through: Callable | None = None


def maps(
    config, run: runs.Run, prepared: Setting, chosen: Examples, points: np.ndarray, mine: Examples | None
) -> xr.Dataset:
    """Decisions, log-odds and margins of every member over the planes that are drawn."""
    count, num = min(config.surfaces.num_shown, len(chosen.label)), len(prepared.members)
    x, label, ids = (part[:count] for part in chosen)
    ends = {"gradient": (num, 2 * num), "random": (2 * num, 2 * num + 1)}
    found = []
    for kind in config.surfaces.planes:
        others = [points[i, :count] for i in ends.get(kind, (0, 1))]
        others = neighbours_of(chosen, count) if kind == "latent" else others
        ways = ways_of(config, run, prepared, kind)
        found.append(one_kind(config, run, prepared, kind, (x, *others), label, ids, ways))
    if mine is not None:
        ways, three = ways_of(config, run, prepared, "user"), [one[None] for one in mine.x]
        found.append(one_kind(config, run, prepared, "user", three, mine.label[:1], mine.ids[:1], ways))
    return xr.concat(found, "map")


def ways_of(config, run: runs.Run, prepared: Setting, kind: str) -> Ways:
    """The space of one kind of plane: an autoencoder's latent, a hidden layer of each member, or pixels."""
    classifier = prepared.classifier
    if kind == "latent":
        coder = descriptions.of_images(config, run, prepared)[1]
        encode, decode = coder.autoencoder.encode, descriptions.decoder(coder.autoencoder)
        return Ways(
            lambda both, x: encode(both[1], x).reshape(len(x), -1),
            lambda both, z: classifier.apply(both[0], decode(both[1], z)),
            ensembles.take(coder.ensemble, 0),
        )
    if kind == "hidden":
        (layer,) = config.hidden.layers
        return Ways(
            lambda both, x: classifier.features(both[0], x, layer),
            lambda both, h: classifier.head(both[0], h, layer),
        )
    whole = classifier.through
    through = None if whole is None else lambda both, x, visit: whole(both[0], x, visit)
    return Ways(lambda both, x: x, lambda both, x: classifier.apply(both[0], x), through=through)


def neighbours_of(chosen: Examples, count: int) -> list[np.ndarray]:
    """Of each of the first images the nearest one of another class, and the nearest of a third, where there is one."""
    found = []
    for x, label in zip(chosen.x[:count], chosen.label[:count], strict=True):
        order = np.argsort(np.square(chosen.x - x).sum(axis=(1, 2, 3)), kind="stable")[::-1]
        first = max(range(len(order)), key=lambda at: (chosen.label[order[at]] != label, at))
        known = (label, chosen.label[order[first]])
        second = max(range(len(order)), key=lambda at: (chosen.label[order[at]] not in known, at))
        found.append((order[first], order[second]))
    return [chosen.x[list(rows)] for rows in zip(*found, strict=True)]


def one_kind(
    config, run: runs.Run, prepared: Setting, kind: str, three, label: np.ndarray, ids: np.ndarray, ways: Ways
) -> xr.Dataset:
    """The maps of one kind of plane, through three inputs each, [m, H, W, C], with class and id of the first."""
    side, num_classes = config.surfaces.map_grid, len(prepared.dataset.class_names)
    at, whole = WINDOW * surface.grid(side), jnp.uint8 if num_classes <= 256 else jnp.uint16

    def of_member(variables, more, at, label, *three):
        both = (variables, more)
        planes = jax.vmap(surface.through)(*(ways.encode(both, x) for x in three))
        seen = surface.surfaces(both, planes, at, label, apply=ways.decide, through=ways.through)
        return {
            "decision": seen.decision.reshape(-1, side, side).astype(whole),
            "log_odds": seen.log_odds.reshape(-1, side, side).astype(jnp.float16),
            "margin": seen.margin.reshape(-1, side, side).astype(jnp.float16),
            "mark": planes.at,
            "reach": WINDOW * jax.vmap(surface.radius)(planes),
        }

    def work(chunk, ensemble, more) -> dict[str, jax.Array]:
        shared = (more, jnp.asarray(at), *(chunk[name] for name in ("map_class", "a", "b", "c")))
        found = map_members(of_member, ensemble, shared=shared, how=prepared.how)
        return {name: jnp.swapaxes(value, 0, 1) for name, value in found.items()}

    inputs = xr.Dataset({name: (("map", *IMAGE), x) for name, x in zip("abc", three, strict=True)})
    inputs = inputs.assign(map_class=("map", label.astype(np.int32)))
    shared = {"ensemble": prepared.ensemble, "more": ways.more}
    size = max(1, ensembles.roominess() * CHUNK_PIXELS // (len(at) * three[0][0].size))
    found = run_stage(run, Stage(f"maps.{kind}", work, inputs, int(size), shared, "map"), COMPUTED)
    return found.assign(map_class=inputs.map_class, map_example=("map", ids), map_kind=("map", [kind] * len(label)))
