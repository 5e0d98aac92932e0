"""The numbers of a `gradients` run, from its arrays alone: of gradients, of ascents of one guide and of several."""

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from landscape.experiments.base import Check
from landscape.presets.names import CODED
from landscape.stats.claims import estimate_dict
from landscape.stats.contrasts import Least
from landscape.stats.intervals import of_pairs
from landscape.stats.table import Design, Estimate, Row, Table, tabulate

if TYPE_CHECKING:
    import xarray as xr  # imported where it is used: half a second

PIXELS, MEAN = "pixels", "mean"
UNITS = {"probability": "1", "log_probability": "nats", "logit": "logits", "margin": "logits"}
POPULATIONS = {"image": "ascended", "noise": "synthesised", "zeros": "synthesised"}  # ends, by what they start from
CLEAN = {"population": "clean"}
# Several guides are no sum over members: estimates of k of them are of these k. Where only the mean of the held-out
# classifiers is known, estimates are of these.
GIVEN, GIVEN_HELD_OUT = {"given": "these guides"}, {"given": "these held-out classifiers"}
LEAST_STARTS = 5  # that go far enough, for two objectives to be compared
POINTS = 11  # of a drawn curve, at most
ROSE, SMOOTH = 0.95, 0.95  # share of ascents that must end higher; cosine with a small step that a derivative has

MAPPED = ("norm", "error", "to_pixels", "to_step", "gradient_cosine", "smooth_cosine")
ASCENDED = ("probability", "held_out", "moved", "nearest", "value")
HELD_OUT, DISTANT = "confidence.guided_held_out", "path.reached_distance"
AGREEMENT = "agreement.gradient"


# ---- what is derived ----


def derive(data: "xr.Dataset") -> "xr.Dataset":
    """With means over classes, ends of guided ascents, and which starts count; what statistics are of in float64."""
    held_out, there = data.guided_held_out, data.guided_held_out_there
    blocks = np.isfinite(data.guided_held_out_by_block)
    first = np.unique(data.guided_target.values, return_index=True)[1]
    found = {
        "norm": own_and_others(data.gradient_norm, data.prediction),
        "error": own_and_others(data.smooth_error, data.prediction),
        "to_pixels": own_and_others(data.pushed_to_pixels, data.prediction),
        "to_step": over_classes(data.pushed_to_step),
        **{f"ascended_{name}": over_classes(data[f"ascent_{name}"]) for name in ASCENDED},
        # Zeros are one start however often they are ascended from: those with one target are one and the same ascent.
        "ascended_distinct": distinct(data, "ascent_example", np.arange(data.sizes["ascent_example"]) == 0),
        "guided_distinct": distinct(data, "guided_example", np.isin(np.arange(data.sizes["guided_example"]), first)),
        "guided_end": held_out.isel(guided_step=-1, drop=True),
        "guided_own_end": data.guided_probability.isel(guided_step=-1, drop=True),
        "guided_share": data.guided_reached.broadcast_like(there),
        "guided_ran": np.isfinite(data.guided_moved),  # one classifier alone has but one objective
        "guided_gone": data.guided_reached > 0,
        "guided_several": blocks & (blocks.all(["start", "guided_example"]).sum("block") > 1),
    }
    found |= {name: data[name] for name in _of(data, "guided_")}
    exact = {name: one.astype(np.float64) if one.dtype.kind == "f" else one for name, one in found.items()}
    return data.assign(exact)


def own_and_others(values: "xr.DataArray", prediction: "xr.DataArray") -> "xr.DataArray":
    """Of values (.., member, class, example) that of the class each member predicts, and the mean of all others."""
    import xarray as xr

    own = values.isel({"class": prediction})
    others = (values.sum("class", skipna=False) - own) / (values.sizes["class"] - 1)
    return xr.concat([own, others], xr.Variable("classes", ["own", "others"]), coords="minimal", compat="override")


def over_classes(values: "xr.DataArray") -> "xr.DataArray":
    """The mean over all classes, in the precision of the values."""
    return values.reduce(np.mean, "class")


def distinct(data: "xr.Dataset", dim: str, of_zeros: np.ndarray) -> "xr.DataArray":
    """The starts of each kind that count (start, dim): all, of zeros those of a mask."""
    import xarray as xr

    marks = np.stack([of_zeros if kind == "zeros" else np.ones_like(of_zeros) for kind in data.start.values.tolist()])
    return xr.DataArray(marks, {"start": data.start}, ("start", dim))


def spaces(data: "xr.Dataset", name: str) -> list[str]:
    """The spaces in which a variable was measured, in the order of the run."""
    if name not in data:
        return []
    known = np.isfinite(data[name]).any([dim for dim in data[name].dims if dim != "space"])
    return data.space.values[known.values].tolist()


def hidden(data: "xr.Dataset", space: str) -> bool:
    """Whether the points of a space are no images."""
    return str(data.kind_of_space.sel(space=space).item()) == "layer"


# ---- the table ----


def estimate(data: "xr.Dataset", config) -> Table:
    """Gradients, ascents of one guide and of several; intervals are over classifiers and images or starts."""
    data = thinned(derive(data))
    several = data[_of(data, "guided_")]
    named = several.assign_coords(guides=[guides(k) for k in several.guides.values.tolist()])
    table = tabulate(data[["prediction", *MAPPED]], declare_maps(data, config), Design())
    table += tabulate(data[_of(data, "ascended_")], declare_ascents(data), _design("member", "ascended", "ascent"))
    table += tabulate(several, declare_guided(several, config), _design("held_out", compare="objective"))
    table += tabulate(named, declare_gain(several), _design("held_out", compare="guides"))
    table += tabulate(several, declare_blocks(several), _design("block"))
    sizes = config.guided.sizes
    ends = {"start": "image", "objective": MEAN, "guides": [sizes[0], sizes[-1]], "reference": None, "distance": None}
    return table.headline_rows(
        {"name": AGREEMENT, "class_value": config.maps.value, "classes": "own"},
        {"name": [HELD_OUT, "input_flatness.scale_free"], **ends, **GIVEN},
    )


def thinned(data: "xr.Dataset") -> "xr.Dataset":
    """With at most POINTS steps of every ascent, the first among them: enough for a curve."""
    return data.isel({dim: slice(None, None, -(-data.sizes[dim] // POINTS)) for dim in ("step", "guided_step")})


def _of(data: "xr.Dataset", first: str) -> list[str]:
    return [str(name) for name in data.data_vars if str(name).startswith(first)]


def _design(members: str, of: str = "guided", dim: str = "guided", *, compare: str = "population") -> Design:
    """Starts are the examples; those of zeros are fewer. A value of few starts is given, without an interval."""
    least = Least(paired=1 if compare == "guides" else LEAST_STARTS)
    return Design((members, f"{dim}_example"), compare=compare, support=f"{of}_distinct", least=least)


def declare_maps(data: "xr.Dataset", config) -> Iterator:
    """Gradients of test images: their length, and what they have in common."""
    everywhere = {"where": "", "by": ("classes",), "about": CLEAN}
    for space in spaces(data, "gradient_norm"):
        per = "pixel" if space == PIXELS else "unit of the latent"
        for value in data.class_value.values.tolist():
            at = {"space": space, "class_value": value}
            yield Estimate("gradient.norm", "norm", at=at, unit=f"{UNITS[value]} per {per}", **everywhere)
    yield partial(agreement, smoothed=config.maps.value)
    of = {"class_value": config.maps.value}
    smooth = everywhere | {"by": ("sigma", "classes"), "about": CLEAN | of | {"space": PIXELS}}
    yield Estimate("gradient.smooth_error", "error", unit="1", **smooth)
    for space in spaces(data, "pushed_to_pixels"):
        pushed = everywhere | {"at": {"space": space}, "about": CLEAN | of, "unit": "1"}
        yield Estimate("agreement.pushed_with_pixels", "to_pixels", **pushed)
        yield Estimate("agreement.pushed_with_step", "to_step", **pushed | {"by": ("step_length",)})


def agreement(data: "xr.Dataset", *, smoothed: str) -> Table:
    """Cosines of two classifiers' gradients of one image and class, of plain gradients and of SmoothGrad.

    Of the class that the first of a pair predicts, and of all classes; intervals are the jackknife's over classifiers.
    """
    prediction, rows = data.prediction.values, []
    pairs = np.stack(np.triu_indices(len(prediction), 1), axis=1)

    def add(name: str, values: "xr.DataArray", **about) -> None:
        cosines = values.transpose("pair", "class", "example").values
        own = np.take_along_axis(cosines, prediction[pairs[:, 0]][:, None], axis=1)[:, 0]
        for classes, each in (("own", own.mean(axis=1)), ("all", cosines.mean(axis=(1, 2)))):
            found = of_pairs(each.astype(np.float64), pairs, cosines.shape[-1])
            rows.append(Row(estimate_dict(found, name, unit="1", classes=classes, **CLEAN, **about)))

    if not len(pairs):
        return Table()
    for space in spaces(data, "gradient_cosine"):
        for value in data.class_value.values.tolist():
            one = data.gradient_cosine.sel(space=space, class_value=value)
            add(AGREEMENT, one, space=space, class_value=value)
    about = {"class_value": smoothed, "space": PIXELS}
    for sigma in data.sigma.values.tolist():
        add("agreement.smooth_gradient", data.smooth_cosine.sel(sigma=sigma), sigma=sigma, **about)
    return Table(tuple(rows))


def declare_ascents(data: "xr.Dataset") -> Iterator[Estimate]:
    """Ascents that one classifier guides, by space and kind of start: means over all classes."""
    for space, start in _starts(data, "ascent_probability"):
        here = {"at": {"space": space, "start": start}, "where": ""}
        about = {"population": POPULATIONS[start]}
        unit = "unit of the layer" if space not in spaces(data, "ascent_held_out") else "pixels"
        yield Estimate("confidence.ascended", "ascended_probability", share=True, about=about, **here)
        if unit == "pixels":
            given = about | GIVEN_HELD_OUT
            yield Estimate("confidence.ascended_held_out", "ascended_held_out", share=True, about=given, **here)
        yield Estimate("distance.ascended", "ascended_moved", unit=unit, about=about, **here)
        yield Estimate("distance.ascended_to_training", "ascended_nearest", unit=unit, about=about, **here)
        # A curve that only a figure draws.
        yield Estimate("path.ascended_value", "ascended_value", by=("step",), unit="as raised", about=about, **here)


def _starts(data: "xr.Dataset", name: str) -> Iterator[tuple[str, str]]:
    """(space, kind of start)."""
    for space in spaces(data, name):
        for start in data.start.values.tolist():
            yield space, start


def declare_guided(data: "xr.Dataset", config) -> Iterator[Estimate]:
    """Ascents that k classifiers guide, by space, kind of start and objective; beside the mean where both go far."""
    sigma = {"sigma": float(config.guided.sigma), "noise": "additive"}
    distance = {"distance": float(data.guided_distance)}
    for space, start in _starts(data, "guided_moved"):
        for objective in data.objective.values.tolist():
            about = {"population": POPULATIONS[start], "objective": objective, **GIVEN}
            here = {"at": {"space": space, "start": start}, "by": ("guides",), "groups": (objective,)}
            ran, gone = here | {"where": "guided_ran"}, here | {"where": "guided_gone"}
            yield Estimate(HELD_OUT, "guided_end", share=True, about=about, **ran)
            yield Estimate("confidence.guided", "guided_own_end", share=True, about=about, **ran)
            yield Estimate("distance.guided", "guided_moved", unit="pixels", about=about, **ran)
            yield Estimate("distance.guided_to_training", "guided_nearest", unit="pixels", about=about, **ran)
            flat = ("guided_margin_drop", "guided_margin")
            yield Estimate("input_flatness.scale_free", *flat, about=about | sigma, **ran)
            yield Estimate(DISTANT, "guided_reached", share=True, about=about | distance, **ran)
            there = ("guided_held_out_there", "guided_share")
            yield Estimate(HELD_OUT, *there, share=True, about=about | distance, **gone)
            if objective != MEAN:
                beside = about | distance | {"reference": MEAN}
                yield Estimate(HELD_OUT, *there, versus=[(objective, MEAN)], about=beside, **gone)
            # Curves that only the main figure draws.
            if objective == MEAN:
                along = ran | {"by": ("guides", "guided_step"), "share": True}
                yield Estimate(f"{HELD_OUT}_along", "guided_held_out", about=about, **along)
                yield Estimate("confidence.guided_along", "guided_probability", about=about, **along)


def declare_gain(data: "xr.Dataset") -> Iterator[Estimate]:
    """What the most guides do beyond the fewest, by the mean."""
    few, many = int(data.guides.values[0]), int(data.guides.values[-1])
    for space, start in _starts(data, "guided_moved"):
        about = {"population": POPULATIONS[start], "guides": many, **GIVEN}
        here = {"at": {"space": space, "start": start, "objective": MEAN}, "where": "guided_ran"}
        yield Estimate(HELD_OUT, "guided_end", versus=[(guides(many), guides(few))], about=about, **here)


def declare_blocks(data: "xr.Dataset") -> Iterator[Estimate]:
    """The held-out probability with intervals over blocks of guides, where there are several."""
    for space, start in _starts(data, "guided_moved"):
        for objective in data.objective.values.tolist():
            at = {"space": space, "start": start, "objective": objective}
            here = {"by": ("guides",), "where": "guided_several", "share": True}
            about = {"population": POPULATIONS[start], **GIVEN_HELD_OUT}
            yield Estimate(HELD_OUT, "guided_held_out_by_block", at=at, about=about, **here)


def guides(count: int) -> str:
    return f"{count} guide{'s' if count > 1 else ''}"


# ---- what is said ----


def claims(table: Table, config) -> list[dict]:
    """None are stated."""
    return []


def checks(data: "xr.Dataset", table: Table, config) -> list[Check]:
    """Ascents end higher than they began; the push-forward is what a small step does, but of codes."""
    found = []
    for space in spaces(data, "ascent_value"):
        value = data.ascent_value.sel(space=space)
        rose = float((value.isel(step=-1) > value.isel(step=0)).mean())
        detail = f"{100 * rose:.1f} % of ascents in {space} end higher than they began; {100 * ROSE:.0f} % are expected"
        found.append(Check(f"ascent.{space}", rose > ROSE, detail))
    for space in spaces(data, "pushed_to_step"):
        one = data.pushed_to_step.sel(space=space).isel(step_length=int(np.argmin(data.step_length.values)))
        cosine = float(np.median(one))
        detail = f"median cosine {cosine:.3f} of push-forward and finite difference of the smallest step"
        # Codes do not move with a small step: straight through is no derivative, and the report says so.
        detail += "; codes do not follow small steps" if space in CODED else f"; {SMOOTH} is expected"
        found.append(Check(f"push_forward.{space}", space in CODED or cosine > SMOOTH, detail))
    return found


def headline(table: Table, config) -> str:
    """What more guides do for classifiers that took no part, in pixels and on the manifold."""
    few, many = config.guided.sizes[0], config.guided.sizes[-1]
    parts, better = [], []
    for space in (PIXELS, config.families[0]):
        at = {"space": space, "start": "image", "objective": MEAN, **GIVEN}
        ends = [table.one(HELD_OUT, guides=k, reference=None, distance=None, **at).text(digits=2) for k in (few, many)]
        where = "in pixels" if space == PIXELS else f"on the manifold of the {space}"
        parts.append(f"{ends[1]} instead of {ends[0]} {where}" if many > few else f"{ends[0]} {where}")
        gain = table.get(HELD_OUT, guides=many, reference=guides(few), **at)
        better.append(gain is not None and gain.excludes_zero and gain["value"] > 0)
    text = "Gradient ascent moves test images toward another class. "
    text += f"With {guides(many)} instead of {few}" if many > few else f"With {guides(few)}"
    text += f", classifiers that took no part give it a probability of {', and of '.join(parts)}."
    if many == few:
        return text
    if all(better):
        return f"{text} What many guides agree on, other classifiers see too."
    known = [where for where, good in zip(("in pixels", "on the manifold"), better, strict=True) if good]
    return f"{text} More guides help {known[0]} only." if known else f"{text} More guides do not clearly help."
