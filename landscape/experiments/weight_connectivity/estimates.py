"""The numbers of a weight_connectivity run, from its arrays alone.

The barrier of a pair is that of the mean loss over images (or of the share of errors), since what has a barrier is a
classifier, not an image:

    b = mean_n f_n(t*) - mean_n f_n(e),    t* where the mean is highest, e its higher end,

so that v_n = f_n(t*) - f_n(e) has mean b, and its deviations are the first-order effects of images: another
t* changes b to second order only. Of noise in f the highest of several points is the one where chance adds
most: b errs upwards, the less the more images there are, and a barrier of 0 is estimated a little above.

Pairs share members and all see the same images: numbers are means over pairs with intervals over members and images,
for one training set. Differences of connections are taken pair by pair and image by image before.

Source: Entezari et al. 2022, arXiv:2110.06296, for barriers of means and above the line.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from landscape.experiments.base import Check, by_stratum, named, of_members, strata_of
from landscape.stats.contrasts import Least
from landscape.stats.duplicates import distinct_members, duplicate_check
from landscape.stats.table import Design, Estimate, Table, tabulate

if TYPE_CHECKING:
    import xarray as xr  # imported where it is used: half a second

VARIANTS = ("barrier", "above_line")
PLANTED = 1e-4  # nats: a larger barrier to its own permuted copy says that matching has failed
SAME_ENDS = 1e-3  # nats, share of the loss: permuted units compute the same up to rounding
SHOWN = {"adversarial": ("first", "second"), "clean": ("clean", "clean")}  # inputs of the first and the second endpoint
OVER_PAIRS = Design(target="target", compare="connection")
LEAST = Least(examples=5, paired=5)
OVER_COMMON = Design(target="target", compare="shown", support="common", least=LEAST)


class Connection(NamedTuple):
    """A path between two classifiers.

    curve: "line", or a trained "bezier" or "chain". matching: by what the second endpoint's units are put in order.
    statistics: "plain", or "reset" of the units; with batch norm running statistics are then taken anew at the
    endpoints as well, so that their losses change a little.
    """

    curve: str
    matching: str
    statistics: str

    @property
    def label(self) -> str:
        """Its name on the axis of connections."""
        return ", ".join(self)


PLAIN = Connection("line", "none", "plain")  # its endpoints are the members as they were trained


def connections(data: "xr.Dataset") -> list[Connection]:
    """Those of a dataset, in order."""
    return [Connection(*label.split(", ")) for label in data.connection.values.tolist()]


def references_of(connection: Connection) -> list[Connection]:
    """What a connection is compared with: the line between units as they are, and itself without resetting."""
    found = [Connection("line", "none", connection.statistics), connection._replace(statistics="plain")]
    return [other for i, other in enumerate(found) if other != connection and other not in found[:i]]


def derive(data: "xr.Dataset") -> "xr.Dataset":
    """The distinct trained members, and the pairs of them."""
    data = of_members(data.assign_coords(member=np.arange(data.sizes["member"])))
    return data.isel(member=distinct_members(_own_loss(data)))


def _own_loss(data: "xr.Dataset") -> Float[np.ndarray, "S N"]:
    """Losses of each member, as an endpoint of plain lines."""
    losses, ends = data.loss.values[connections(data).index(PLAIN)], data.pair_member.values
    return np.stack([losses[tuple(np.argwhere(ends == member)[0] * (1, -1))] for member in data.member.values])


def barrier_values(
    values: Float[np.ndarray, "Q T N"] | Bool[np.ndarray, "Q T N"], variant: str
) -> Float[np.ndarray, "Q N"]:
    """Values of images whose mean is the barrier of each pair; see the module's head.

    Args:
      variant: "barrier", above the higher end, or "above_line", above the straight line between the ends' means.
    """
    mean = values.mean(axis=2, dtype=np.float64)
    steps, rows = mean.shape[1], np.arange(len(values))
    t = np.linspace(0, 1, steps)
    first, last = (values[:, end].astype(np.float64) for end in (0, -1))
    if variant == "barrier":
        top = mean.argmax(axis=1)
        return values[rows, top] - np.where((mean[:, 0] >= mean[:, -1])[:, None], first, last)
    top = (mean - (1 - t) * mean[:, :1] - t * mean[:, -1:]).argmax(axis=1)
    share = t[top][:, None]
    return values[rows, top] - (1 - share) * first - share * last


def ordered(data: "xr.Dataset") -> "xr.Dataset":
    """What is saved by pair, by ordered pairs (member, target) of the members that are there; the diagonal is 0.

    loss, error (connection, t), and loss_barrier, error_barrier (variant, connection), of clean images: the same in
    either order. wrong (shown, connection, t): on the path from the attacked endpoint `member` to `target`, of `shown`,
    adversarial examples and clean images. common (example): images that every member classifies rightly and that the
    attack on every member turns.
    """
    import xarray as xr

    index = np.searchsorted(data.member.values, data.pair_member.values)
    known = np.isin(data.pair_member.values, data.member.values).all(axis=1)
    i, j = index[known].T
    some, count = data.isel(pair=known), data.sizes["member"]

    def square(forward: np.ndarray, back: np.ndarray) -> np.ndarray:
        """[..., target, member, N] of values [Q, ..., N] in either order."""
        whole = np.zeros((count, count, *forward.shape[1:]), forward.dtype)
        whole[j, i], whole[i, j] = forward, back
        return np.moveaxis(whole, (0, 1), (-3, -2))

    own, shown = ("target", "member", "example"), some.wrong.transpose("input", "pair", "connection", "t", "example")
    values = {"loss": some.loss.transpose("pair", "connection", "t", "example").values}
    values["error"] = shown.sel(input="clean").values
    found = {}
    for name, one in values.items():
        each = [[barrier_values(one[:, c], variant) for c in range(one.shape[1])] for variant in VARIANTS]
        each = np.moveaxis(np.asarray(each), 2, 0)  # pair, variant, connection, example
        unit = {"units": "nats" if name == "loss" else "1"}
        found[name] = (("connection", "t", *own), square(one, one), unit)
        found[f"{name}_barrier"] = (("variant", "connection", *own), square(each, each), unit)
    wrong = [
        square(shown.sel(input=first).values, shown.sel(input=second).values[:, :, ::-1])
        for first, second in SHOWN.values()
    ]
    found["wrong"] = (("shown", "connection", "t", *own), np.stack(wrong))
    plain = connections(data).index(PLAIN)
    off = ~np.eye(count, dtype=bool)
    turned, missed = (one[plain, 0][off].all(axis=0) for one in (wrong[0], ~wrong[1]))
    found["common"] = ("example", turned & missed)
    coords = {"variant": list(VARIANTS), "shown": list(SHOWN), "t": data.t, "connection": data.connection}
    return xr.Dataset(found, coords)


def estimate(data: "xr.Dataset", config) -> Table:
    """The table of a run; of a sweep, everything by its values."""

    def of_stratum(part: "xr.Dataset") -> Table:
        whole = ordered(part)
        return tabulate(whole, declare(whole), OVER_PAIRS) + tabulate(whole, declare_wrong(whole), OVER_COMMON)

    table = by_stratum(derive(data), of_stratum)
    return table.headline_rows(
        {"name": "barrier.weight_loss", "variant": "barrier", "reference": None, "population": shown_first(data)}
    )


def shown_first(data: "xr.Dataset") -> list[str]:
    """Connections of the headline: plain lines, and curves."""
    return [one.label for one in connections(data) if one.curve != "line" or one.statistics == "plain"]


def declare(data: "xr.Dataset") -> Iterator[Estimate]:
    """Barriers, what matching, resetting and curves take off them, and the loss along paths."""
    every = connections(data)
    versus = [(one.label, other.label) for one in every for other in references_of(one) if other in every]
    for name in ("loss", "error"):
        barrier = {"where": "", "by": ("variant",)}
        yield Estimate(f"barrier.weight_{name}", f"{name}_barrier", **barrier)
        yield Estimate(f"barrier.weight_{name}", f"{name}_barrier", versus=versus, **barrier)
        within = {"share": name == "error", "positive": True}
        yield Estimate(f"path.weight_{name}", name, where="", by=("t",), band="t", **within)


def declare_wrong(data: "xr.Dataset") -> Iterator[Estimate]:
    """What share stays wrong on the path from the attacked endpoint to another member, of `common` images."""
    for label in data.connection.values.tolist():
        at = {"connection": label}
        yield Estimate("path.weight_wrong", "wrong", where="", at=at, by=("t",), band="t", share=True)


def claims(table: Table, config) -> list[dict]:
    """None are stated."""
    return []


def checks(data: "xr.Dataset", table: Table, config) -> list[Check]:
    """Copies among members; is a permuted copy found again, and are endpoints the same in every order of units?"""
    whole = of_members(data.assign_coords(member=np.arange(data.sizes["member"])))
    found = [Check(**duplicate_check(_own_loss(whole)))]
    planted = dict(zip(data.matching.values.tolist(), data.planted.values.tolist(), strict=True))
    if matched := {name: value for name, value in planted.items() if name != "none"}:
        detail = ", ".join(f"{name} matching {value:.1e}" for name, value in matched.items())
        detail = f"barrier to a member's copy with permuted units, nats: {detail} (as it is: {planted['none']:.2g})"
        detail += f"; expected below {PLANTED:g}"
        found.append(Check("weights.planted", max(matched.values()) < PLANTED, detail))
    plain = [i for i, one in enumerate(connections(data)) if (one.curve, one.statistics) == ("line", "plain")]
    ends = data.loss.values[plain][:, :, [0, -1]].mean(axis=-1, dtype=np.float64)
    apart, most = np.abs(ends - ends[:1]).max(), SAME_ENDS * max(ends.max(), 1.0)
    detail = f"mean losses of the ends of lines differ by up to {apart:.1e} nats between orders of units"
    found.append(Check("weights.same_ends", bool(apart <= most), f"{detail}; expected at most {most:.1e}"))
    return found


def headline(table: Table, config) -> str:
    """How much of the barrier between two classifiers is left once their units are matched, and along curves."""
    return " ".join(_of_kind(table, kind) for kind in strata_of(table))


def _of_kind(table: Table, kind: dict) -> str:
    def barrier(*connection: str) -> str:
        about = {"population": ", ".join(connection), "variant": "barrier", "reference": None}
        row = table.get("barrier.weight_loss", **about, **kind)
        return "" if row is None else row.text(1.0, 2)

    start = f"With {named(kind)}, along" if kind else "Along"
    parts = [f"{start} the line between two classifiers' weights the loss rises by {barrier(*PLAIN)} nats"]
    for way in ("weight", "activation"):
        if left := barrier("line", way, "plain"):
            parts.append(f"by {left} once hidden units are matched by their {way}s")
    for last in ("plain", "reset"):
        if left := barrier("bezier", "none", last):
            parts.append(f"by {left} along a trained Bézier curve")
    return f"{', '.join(parts)}."
