"""The numbers of a benchmark, from its arrays alone: rates, ratios within rounds, strength of attacks, what is said.

A ratio is the time that a way takes over the time that landscape takes in the same round, so that what else the
machine does at that time falls on both.
"""

import math
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from landscape.experiments.base import Check
from landscape.experiments.benchmark.config import AGREEMENT, ATTACKERS, NOT_ASKED, OURS
from landscape.stats.contrasts import Result, Sample
from landscape.stats.medians import median
from landscape.stats.resampling import crossed_bootstrap, one_by_one
from landscape.stats.table import Design, Estimate, Row, Table, tabulate

if TYPE_CHECKING:
    import xarray as xr  # imported where it is used: half a second

NORM = {"linf": "L-inf", "l2": "L2"}
LEVEL = 0.95  # of intervals of medians
FURTHEST = 1e3  # pixels; beyond any image
ALLOWED = {"attack.robust_accuracy": 0.005, "attack.distance": 1.02}  # how much weaker than Foolbox's: share, ratio
DESIGN = Design(compare="attacker")
WORK = {
    "input_noise": "flatness under input noise",
    "weight_noise": "sharpness under weight noise",
    "surface": "surfaces over planes of inputs",
    "pgd": "a PGD attack",
    "gradient": "gradients of all classifiers",
    "curvature": "eigenvalues and trace of input Hessians",
    "train_step": "a training step of all classifiers",
}
# part of the config -> what is said first: text, and the (race, way) it is of; ALONE where nobody else took part.
SAID = {
    "small": {
        "A plain PyTorch loop takes {}": tuple(
            (race, "pytorch") for race in ("input_noise", "weight_noise", "surface")
        ),
        "Foolbox on PyTorch takes {}": (("pgd", "foolbox"),),
    },
    "resnet": {
        "PyTorch takes {}": (("pgd", "pytorch_channels_last"), ("input_noise", "pytorch_channels_last")),
        "A Python loop over the classifiers takes {}": (("train_step", "loop"),),
    },
}
ALONE = {
    "Going through the classifiers one at a time on one device takes {}": (("gradient", "map"),),
    "vmap takes {}": (("gradient", "vmap"),),
}


def derive(data: "xr.Dataset") -> "xr.Dataset":
    """With ratio (race, model, way, round): how many times as long as landscape a way takes; distances are finite."""
    found = {}
    if "seconds" in data:
        found["ratio"] = (data.seconds / data.seconds.sel(way=OURS, drop=True)).assign_attrs(units="times")
    if "distance" in data:
        near = data.distance.astype(np.float64)
        found["distance"] = near.where(~(near > FURTHEST), FURTHEST).assign_attrs(data.distance.attrs)
    return data.assign(found)


def estimate(data: "xr.Dataset", config) -> Table:
    """The table of a run."""
    data, rows = derive(data), []
    if "seconds" in data:
        rows += _of_races(data)
    if "member_seconds" in data:
        rows += _by_count(data, config)
    table = Table(tuple(rows))
    if "robust" in data:
        table += _of_attacks(data, config)
    first = ("throughput.ratio", "throughput.members")
    shown = {id(row) for row in table if row["value"] is not None and (row["name"] in first or "reference" in row)}
    return Table(tuple(Row(row, headline=True) if id(row) in shown else row for row in table))


# ---- times ----


def _of_races(data: "xr.Dataset") -> Iterator[Row]:
    """Images a second of every way, and ratios; a row without a value says why a way took no part."""
    for race, model, way in product(*(data[dim].values.astype(str).tolist() for dim in ("race", "model", "way"))):
        one = data.sel(race=race, model=model, way=way)
        why = str(one.left_out.values)
        if why == NOT_ASKED:
            continue
        about = {"members": int(one.classifiers), "examples": int(one.examples)}
        about |= {"race": race, "model": model, "way": way} | ({"left_out": why} if why else {})
        yield median_row("throughput.images", one.images.values / one.seconds.values, "images/s", **about)
        if way != OURS:
            yield median_row("throughput.ratio", one.ratio.values, "times", **about)


def _by_count(data: "xr.Dataset", config) -> Iterator[Row]:
    """Classifiers a second by their number, and the share of a matrix product's operations a second."""
    for model, count, race in product(*(data[dim].values.tolist() for dim in ("model", "count", "race"))):
        one = data.sel(model=model, count=count, race=race)
        seconds = one.member_seconds.values.astype(np.float64)
        about = {"members": count, "examples": config.benchmark.num_examples, "count": count}
        about |= {"race": race, "model": model, "way": OURS}
        yield median_row("throughput.members", count / seconds, "members/s", **about)
        yield median_row("throughput.share", float(one.flops) / seconds / float(data.product_rate), "1", **about)


def median_row(name: str, values: np.ndarray, unit: str, **about) -> Row:
    """The row of a median over rounds: no value where a round has none, no interval where rounds are too few."""
    value, low, high, level = (None,) * 4 if np.isnan(values).any() else median(values)
    low, high = (low, high) if level and level >= LEVEL else (None, None)
    ends = {"value": value, "low": low, "high": high, "level": level}
    return Row(name=name, population="", **ends, unit=unit, generalises_to="this machine", sem=None, **about)


# ---- strength of attacks ----


def _of_attacks(data: "xr.Dataset", config) -> Table:
    """Robust accuracy with its paired difference, and median distance with the ratio of medians, in each norm."""
    there = [name for name in ATTACKERS if np.isfinite(data.robust.sel(attacker=name)).all()]
    both = [ATTACKERS] if len(there) == 2 else []
    about = {"where": "", "by": ("norm",), "about": {"model": config.model.name}}
    robust = "attack.robust_accuracy", "robust"
    wanted = [Estimate(*robust, groups=there, share=True, **about), Estimate(*robust, versus=both, unit="1", **about)]
    table = tabulate(data.assign_coords(epsilon=("norm", data.radius.values)), wanted if both else wanted[:1], DESIGN)
    nearest = {"statistic": partial(nearest_images, seed=config.seed), **about}
    wanted = [Estimate("attack.distance", "distance", groups=there, **nearest)]
    if both:
        wanted.append(Estimate("attack.distance", "distance", versus=both, unit="times", **nearest))
    return table + tabulate(data, wanted, DESIGN)


def nearest_images(a: Sample, b: Sample | None = None, *, seed: int) -> list[Result]:
    """The median of positive values, or the ratio of those of two samples; intervals by the crossed bootstrap."""

    if not all((one.values > 0).any() for one in (a, b) if one is not None):
        return []

    def statistic(members: np.ndarray, examples: np.ndarray) -> float:
        value = weighted_median(a.values, members, examples)
        return value if b is None else value / weighted_median(b.values, members, examples)

    return [Result(crossed_bootstrap(one_by_one(statistic), *a.values.shape, seed=seed), a.values.shape[1])]


def weighted_median(distance: np.ndarray, weight_members: np.ndarray, weight_examples: np.ndarray) -> float:
    """The weighted median of the positive ones of values [S, N]: images that are wrong as they are have no distance."""
    order = np.argsort(distance, axis=None)
    weights = (np.outer(weight_members, weight_examples) * (distance > 0)).ravel()[order]
    return float(distance.ravel()[order][np.searchsorted(np.cumsum(weights), 0.5 * weights.sum())])


# ---- claims, checks, headline ----


def claims(table: Table, config) -> list[dict]:
    """None are made: speeds hold for one machine."""
    return []


def checks(data: "xr.Dataset", table: Table, config) -> list[Check]:
    """Whether PyTorch computes the same networks, and whether attacks are as strong as Foolbox's best."""
    found = []
    if "logit_difference" in data and np.isfinite(data.logit_difference).any():
        most = float(data.logit_difference.max())
        detail = f"largest difference of logits {most:.1e}; expected at most {AGREEMENT:g}"
        found.append(Check("pytorch.same_network", most <= AGREEMENT, detail))
    for row in table.select([*ALLOWED], reference=ATTACKERS[1]):
        own, other = (data.robust.sel(norm=row["norm"], attacker=name).values for name in ATTACKERS)
        found.append(_strength(row, own, other))
    return found


def _strength(row: Row, own: np.ndarray, other: np.ndarray) -> Check:
    """Whether landscape's attacks find at least as much as the best of Foolbox's."""
    name, norm, value, most = row["name"], row["norm"], row["value"], ALLOWED[row["name"]]
    if name == "attack.distance":
        detail = f"median distance {value:.4f} times that of Foolbox's best; expected at most {most:.2f}"
    else:
        detail = f"{100 * value:.2f} points more robust than under Foolbox's best; expected at most {100 * most:.1f}"
        alone = int((own > other).sum()), int((other > own).sum())
        detail += f"; robust under landscape's alone {alone[0]}, under Foolbox's alone {alone[1]} of {own.size}"
    return Check(f"{name.removeprefix('attack.')}.{norm}", bool(value <= most), detail)


def headline(table: Table, config) -> str:
    """How many times as long others take, then whether attacks are as strong."""
    if config.benchmark.part == "members":
        return _scaling(table)
    said = ""
    for sentences in (SAID[config.benchmark.part], ALONE):
        said = said or "; ".join(filter(None, (_ratios(text, table, pairs) for text, pairs in sentences.items())))
    said = f"{said}, each beside landscape on this machine." if said else "Nothing was timed beside landscape."
    others = {row["way"]: row["left_out"] for row in table.select("throughput.ratio") if "left_out" in row}
    if others and len({*others.values()}) == 1:
        said += f" PyTorch and Foolbox were left out ({next(iter(others.values()))})."
    return said + _strength_sentence(table)


def _ratios(text: str, table: Table, pairs: Sequence[tuple[str, str]]) -> str:
    """`... takes 1.5 times [1.3, 1.6] as long for PGD (cnn)`."""
    said = []
    for race, way in pairs:
        rows = [row for row in table.select("throughput.ratio", race=race, way=way) if row["value"] is not None]
        if rows:
            several = " and ".join(f"{row.text(1.0, 2)} times as long ({row['model']})" for row in rows)
            said.append(f"{several} for {WORK[race]}")
    return text.format(", and ".join(said)) if said else ""


def _strength_sentence(table: Table) -> str:
    rows = table.select("attack.robust_accuracy", reference=ATTACKERS[1])
    if not rows:
        return ""
    several = " and ".join(f"{row.text(100.0, 1)} points in {NORM[row['norm']]}" for row in rows)
    return f" Robust accuracy under landscape's attacks differs from that under Foolbox's best by {several}."


def _scaling(table: Table) -> str:
    """What many classifiers take beside few, and the largest share of a matrix product's rate."""
    rows = table.select("throughput.members", race="pgd")
    said = []
    for model in dict.fromkeys(row["model"] for row in rows):
        ordered = sorted(rows.select(model=model), key=lambda row: row["count"])
        few, many = ordered[0], ordered[-1]
        took = many["count"] / many["value"] / (few["count"] / few["value"])
        said.append(f"{took:.1f} times as long on {many['count']} classifiers as on {few['count']} ({model})")
    best = max((row["value"] for row in table.select("throughput.share")), default=math.nan)
    text = " and ".join(said)
    return f"A PGD attack takes {text}; the largest share of a matrix product's rate is {best:.2f}."
