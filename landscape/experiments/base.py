"""What an experiment is: stages that make one Dataset, estimates that make one Table of it, figures of both.

    landscape/experiments/NAME/__init__.py    EXPERIMENT = Experiment(...): question, schema, check of the config
                               stages.py      compute(config, run) -> Dataset                       the only JAX
                               estimates.py   estimate, derive, claims, checks, headline            pure, NumPy
                                              of_measures(data, config) -> Table where the config takes `measures`
                               figures.py     FIGURES, each drawn from (derived Dataset, Table);
                                              links(Dataset, directory) where its report leads to others

`arrays.nc` is the Dataset, `estimates.csv` the Table, `summary.json` what is said first. All but `compute` works from
these alone. Imports no JAX.
"""

import csv
import dataclasses
import functools
import importlib
import json
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from landscape import files, runs
from landscape.files import UserError
from landscape.presets.check import Field
from landscape.presets.names import SWEPT
from landscape.runs import Run
from landscape.runs.summary import SCHEMA as SCHEMA_OF_SUMMARY
from landscape.stats.table import Row, Table, read_csv

if TYPE_CHECKING:
    import xarray as xr  # imported where it is used: half a second


BY_NAME = "measured"  # column of rows of `config.measures`: the name of the measure
FAILED = "failed.txt"  # the traceback of estimates that failed


class Quantity(NamedTuple):
    """A variable of a dataset, written once: its dims, unit and what it is."""

    dims: tuple[str, ...]
    unit: str
    about: str


Schema = Mapping[str, Quantity]


class Check(NamedTuple):
    """Something that must hold if nothing is broken; the detail says what was measured and what was expected."""

    name: str
    passed: bool
    detail: str


# ---- stages ----


class Stage(NamedTuple):
    """Work on a dataset, chunk by chunk along `dim`; each chunk's results are saved, and not computed again.

    name: of its folder. work: (chunk: name -> array, **shared) -> name -> array, pure, of a fixed chunk size; jitted
    here but where `jit` is False, for work that calls programs which other stages have compiled already.
    inputs: variables with `dim` are cut, others come whole; its coordinate `dim` is one of them. size: of a chunk.
    shared: pytrees that come whole, as arguments and not in a closure, where they would be constants of the program.
    """

    name: str
    work: Callable[..., Mapping[str, Any]]
    inputs: "xr.Dataset"
    size: int
    shared: Mapping[str, Any] = {}
    dim: str = "example"
    jit: bool = True


def run_stage(run: Run, stage: Stage, schema: Schema) -> "xr.Dataset":
    """The results of a stage with the schema's dims and units, and the coordinate `dim` of its inputs.

    Raises:
      ValueError: the work gives arrays that the schema lacks, or of other dims; before anything is computed.
    """
    import jax
    import xarray as xr

    def program(chunk: Mapping[str, Any], shared: Mapping[str, Any]) -> Mapping[str, Any]:
        return stage.work(chunk, **shared)

    program = jax.jit(program) if stage.jit else program
    inputs, dim, total = stage.inputs, stage.dim, stage.inputs.sizes[stage.dim]

    def work(start: int, stop: int) -> runs.Arrays:
        # A short last chunk is filled up with repeats, which are cut off again: one program for all.
        rows = inputs.isel({dim: np.resize(np.arange(start, stop), max(runs.piece(run, stage.name), stop - start))})
        chunk = {str(name): v.values for name, v in rows.variables.items() if v.dtype.kind in "biuf"}
        arguments = (chunk, dict(stage.shared))
        _refuse_unknown(stage.name, jax.eval_shape(program, *arguments), schema)
        found = {name: np.asarray(value) for name, value in program(*arguments).items()}
        return {n: (schema[n].dims, v[cut(schema[n].dims, stop - start)]) for n, v in found.items()}

    def cut(dims: tuple[str, ...], count: int) -> tuple[slice, ...]:
        return tuple(slice(count) if one == dim else slice(None) for one in dims)

    arrays = runs.chunks(run, stage.name, work, total, min(stage.size, total), dim=dim)
    coords = {dim: inputs[dim].values} if dim in inputs.coords else {}
    return described(xr.Dataset(arrays, coords), schema)


def run_once(run: Run, name: str, work: Callable[[], Mapping[str, Any]], schema: Schema) -> "xr.Dataset":
    """The results of a stage of one piece: work() -> name -> array."""
    import xarray as xr

    arrays = runs.once(run, name, lambda: {n: (schema[n].dims, np.asarray(v)) for n, v in work().items()})
    return described(xr.Dataset(arrays), schema)


def described(data: "xr.Dataset", schema: Schema) -> "xr.Dataset":
    """The dataset with units and long names of the schema, its dims checked."""
    _refuse_unknown("dataset", data.variables, schema)
    for name, variable in data.variables.items():
        variable.attrs |= {"units": schema[name].unit, "long_name": schema[name].about}
    return data


def _refuse_unknown(where: str, found: Mapping[str, Any], schema: Schema) -> None:
    """ValueError for names that the schema lacks, or that have other dims there."""
    for name, value in found.items():
        dims = getattr(value, "dims", None) or value.ndim  # of plain arrays the number of axes is all there is
        known = schema[name].dims if name in schema else None
        if known is None or (len(known) if isinstance(dims, int) else known) != dims:
            raise ValueError(f"{where}: {name} has dims {dims}; the schema has {known}; write its Quantity")


# ---- what the datasets of all experiments have ----

TRAINED = tuple(f"train_{name}" for name in SWEPT)  # how a member was trained
SCHEMA = {
    "member": Quantity(("member",), "1", "number of the classifier"),
    "seed": Quantity(("member",), "1", "base seed of the classifier"),
    "control": Quantity(("member",), "1", "how the classifier was trained"),
    **{
        name: Quantity(
            ("member",), "1", f"{name.removeprefix('train_').replace('_', ' ')} of the classifier's training"
        )
        for name in TRAINED
    },
    "file": Quantity(("member",), "1", "file that the classifier's weights come of, empty where they were trained"),
    "example": Quantity(("example",), "1", "id of the image in its data set"),
    "class": Quantity(("class",), "1", "class name"),
    "audit": Quantity(("audit_attack", "audit_epsilon"), "1", "robust accuracy, mean over the audited members"),
    "audit_attack": Quantity(("audit_attack",), "1", "attack tried by the audit"),
    "audit_epsilon": Quantity(("audit_epsilon",), "pixels", "radius tried by the audit"),
    "check": Quantity(("check",), "1", "checks made while the arrays were computed"),
    "check_passed": Quantity(("check",), "1", "whether the check holds"),
    "check_detail": Quantity(("check",), "1", "what was found"),
}


def of_members(data: "xr.Dataset", control: str = "trained") -> "xr.Dataset":
    """The members of one kind."""
    return data.isel(member=(data["control"].values.astype(str) == control).nonzero()[0])


def strata(data: "xr.Dataset", known: Sequence[str] = TRAINED) -> "list[tuple[dict[str, float], xr.Dataset]]":
    """(coordinates, members) of each kind of training: one without coordinates where all have the same.

    known: the variables, over `member` or a dim of kinds of training, that say how members were trained.

    Members of unlike training are no sample of seeds: values of a sweep are strata, and nothing is pooled over them.
    """
    names = [name for name in known if len(np.unique(data.get(name, 0))) > 1]
    if not names:
        return [({}, data)]
    kinds, (dim,) = list(zip(*(data[name].values.tolist() for name in names), strict=True)), data[names[0]].dims
    return [
        (dict(zip(names, kind, strict=True)), data.isel({dim: [i for i, own in enumerate(kinds) if own == kind]}))
        for kind in dict.fromkeys(kinds)
    ]


def by_stratum(data: "xr.Dataset", make: Callable[["xr.Dataset"], Table]) -> Table:
    """make(members) of each stratum, whose coordinates are columns of its rows."""
    return Table(tuple(Row(row, **coords) for coords, part in strata(data) for row in make(part)))


def of_one_kind(draw: Callable[["xr.Dataset", Table], Any]) -> Callable[["xr.Dataset", Table], Any]:
    """The same drawing of a dataset and its table, of the first kind of training alone where there are several."""

    @functools.wraps(draw)
    def drawn_of_one(data: "xr.Dataset", table: Table) -> Any:
        kind, members = strata(data)[0]
        others = Table(tuple(row for row in table if not any(name in row for name in kind)))
        return draw(members, table.select(**kind) + others) if kind else draw(data, table)

    return drawn_of_one


def strata_of(table: Table, known: Sequence[str] = TRAINED) -> list[dict[str, float]]:
    """The coordinates of the strata that a table has rows of: one without any where there is but one."""
    found = [{name: row[name] for name in known if name in row} for row in table]
    return [dict(kind) for kind in dict.fromkeys(tuple(kind.items()) for kind in found if kind)] or [{}]


def first_stratum(table: Table) -> Table:
    """The rows of the first stratum, for figures that have space for one."""
    return table.select(**strata_of(table)[0])


def named(coords: Mapping[str, float]) -> str:
    """`learning rate 0.001, ema 0.9` of a stratum's coordinates."""
    parts = (f"{name.removeprefix('train_').replace('_', ' ')} {value:g}" for name, value in coords.items())
    return ", ".join(parts)


def worst_of(data: "xr.Dataset", check: "Callable[[xr.Dataset], Check]") -> Check:
    """A check of each stratum: the first that fails, or the first."""
    found = [(coords, check(part)) for coords, part in strata(data)]
    coords, worst = next(((c, one) for c, one in found if not one.passed), found[0])
    return worst._replace(detail=f"{named(coords)}: {worst.detail}" if coords else worst.detail)


def saved_checks(data: "xr.Dataset") -> list[Check]:
    """The checks of the data, and those made while the arrays were computed."""
    of_data = [Check(**check) for check in json.loads(data.attrs.get("data_checks", "[]"))]
    columns = (data[name].values.tolist() for name in ("check", "check_passed", "check_detail"))
    return of_data + ([Check(*row) for row in zip(*columns, strict=True)] if "check" in data.coords else [])


# ---- an experiment as a whole ----


@dataclasses.dataclass(frozen=True)
class Experiment:
    """One experiment. Its modules are imported when they are needed; `stages` alone imports JAX.

    Attributes:
      package: "landscape.experiments.NAME".
      question: what it asks, for the report.
      schema: every variable and coordinate of its dataset.
      check: refuses a config that would run but mean something else; (config, its dotted fields) -> None or UserError.
      fields: what the fields that it alone has may hold.
      controls: whether it tells control members from trained ones.
    """

    package: str
    question: str
    schema: Schema
    check: Callable[[ConfigDict, dict[str, Any]], None] = lambda config, fields: None
    fields: Mapping[str, Field] = dataclasses.field(default_factory=dict)
    controls: bool = False

    def module(self, name: str) -> ModuleType:
        """One module of its package."""
        return importlib.import_module(f"{self.package}.{name}")

    def run(self, config: ConfigDict, run: Run) -> None:
        """Computes what is not on disk yet, writes arrays.nc, and summarises it."""
        data = described(self.module("stages").compute(config, run), self.schema)
        about = {"config": files.canonical_json(config.to_dict()), "stages": json.dumps(runs.stage_seconds(run))}
        about |= {"experiment": config.experiment, "dataset": config.data.name, "seed": config.seed}
        made_with = files.read_json(run.directory / "environment.json")
        about |= {"data_checks": json.dumps(made_with.get("data_checks", []))}
        files.write_netcdf(run.directory / "arrays.nc", data.assign_attrs(about | data.attrs))
        self.summarise(config, run)

    def summarise(self, config: ConfigDict, run: Run) -> None:
        """Writes estimates.csv and summary.json from arrays.nc: what `--reestimate` does.

        Raises:
          UserError: the estimates fail, on data that nobody thought of. All arrays and the traceback are kept.
        """
        if runs.finished(run):
            _refuse_earlier(run)
        data, estimates = runs.read_arrays(run), self.module("estimates")
        try:
            table = estimates.estimate(data, config)
            asked = bool(config.get("measures")) and hasattr(estimates, "of_measures")
            measured = estimates.of_measures(data, config) if asked else Table()
            found = {
                "headline": estimates.headline(table, config),
                "estimates": [dict(row) for row in table if row.get("headline")],
                "claims": estimates.claims(table, config),
                "checks": [c._asdict() for c in (*saved_checks(data), *estimates.checks(data, table, config))],
                "stages": json.loads(data.attrs["stages"]),
            }
        except UserError:
            raise
        except Exception as error:
            kept = files.write_text(run.directory / FAILED, traceback.format_exc())
            raise UserError(
                f"{run.directory}: all arrays are computed (arrays.nc), but their estimates fail with "
                f"{type(error).__name__} ({error}), expected data that they are defined on; see {kept.name}; after an "
                "update of the code --reestimate goes on from here"
            ) from error
        files.remove(run.directory / FAILED)
        files.write_text(run.directory / "estimates.csv", (table + measured).csv())
        runs.write_summary(run, **found, results=("arrays.nc", "estimates.csv"))

    def report(self, run: Run) -> Path:
        """Draws the figures and writes report.html, from the files of a finished run."""
        from landscape.experiments import page
        from landscape.reporting import report

        _refuse_earlier(run)
        table = read_estimates(run.directory / "estimates.csv")
        own = table.select(**{BY_NAME: None})  # measures by name may have names of the experiment's own rows
        more = Table(tuple(row for row in table if BY_NAME in row))
        data, figures = runs.read_arrays(run), self.module("figures")
        report_tables, headline_rows = page.tables(own, runs.read_summary(run)["claims"])
        return report.write(
            run.directory,
            question=self.question,
            facts=page.facts(data, run.config),
            report_tables=report_tables,
            headline_rows=headline_rows,
            figures=[*figures.FIGURES, *page.measured_figures(first_stratum(more))],
            drawn=(self.module("estimates").derive(data), own),
            more=more,
            links=figures.links(data, run.directory) if hasattr(figures, "links") else (),
        )


def read_estimates(path: Path) -> Table:
    """The table in an estimates.csv; a UserError where the file is damaged."""
    try:
        return read_csv(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(
            f"{path}: not readable ({error}); expected the table that a run wrote; --reestimate writes it anew"
        ) from None


def _refuse_earlier(run: Run) -> None:
    """Refuses a finished run whose files are of another shape."""
    if runs.read_summary(run)["schema"] != SCHEMA_OF_SUMMARY:
        raise UserError(f"{run.directory}: written by an earlier version; expected a run of this one; add --force")
