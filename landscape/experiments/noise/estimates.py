"""The numbers of a noise run, from its arrays alone: what is derived, declared, claimed, checked and said first.

Everything is over the *common* images of a search: those whose start all sources classify rightly; and of these, those
for which the populations compared have reached the point of comparison.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from landscape.experiments import measured
from landscape.experiments.base import Check, by_stratum, named, strata_of, worst_of
from landscape.experiments.noise import MEASURED, collapse
from landscape.experiments.noise.config import NO_NOISE, middle_radius
from landscape.experiments.tuning import RISE, outside
from landscape.stats.contrasts import Least
from landscape.stats.pseudo_values import LEAST_MEMBERS
from landscape.stats.table import ENDS, Design, Estimate, Row, Table, tabulate, verdicts

if TYPE_CHECKING:
    import xarray as xr  # imported where it is used: half a second

LEAST = 5  # images that each source needs
ALL = 10**9  # members: a source without images enough leaves no estimate, since all are targets of one another
DESIGN = Design(target="target", support="common", least=Least(LEAST, ALL, paired=0))


class Measure(NamedTuple):
    """What is measured of results: variable, denominator, whether a share; what figures call it, and its unit there."""

    of: str
    per: str
    share: bool
    label: str
    unit: str

    @property
    def factor(self) -> float:
        """What figures multiply values by."""
        return 100.0 if self.unit.startswith("%") else 1.0


MEASURES = {
    "attack.success": Measure("success", "", True, "source fooled", "%"),
    "input_flatness.scale_free": Measure("margin_drop", "margin", False, "margin lost", "% under noise"),
    "transfer.success": Measure("transfer", "", True, "others fooled", "%"),
    "distance.manifold": Measure("off_manifold", "", False, "off manifold", "L2 pixels"),
    "linearity.scale_free": Measure("off_tangent", "margin", False, "off tangent", "% of margin"),
    "distance.l2": Measure("distance", "", False, "off start", "L2 pixels"),
}
# Measure and matching of what is said first.
HEADLINE = (
    ("transfer.success", "norm"),
    ("input_flatness.scale_free", "norm"),
    ("input_flatness.scale_free", "confidence"),
)
WHERE = {"pixels": "In pixels", "manifold": "On the manifold", "ascent": "In class ascent"}

KEEPS = 0.9  # of the source's accuracy, along trajectories
REACHES = 0.9  # of the images, by most populations
CONFIDENCE_REACHED = 0.3  # of the images, without noise
FEW = 0.25  # of the populations
IN_BETWEEN = (0.3, 0.95)  # success of the search without noise on validation images, by which radii are chosen
UNSATURATED = (0.05, 0.98)  # success without noise at equal norm


def derive(data: "xr.Dataset") -> "xr.Dataset":
    """With the images that are common to all sources, and those that count for each population."""
    common = data.right.astype(bool).all("member")
    counts = data.reached.astype(bool) & common
    found = {"common": common, "counts": counts, "grid_common": data.grid_right.astype(bool).all("member")}
    return data.assign({name: one.assign_attrs(units="1") for name, one in found.items()})


def estimate(data: "xr.Dataset", config) -> Table:
    """The table of a run."""
    table = by_stratum(data, lambda part: _of_stratum(derive(part), config))
    shown = {"search": config.noise.searches[0], "matching": "norm", "reference": None}
    shown |= {"population": [NO_NOISE, f"redrawn_{middle_radius(config):g}"]}
    return table.headline_rows({"name": [*MEASURES][:4], **shown}, *collapse.shown(table))


def of_measures(data: "xr.Dataset", config) -> Table:
    """The rows of `config.measures`: of results at equal norm, by search."""

    def one(part: "xr.Dataset") -> Table:
        return measured.table(part, derive(part).counts.sel(matching="norm", drop=True), MEASURED, ("search",))

    return by_stratum(data, one)


def _of_stratum(data: "xr.Dataset", config) -> Table:
    kept = Estimate("accuracy.kept", "kept", where="", share=True, unit="1")
    of_grid = {"where": "", "by": collapse.POINT, "about": {"population": "noisy"}}
    at_boundary = Estimate("attack.at_boundary", "grid_at_boundary", share=True, **of_grid)
    flat = Estimate("input_flatness.scale_free", "grid_margin_drop", "grid_margin", **of_grid)
    on_validation = DESIGN._replace(crossed=("member", "validation_image"), support="")
    table = tabulate(data[["kept"]], [kept], on_validation) + tabulate(data, declare(data), DESIGN)
    table += tabulate(data, [at_boundary, flat], DESIGN._replace(support="grid_common"))
    return table + collapse.estimates(data, config.seed)


def declare(data: "xr.Dataset") -> Iterator[Estimate]:
    """Every number of the searches, by search and matching; differences from no noise, and from one frozen draw."""
    names = data.population.values.astype(str).tolist()
    versus = [(name, NO_NOISE) for name in names if name != NO_NOISE]
    versus += [(name, name.replace("redrawn", "frozen")) for name in names if name.startswith("redrawn")]
    for name, (of, per, share, *_) in MEASURES.items():
        about = {"where": "counts", "by": ("search", "matching")}
        if name == "attack.success":  # at equal confidence all are, by construction
            about = {"where": "counts", "by": ("search",), "at": {"matching": "norm"}}
        yield Estimate(name, of, per, share=share, **about)
        yield Estimate(name, of, per, versus=versus, unit="1" if share else "", **about)
    yield Estimate("attack.reached", "reached", where="", by=("search", "matching"), share=True)


def claims(table: Table, config) -> list[dict]:
    """Verdicts on the config's claims, in the first search."""

    def where(claim) -> dict:
        a, b = claim["populations"]
        about = {"matching": claim["matching"], "search": config.noise.searches[0]}
        return {"population": f"{a}_{claim['radius']:g}", "reference": b, **about}

    return verdicts(table, config.claims.to_dict(), where, strata_of(table))


# ---- checks ----


def checks(data: "xr.Dataset", table: Table, config) -> list[Check]:
    """What must hold if nothing is broken, and for the comparisons to say something."""
    found = [_finite(data), worst_of(data, _dose), worst_of(data, _enough_sources)]
    if {"trajectory", "swag"} & set(data.kind.values.astype(str)):
        found.append(worst_of(data, _trajectories))
    for name in data.search.values.astype(str).tolist():
        one = data.sel(search=name, drop=True)
        of_search = [_ball, _tuned, _common]
        if derive(one).common.any():
            of_search += [_length, _unsaturated, lambda part: _confidence_reached(part, config)]
        found += [check._replace(name=f"{name}.{check.name}") for check in (worst_of(one, each) for each in of_search)]
    return [*found, worst_of(data, collapse.check)]


def _finite(data: "xr.Dataset") -> Check:
    bad = [str(name) for name, v in data.data_vars.items() if v.dtype.kind == "f" and not np.isfinite(v.values).all()]
    detail = f"arrays with values that are not finite: {', '.join(bad) or 'none'}; expected none"
    return Check("finite", not bad, detail)


def _dose(data: "xr.Dataset") -> Check:
    """Whether more noise leaves less accuracy."""
    kept = data.kept.mean(["member", "validation_image"])
    dose = kept.values[np.isin(data.kind.values.astype(str), (NO_NOISE, "redrawn"))]
    detail = "accuracy kept, from no noise to the largest radius: " + ", ".join(f"{100 * k:.0f} %" for k in dose)
    return Check("dose", bool((np.diff(dose) < 0.02).all()), f"{detail}; expected no rise of 2 points or more")


def _enough_sources(data: "xr.Dataset") -> Check:
    count = data.sizes["member"]
    detail = f"{count} sources are tried on one another; expected at least {LEAST_MEMBERS}, or transfer has no interval"
    return Check("sources", count >= LEAST_MEMBERS, detail)


def _trajectories(data: "xr.Dataset") -> Check:
    """Whether every source's trajectory still classifies: a rate too large ends in a classifier without gradients."""
    accuracy = data.kept.mean("validation_image")
    walked = accuracy.values[np.isin(data.kind.values.astype(str), ("trajectory", "swag"))]
    own = accuracy.sel(population=NO_NOISE).values
    found = walked[:, own > 0] / own[own > 0]
    share = float(found.min()) if found.size else 0.0
    detail = f"points of trajectories keep at least {100 * share:.0f} % of their source's accuracy"
    return Check("trajectory", share >= KEEPS, f"{detail}; expected at least {100 * KEEPS:.0f} %")


def _ball(data: "xr.Dataset") -> Check:
    """Whether the radius leaves both more and fewer successes possible."""
    share = float(data.validation_success.mean())
    detail = f"{100 * share:.0f} % of the validation images are fooled without noise; expected 30 to 95 %"
    return Check("ball", bool(IN_BETWEEN[0] <= share <= IN_BETWEEN[1]), detail)


def _tuned(data: "xr.Dataset") -> Check:
    """Whether the best step sizes lie inside their grid."""
    goal = data.validation_goal.mean("member").transpose("step_size", "population").values
    beyond = [str(data.population.values[i]) for i in outside(goal)]
    detail = f"{len(beyond)} of {goal.shape[1]} populations rise by more than {RISE} nats to an end of the grid of "
    return Check("tuned", not beyond, f"{detail}step sizes; expected none{': ' * bool(beyond)}{', '.join(beyond)}")


def _common(data: "xr.Dataset") -> Check:
    common, count = int(derive(data).common.sum()), data.sizes["example"]
    detail = f"{common} of {count} images start rightly classified by all; expected at least {2 * LEAST}"
    return Check("common", common >= 2 * LEAST, detail)


def _length(data: "xr.Dataset") -> Check:
    """Whether most populations reach the length of equal norm."""
    share = _reached(data, "norm").mean(["member", "example"]).values
    names = data.population.values.astype(str)
    short = [f"{name} {100 * s:.0f} %" for name, s in zip(names, share, strict=True) if not s >= REACHES]
    detail = f"{len(names) - len(short)} of {len(names)} populations reach the length of equal norm for "
    detail += f"{100 * REACHES:.0f} % of the images; expected all but {int(FEW * len(names))}"
    detail += f"; the others: {', '.join(short)}" if short else ""
    return Check("length", len(short) <= FEW * len(names), detail)


def _unsaturated(data: "xr.Dataset") -> Check:
    """Whether success without noise could be both higher and lower."""
    plain = data.sel(population=NO_NOISE, matching="norm")
    there = derive(data).counts.sel(population=NO_NOISE, matching="norm").values
    share = float(plain.success.values[there].mean()) if there.any() else 0.0
    detail = f"{100 * share:.0f} % of the images are fooled without noise at equal norm; expected 5 to 98 %"
    return Check("unsaturated", bool(UNSATURATED[0] <= share <= UNSATURATED[1]), detail)


def _confidence_reached(data: "xr.Dataset", config) -> Check:
    """Whether most searches without noise reach the equal confidence."""
    share = float(_reached(data, "confidence").sel(population=NO_NOISE).mean())
    detail = f"{100 * share:.0f} % reach log-odds of {config.noise.equal_log_odds:g} without noise"
    detail += f"; expected at least {100 * CONFIDENCE_REACHED:.0f} %"
    return Check("reached", share >= CONFIDENCE_REACHED, detail)


def _reached(data: "xr.Dataset", matching: str) -> "xr.DataArray":
    """Whether each common image reached the point of comparison."""
    common = derive(data).common.values
    return data.reached.sel(matching=matching).isel(example=np.flatnonzero(common))


# ---- what is said first ----


def headline(table: Table, config) -> str:
    """Redrawing beside no noise and beside one frozen draw, in points, then eta / M; of a sweep, at each value."""
    search, radius, kinds = config.noise.searches[0], f"{middle_radius(config):g}", strata_of(table)

    def changes(reference: str, **kind) -> list[str]:
        """Of each of HEADLINE, in points with its interval."""
        about = {"search": search, "population": f"redrawn_{radius}", "reference": reference, **kind}
        return [points(table.get(name, matching=matching, **about)) for name, matching in HEADLINE]

    if len(kinds) > 1:
        each = ["{}, {} and {} at {}".format(*changes(NO_NOISE, **kind), named(kind)) for kind in kinds]
        return (
            f"{WHERE[search]}, redrawing the classifier at every gradient (radius {radius}) changes transfer at equal "
            "norm, and the share of the margin that input noise takes at equal norm and at equal confidence, by "
            f"{'; '.join(each)}."
        )
    kept = table.get("accuracy.kept", population=f"redrawn_{radius}")
    leaves = f"of radius {radius}" if kept is None else f"that leaves {100 * kept['value']:.0f} % accuracy"
    (transfer, _, level), (*_, frozen) = changes(NO_NOISE), changes(f"frozen_{radius}")
    return (
        f"{WHERE[search]}, redrawing the classifier at every gradient (weight noise {leaves}) changes the share of "
        f"other classifiers that are fooled by {transfer} at equal norm, and the share of the margin that input "
        f"noise takes by {level} at equal confidence. Relative to one frozen draw the latter is "
        f"{frozen}{collapse.clause(table)}."
    )


def points(row: Row | None) -> str:
    """A share's change, `+0.5 [-1.5, +2.5] points`, with its interval where it has one."""
    if row is None:
        return "an unknown amount (too few images)"
    value, *ends = (f"{100 * row[end]:+z.1f}" for end in ENDS[:3] if row[end] is not None)
    return f"{value} [{', '.join(ends)}] points" if ends else f"{value} points"
