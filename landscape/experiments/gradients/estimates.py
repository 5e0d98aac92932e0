"""The numbers of a `gradients` run, from its arrays alone: of gradients, of ascents of one guide and of several."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from landscape.experiments.base import Check, by_stratum, named, strata_of, worst_of
from landscape.presets.names import CODED
from landscape.stats.claims import estimate_dict
from landscape.stats.contrasts import Least
from landscape.stats.intervals import interval, within
from landscape.stats.pseudo_values import of_pairs
from landscape.stats.table import Design, Estimate, Row, Table, tabulate

if TYPE_CHECKING:
    import xarray as xr  # imported where it is used: half a second

PIXELS, MEAN, AGREEING = "pixels", "mean", "agreeing"
POPULATIONS = {"image": "ascended", "noise": "synthesised", "zeros": "synthesised"}  # ends, by what they start from
CLEAN = {"population": "clean"}
# Several guides are no sum over members: estimates of k of them are of these k. Where only the mean of the held-out
# classifiers is known, estimates are of these.
GIVEN, GIVEN_HELD_OUT = {"given": "these guides"}, {"given": "these held-out classifiers"}
LEAST_STARTS = 5  # that go far enough, for two objectives to be compared
POINTS = 11  # of a drawn curve, at most
ROSE, SMOOTH = 0.95, 0.95  # share of ascents that must end higher; cosine with a small step that a derivative has

ASCENDED = {
    "confidence.ascended": "probability",
    "confidence.ascended_held_out": "held_out",
    "distance.ascended": "moved",
    "distance.ascended_to_training": "nearest",
}
HELD_OUT, DISTANT = "confidence.guided_held_out", "path.reached_distance"
AGREEMENT = "agreement.gradient"


# ---- what is derived ----


def derive(data: "xr.Dataset") -> "xr.Dataset":
    """With means over classes, ends of guided ascents, and which starts count; what statistics are of in float64."""
    own = data.pushed_to_pixels.isel({"class": data.prediction}).drop_vars("class", errors="ignore")
    others = (data.pushed_to_pixels.sum("class", skipna=False) - own) / (data.sizes["class"] - 1)
    first = np.unique(data.guided_target.values, return_index=True)[1]
    last = {"guided_step": -1, "drop": True}
    found = {
        "to_pixels_own": own,
        "to_pixels_others": others,
        "to_step": over_classes(data.pushed_to_step),
        **{f"ascended_{name}": over_classes(data[f"ascent_{name}"]) for name in ASCENDED.values()},
        # Zeros are one start however often they are ascended from: those with one target are one and the same ascent.
        "ascended_distinct": distinct(data, "ascent_example", np.arange(data.sizes["ascent_example"]) == 0),
        "guided_distinct": distinct(data, "guided_example", np.isin(np.arange(data.sizes["guided_example"]), first)),
        "guided_end": data.guided_held_out.isel(**last),
        "guided_own_end": data.guided_probability.isel(**last),
        "guided_share": data.guided_reached.broadcast_like(data.guided_held_out_there),
        "guided_gone": data.guided_reached > 0,
    }
    found |= {str(name): data[name] for name in data.data_vars if str(name).startswith("guided_")}
    return data.assign({n: one.astype(np.float64) if one.dtype.kind == "f" else one for n, one in found.items()})


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


# ---- the table ----


def estimate(data: "xr.Dataset", config) -> Table:
    """Gradients, ascents of one guide and of several; intervals are over classifiers and images or starts."""
    table = by_stratum(derive(data), lambda part: _of_training(part.isel(training=0, drop=True), config))
    sizes = config.guided.sizes
    ends = {"start": "image", "objective": MEAN, "guides": [sizes[0], sizes[-1]], "reference": None, "distance": None}
    return table.headline_rows(
        {"name": AGREEMENT, "classes": "own"},
        {"name": [HELD_OUT, "input_flatness.scale_free"], **ends, **GIVEN},
    )


def _of_training(data: "xr.Dataset", config) -> Table:
    """The table of classifiers that are all trained alike. Starts are the examples; those of zeros are fewer."""
    few = data.isel(guided_step=slice(None, None, -(-data.sizes["guided_step"] // POINTS)))  # enough for a curve
    ascended, several = (few[[n for n in few.data_vars if n.startswith(first)]] for first in ("ascended_", "guided_"))
    counted = several.assign_coords(guides=[guides(k) for k in several.guides.values.tolist()])
    maps = few[["prediction", "to_pixels_own", "to_pixels_others", "to_step", "gradient_cosine", "smooth_cosine"]]
    of_ascents = Design(("member", "ascent_example"), support="ascended_distinct", least=Least(paired=LEAST_STARTS))
    of_guided = of_ascents._replace(crossed=("held_out", "guided_example"), support="guided_distinct")
    return (
        tabulate(maps, declare_maps(maps, config), Design())
        + tabulate(ascended, declare_ascents(ascended), of_ascents)
        + tabulate(several, declare_guided(several, config), of_guided._replace(compare="objective"))
        # A value of few starts is given, without an interval.
        + tabulate(counted, declare_gain(several), of_guided._replace(compare="guides", least=Least(paired=1)))
    )


def declare_maps(data: "xr.Dataset", config) -> Iterator:
    """Gradients of test images: what those of two classifiers have in common, and what push-forwards do in pixels."""
    about = CLEAN | {"class_value": config.maps.value}
    yield lambda data: agreement(data, about)
    for space in spaces(data, "to_step"):
        pushed = {"where": "", "at": {"space": space}, "unit": "1"}
        for classes in ("own", "others"):
            more = about | {"classes": classes}
            yield Estimate("agreement.pushed_with_pixels", f"to_pixels_{classes}", about=more, **pushed)
        yield Estimate("agreement.pushed_with_step", "to_step", by=("step_length",), about=about, **pushed)


def agreement(data: "xr.Dataset", about: dict[str, str]) -> Table:
    """Cosines of two classifiers' gradients of one image and class, of plain gradients and of SmoothGrad.

    Of the class that the first of a pair predicts, and of all classes. Intervals see that pairs share classifiers.
    """
    prediction, rows = data.prediction.values, []
    pairs = np.stack(np.triu_indices(len(prediction), 1), axis=1)
    if not len(pairs):
        return Table()
    plain = [
        (AGREEMENT, data.gradient_cosine.sel(space=one), {"space": one}) for one in spaces(data, "gradient_cosine")
    ]
    smooth = [
        ("agreement.smooth_gradient", data.smooth_cosine.sel(sigma=one), {"space": PIXELS, "sigma": one})
        for one in data.sigma.values.tolist()
    ]
    for name, values, at in plain + smooth:
        cosines = values.transpose("pair", "class", "example").values
        own = np.take_along_axis(cosines, prediction[pairs[:, 0]][:, None], axis=1)[:, 0]
        for classes, each in (("own", own), ("all", cosines.mean(axis=1))):
            square = np.zeros((len(prediction), *prediction.shape))
            square[*pairs.T] = square[*pairs.T[::-1]] = each
            found = within(interval(of_pairs(square)), -1.0, 1.0)
            rows.append(Row(estimate_dict(found, name, unit="1", classes=classes, **about, **at)))
    return Table(tuple(rows))


def _starts(data: "xr.Dataset", name: str) -> Iterator[tuple[str, dict, dict]]:
    """(space, where estimates are at, their population) of each space and kind of start."""
    for space in spaces(data, name):
        for start in data.start.values.tolist():
            yield space, {"at": {"space": space, "start": start}, "where": ""}, {"population": POPULATIONS[start]}


def declare_ascents(data: "xr.Dataset") -> Iterator[Estimate]:
    """Ascents that one classifier guides, by space and kind of start: means over all classes."""
    images = spaces(data, "ascended_held_out")
    for space, here, about in _starts(data, "ascended_probability"):
        for name, of in ASCENDED.items():
            share = name.startswith("confidence")
            unit = "1" if share else "pixels" if space in images else "unit of the layer"
            given = GIVEN_HELD_OUT if of == "held_out" else {}
            if of != "held_out" or space in images:
                yield Estimate(name, f"ascended_{of}", share=share, unit=unit, about=about | given, **here)


def declare_guided(data: "xr.Dataset", config) -> Iterator[Estimate]:
    """Ascents that k classifiers guide, by space, kind of start and objective; beside the mean where both go far."""
    sigma = {"sigma": float(config.guided.sigma), "noise": "additive"}
    distance = {"distance": float(data.guided_distance)}
    there = ("guided_held_out_there", "guided_share")
    for _, here, population in _starts(data, "guided_moved"):
        for objective in (MEAN, AGREEING):
            about = {**population, "objective": objective, **GIVEN}
            ran = here | {"by": ("guides",), "groups": (objective,)}
            gone = ran | {"where": "guided_gone"}
            yield Estimate(HELD_OUT, "guided_end", share=True, about=about, **ran)
            yield Estimate("confidence.guided", "guided_own_end", share=True, about=about, **ran)
            yield Estimate("distance.guided", "guided_moved", unit="pixels", about=about, **ran)
            yield Estimate("distance.guided_to_training", "guided_nearest", unit="pixels", about=about, **ran)
            flat = ("guided_margin_drop", "guided_margin")
            yield Estimate("input_flatness.scale_free", *flat, about=about | sigma, **ran)
            yield Estimate(DISTANT, "guided_reached", share=True, about=about | distance, **ran)
            yield Estimate(HELD_OUT, *there, share=True, about=about | distance, **gone)
        beside = about | distance | {"reference": MEAN}
        yield Estimate(HELD_OUT, *there, versus=[(AGREEING, MEAN)], about=beside, **gone)
        # Curves that only the main figure draws.
        along = here | {"by": ("guides", "guided_step"), "groups": (MEAN,), "share": True}
        along["about"] = about | {"objective": MEAN}
        yield Estimate(f"{HELD_OUT}_along", "guided_held_out", **along)
        yield Estimate("confidence.guided_along", "guided_probability", **along)


def declare_gain(data: "xr.Dataset") -> Iterator[Estimate]:
    """What the most guides do beyond the fewest, by the mean."""
    few, many = int(data.guides.values[0]), int(data.guides.values[-1])
    for _, here, population in _starts(data, "guided_moved"):
        about = {**population, "guides": many, **GIVEN}
        here["at"] |= {"objective": MEAN}
        yield Estimate(HELD_OUT, "guided_end", versus=[(guides(many), guides(few))], about=about, **here)


def guides(count: int) -> str:
    return f"{count} guide{'s' if count > 1 else ''}"


# ---- what is said ----


def claims(table: Table, config) -> list[dict]:
    """None are stated."""
    return []


def checks(data: "xr.Dataset", table: Table, config) -> list[Check]:
    """Ascents end higher than they began; the push-forward is what a small step does.

    Codes do not follow small steps: straight through is no derivative, so nothing is expected of it.
    """
    found = [worst_of(data, lambda part, space=space: _rises(part, space)) for space in spaces(data, "ascent_value")]
    pushed = [space for space in spaces(data, "pushed_to_step") if space not in CODED]
    return found + [worst_of(data, lambda part, space=space: _is_derivative(part, space)) for space in pushed]


def _rises(data: "xr.Dataset", space: str) -> Check:
    value = data.ascent_value.sel(space=space)
    rose = float((value.isel(step=-1) > value.isel(step=0)).mean())
    detail = f"{100 * rose:.1f} % of ascents in {space} end higher than they began; expected over {100 * ROSE:.0f} %"
    return Check(f"ascent.{space}", rose > ROSE, detail)


def _is_derivative(data: "xr.Dataset", space: str) -> Check:
    one = data.pushed_to_step.sel(space=space).isel(step_length=int(np.argmin(data.step_length.values)))
    cosine = float(np.median(one))
    detail = f"median cosine {cosine:.3f} of push-forward and finite difference of the smallest step"
    return Check(f"push_forward.{space}", cosine > SMOOTH, f"{detail}; expected above {SMOOTH}")


def headline(table: Table, config) -> str:
    """What more guides do for classifiers that took no part, in pixels and on the manifold; of a sweep, by value."""
    few, many = config.guided.sizes[0], config.guided.sizes[-1]
    spaces_of = {PIXELS: "in pixels", config.families[0]: f"on the manifold of the {config.families[0]}"}

    at = {"start": "image", "objective": MEAN, "distance": None, **GIVEN}

    def gain(space: str, kind: dict[str, float]) -> Row | None:
        return table.get(HELD_OUT, space=space, reference=guides(few), **at, **kind) if many > few else None

    def ends(kind: dict[str, float]) -> str:
        parts = []
        for space, where in spaces_of.items():
            here = at | {"space": space, "reference": None} | kind
            last, first = (table.one(HELD_OUT, guides=k, **here).text(digits=2) for k in (many, few))
            parts.append(f"{last} instead of {first} {where}" if many > few else f"{first} {where}")
            if more := gain(space, kind):
                parts[-1] += f" (a paired difference of {more.text(digits=2)})"
        return ", and of ".join(parts)

    kinds = strata_of(table)
    text = "Gradient ascent moves test images toward another class. "
    text += f"With {guides(many)} instead of {few}" if many > few else f"With {guides(few)}"
    text += ", classifiers that took no part give it a probability of "
    text += "; ".join(f"{ends(kind)} at {named(kind)}" if kind else ends(kind) for kind in kinds) + "."
    if many == few or len(kinds) > 1:
        return text
    found = {where: gain(space, {}) for space, where in spaces_of.items()}
    better = [where for where, more in found.items() if more and more.excludes_zero and more["value"] > 0]
    if len(better) == len(spaces_of):
        return f"{text} So more guides help in both."
    return f"{text} More guides help {better[0]} only." if better else f"{text} More guides do not clearly help."
