"""Datasets as `transfer` saves them, of planted classifiers whose mistakes are known. Not a test."""

import json

import numpy as np
import xarray as xr
from whole_runs import load

from landscape.experiments.base import described
from landscape.experiments.transfer import EXPERIMENT, MEASURED

K, SOURCES, HELD, SIDE = 5, 4, 3, 6
ROLES = ["attacker"] * SOURCES + ["held_out"] * HELD
SETS = (("members", 1), ("members", 2), ("members", 4), ("ball", 1), ("random", 4), ("members_ball", 2))
INPUTS = ("clean", "own", "joint", "own_iso", "joint_iso")
MEASURES = (*MEASURED, "manifold", "nearest", "nearest_true", "nearest_taken")


def config_of(**changes):
    """A config that the arrays are of."""
    config = load("transfer", "digits,smoke")
    config.guides.sets = ("ball", "random", "members_ball")
    config.geometry.iso_margin = 2.0
    config.update_from_flattened_dict(changes)
    return config


def attacks_of(kind, images=300, seed=0, roles=ROLES):
    """Attacks on SOURCES attackers: everybody errs alike (copies), whichever way (chance), or the source alone
    (immune). The first 20 images are natural errors of all."""
    rng, count = np.random.default_rng(seed), len(roles)
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
    about = [("full", "linf", 0.15), ("first_flip", "linf", 0.25), ("targeted", "l2", 1.0)]
    pair = ("attack", "source", "target", "example")
    cosine = rng.uniform(0.2, 0.6, (len(about), SOURCES, SOURCES, images))
    arrays = {
        "label": ("example", label),
        "clean_prediction": (("target", "example"), clean),
        "clean_margin": (("target", "example"), rng.normal(1, 1, clean.shape)),
        "validation_margin": (("target", "validation_example"), rng.normal(3, 1, (count, 50))),
        "prediction": (pair, np.tile(said, (len(about), 1, 1, 1))),
        "noise_wrong": (pair, np.zeros((len(about), *said.shape), bool)),
        "perturbation_norm": (("attack", "source", "example"), np.full((len(about), SOURCES, images), 0.1)),
        "perturbation_cosine": (("attack", "source", "other", "example"), cosine),
        "random_cosine": (("attack", "example"), rng.uniform(0, 0.2, (len(about), images))),
        "gradient_cosine": (("source", "other", "example"), cosine[0]),
        "aim": ("example", (label + 1) % K),
        "picture": (("shown", "height", "width", "channel"), rng.random((40, SIDE, SIDE, 1))),
        "picture_start": (("shown", "height", "width", "channel"), rng.random((40, SIDE, SIDE, 1))),
    }
    coords = {name: ("attack", [one[i] for one in about]) for i, name in enumerate(("kind", "norm", "epsilon"))}
    coords |= {"attack": [f"{k}.{n}.{e:g}" for k, n, e in about], "role": ("target", list(roles))}
    coords |= {"source": np.arange(SOURCES), "other": np.arange(SOURCES), "target": np.arange(count)}
    coords |= {"target_seed": ("target", np.arange(count)), "example": np.arange(images)}
    coords |= {"class": [f"a long name {i}" for i in range(K)], "held_out": np.arange(SOURCES, SOURCES + HELD)}
    attrs = {"epsilon": 0.15, "norm": "linf", "stages": json.dumps({"joint": 2.0})}
    return described(xr.Dataset(arrays, coords, attrs), EXPERIMENT.schema)


def guides_of(curve, ball, images=200, seed=0):
    """A guided search with held-out success `curve` of 1, 2, 4 members and `ball` of everything else; common luck."""
    luck = np.random.default_rng(seed).random((HELD, images))
    shares = [*curve, ball, ball, ball]
    wrong = np.stack([luck < share for share in shares]).astype(np.float32)[None, :, None].repeat(2, axis=2)
    block = np.full((1, len(SETS), 2, SOURCES, images), np.nan)
    block[:, :, :, :2] = wrong.mean(axis=3)[:, :, :, None]
    start, tuning = np.zeros((1, HELD, images), bool), np.zeros((1, len(SETS), 3, 2))
    start[..., 30:33], tuning[:, :, 1] = True, 1.0
    sets = ("search", "guide_set", "budget")
    arrays = {
        "guided_wrong": ((*sets, "held_out", "guided_example"), wrong),
        "block_wrong": ((*sets, "block", "guided_example"), block),
        "start_wrong": (("search", "held_out", "guided_example"), start),
        "tuning": (("search", "guide_set", "step_size", "budget"), tuning),
        "chosen_step": (sets, np.full((1, len(SETS), 2), 0.2)),
    }
    coords = {"search": ["pixels"], "budget": ["gradients", "steps"], "step_size": [0.1, 0.2, 0.4]}
    coords |= {"guide_set": [f"{n}.{k}" for n, k in SETS], "guidance": ("guide_set", [n for n, _ in SETS])}
    coords |= {"size": ("guide_set", [k for _, k in SETS]), "guided_example": np.arange(images)}
    return described(xr.Dataset(arrays, coords), EXPERIMENT.schema)


def joint_of(images=60, seed=0, targets=7):
    """Searches against all attackers, which fool a growing share."""
    rng = np.random.default_rng(seed)
    luck, balls = rng.random((targets, images)), np.array([0.1, 0.15, 0.25])
    wrong = np.stack([luck < r for r in 4 * balls])[None].repeat(2, axis=0)
    arrays = {
        "joint_wrong": (("objective", "ball", "target", "joint_example"), wrong),
        "smallest_radius": ("joint_example", np.where(np.arange(images) % 3, 0.2, np.inf)),
        "own_radius": (("source", "joint_example"), rng.uniform(0.05, 0.15, (SOURCES, images))),
        "smallest_wrong": (("target", "joint_example"), luck < 0.5),
        "joint_picture": (("joint_shown", "height", "width", "channel"), rng.random((24, SIDE, SIDE, 1))),
    }
    coords = {"objective": ["loss", "hardmin"], "ball": balls, "joint_example": np.arange(images)}
    return described(xr.Dataset(arrays, coords), EXPERIMENT.schema)


def geometry_of(label, slope=0.0, seed=0, first=20, images=60):
    """A measure is the image's own value, `slope` times the margin, and 1.5 more where shared.

    Images from `first` on go in threes: no held-out classifier errs on the first, all on the second, one on the third;
    on what the joint search finds all err but on the last twelve. Images of the second sort have 2 more anyway.
    """
    rng, count = np.random.default_rng(seed), first + images
    kind = (np.arange(count) - first) % 3
    shape = (SOURCES, len(INPUTS), count)
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
    found = dict.fromkeys(MEASURES, value) | {"margin": margin, "prediction": prediction}
    found |= {"input_margin_drop": 0.3 * margin + 0.2 * margin * every, "nearest_true": np.ones(shape)}
    dims = ("source", "input", "geometry_example")
    arrays = {f"geometry_{name}": (dims, values) for name, values in found.items()}
    arrays["geometry_wrong"] = (("held_out", *dims), wrong)
    data = xr.Dataset(arrays, {"input": list(INPUTS), "geometry_example": np.arange(count)})
    return described(data, EXPERIMENT.schema)


def between_of(pairs=40, seed=1):
    """Lines on which the manifold's middle is disputed."""
    rng = np.random.default_rng(seed)
    apart = rng.uniform(0, 0.1, (2, 5, pairs))
    apart[0, 2] += 0.5
    order = np.argsort(-apart[0, 1:-1].max(axis=0), kind="stable")
    arrays = {
        "disagreement": (("space", "step", "pair"), apart),
        "vote": (("space", "step", "pair", "class"), rng.integers(0, 5, (2, 5, pairs, K))),
        "endpoints": (("pair", "end"), np.arange(2 * pairs).reshape(-1, 2)),
        "between_picture": (("pair_shown", "place", "height", "width", "channel"), rng.random((8, 3, SIDE, SIDE, 1))),
    }
    coords = {"space": ["manifold", "pixels"], "step": np.linspace(0, 1, 5)}
    coords["pair_shown"] = [*order[:4], *order[-4:]]
    return described(xr.Dataset(arrays, coords), EXPERIMENT.schema)


def made_up(kind="copies", **more):
    """All parts of a run."""
    data = attacks_of(kind, **more)
    parts = [
        data,
        guides_of((0.2, 0.4, 0.6), 0.4),
        joint_of(targets=data.sizes["target"]),
        geometry_of(data.label.values),
        between_of(),
    ]
    return xr.merge(parts, combine_attrs="override")
