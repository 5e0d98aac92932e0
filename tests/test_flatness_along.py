"""Estimates of an attack's way and of the agreement of measures, from planted arrays; and a run with every measure."""

import numpy as np
import pytest
import xarray as xr
from whole_runs import done, smoke_config

from landscape.experiments.flatness import agreement, along_estimates
from landscape.experiments.flatness.config import MEASURES
from landscape.stats.table import read_csv

S, N = 6, 40
SHAPE = (S, N)


def noise(seed, *shape):
    return np.random.default_rng(seed).normal(size=(*shape, *SHAPE))


# ---- agreement ----


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return smoke_config("flatness", tmp_path_factory.mktemp("config"))


def measured():
    """Raw differences of `top` are minus those of `noise`, at equal confidence the same; `last` knows neither."""
    names = ["genuine", "adversarial", "boosted", "adversarial_iso", "boosted_iso", "user"]
    base, gap, iso = noise(0), noise(1), noise(2)
    first = np.stack([base, base + gap, base, base + iso, base, base])
    second = np.stack([base, base - np.exp(gap), base, base + iso**3, base, base])
    valid = np.ones((len(names), *SHAPE), bool)
    valid[:, :, 30:] = False  # a user's inputs stand behind the test images
    valid[5] = ~valid[5]
    dims = ("population", "member", "example")
    support = np.repeat([np.arange(N) < 30], len(names), axis=0)
    support[5] = ~support[5]
    arrays = {
        "input_probability_drop": (("noise", "r", *dims), np.stack([first, noise(3, len(names))])[None]),
        "hessian_top": (dims, second),
        "relative_flatness": (dims, noise(4, len(names))),
        "valid": (dims, valid),
        "support": (("population", "example"), support),
    }
    return xr.Dataset(arrays, {"population": names, "noise": ["additive"], "r": [0.3, 1.0]})


def test_measures_agree_as_their_differences_do(config):
    here = {"noise": "additive", "r": 0.3}
    found = agreement.table(config, here, measured())
    assert len(found) == 2 * 3 and {row["examples"] for row in found} == {30}
    assert all(-1 <= row["low"] <= row["high"] <= 1 for row in found)
    for matching, expected in (("raw", -1), ("iso", 1)):
        row = found.one(agreement.NAME, measure="noise", other="top", matching=matching)
        assert row["value"] == pytest.approx(expected) and row["reference"] == "boosted"
        other = found.one(agreement.NAME, measure="top", other="last", matching=matching)
        assert other["low"] < 0 < other["high"] and not other.excludes_zero
    # A user's inputs, and values where a population has no example, move nothing.
    changed = measured()
    changed["hessian_top"] = changed.hessian_top.where(changed.valid, np.nan)
    assert [dict(row) for row in agreement.table(config, {"noise": "additive", "r": 0.3}, changed)] == [
        *map(dict, found)
    ]


# ---- along the way ----


def followed():
    """Relative flatness rises threefold to the flip, halves to the end, and is half as large after the flip at equal
    confidence; a sixth of the attacks fail."""
    size = np.exp(0.1 * noise(0))
    profile = np.array([[1.0, 2.0, 3.0, 2.0, 1.5], [1.0, 0.9, 0.8, 0.7, 0.6]])
    odds = np.array([0.5, 1.0])
    valid = np.broadcast_to(np.arange(N) % 6 > 0, SHAPE).copy()
    coords = {"way": ["adversarial", "boosted"], "position": np.linspace(-1, 1, 5), "side": ["before", "after"]}
    along, across = ("way", "position", "member", "example"), ("side", "at_log_odds", "member", "example")
    both = np.broadcast_to(odds[:, None, None], (2, 2, *SHAPE)) + np.array([0.0, 0.01])[:, None, None, None]
    arrays = {
        "along_relative_flatness": (along, profile[:, :, None, None] * size),
        "across_relative_flatness": (across, np.array([[2.0, 1.0], [1.0, 0.5]])[:, :, None, None] * size),
        # Noise takes 0.03 more after the flip than before it, a linear classifier would lose 0.01 of that.
        "across_input_probability_drop": (across, np.array([0.05, 0.08])[:, None, None, None] + noise(1, 2, 2) / 1000),
        "across_linear_probability_drop": (across, np.array([0.04, 0.05])[:, None, None, None] + noise(2, 2, 2) / 1000),
        "along_input_probability_drop": (along, 0.05 + noise(3, 2, 5) / 1000),
        "along_linear_probability_drop": (along, np.full((2, 5, *SHAPE), 0.04)),
        "along_log_odds": (along, np.broadcast_to(np.array([2.0, 1.0, 0.0, 1.0, 2.0])[:, None, None], (2, 5, *SHAPE))),
        "across_log_odds": (across, both),
        "along_valid": (("member", "example"), valid),
        "across_valid": (("at_log_odds", "member", "example"), np.stack([valid, valid & (np.arange(N) < 30)])),
        "right": (("member", "example"), np.ones(SHAPE, bool)),
    }
    return xr.Dataset(arrays, coords | {"at_log_odds": odds})


def test_the_way_is_estimated_by_position_and_across_the_flip():
    table = along_estimates.along(followed())
    name = "weight_sharpness.{}.relative_flatness".format
    curve = table.select(name("along"), population="adversarial", reference=None)
    assert [row["position"] for row in curve] == [-1, -0.5, 0, 0.5, 1] and all("band_low" in row for row in curve)
    values = np.array([row["value"] for row in curve])
    np.testing.assert_allclose(values / values[0], [1, 2, 3, 2, 1.5])
    beside = table.one(name("along"), population="adversarial", reference="boosted", position=0.0)
    assert beside["value"] == pytest.approx(values[0] * 2.2) and beside.excludes_zero
    for word, expected in (("at_the_flip", 3.0), ("after_the_flip", 0.5)):
        assert table.one(name(word))["value"] == pytest.approx(expected)
    for odds in (0.5, 1.0):  # over the images that reach both
        row = table.one(name("over_the_flip"), at_log_odds=odds)
        assert row["value"] == pytest.approx(0.5) and row["examples"] == 25 and row["matching"] == "iso"
        row = table.one(name("across_flip"), population="after", reference="before", at_log_odds=odds)
        assert row["value"] < 0 and row.excludes_zero
    for measure, expected in (("input_probability_drop", 0.03), ("beyond_linear", 0.02)):
        row = table.one(f"input_flatness.across_flip.{measure}", reference="before", at_log_odds=0.5)
        assert row["value"] == pytest.approx(expected, abs=0.001) and row["high"] - row["low"] < 0.002
    text = along_estimates.of_the_way(table)
    assert "is 3.00 [3.00, 3.00] times that of the image at the flip, and at the end 0.50 [" in text
    assert text.endswith("(log-odds 1) it is 0.50 [0.50, 0.50] times as large after the flip as before it.")
    controls = along_estimates.along(followed(), "untrained")
    assert {row["population"] for row in controls} == {"untrained"} and len(controls) == 4 * 5
    assert along_estimates.of_the_way(controls) == ""


def test_unequal_confidence_across_the_flip_fails_its_check():
    data = followed()
    check = along_estimates.alike_across_the_flip(data)
    assert check.passed and "within 0.01 nats" in check.detail and "82 % of attacks flip" in check.detail
    data["across_log_odds"] = data.across_log_odds + 0.05 * (data.side == "after")
    assert not along_estimates.alike_across_the_flip(data).passed


@pytest.mark.slow  # a whole run
def test_a_run_with_every_measure_along_the_way_too(tmp_path, shared):
    changes = {"model.name": "mlp", "measures": MEASURES, "along.use": True}
    changes |= {"spectrum.num_steps": 12, "curvature.num_lanczos": 12}  # all eigenvalues that are not 0
    config = smoke_config("flatness", tmp_path, **changes, **shared)
    data, summary = done(config, tmp_path / "run", devices=2)
    table = read_csv((tmp_path / "run/estimates.csv").read_text())
    valid = data.valid.transpose("member", "population", "example").values
    for name in ("certified_radius", "linearity_margin", "tangent_curvature"):
        assert np.isfinite(data[name].transpose("member", "population", "example").values[valid]).all()
    np.testing.assert_allclose(data.spectral_density.sum("bin"), 1, atol=1e-3)
    first = data.hessian_eigenvalues.sel(rank=1).where(data.valid)
    assert float((first - data.hessian_top).max()) < 1e-2 * float(data.hessian_top.max()) + 1e-4
    known = np.isfinite(data.weight_hessian_top).any("member")
    assert set(data.population.values[known]) <= {"genuine", "boosted", "adversarial", "boosted_iso", "adversarial_iso"}
    image = data.along_log_odds.sel(way="adversarial", position=-1).where(data.along_valid)
    clean = data.log_odds.sel(population="genuine").where(data.along_valid)
    np.testing.assert_allclose(image, clean.transpose(*image.dims), atol=1e-5)
    flip = data.along_log_odds.sel(way="adversarial", position=0).where(data.along_valid)
    assert float(flip.max()) < 0.1
    checks = {check["name"]: check["passed"] for check in summary["checks"]}
    assert checks["along.equal_confidence"] and "Along the attack" in summary["headline"]
    for name in ("confidence.along.log_odds", "linearity.along.linearity_margin", "curvature.eigenvalue"):
        assert table.select(name), name
    page = (tmp_path / "run/report.html").read_text()
    assert "Along the way of an attack" in page and "The spectrum of the input Hessian" in page
