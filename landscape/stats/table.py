"""Declared estimates, and the tidy table they make of a dataset: one row an estimate, its coordinates as columns.

    data: xarray.Dataset       input_loss_rise (noise, r, member, population, example), valid, margin, prediction
    table = tabulate(data, [Estimate("distance.l2", "delta_l2"),
                            Estimate("input_flatness.loss_rise", "input_loss_rise", by=("noise", "r"), band="r",
                                     versus=[("adversarial", "boosted")])], Design())
    table.one("input_flatness.loss_rise", reference="boosted", noise="additive", r=0.3).text()     '0.2 [0.1, 0.3]'

Pure: the same dataset and declarations give the same table, so that a finished run is estimated anew from arrays.nc.
"""

import csv
import dataclasses
import io
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from landscape.stats import claims, contrasts
from landscape.stats.contrasts import ANY, Influence, Least, Result, Sample
from landscape.stats.intervals import Interval, of_share

if TYPE_CHECKING:
    import xarray as xr  # imported where it is used: half a second

ENDS = ("value", "low", "high", "band_low", "band_high")
# How an interval came about.
TECHNICAL = ("sem", "df", "skew", "var_member", "var_example", "var_residual", "incomplete")
# What is no coordinate of a row.
FIELDS = (*ENDS, "name", "level", "members", "examples", "unit", "generalises_to", "headline", *TECHNICAL)
# Columns of every table, in this order; coordinates stand between the first two and the others.
FIRST, LAST = ("name", "population"), (*ENDS, "unit", "members", "examples", "generalises_to", "level", *TECHNICAL)


@dataclasses.dataclass(frozen=True)
class Estimate:
    """Numbers of one name, declared: the mean of a variable, or differences of means, by coordinates.

    Attributes:
      name: dotted, its first part from the vocabulary.
      of: variable of the dataset. per: variable it is divided by, as a ratio of sums.
      where: the mask of who counts; "" counts all.
      by: dims that give a row each. at: coordinates chosen beforehand. All of these are columns.
      groups: the populations; all where None, one row without the column where the variable has none.
      versus: pairs (a, b): the differences a - b instead of the means. matching: "raw", "iso" (of twins), "raw_of_iso"
        (raw, on the examples of `iso` alone) or "matched".
      combine: population -> weight: one weighted sum instead of them.
      statistic: instead of means and differences, of one sample or of the two of `versus`.
      share: a share in [0, 1], see `of_share`. positive: never below 0. Intervals and bands are cut there, those of
        differences of shares are not.
      band: the dim of `by` along which a simultaneous band holds.
      unit: where it is not that of the variable ("1" of shares and ratios).
      about: further columns.
    """

    name: str
    of: str
    per: str = ""
    _: dataclasses.KW_ONLY
    where: str = "valid"
    by: tuple[str, ...] = ()
    at: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    groups: Sequence[str] | None = None
    versus: Sequence[tuple[str, str]] = ()
    matching: str = "raw"
    combine: Mapping[str, float] | None = None
    statistic: Callable[..., Iterable[Result]] | None = None
    share: bool = False
    positive: bool = False
    band: str = ""
    unit: str = ""
    about: Mapping[str, Any] = dataclasses.field(default_factory=dict)


class Design(NamedTuple):
    """How a dataset is laid out for statistics.

    crossed: dims of members and of examples, "" where a variable has one value a member. target: dim of the same
    members, on whom another one's example is tried: what has it is averaged over ordered pairs of members. compare: dim
    of the populations. covariate, classes: variables that `matched` differences match on. twins: population -> the one
    at equal log-odds that `iso` differences are of. apart: populations that share no example with others: their
    differences are of means over their own; all where `paired` is False. support: variable (population, example), the
    examples that a population could hold; all where "".
    least: see `Least`.
    """

    crossed: tuple[str, str] = ("member", "example")
    target: str = ""
    compare: str = "population"
    covariate: str = "log_odds"
    classes: str = "prediction"
    twins: Mapping[str, str] = {}
    apart: frozenset[str] = frozenset()
    paired: bool = True
    support: str = ""
    least: Least = ANY


class Row(dict):
    """One estimate. None stands for what is not finite; a coordinate that it does not have is no key."""

    @property
    def interval(self) -> Interval:
        """As `stats.intervals` has it, NaN for None."""
        return Interval(*(np.nan if self[field] is None else self[field] for field in Interval._fields))

    @property
    def excludes_zero(self) -> bool:
        """Whether it has an interval, and that leaves 0 out."""
        return self["low"] is not None and (self["low"] > 0 or self["high"] < 0)

    def text(self, scale: float = 1.0, digits: int = 1) -> str:
        """`2.7 [2.2, 3.1]` of values times a scale; the value alone where there is no interval."""
        value, *ends = (f"{scale * self[k]:z.{digits}f}" for k in ENDS[:3] if self[k] is not None)
        return f"{value} [{', '.join(ends)}]" if ends else value


@dataclasses.dataclass(frozen=True)
class Table:
    """The estimates of a run. Immutable: what changes it gives another one."""

    rows: tuple[Row, ...] = ()

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __add__(self, other: "Table") -> "Table":
        return Table(self.rows + other.rows)

    def select(self, name: str | Sequence[str] | None = None, **coords: Any) -> "Table":
        """Rows of names and coordinates: a value, a list of values, or None for rows without the coordinate."""
        wanted = coords if name is None else {"name": name, **coords}
        return Table(tuple(row for row in self.rows if all(_alike(row.get(k), v) for k, v in wanted.items())))

    def get(self, name: str, **coords: Any) -> Row | None:
        """The row of a name and coordinates; None where there is none, KeyError where there are several."""
        found = self.select(name, **coords).rows
        if len(found) > 1:
            raise KeyError(f"{name} with {coords}: {len(found)} rows, which differ in {_spread(found)}; name one")
        return found[0] if found else None

    def one(self, name: str, **coords: Any) -> Row:
        """The row of a name and coordinates; KeyError where there is none or several."""
        found = self.get(name, **coords)
        if found is None:
            raise KeyError(f"{name} with {coords}: no row; rows of this name have {_spread(self.select(name).rows)}")
        return found

    def cube(self, *dims: str) -> "xr.Dataset":
        """ENDS as arrays over coordinates in which alone the rows differ, NaN where there is no row: for figures."""
        import xarray as xr

        labels = {dim: list(dict.fromkeys(row[dim] for row in self.rows)) for dim in dims}
        values = {end: np.full([len(own) for own in labels.values()], np.nan) for end in ENDS}
        for row in self.rows:
            at = tuple(own.index(row[dim]) for dim, own in labels.items())
            if not np.isnan(values["value"][at]):
                raise KeyError(f"rows differ in {_spread(self.rows)}, not in {', '.join(dims)} alone; select before")
            for end in ENDS:
                values[end][at] = np.nan if row.get(end) is None else row[end]
        return xr.Dataset({end: (dims, value) for end, value in values.items()}, labels)

    def headline_rows(self, *selectors: Mapping[str, Any]) -> "Table":
        """The same, rows that a selector finds marked for the table at the top of the report."""
        shown = {id(row) for selector in selectors for row in self.select(**selector)}
        return Table(tuple(Row(row, headline=True) if id(row) in shown else row for row in self.rows))

    def csv(self) -> str:
        """The table as text: texts in quotes, numbers as the shortest text that reads back the same, nothing for None.

        Flags are 1 and 0.
        """
        coordinates = dict.fromkeys(key for row in self.rows for key in row if key not in (*FIRST, *LAST, "headline"))
        columns = [*FIRST, *coordinates, *LAST, "headline"]
        out = io.StringIO()
        writer = csv.writer(out, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
        writer.writerow(columns)
        for row in self.rows:
            writer.writerow([_cell(row.get(column)) for column in columns])
        return out.getvalue()


def read_csv(text: str) -> Table:
    """The table that `Table.csv` wrote; a column of whole numbers is one of integers."""
    columns, *rows = csv.reader(io.StringIO(text), quoting=csv.QUOTE_NONNUMERIC)
    always = (*ENDS[:3], *TECHNICAL[:-1], "level", "members", "examples")  # None where they are not finite
    table: list[Row] = [Row() for _ in rows]
    for name, column in zip(columns, zip(*rows, strict=True), strict=False):
        numbers = [value for value in column if not isinstance(value, str)]
        whole = name not in ENDS and all(number.is_integer() for number in numbers)
        for row, value in zip(table, column, strict=True):
            if value != "" or name == "population":
                row[name] = int(value) if whole and not isinstance(value, str) else value
            elif name in always:
                row[name] = None
    return Table(tuple(table))


def tabulate(
    data: "xr.Dataset", estimates: Iterable[Estimate | Callable[["xr.Dataset"], Table]], design: Design
) -> Table:
    """The rows of all estimates, each once, as it was first declared; what has too few examples has none.

    Args:
      data: variables (..., member, example) with units, of the members that statistics use and no others.
      estimates: declared ones; a function for what cannot be declared.
    """
    data = data if design.crossed[1] else data.expand_dims("example")
    names = dict(zip((design.crossed[0], design.crossed[1] or "example"), ("member", "example"), strict=True))
    data = data.drop_vars([c for c in data.coords if {*data[c].dims} & {*design.crossed, design.target}])
    design_data = _Data(data.rename({old: new for old, new in names.items() if old != new}), design, {}, {})
    rows = itertools.chain.from_iterable(one(data) if callable(one) else design_data.rows(one) for one in estimates)
    found: dict[tuple, Row] = {}
    for row in rows:
        found.setdefault(_coordinates(row), row)
    return Table(tuple(found.values()))


def verdicts(
    table: Table,
    stated: Mapping[str, dict[str, Any]],
    where: Callable[[Any], Mapping[str, Any]],
    strata: Sequence[Mapping[str, Any]] = ({},),
) -> list[dict]:
    """Verdicts on a config's claims, each about the row at `where(claim)`, Holm-corrected over them.

    Args:
      strata: coordinates of kinds of members that are no sample together; a claim is made of each kind.
    """
    stated = {
        ", ".join([name, *(f"{field.removeprefix('train_')} {value:g}" for field, value in kind.items())]): claim | kind
        for name, claim in stated.items()
        for kind in strata
    }
    coords = [{**where(claim), **{name: claim[name] for name in strata[0]}} for claim in stated.values()]
    rows = [table.get(claim["measure"], **at) for claim, at in zip(stated.values(), coords, strict=True)]
    sizes = [{size: at[size] for size in claims.SIZES if size in at} for at in coords]
    about = [{"name": name, **claim, **at} for (name, claim), at in zip(stated.items(), sizes, strict=True)]
    # What is the same for all members and examples has no spread to decide by.
    intervals = [None if row is None or row["sem"] == 0 else row.interval for row in rows]
    return claims.decide(about, intervals, strata=len(strata))


class _Data(NamedTuple):
    """A dataset with its design; the partners found so far, which all measures share, and the arrays taken so far."""

    data: "xr.Dataset"
    design: Design
    partners: dict
    arrays: dict

    def rows(self, e: Estimate) -> Iterator[Row]:
        """All rows of an estimate. Dims along which the mask changes are gone through, others are carried along."""
        part = self.chosen(e)
        matched = e.versus and e.matching == "matched"
        masks = [e.where, self.design.support, *((self.design.covariate, self.design.classes) if matched else ())]
        masks = [part.data[name] for name in masks if name]
        masked = [dim for dim in e.by if any(dim in mask.dims for mask in masks)]
        compared = self.design.compare in part.data[e.of].dims
        groups = (
            (part.data[self.design.compare].values.tolist() if compared else [""]) if e.groups is None else e.groups
        )
        for indices in itertools.product(*(range(part.data.sizes[dim]) for dim in masked)):
            at = dict(zip(masked, indices, strict=True))
            if e.combine:
                samples = [part.sample(e, at, name, e.combine) for name in e.combine]
                found = contrasts.combine(samples, [*e.combine.values()], self.design.least)
                yield from part.linear(e, at, found, {})
            elif e.statistic:
                for names in e.versus or [(name,) for name in groups]:
                    yield from part.statistic(e, at, names)
            elif e.versus:
                for a, b in e.versus:
                    about = {"population": a, "reference": b, "matching": e.matching}
                    yield from part.linear(e, at, part.difference(e, at, a, b), about)
            else:
                for name in groups:
                    found = contrasts.mean(part.sample(e, at, name, [name]), self.design.least)
                    yield from part.linear(e, at, found, {"population": name})

    def chosen(self, e: Estimate) -> "_Data":
        """The part at the coordinates of `e.at`; partners are its own where who is matched depends on them."""
        at = {dim: value for dim, value in e.at.items() if dim in self.data.dims}
        matching = [self.data[n] for n in (e.where, self.design.covariate, self.design.classes) if n in self.data]
        own = any(dim in one.dims for dim in at for one in matching)
        if not at:
            return self
        return self._replace(data=self.data.sel(at), partners={} if own else self.partners, arrays={})

    def array(
        self, variable: str, e: Estimate, at: Mapping[str, int], name: str, dims: Sequence[str] = ()
    ) -> "xr.DataArray":
        """A variable of one population, (..., member, example); with those of `dims` that it lacks, of length 1."""
        key = (variable, *at.items(), name, e.by, tuple(dims))
        if key not in self.arrays:  # each is taken once: selecting is what most of the time is spent on
            one = self.data[variable].isel(at, missing_dims="ignore")
            if self.design.compare in one.dims:
                one = one.sel({self.design.compare: name}, drop=True)
            if "member" not in one.dims:  # the same for all members, or of all together
                one = one.expand_dims("member")
            one = one.expand_dims([dim for dim in dims if dim not in one.dims and len(one.dims) > 2])
            first = [dim for dim in (self.design.target, *e.by) if dim in one.dims]
            self.arrays[key] = one.transpose(*first, "member", "example")
        return self.arrays[key]

    def sample(self, e: Estimate, at: Mapping[str, int], name: str, together: Iterable[str]) -> Sample:
        """One population, on the examples that the populations compared `together` could hold."""
        values = self.array(e.of, e, at, name).values
        values = values if values.dtype.kind == "f" else values.astype(np.float64)
        where = self.array(e.where, e, at, name).values if e.where else np.True_
        matched = e.versus and e.matching == "matched"
        more = (e.per, *((self.design.covariate, self.design.classes) if matched else ("", "")))
        dims = self.array(e.of, e, at, name).dims
        fields = [self.array(variable, e, at, name, dims).values if variable else None for variable in more]
        # What is the same for all members stands for each of them.
        fields = [one if one is None else np.broadcast_to(one, (*one.shape[:-2], *values.shape[-2:])) for one in fields]
        pairs = self.design.target in dims
        found = Sample(values, np.broadcast_to(where, values.shape[-2:]), *fields, pairs=pairs)
        if not self.design.support:
            return found
        support = self.data[self.design.support].isel(at, missing_dims="ignore")
        if self.design.compare in support.dims:
            support = support.sel({self.design.compare: list(together)}).any(self.design.compare)
        return Sample(*(None if field is None else field[..., support.values] for field in found[:-1]), pairs=pairs)

    def difference(self, e: Estimate, at: Mapping[str, int], a: str, b: str) -> Influence | None:
        """a - b by the estimate's matching, with the share of a that it speaks of where that is not all."""
        twins = tuple(self.design.twins.get(name, name) for name in (a, b))
        both = twins if e.matching == "iso" else (a, b)
        samples = [self.sample(e, at, name, both) for name in both]
        if e.matching == "raw_of_iso":
            own = [one.where & self.sample(e, at, name, both).where for one, name in zip(samples, twins, strict=True)]
            samples = [one._replace(where=where) for one, where in zip(samples, own, strict=True)]
        if e.matching == "matched":
            key = (e.where, *both, *at.items())
            if key not in self.partners:
                self.partners[key] = contrasts.partners(*samples)
            return contrasts.matched(*samples, self.partners[key])
        if {a, b} & self.design.apart or not self.design.paired:
            return contrasts.combine(samples, (1.0, -1.0), self.design.least)
        found = contrasts.difference(*samples, self.design.least)
        if found is None:
            return None
        both, all_of_a = samples[0].where & samples[1].where, self.sample(e, at, a, (a, b)).where.sum(axis=1)
        share = float(np.mean(both.sum(axis=1)[all_of_a > 0] / all_of_a[all_of_a > 0]))
        return found._replace(about={**found.about, "share_kept": share}) if share < 1 else found

    def statistic(self, e: Estimate, at: Mapping[str, int], names: Sequence[str]) -> Iterator[Row]:
        """The rows of what is not linear, of one sample or of two."""
        samples = [self.sample(e, at, name, names) for name in names]
        for index, coords in self.coordinates(e, at, names[0])[1].items():
            here = [one._replace(values=one.values[index]) for one in samples]
            for result in e.statistic(*here):
                about = dict(zip(("population", "reference"), names, strict=False)) | {"unit": self.unit(e)}
                about |= {"examples": result.examples, **result.about, **coords, **e.about}
                yield Row(claims.estimate_dict(result.interval, f"{e.name}{result.suffix}", **about))

    def linear(
        self, e: Estimate, at: Mapping[str, int], found: Influence | None, about: Mapping[str, Any]
    ) -> Iterator[Row]:
        """The rows of an influence array, one at each leading index."""
        if found is None:
            return
        dims, leading = self.coordinates(e, at, about.get("population", ""))
        bands = dict(zip(ENDS[3:], found.band(dims.index(e.band)), strict=True)) if e.band in dims else {}
        fixed = {"population": "", "unit": self.unit(e), "examples": found.examples, "incomplete": found.incomplete}
        simple, alone = not (e.versus or e.combine), not self.design.crossed[1]
        limits = (0.0, 1.0) if e.share and simple else (0.0, math.inf) if e.positive else (-math.inf, math.inf)
        bands = {end: np.clip(values, *limits) for end, values in bands.items()}
        for index, coords in leading.items():
            one = found.interval(index, 1) if alone else found.interval(index)
            if np.isnan(one.value):
                continue
            one = of_share(one, math.inf if alone else found.examples) if e.share and simple else one
            one = one._replace(low=float(np.maximum(one.low, limits[0])))
            row = claims.estimate_dict(one, e.name, **fixed | dict(about) | dict(found.about) | coords | dict(e.about))
            yield Row(row, **{end: float(value[index]) for end, value in bands.items() if np.isfinite(value[index])})

    def unit(self, e: Estimate) -> str:
        """As declared, or that of the variable; ratios and shares have none."""
        return e.unit or ("1" if e.per or e.share else self.data[e.of].attrs.get("units", "1"))

    def coordinates(
        self, e: Estimate, at: Mapping[str, int], name: str
    ) -> tuple[tuple[str, ...], dict[tuple, dict[str, Any]]]:
        """The leading dims of the estimate's variable, and the coordinates at each index along them."""
        known = self.data[self.design.compare].values if self.design.compare in self.data.dims else [name]
        one = self.array(e.of, e, at, name if name in known else known[0])
        fixed = {dim: claims.plain(self.data[dim].values[index]) for dim, index in at.items()}
        lengths = {d: n for d, n in zip(one.dims[:-2], one.shape, strict=False) if d != self.design.target}
        found = {}
        for index in np.ndindex(*lengths.values()):
            along = dict(zip(lengths, index, strict=True))
            coords = {n: c.values[tuple(along[d] for d in c.dims)] for n, c in one.coords.items()}
            found[index] = fixed | {name: claims.plain(value) for name, value in coords.items()}
        return tuple(lengths), found


def _coordinates(row: Row) -> tuple:
    """What sets a row apart from every other one."""
    return (
        row["name"],
        *((key, row[key]) for key in sorted(row) if key not in FIELDS and not isinstance(row[key], list)),
    )


def _cell(value: Any) -> Any:
    """A value as CSV holds it."""
    if isinstance(value, bool):
        return int(value)
    return "" if value is None else value


def _alike(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, list | tuple | set):
        return any(_alike(value, one) for one in wanted)
    if isinstance(wanted, float) and isinstance(value, int | float):
        return math.isclose(value, wanted, rel_tol=1e-6)
    return value == wanted


def _spread(rows: Sequence[Row]) -> str:
    """The coordinates in which rows differ, with a few of their values."""
    keys = [key for key in dict.fromkeys(key for row in rows for key in row) if key not in FIELDS]
    values = {key: list(dict.fromkeys(str(row.get(key)) for row in rows)) for key in keys}
    return "; ".join(f"{key} {', '.join(own[:6])}" for key, own in values.items() if len(own) > 1) or "no coordinate"
