"""Estimates of `shared`: what shared adversarial examples look like beside unshared ones, and disagreement on lines.

An adversarial example, on which its source errs, is *unshared* where every held-out member is right and *shared* where
every one errs; *joint* where it comes of the search that had all attackers to fool and is shared in that sense. Images
count that every member which has learned classifies rightly. Shared and unshared ones come of the same attack, but not
of the same images: shared ones come of images that are easy to fool all with. So a difference of means is told five
ways: `raw`; `change`, of what the attack has changed, each example less its own image; `iso`, each example steered to
one margin; `matched`, of partners of equal margin; `scale_free`.
"""

from typing import NamedTuple

import numpy as np

from landscape.experiments.shared_between import GROUNDS
from landscape.experiments.shared_shapes import INPUTS, NORM, epsilon_of
from landscape.experiments.shared_values import LEAST, Members
from landscape.populations import ISO_TOLERANCE
from landscape.stats import contrasts
from landscape.stats.claims import estimate_dict
from landscape.stats.contrasts import Influence, Sample
from landscape.stats.intervals import interval, of_share
from landscape.types import Arrays

SOURCE = {  # population: the input it is taken from
    "genuine": "clean",
    "unshared": "own",
    "shared": "own",
    "joint": "joint",
    "unshared_iso": "own_iso",
    "shared_iso": "own_iso",
    "joint_iso": "joint_iso",
}
TOLD = ("genuine", "unshared", "shared", "joint")
CONTRASTS = ("shared", "joint")  # each minus `unshared`
READINGS = ("raw", "change", "iso", "matched", "scale_free")
MEASURES = {  # array, without its prefix: (estimate, unit)
    "input_probability_drop": ("input_flatness.probability_drop", "probability"),
    "input_loss_rise": ("input_flatness.loss_rise", "nats"),
    "input_scale_free": ("input_flatness.scale_free", "1"),
    "worst_margin_drop": ("input_flatness.worst_margin_drop", "logits"),
    "gradient_norm": ("curvature.gradient_norm", "nats / pixel"),
    "hessian_top": ("curvature.hessian_top", "nats / pixel^2"),
    "margin": ("confidence.margin", "logits"),
    "delta_l2": ("distance.l2", "pixels"),
    "manifold": ("distance.manifold", "pixels"),
    "nearest": ("distance.nearest_training", "pixels"),
    "nearest_true": ("purity.true_class", "1"),
    "nearest_taken": ("purity.predicted_class", "1"),
}
SHARES = ("nearest_true", "nearest_taken")
ENDS = ("", "_low", "_high")
CHANGE = ".change"


class Shapes(NamedTuple):
    """Estimates, and arrays for the figures."""

    estimates: list[dict]
    curves: Arrays


class Cells(NamedTuple):
    """values: name -> [S, P, N]. valid, prediction: [S, P, N]. names: of axis P. partners: found so far."""

    values: dict[str, np.ndarray]
    valid: np.ndarray
    names: tuple[str, ...]
    prediction: np.ndarray
    partners: dict

    def of(self, name: str, population: str) -> np.ndarray:
        """Values [S, N] of one population."""
        return self.values[name][:, self.names.index(population)]

    def mask(self, population: str) -> np.ndarray:
        """Examples that belong to a population, [S, N]."""
        return self.valid[:, self.names.index(population)]

    def sample(self, measure: str, population: str) -> Sample:
        """One population's values of a measure; the scale-free drop is a ratio of sums."""
        margin, classes = self.of("margin", population), self.prediction[:, self.names.index(population)]
        free = measure.endswith("scale_free")
        name = measure.replace("scale_free", "margin_drop")
        per = margin if free else None
        return Sample(self.of(name, population), self.mask(population), per, margin, classes)


def cells_of(config, arrays: Arrays, members: Members) -> Cells:
    """The learned attackers' values by population, and which examples belong to each."""
    count = arrays["shape_margin"][1].shape[-1]
    label = arrays["label"][1][:count]
    right = np.all(arrays["clean_prediction"][1][members.all][:, :count] == label, axis=0)
    held = members.held_out - len(arrays["shape_margin"][1])  # judges are the targets behind the attackers
    wrong = arrays["shape_wrong"][1][held][:, members.attackers]
    at = [INPUTS.index(name) for name in SOURCE.values()]
    cells = ("source", "input", "shape_example")
    values = {
        name.removeprefix("shape_"): value[members.attackers][:, at].astype(np.float64)
        for name, (dims, value) in arrays.items()
        if dims == cells
    }
    prediction = values.pop("prediction").astype(int)
    fooled = right & (prediction != label)
    none, everyone = (~wrong.any(axis=0))[:, at], wrong.all(axis=0)[:, at]
    reached = np.abs(values["margin"] - config.shapes.iso_margin) <= ISO_TOLERANCE
    names = tuple(SOURCE)
    valid = np.zeros_like(fooled)
    for p, name in enumerate(names):
        if name.endswith("_iso"):  # the same example, steered, and still an error of its source
            valid[:, p] = valid[:, names.index(name.removesuffix("_iso"))] & fooled[:, p] & reached[:, p]
        elif name == "genuine":
            valid[:, p] = right
        else:
            valid[:, p] = fooled[:, p] & (none if name == "unshared" else everyone)[:, p]
    values |= {f"{name}{CHANGE}": value - value[:, :1] for name, value in values.items() if name in MEASURES}
    return Cells(values, valid, names, prediction, {})


def contrast(cells: Cells, measure: str, kind: str, reading: str) -> Influence | None:
    """`kind` minus `unshared` in one of READINGS; None where too few are left."""
    if (reading == "scale_free") != measure.endswith("scale_free"):
        return None
    end = "_iso" if reading == "iso" else ""
    changed = f"{measure}{CHANGE}" if reading == "change" else measure
    samples = [cells.sample(changed, f"{name}{end}") for name in (kind, "unshared")]
    if reading != "matched":
        return contrasts.combine(samples, (1.0, -1.0))
    if kind not in cells.partners:
        cells.partners[kind] = contrasts.partners(*samples)
    return contrasts.matched(*samples, cells.partners[kind])


def shapes(config, arrays: Arrays, members: Members) -> Shapes:
    """Means of each measure in each population, differences in all readings, and how many there are.

    shape [shape_measure, shape_population] and shape_difference [shape_measure, shape_contrast, reading], with ends.
    """
    cells = cells_of(config, arrays, members)
    about = {"norm": NORM, "epsilon": epsilon_of(config)}
    found = _counts(cells, about)
    curves = {f"shape{end}": np.full((len(MEASURES), len(TOLD)), np.nan) for end in ENDS}
    curves |= {
        f"shape_difference{end}": np.full((len(MEASURES), len(CONTRASTS), len(READINGS)), np.nan) for end in ENDS
    }

    def keep(one: Influence | None, array: str, at: tuple, measure: str, population: str, **more) -> None:
        if one is None or one.least < LEAST:
            return
        name, unit = MEASURES[measure]
        value = one.interval()
        if measure in SHARES and array == "shape":
            value = of_share(value, one.examples)
        for end, number in zip(ENDS, value[:3], strict=True):
            curves[f"{array}{end}"][at] = number
        told = {"population": population, "unit": unit, "examples": one.examples}
        found.append(estimate_dict(value, name, **told, **about, **more, **one.about))

    for m, measure in enumerate(MEASURES):
        own = "scale_free" if measure.endswith("scale_free") else "raw"
        for p, population in enumerate(TOLD):
            keep(contrasts.mean(cells.sample(measure, population)), "shape", (m, p), measure, population, matching=own)
        for c, kind in enumerate(CONTRASTS):
            for r, reading in enumerate(READINGS):
                one = contrast(cells, measure, kind, reading)
                keep(one, "shape_difference", (m, c, r), measure, kind, reference="unshared", matching=reading)
    dims = {"shape": ("shape_measure", "shape_population")}
    dims["shape_difference"] = (*dims["shape"][:1], "shape_contrast", "reading")
    return Shapes(found, {f"{n}{e}": (d, curves[f"{n}{e}"]) for n, d in dims.items() for e in ENDS})


def _counts(cells: Cells, about: dict) -> list[dict]:
    """The share of each population's examples among the images that all members classify rightly, and of the steered
    ones among those that they are steered from.
    """
    found = []
    for name in SOURCE:
        iso = name.endswith("_iso")
        among = cells.mask(name.removesuffix("_iso") if iso else "genuine")
        share = contrasts.mean(Sample(cells.mask(name).astype(float), among))
        if name == "genuine" or share is None or share.least < LEAST:
            continue
        value = of_share(share.interval(), share.examples)
        told = "shared.reached_margin" if iso else "shared.belonging"
        found.append(estimate_dict(value, told, population=name, unit="1", examples=share.examples, **about))
    return found


def between(arrays: Arrays, members: Members) -> Shapes:
    """Disagreement along the lines and at its largest on each; pairs of images, of which no two share one, are the
    units, members are as given.

    between [ground, step] with its ends.
    """
    if "disagreement" not in arrays or arrays["disagreement"][1].shape[-1] < LEAST:
        return Shapes([], {})
    apart = arrays["disagreement"][1].astype(np.float64)
    peak = apart.max(axis=1)
    found = []

    def over_pairs(values: np.ndarray):
        return interval(values[None])._replace(members=len(members.all))

    for ground, values in zip(GROUNDS, peak, strict=True):
        value = over_pairs(values)
        entry = estimate_dict(value, "path.largest_disagreement", population=ground, unit="nats")
        found.append(entry | {"generalises_to": "new images"})
    value = over_pairs(peak[0] - peak[1])
    named = {"population": GROUNDS[0], "reference": GROUNDS[1], "unit": "nats"}
    found.append(estimate_dict(value, "path.largest_disagreement", **named) | {"generalises_to": "new images"})
    lines = [[interval(step[None])[:3] for step in ground] for ground in apart]
    return Shapes(found, {f"between{e}": (("ground", "step"), np.asarray(lines)[..., i]) for i, e in enumerate(ENDS)})
