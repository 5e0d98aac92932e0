"""The numbers of a noise run, from its arrays alone: what is derived, declared, claimed, checked and said first.

Everything is over the *common* images of a search: those whose start all sources classify rightly; and of these, those
for which the populations compared have reached the place of comparison.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from landscape.experiments.base import Check, by_stratum, strata_of, worst_of
from landscape.experiments.noise import collapse
from landscape.experiments.noise.config import NO_NOISE, middle_radius
from landscape.experiments.tuning import RISE, outside
from landscape.stats.contrasts import Least
from landscape.stats.pseudo_values import LEAST_MEMBERS
from landscape.stats.table import Design, Estimate, Row, Table, tabulate, verdicts

if TYPE_CHECKING:
    import xarray as xr  # imported where it is used: half a second

LEAST = 5  # images that each source needs
ALL = 10**9  # members: a source without images enough leaves no estimate, since all are targets of one another
DESIGN = Design(target="target", support="common", least=Least(LEAST, ALL, paired=0))
# Estimate: variable, denominator, whether it is a share.
MEASURES = {
    "attack.success": ("success", "", True),
    "input_flatness.scale_free": ("margin_drop", "margin", False),
    "transfer.success": ("transfer", "", True),
    "distance.manifold": ("off_manifold", "", False),
    "linearity.scale_free": ("off_tangent", "margin", False),
    "distance.l2": ("distance", "", False),
}
OF_STARTS = ("input_flatness.scale_free", "distance.manifold", "linearity.scale_free")
HEADLINE = ("attack.success", "input_flatness.scale_free", "transfer.success", "distance.manifold")
WHERE = {"pixels": "In pixels", "manifold": "On the manifold", "ascent": "In class ascent"}

KEEPS = 0.9  # of the source's accuracy, along trajectories
REACHES = 0.9  # of the images, by most populations
MARGIN_REACHED = 0.3  # of the images, without noise
FEW = 0.25  # of the populations
ROOM = (0.3, 0.95)  # success of the search without noise on validation images, by which radii are chosen
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
    middle = f"redrawn_{middle_radius(config):g}"
    search = config.noise.searches[0]
    shown = {"search": search, "matching": "norm", "population": [NO_NOISE, middle], "reference": None}
    return table.headline_rows({"name": HEADLINE, **shown}, *collapse.shown(table))


def _of_stratum(data: "xr.Dataset", config) -> Table:
    on_validation = DESIGN._replace(crossed=("member", "validation_image"), support="")
    kept = Estimate("accuracy.kept", "kept", where="", share=True, unit="1")
    table = tabulate(data[["kept"]], [kept], on_validation)
    table += tabulate(data, declare(data, config), DESIGN)
    of_grid = {"where": "", "by": collapse.POINT, "about": {"population": "noisy"}}
    grid = [
        Estimate("attack.at_boundary", "grid_at_boundary", share=True, **of_grid),
        Estimate("input_flatness.scale_free", "grid_margin_drop", "grid_margin", **of_grid),
    ]
    table += tabulate(data, grid, DESIGN._replace(support="grid_common"))
    return table + collapse.estimates(data, config.seed)


def declare(data: "xr.Dataset", config) -> Iterator[Estimate]:
    """Every number of the searches, by search and place of comparison; differences from no noise, and from one draw."""
    names = data.population.values.astype(str).tolist()
    versus = [(name, NO_NOISE) for name in names if name != NO_NOISE]
    versus += [(name, name.replace("redrawn", "frozen")) for name in names if name.startswith("redrawn")]
    for name, (of, per, share) in MEASURES.items():
        about = {"where": "counts", "by": ("search", "matching")}
        if name == "attack.success":  # at equal margin all are, by construction
            about = {"where": "counts", "by": ("search",), "at": {"matching": "norm"}}
        yield Estimate(name, of, per, share=share, **about)
        yield Estimate(name, of, per, versus=versus, unit="1" if share else "", **about)
    yield Estimate("attack.reached", "reached", where="", by=("search", "matching"), share=True)
    for name in OF_STARTS:
        of, per, _ = MEASURES[name]
        start = {"where": "", "by": ("search",), "about": {"population": "genuine"}}
        yield Estimate(name, f"start_{of}", per and f"start_{per}", **start)


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
            of_search += [_length, _unsaturated, lambda part: _margin_reached(part, config)]
        found += [check._replace(name=f"{name}.{check.name}") for check in (worst_of(one, each) for each in of_search)]
    return [*found, worst_of(data, collapse.check)]


def _finite(data: "xr.Dataset") -> Check:
    bad = [str(name) for name, v in data.data_vars.items() if v.dtype.kind == "f" and not np.isfinite(v.values).all()]
    return Check("finite", not bad, ", ".join(bad) or "all arrays are finite")


def _dose(data: "xr.Dataset") -> Check:
    """Whether more noise leaves less accuracy."""
    kept = data.kept.mean(["member", "validation_image"])
    dose = kept.values[np.isin(data.kind.values.astype(str), (NO_NOISE, "redrawn"))]
    detail = "accuracy kept, from no noise to the largest radius: " + ", ".join(f"{100 * k:.0f} %" for k in dose)
    return Check("dose", bool((np.diff(dose) < 0.02).all()), detail)


def _enough_sources(data: "xr.Dataset") -> Check:
    count = data.sizes["member"]
    detail = f"{count} sources are tried on one another; below {LEAST_MEMBERS} transfer has no interval"
    return Check("sources", count >= LEAST_MEMBERS, detail)


def _trajectories(data: "xr.Dataset") -> Check:
    """Whether every source's trajectory still classifies: a rate too large ends in a classifier without gradients."""
    accuracy = data.kept.mean("validation_image")
    walked = accuracy.values[np.isin(data.kind.values.astype(str), ("trajectory", "swag"))]
    share = float((walked / accuracy.sel(population=NO_NOISE).values).min())
    detail = f"points of trajectories keep at least {100 * share:.0f} % of their source's accuracy"
    return Check("trajectory", share >= KEEPS, f"{detail}; {100 * KEEPS:.0f} % are expected")


def _ball(data: "xr.Dataset") -> Check:
    """Whether the radius leaves room both ways."""
    share = float(data.validation_success.mean())
    detail = f"{100 * share:.0f} % of the validation images fall without noise; the radius is to leave 30 to 95 %"
    return Check("ball", bool(ROOM[0] <= share <= ROOM[1]), detail)


def _tuned(data: "xr.Dataset") -> Check:
    """Whether the best step sizes lie inside their grid."""
    goal = data.validation_goal.mean("member").transpose("step_size", "population").values
    beyond = [str(data.population.values[i]) for i in outside(goal)]
    detail = f"{len(beyond)} of {goal.shape[1]} populations rise by more than {RISE} logits to an end of the grid of "
    return Check("tuned", not beyond, f"{detail}step sizes" + (f": {', '.join(beyond)}" if beyond else ""))


def _common(data: "xr.Dataset") -> Check:
    common, count = int(derive(data).common.sum()), data.sizes["example"]
    detail = f"{common} of {count} images start rightly classified by all; at least {2 * LEAST} are expected"
    return Check("common", common >= 2 * LEAST, detail)


def _length(data: "xr.Dataset") -> Check:
    """Whether most populations reach the length of equal norm."""
    share = _reached(data, "norm").mean(["member", "example"]).values
    names = data.population.values.astype(str)
    short = [f"{name} {100 * s:.0f} %" for name, s in zip(names, share, strict=True) if not s >= REACHES]
    detail = f"{len(names) - len(short)} of {len(names)} populations reach the length of equal norm for "
    detail += f"{100 * REACHES:.0f} % of the images" + (f"; the others: {', '.join(short)}" if short else "")
    return Check("length", len(short) <= FEW * len(names), detail)


def _unsaturated(data: "xr.Dataset") -> Check:
    """Whether success without noise leaves room both ways."""
    plain = data.sel(population=NO_NOISE, matching="norm")
    there = derive(data).counts.sel(population=NO_NOISE, matching="norm").values
    share = float(plain.success.values[there].mean()) if there.any() else 0.0
    detail = f"{100 * share:.0f} % of the images fall without noise at equal norm; 5 to 98 % leave room both ways"
    return Check("unsaturated", bool(UNSATURATED[0] <= share <= UNSATURATED[1]), detail)


def _margin_reached(data: "xr.Dataset", config) -> Check:
    """Whether most searches without noise reach the equal margin."""
    share = float(_reached(data, "margin").sel(population=NO_NOISE).mean())
    detail = f"{100 * share:.0f} % reach a margin of {config.noise.equal_margin:g} logits without noise"
    return Check("reached", share >= MARGIN_REACHED, f"{detail}; {100 * MARGIN_REACHED:.0f} % are expected")


def _reached(data: "xr.Dataset", matching: str) -> "xr.DataArray":
    """Whether each common image reached the place."""
    common = derive(data).common.values
    return data.reached.sel(matching=matching).isel(example=np.flatnonzero(common))


# ---- what is said first ----


def headline(table: Table, config) -> str:
    """Redrawing beside no noise and beside one frozen draw, in points; then eta / M."""
    search, radius = config.noise.searches[0], middle_radius(config)
    first = strata_of(table)[0]

    def change(name: str, matching: str, reference: str) -> str:
        """In points, with its interval."""
        about = {"search": search, "matching": matching, "population": f"redrawn_{radius:g}"}
        return points(table.get(name, reference=reference, **about, **first))

    def changes(reference: str) -> tuple[str, str, str]:
        flat = "input_flatness.scale_free"
        transfer = change("transfer.success", "norm", reference)
        return transfer, change(flat, "norm", reference), change(flat, "margin", reference)

    kept = table.one("accuracy.kept", population=f"redrawn_{radius:g}", **first)
    (transfer, flat, level), frozen = changes(NO_NOISE), changes(f"frozen_{radius:g}")
    return (
        f"{WHERE[search]}, redrawing the classifier at every gradient (radius {radius:g} keeps "
        f"{100 * kept['value']:.0f} % accuracy) changes transfer by {transfer} points at equal norm. It changes the "
        f"share of the margin that input noise takes by {flat} points at equal norm and by {level} at equal margin. "
        f"Beside one frozen draw these are {frozen[0]}, {frozen[1]} and {frozen[2]}.{collapse.sentence(table)}"
    )


def points(row: Row | None) -> str:
    """A share's change in points, with its interval where it has one."""
    if row is None:
        return "an unknown number (too few images)"
    value, *ends = (f"{round(100 * row[k], 1) + 0.0:+.1f}" for k in ("value", "low", "high") if row[k] is not None)
    return f"{value} [{', '.join(ends)}]" if ends else value
