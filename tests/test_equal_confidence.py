"""Linear softmax classifiers have no curvature: at equal confidence nothing may be found around adversarial inputs."""

import collections

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from landscape import populations
from landscape.attacks.projected import Budget
from landscape.experiments.flatness.estimates import BEYOND, DESIGN, DROP, SCALE_FREE, derive
from landscape.measures.flatness import ensemble_flatness, ensemble_linear_drops
from landscape.stats.table import Estimate, tabulate

MEMBERS, IMAGES, SHAPE = 4, 96, (4, 4, 1)
BUDGET = Budget("linf", epsilon=0.2, step_size=0.02, num_steps=40, iso_steps=60)
PAIRS = [("adversarial", "boosted"), ("adversarial", "genuine")]


def apply(variables, x):
    w, b = variables
    return x.reshape(x.shape[0], -1) @ w + b[None]


def drawn(key, num_classes):
    """Members around one random truth, images, and labels drawn from the truth's own softmax."""
    key_x, key_base, key_own, key_label = jax.random.split(key, 4)
    base = 2 * jax.random.normal(key_base, (16, num_classes))
    w = base[None] + jax.random.normal(key_own, (MEMBERS, 16, num_classes))
    x = jax.random.uniform(key_x, (IMAGES, *SHAPE), minval=0.2, maxval=0.8)
    label = jax.random.categorical(key_label, (x.reshape(IMAGES, -1) - 0.5) @ base)
    return (w, -0.5 * w.sum(axis=1)), x, label


def populate(key, ensemble, x, label):
    """What every member says of its populations, who belongs to them, and what noise takes from them."""
    keys = jax.random.split(key, IMAGES)

    def member(variables):
        made = populations.make(keys, variables, x, label, apply=apply, budget=BUDGET)
        seen = populations.outcome(variables, made, x, label, apply=apply)
        wanted = populations.wanted_log_odds(seen.log_odds[0], BUDGET)
        masks = populations.valid(seen, label, wanted, populations.INPUTS)
        return made, seen._asdict(), jnp.stack([masks[name] for name in populations.POPULATIONS])

    made, seen, valid = jax.vmap(member)(ensemble)
    options = {"apply": apply, "sigmas": jnp.array([0.06]), "num_trials": 16}
    own = (keys, ensemble, made, seen["prediction"])
    flat = ensemble_flatness(*own, jnp.broadcast_to(label, (MEMBERS, IMAGES)), x, **options)
    linear = ensemble_linear_drops(*own, x, **options)
    lost = {f"input_{name}": flat[name][:, 0] for name in ("probability_drop", "margin_drop", "kept", "returned")}
    return seen, valid, lost | {f"linear_{name}": linear[name][0] for name in ("probability_drop", "margin_drop")}


def as_data(seen, valid, lost):
    at = [populations.INPUTS.index(populations.SOURCE[name]) for name in populations.POPULATIONS]
    dims = ("member", "population", "example")
    arrays = {name: (dims, value[:, at]) for name, value in seen.items()} | {"valid": (dims, valid)}
    arrays |= {name: (("noise", *dims)[-value.ndim :], value[..., at, :]) for name, value in lost.items()}
    arrays |= {
        "label": (("member", "example"), np.zeros((MEMBERS, IMAGES), int)),
        "class": ["a"],
        "noise": ["additive"],
    }
    data = xr.Dataset(arrays, {"population": list(populations.POPULATIONS), "example": np.arange(IMAGES)})
    return derive(data.assign_coords(control=("member", ["trained"] * MEMBERS)))


@pytest.mark.slow
@pytest.mark.parametrize("num_classes", [2, 10])
def test_at_equal_confidence_intervals_cover_nothing_where_there_is_nothing(num_classes):
    """200 draws of data and weights. Raw differences are there, and all of them confidence: 0 to 17 % cover."""
    program, covered = jax.jit(populate), collections.defaultdict(list)
    iso = [Estimate(*of, versus=PAIRS, matching="iso") for of in (DROP, SCALE_FREE)]
    for number in range(200):
        data = as_data(*jax.device_get(program(jax.random.key(number), *drawn(jax.random.key(number), num_classes))))
        rows = tabulate(data.isel(noise=0), [*iso, Estimate(*DROP, versus=PAIRS[:1])], DESIGN)
        for row in rows:
            covered[row["matching"], row["name"], row["population"], row["reference"]].append(
                row["low"] < 0 < row["high"]
            )
        for of in BEYOND.values():
            beyond = tabulate(data.isel(noise=0), [Estimate(*of, versus=PAIRS, matching="iso")], DESIGN)
            assert all(abs(row["value"]) < 1e-5 for row in beyond)
    shares = {about: np.mean(found) for about, found in covered.items()}
    assert len(shares) == 1 + 2 * len(PAIRS)
    assert shares.pop(("raw", DROP[0], *PAIRS[0])) < 0.5
    # 200 draws have a standard error of 1.5 points; noise of draws alone is covered oftener (`intervals.two_way`).
    assert min(shares.values()) > 0.93, shares
