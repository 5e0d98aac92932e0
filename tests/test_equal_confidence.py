"""Linear softmax classifiers have no landscape of their own: what is found around adversarial inputs is found wrongly.

Of two classes log-odds say everything, so that nothing may be found at equal log-odds. Of more they do not: where
logits are linear, noise takes from the margin of class c what it adds to the highest of the other logits, E max l_j(x +
e) - max l_j(x) over j != c, whatever l_c is. Of two other classes, g apart, whose difference has the standard deviation
t under noise, that is t (phi(g / t) - g / t Phi(-g / t)) (Clark 1961, Operations Research 9:145). With ten classes g is
0.85 logits at adversarial inputs and 0.63 at genuine ones of the same log-odds (means of 24 draws), and the drops are
0.115 and 0.161; the two highest other classes account for 0.030 of these 0.046. What is left beyond linear is 0 then,
too: there the same expression, of all classes, is subtracted.
"""

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

MEMBERS, IMAGES, SHAPE = 8, 256, (4, 4, 1)
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


def covered(num_classes, estimates, draws):
    """(matching, name, reference) -> share of draws of data and weights in which its interval covers 0."""
    program, found = jax.jit(populate), collections.defaultdict(list)
    for number in range(draws):
        data = as_data(*jax.device_get(program(jax.random.key(number), *drawn(jax.random.key(number), num_classes))))
        data = data.isel(noise=0)
        for row in tabulate(data, estimates, DESIGN):
            found[row["matching"], row["name"], row["reference"]].append(row["low"] < 0 < row["high"])
        beyond = [Estimate(*of, versus=PAIRS, matching=how) for of in BEYOND.values() for how in ALIKE]
        assert all(abs(row["value"]) < 1e-5 for row in tabulate(data, beyond, DESIGN))
    return {about: np.mean(one) for about, one in found.items()}


ALIKE = ("iso", "matched")
RAW = Estimate(*DROP, versus=PAIRS[:1])
ISO, MATCHED = ([Estimate(*of, versus=PAIRS, matching=how) for of in (DROP, SCALE_FREE)] for how in ALIKE)


@pytest.mark.slow
def test_of_two_classes_intervals_at_equal_confidence_cover_nothing_as_often_as_they_say():
    """200 draws: 95.5 % at equal log-odds, 93.0 and 94.5 % among partners of genuine images; raw, none.

    A share of 95 % in 200 draws has a standard error of 1.5 points; 2.5 of these are allowed. Boosted inputs, which
    are far surer, have partners in a tenth of the draws alone: they are left out.
    """
    shares = covered(2, [RAW, *ISO, *MATCHED], 200)
    assert shares.pop(("raw", DROP[0], "boosted")) < 0.5
    kept = {about: share for about, share in shares.items() if about[::2] != ("matched", "boosted")}
    assert len(kept) == 6 and all(abs(share - 0.95) < 0.0385 for share in kept.values()), kept
    assert all(0.93 < share < 0.97 for (how, *_), share in kept.items() if how == "iso"), kept


@pytest.mark.slow
def test_of_ten_classes_they_find_what_linear_classifiers_have_too():
    """Why the headline counts comparisons beyond linear by themselves.

    Scale-free drops beside genuine images: 80 % of 179 draws cover 0 at equal log-odds, 66 % among partners. With 60
    draws a share has a standard error of 3 points where 95 % cover, of 5 or 6 points there.
    """
    shares = covered(10, [*ISO, *MATCHED], 60)
    assert 0.88 < shares["iso", SCALE_FREE[0], "boosted"] < 1
    assert shares["iso", SCALE_FREE[0], "genuine"] < 0.9 and shares["matched", SCALE_FREE[0], "genuine"] < 0.8, shares
