"""Datasets as `transfer` saves them, of planted classifiers whose mistakes are known. Not a test."""

import numpy as np
import xarray as xr
from whole_runs import load

from landscape.experiments.base import described
from landscape.experiments.transfer import BY_TRAINING, MEASURED, OF_ONE_TRAINING

K, SOURCES, HELD, SIDE = 5, 4, 3, 6
ROLES = ["attacker"] * SOURCES + ["held_out"] * HELD
SETS = (("members", 1), ("members", 2), ("members", 4), ("ball", 1), ("random", 4), ("members_ball", 2))
INPUTS = ("clean", "own", "joint", "own_iso", "joint_iso")
MEASURES = (*MEASURED, "manifold", "nearest", "nearest_true", "nearest_taken")
RNG = np.random.default_rng


def config_of(**changes):
    """A config that the arrays are of."""
    config = load("transfer", "digits,smoke")
    config.guides.sets = ("ball", "random", "members_ball")
    config.geometry.iso_log_odds = 2.0
    config.update_from_flattened_dict(changes)
    return config


def dataset(arrays, **coords):
    """Arrays by name as the schema has them; of coordinates the values, or (dim, values)."""
    found = {name: (OF_ONE_TRAINING[name].dims, values) for name, values in arrays.items()}
    return described(xr.Dataset(found, coords), OF_ONE_TRAINING)


def together(*kinds, **swept):
    """Arrays of each kind of training as a run saves them; swept: values by the name of a hyperparameter."""
    fixed = [name for name in kinds[0] if name not in BY_TRAINING]
    every = [one.drop_vars(fixed).expand_dims("training") for one in kinds]
    data = xr.concat(every, "training", data_vars="all", coords="different", compat="equals", join="exact")
    data = data.assign({name: kinds[0][name] for name in fixed})
    return data.assign_coords({f"train_{name}": ("training", values) for name, values in swept.items()})


def attacks_of(kind, images=300, roles=ROLES):
    """Attacks on SOURCES attackers: everybody errs alike (copies), whichever way (chance), or the source alone
    (immune). The first 20 images are natural errors of all."""
    rng, count, about = RNG(0), len(roles), [("full", "linf", 0.14), ("first_flip", "linf", 0.25), ("full", "l2", 1.0)]
    label = rng.integers(0, K, images)
    clean = np.tile(label, (count, 1))
    clean[:, :20] = (label[:20] + 1) % K
    mistake = (label + rng.integers(1, K, images)) % K
    said = np.tile(mistake, (SOURCES, count, 1))
    if kind == "chance":
        said = (label + rng.integers(1, K, said.shape)) % K
    if kind == "immune":
        said[:] = label
        said[np.arange(SOURCES), np.arange(SOURCES)] = mistake
    arrays = {
        "label": label,
        "clean_prediction": clean,
        "clean_margin": rng.normal(1, 1, clean.shape),
        "validation_margin": rng.normal(3, 1, (count, 50)),
        "prediction": np.tile(said, (len(about), 1, 1, 1)),
        "noise_wrong": np.zeros((len(about), *said.shape), bool),
        "perturbation_norm": np.full((len(about), SOURCES, images), 0.1),
        "picture": rng.random((40, SIDE, SIDE, 1)),
        "picture_start": rng.random((40, SIDE, SIDE, 1)),
    }
    coords = {name: ("attack", [one[i] for one in about]) for i, name in enumerate(("kind", "norm", "epsilon"))}
    coords |= {"role": ("target", list(roles)), "source": np.arange(SOURCES), "target": np.arange(count)}
    coords |= {"class": [f"a long name {i}" for i in range(K)], "example": np.arange(images)}
    return dataset(arrays, **coords, held_out=np.arange(SOURCES, SOURCES + HELD))


def guides_of(curve, ball, images=200):
    """A guided search with held-out success `curve` of 1, 2, 4 members and `ball` of everything else; common luck."""
    luck = RNG(0).random((HELD, images))
    wrong = np.stack([luck < share for share in (*curve, ball, ball, ball)]).astype(np.float32)
    wrong = wrong[:, None].repeat(2, axis=1)
    block, tuning = np.full((len(SETS), 2, SOURCES, images), np.nan), np.zeros((len(SETS), 3, 2))
    block[:, :, :2], tuning[:, 1] = wrong.mean(axis=2)[:, :, None], 1.0
    arrays = {"guided_wrong": wrong, "block_wrong": block, "tuning": tuning}
    coords = {"budget": ["gradients", "steps"], "step_size": [0.1, 0.2, 0.4]}
    coords |= {name: ("guide_set", [one[i] for one in SETS]) for i, name in enumerate(("guidance", "size"))}
    return dataset(arrays, **coords, guided_example=np.arange(images))


def joint_of(images=60, targets=SOURCES + HELD):
    """Searches against all attackers, which fool a growing share."""
    rng, balls = RNG(0), np.array([0.1, 0.14, 0.25])
    luck = rng.random((targets, images))
    arrays = {
        "joint_wrong": np.stack([luck < r for r in 4 * balls])[None].repeat(2, axis=0),
        "smallest_radius": np.where(np.arange(images) % 3, 0.2, np.inf),
        "own_radius": rng.uniform(0.05, 0.15, (SOURCES, images)),
        "joint_picture": rng.random((24, SIDE, SIDE, 1)),
    }
    return dataset(arrays, objective=["loss", "hardmin"], ball=balls, joint_example=np.arange(images))


def geometry_of(label, slope=0.0, first=20, images=60):
    """A measure is the image's own value, `slope` times the margin, and 1.5 more where shared.

    Images from `first` on go in threes: no held-out classifier errs on the first, all on the second, one on the third;
    on what the joint search finds all err but on the last twelve. Images of the second sort have 2 more anyway.
    """
    rng, count = RNG(0), first + images
    kind, shape = (np.arange(count) - first) % 3, (SOURCES, len(INPUTS), count)
    prediction = np.broadcast_to((label[:count] + 1) % K, shape).copy()
    prediction[:, 0] = label[:count]
    wrong = np.zeros((HELD, *shape), bool)
    wrong[:, :, 1] = kind == 1
    wrong[0, :, 1] |= kind == 2
    wrong[:, :, 2, :-12] = True
    margin = rng.uniform(1, 4, shape) + np.where(kind == 1, 0.5, 0.0)
    margin[:, 3:] = 2.0
    every = wrong.all(axis=0)
    every[:, 3:] = every[:, 1:3]
    value = slope * margin + 1.5 * every + 0.05 * rng.normal(size=count) + 2.0 * (kind == 1)
    found = dict.fromkeys(MEASURES, value) | {
        "margin": margin,
        "log_odds": margin,
        "prediction": prediction,
        "wrong": wrong,
    }
    found |= {"input_margin_drop": 0.3 * margin + 0.2 * margin * every, "nearest_true": np.ones(shape)}
    arrays = {f"geometry_{name}": values for name, values in found.items()}
    return dataset(arrays, input=list(INPUTS), geometry_example=np.arange(count))


def between_of(pairs=40):
    """Lines on which the manifold's middle is disputed."""
    rng = RNG(1)
    apart = rng.uniform(0, 0.1, (2, 5, pairs))
    apart[0, 2] += 0.5
    order = np.argsort(-apart[0, 1:-1].max(axis=0), kind="stable")
    arrays = {"disagreement": apart, "vote": rng.integers(0, 5, (2, 5, pairs, K))}
    arrays |= {"pictured": np.r_[order[:4], order[-4:]], "between_picture": rng.random((8, 3, SIDE, SIDE, 1))}
    return dataset(arrays, space=["manifold", "pixels"], step=np.linspace(0, 1, 5))


def made_up(kind="copies", **more):
    """All parts of a run of one kind of training."""
    data = attacks_of(kind, **more)
    parts = [guides_of((0.2, 0.4, 0.6), 0.4), joint_of(targets=data.sizes["target"]), between_of()]
    return xr.merge([data, *parts, geometry_of(data.label.values)], combine_attrs="override")
