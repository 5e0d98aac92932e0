"""The numbers of a surfaces run, from its arrays alone.

Of a plane through an image the *disc* counts: the points no further from the image than the longer of the two
perturbations that span the plane. A member's *adversarial area* are the points of the disc on which it does not predict
the image's class. Of k members

    common share = sum over planes of the area where all k err / sum over planes of the area where any of them errs,

a mean over all subsets of k on either side. It is compared with what would be expected if every member kept its area at
each distance from the image, and these were turned about the image independently.

Numbers are means over pairs of members, whose examples span the planes, and over images. Which members' areas are
compared is given: more of them have less in common.

Source: Somepalli et al. 2022, arXiv:2203.08124, who compare two networks' decision regions in planes of three images.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from landscape.experiments.base import Check, of_members
from landscape.stats import areas
from landscape.stats.duplicates import duplicate_check
from landscape.stats.table import Design, Estimate, Row, Table, tabulate

if TYPE_CHECKING:
    import xarray as xr  # imported where it is used: half a second

PAIRS = ("target", "member", "example")
OF_PLANES, OF_LINES = Design(target="target", compare="kind"), Design(target="target", compare="direction")
GIVEN = "new images and pairs; these members"  # what areas of all members generalise to
COARSE = 0.03  # share of a map's points, by which areas on every second point may differ
LEAST_IMAGES = 10


def derive(data: "xr.Dataset") -> "xr.Dataset":
    """As it is, with numbers of members: every member is part of every count."""
    return of_members(data.assign_coords(member=np.arange(data.sizes["member"])))


def squared(data: "xr.Dataset", values: Float[np.ndarray, "P ..."]) -> dict[str, Float[np.ndarray, "S S N ..."]]:
    """Values of planes, by kind, as [target, member, example, ...] of ordered pairs.

    A plane of two members is that of either order; one of a single member is that of `member` whatever `target` is; one
    of none is the same for all.
    """
    num, found = data.sizes["member"], {}
    kind, image, first, second = (data[name].values for name in ("kind", "image", "first", "second"))
    for name in dict.fromkeys(kind.astype(str).tolist()):
        own = kind.astype(str) == name
        whole = np.zeros((num, num, data.sizes["example"], *values.shape[1:]), values.dtype)
        for value, n, i, j in zip(values[own], image[own], first[own], second[own], strict=True):
            if j >= 0:
                whole[j, i, n] = whole[i, j, n] = value
            else:
                whole[:, i if i >= 0 else slice(None), n] = value
        found[name] = whole
    return found


def whole_areas(data: "xr.Dataset") -> "xr.Dataset":
    """Influence arrays and shares of the disc, by kind of plane, ordered pair and example.

    common, expected, beyond (count): the common share of that many members, what is expected of independent areas, and
    the difference. pair, pair_expected, pair_beyond: of the two members whose examples span an adversarial plane. own,
    other: share of the disc on which the member errs that the plane is of, and the mean over the others; random planes
    are of no member: there `own` is each one.
    """
    import xarray as xr

    wrong, points = data.wrong.transpose("plane", "ring", "member", "count").values.astype(int), data.points.values
    numbers = areas.by_number(wrong), areas.if_independent(wrong, points)
    counts = np.arange(2, data.sizes["member"] + 1)
    parts = [[areas.all_and_any(number, k) for k in counts.tolist()] for number in numbers]
    by_kind = squared(data, np.moveaxis(np.asarray(parts, np.float64), -1, 0))  # ..., (found, expected), count, (I, U)
    found = {}
    for kind, part in by_kind.items():
        top, bottom = np.moveaxis(part, (5, 3, 4), (0, 1, 2))
        found[kind] = areas.ratio_of_pairs(top, bottom)
    common, expected = (np.stack([one[i] for one in found.values()]) for i in range(2))
    dims = ("kind", "count", *PAIRS)
    arrays = {"common": (dims, common), "expected": (dims, expected), "beyond": (dims, common - expected)}
    arrays |= {name: (("kind", *PAIRS), value) for name, value in _pair_areas(data, wrong, [*found]).items()}
    arrays |= _shares(data, wrong.sum(axis=(1, 3)) / points.sum(), [*found])
    return xr.Dataset(arrays, {"kind": [*found], "count": counts})


def _pair_areas(data: "xr.Dataset", wrong: np.ndarray, kinds: list[str]) -> dict[str, np.ndarray]:
    """pair and pair_expected; NaN in planes of other kinds."""
    of_ring, rows = wrong.sum(axis=3), np.arange(len(wrong))  # plane, ring, member
    one, other = (of_ring[rows, :, data[name].values] for name in ("first", "second"))
    both = data.both.transpose("plane", "ring").values.astype(float)
    by_chance = one * other / data.points.values
    found = {}
    for name, common in (("pair", both), ("pair_expected", by_chance)):
        top, bottom = common.sum(axis=1), (one + other - common).sum(axis=1)
        part = squared(data, np.stack([top, bottom], axis=1))["adversarial"]
        value = areas.ratio_of_pairs(part[..., 0], part[..., 1])
        found[name] = np.stack([value if kind == "adversarial" else np.full_like(value, np.nan) for kind in kinds])
    found["pair_beyond"] = found["pair"] - found["pair_expected"]
    return found


def _shares(data: "xr.Dataset", share: Float[np.ndarray, "P S"], kinds: list[str]) -> dict[str, tuple]:
    """own (kind, member, example), other (kind, target, member, example)."""
    num, by_kind = data.sizes["member"], squared(data, share)
    members = np.arange(num)
    own, other = [], []
    for kind in kinds:
        whole = by_kind[kind]  # target, member, example, who
        mine = np.moveaxis(whole[:, members, :, members], 0, 1)  # target, member, example
        theirs = whole[members, :, :, members]
        if kind == "adversarial":
            off = ~np.eye(num, dtype=bool)[..., None]
            own.append(np.where(off, mine, 0).sum(axis=0) / (num - 1))
            other.append((whole.sum(axis=-1) - mine - theirs) / (num - 2))
        else:
            own.append(mine[0])
            other.append((whole.sum(axis=-1) - mine) / (num - 1))
    return {"own": (("kind", "member", "example"), np.stack(own)), "other": (("kind", *PAIRS), np.stack(other))}


def lines(data: "xr.Dataset") -> "xr.Dataset":
    """Log-odds along lines, nats: own (direction, t, member, example), other (.., target, member, example)."""
    import xarray as xr

    values = data.line_log_odds.transpose("direction", "t", *PAIRS)
    members = np.arange(data.sizes["member"])
    own = values.values[:, :, members, members]
    unit = {"units": "nats"}
    arrays = {"own": (("direction", "t", "member", "example"), own, unit), "other": (values.dims, values.values, unit)}
    return xr.Dataset(arrays, {"direction": data.direction, "t": data.t})


def estimate(data: "xr.Dataset", config) -> Table:
    """The table of a run."""
    data = derive(data)
    table = tabulate(whole := whole_areas(data), declare(whole), OF_PLANES)
    table += tabulate(lines(data), declare_lines(data), OF_LINES)
    table += user_areas(data)
    most = data.sizes["member"]
    headline = [{"name": name, "count": most} for name in ("shared.area", "shared.area_if_independent")]
    headline += [{"name": name} for name in ("shared.area_of_pair", "attack.area")]
    return table.headline_rows(*headline)


def declare(whole: "xr.Dataset") -> Iterator[Estimate]:
    """Common shares by the number of members, of pairs, and shares of the disc."""
    there = {
        name: [kind for kind in whole.kind.values.tolist() if np.isfinite(whole[name].sel(kind=kind)).all()]
        for name in ("common", "expected", "beyond", "pair")
    }
    given = {"where": "", "by": ("count",), "unit": "1", "about": {"generalises_to": GIVEN}}
    for name, of in (("shared.area", "common"), ("shared.area_if_independent", "expected")):
        yield Estimate(name, of, groups=there[of], share=True, **given)
    yield Estimate("shared.area_beyond_chance", "beyond", groups=there["beyond"], **given)
    of_pair = {"where": "", "groups": there["pair"], "unit": "1"}
    yield Estimate("shared.area_of_pair", "pair", share=True, **of_pair)
    yield Estimate("shared.area_of_pair_if_independent", "pair_expected", share=True, **of_pair)
    yield Estimate("shared.area_of_pair_beyond_chance", "pair_beyond", **of_pair)
    spanned = [kind for kind in whole.kind.values.tolist() if kind != "random"]
    for of, groups in (("own", None), ("other", spanned)):
        yield Estimate("attack.area", of, where="", groups=groups, share=True, about={"classifier": of})


def declare_lines(data: "xr.Dataset") -> Iterator[Estimate]:
    """Log-odds along lines, of the member that the line is of and of the others."""
    for of in ("own", "other"):
        yield Estimate("path.log_odds", of, where="", by=("t",), band="t", about={"classifier": of})


def user_areas(data: "xr.Dataset") -> Table:
    """Of the plane of a user's images: the share of the map on which members err, in the mean, and the common share."""
    own = data.isel(map=np.flatnonzero(data.map_kind.values.astype(str) == "user"))
    if not own.sizes["map"]:
        return Table()
    wrong = (own.decision != own.map_class).isel(map=0).transpose("member", ...).values
    shares = {"attack.area": wrong.mean(), "shared.area": wrong.all(axis=0).sum() / max(wrong.any(axis=0).sum(), 1)}
    about = {"population": "user", "low": None, "high": None, "sem": None, "unit": "1", "examples": 1}
    about |= {"members": len(wrong), "level": None, "generalises_to": "this plane"}
    return Table(tuple(Row(name=name, value=float(value), **about) for name, value in shares.items()))


def claims(table: Table, config) -> list[dict]:
    """None are stated."""
    return []


def checks(data: "xr.Dataset", table: Table, config) -> list[Check]:
    """Copies of members; enough images; planes and attacks that fit what members say directly; fine enough a grid."""
    found = [Check(**duplicate_check(data.clean_log_odds.transpose("member", "example").values))]
    count, tried = data.sizes["example"], int(data.num_candidates)
    detail = f"{count} images, the first of {tried} that every member gets right and its own attack fools, or most do"
    found.append(Check("surfaces.images", count >= LEAST_IMAGES, f"{detail}; expected at least {LEAST_IMAGES}"))
    middle = int(data.wrong.sel(ring=0).sum())
    detail = f"{middle} errors in the middle of planes, where the images are, which all members get right"
    found.append(Check("surfaces.middle", middle == 0, f"{detail}; expected none"))
    own = lines(derive(data)).own.sel(direction="adversarial").sel(t=[0, 1], method="nearest")
    off = np.abs(own.isel(t=0) - data.clean_log_odds.transpose("member", "example").values).max().item()
    end = own.isel(t=1).max(skipna=False).item()
    detail = f"log-odds on lines differ from those of images by up to {off:.1e} nats, expected below 0.001; "
    detail += f"at adversarial examples they are up to {end:.2g}, expected below 0"
    found.append(Check("surfaces.lines", off < 1e-3 and end < 0, detail))
    fine = data.decision != data.map_class
    apart = np.abs(fine.mean(("row", "column")) - fine[..., ::2, ::2].mean(("row", "column"))).max().item()
    detail = f"areas on every second point of a map differ by up to {100 * apart:.1f} points"
    return [*found, Check("surfaces.resolution", apart <= COARSE, f"{detail}; expected at most {100 * COARSE:g}")]


def headline(table: Table, config) -> str:
    """How much of the adversarial area is common to all members, beside what chance would give, and how large it is."""
    counts = [row["count"] for row in table.select("shared.area", population="adversarial") if "count" in row]
    if not counts:
        return "Classifiers err nowhere around the images: no area is there to be common."
    most = max(counts)

    def text(name: str, **coords) -> str:
        row = table.get(name, population="adversarial", **coords)
        return "" if row is None else row.text(100.0, 1)

    common, chance = (text(name, count=most) for name in ("shared.area", "shared.area_if_independent"))
    pair, of_pair = (text(f"shared.area_of_pair{end}") for end in ("", "_if_independent"))
    share = {row["population"]: row for row in table.select("attack.area", classifier="own")}
    beside = [f"{share[kind].text(100.0, 1)} % of {text}" for kind, text in BESIDE.items() if kind in share]
    return (
        f"{common} % of the adversarial area is common to all {most} classifiers, in planes through an image and two "
        f"classifiers' adversarial examples ({chance} % if each one's area were turned about the image at random). "
        f"Those two have {pair} % in common ({of_pair} % if turned). A classifier errs on {', '.join(beside)}."
    )


BESIDE = {
    "adversarial": "the disc in which its own adversarial example lies",
    "gradient": "one along its gradient",
    "random": "one of random directions",
}
