"""Measures by name at the populations of experiments that are about something else."""

import pytest
from whole_runs import done, load, smoke_config

from landscape import experiments
from landscape.experiments.quantities import PREFIX
from landscape.files import UserError
from landscape.presets.measuring import MEASURES
from landscape.stats.table import read_csv

EXPERIMENTS = ("neighbors", "connectivity", "noise", "transfer", "augmentation")


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_misspelt_measure_is_refused_and_all_known_ones_are_in_the_schema(name):
    config = load(name, "digits,full")
    config.measures = MEASURES
    experiments.validate(config)
    assert {f"{PREFIX}{one}" for one in ("relative_flatness", "hessian_top", "input_margin_drop", "sigma")} <= {
        *experiments.load(name).schema
    }
    config.measures = ("curvture",)
    with pytest.raises(UserError, match=r"measures='curvture': expected one of flatness.*did you mean curvature"):
        experiments.validate(config)


def test_measures_of_transfer_need_its_local_geometry():
    config = load("transfer")
    config.measures = ("relative",)
    with pytest.raises(UserError, match=r"measures=.*: expected geometry among parts"):
        experiments.validate(config)


# Populations, and further columns of their rows.
EXPECTED = {
    "neighbors": ({"genuine", "boosted", "adversarial", "noise", "augmented"}, {}),
    "connectivity": ({"genuine", "boosted", "adversarial"}, {}),
    "noise": ({"no_noise", "redrawn_0.1", "frozen_0.3"}, {"search": "pixels"}),
    "transfer": ({"genuine", "unshared", "shared", "joint"}, {}),
    "augmentation": ({"nothing", "random", "best"}, {}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_run_has_every_measure_on_every_population(name, tmp_path, shared):
    more = {"populations": ("augmented",)} if name == "neighbors" else {}
    config = smoke_config(name, tmp_path, measures=MEASURES, **more, **shared)
    arrays, _ = done(config, tmp_path / "run", audited=False)
    names = [str(one) for one in arrays.variables if str(one).startswith(PREFIX)]
    assert all(arrays[one].attrs["units"] and arrays[one].attrs["long_name"] for one in names)
    rows = read_csv((tmp_path / "run/estimates.csv").read_text())
    populations, about = EXPECTED[name]
    for measure in MEASURES:
        found = rows.select(measured=measure, **about)
        assert populations <= {row["population"] for row in found}, measure
        assert all(row["unit"] and row["members"] > 1 for row in found if row["population"] in populations)
    assert "Measures by name" in (tmp_path / "run/report.html").read_text()
