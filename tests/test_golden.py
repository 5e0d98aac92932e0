"""Estimates made anew from the arrays of frozen runs of earlier code, and held against those that it made itself.

LANDSCAPE_GOLDEN names the folder of these runs: NAME/ and NAME-smoke/ with arrays.nc, config.json and summary.json.
"""

import importlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from frozen.runs import digits, numbers
from ml_collections import ConfigDict

from landscape import experiments
from landscape.experiments.base import described
from landscape.stats.table import FIELDS

GOLDEN = Path(os.environ.get("LANDSCAPE_GOLDEN", "golden"))
COMPARED = ("value", "low", "high", "sem", "df", "var_member", "var_example", "var_residual")
QUALITY = ("share_kept", "smd_before", "smd_after", "same_class")  # of a match, no coordinates
MODULES = ("flatness", "noise", "transfer", "gradients", "latent", "connectivity", "autoencoders", "benchmark")
FROZEN = {name: one for m in MODULES for name, one in importlib.import_module(f"frozen.{m}").FROZEN.items()}
RUNS = [
    (name, path.name)
    for name, frozen in FROZEN.items()
    for path in sorted(GOLDEN.glob(f"{frozen.old or name}*"))
    if path.name.removesuffix("-smoke") == (frozen.old or name)
]
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not RUNS, reason="LANDSCAPE_GOLDEN: no frozen runs there")]


def key(row: Mapping) -> tuple:
    """In what a row differs from others; numbers to six digits."""
    coords = {k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items() if k not in (*FIELDS, *QUALITY)}
    return row["name"], *sorted(coords.items())


def verdict_of(claim):
    """The verdict that was found; what is beyond 0, but not beyond the smallest effect, is called detected now."""
    nearest = {"greater": claim["low"], "less": claim["high"] and -claim["high"]}[claim["direction"]]
    beyond = claim["verdict"] != "supported" or nearest >= claim["smallest_effect"]
    return claim["verdict"] if beyond else "detected"


@pytest.mark.parametrize(("name", "folder"), RUNS)
def test_estimates_of_frozen_runs_come_out_as_they_were(name, folder):
    experiment = experiments.load(name)
    frozen, estimates = FROZEN[name], experiment.module("estimates")
    old = frozen.summary(json.loads((GOLDEN / folder / "summary.json").read_text()))
    config = ConfigDict(json.loads((GOLDEN / folder / "config.json").read_text()))
    frozen.config(config)
    data = frozen.adapt(xr.load_dataset(GOLDEN / folder / "arrays.nc", engine="h5netcdf"))
    table = estimates.estimate(described(data, experiment.schema), config)
    new = {key(row): row for row in table}
    assert len(new) == len(table)  # every row has coordinates of its own
    wanted = [frozen.row(dict(row)) for row in old["estimates"] if row["name"] not in frozen.gone]
    wanted = [row for row in wanted if row is not None]
    for row in wanted:
        found = new[key(row)]
        tolerance, _ = frozen.close.get(row["name"], (1e-9, ""))
        for field in (name for name in COMPARED if name in row):
            if row[field] is None:
                assert found[field] is None, (row, field)
            else:
                np.testing.assert_allclose(
                    found[field], row[field], rtol=tolerance, atol=1e-15, err_msg=f"{field} {row}"
                )
        assert (found["members"], found["examples"]) == (row["members"], row.get("examples", found["examples"]))
        assert bool(found.get("headline")) == bool(row.get("headline")), row
    assert len(wanted) > 15
    verdicts = [(claim["name"], claim["verdict"]) for claim in estimates.claims(table, config)]
    assert verdicts == [(claim["name"], verdict_of(claim)) for claim in old["claims"]]
    made, said = estimates.headline(table, config), old["headline"]
    if not frozen.words and not numbers(made):  # of too few images there are no intervals
        said = re.sub(r" \[[^\]]*\]", "", said)
    assert made == said if frozen.words else {*numbers(made)} >= {*(frozen.said or numbers)(said)}
    own = {check.name: check for check in estimates.checks(data, table, config)}
    both = {check["name"]: check for check in map(frozen.check, old["checks"]) if check}
    gone = {check["name"] for check in old["checks"] if not frozen.check(check)}
    assert {*own} - gone - {*frozen.new} == {*both} & {*own}
    for name, check in both.items():
        if name in own:  # others were made while arrays were computed
            made, said = own[name].detail, check["detail"]
            assert own[name].passed == check["passed"], name
            if said is not None:
                assert made == said if frozen.words else digits(made) == digits(said)
