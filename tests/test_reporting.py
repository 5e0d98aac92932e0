"""Reports are made from saved arrays alone: whole, self-contained, the same each time, and honest about gaps."""

import csv
import json
import re
import time

import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr

from landscape.files import UserError
from landscape.reporting import figures, numbers, report, style, tables, train

POPULATIONS = (
    *("genuine", "natural_error", "adversarial", "boosted", "boundary"),
    *("noise_linf", "noise_l2", "adversarial_iso", "boosted_iso"),
)
CELLS = ("genuine", "natural_error", "boosted", "adversarial", "noise", "untrained", "shuffled")
SHARPNESS = dict(zip(CELLS, (0.25, 1.1, 0.4, 0.8, 0.3, 0.05, 0.6), strict=True))


def flatness_arrays(*, members=6, untrained=2, examples=60, classes=10, channels=1, levels=9, shown=12, seed=0):
    """A Dataset as `flatness` saves it, with smooth made-up curves and every gap the format allows."""
    rng = np.random.default_rng(seed)
    r = np.geomspace(0.03, 3, levels) if levels > 1 else np.array([0.3])
    noises = ("additive", "multiplicative", "envelope", "sphere", "linf_ball", "additive_clipped")
    kinds = ("multiplicative", "layer_relative", "filter_normalised", "additive")
    xi = np.geomspace(0.01, 0.5, 6)
    total, side = members + untrained, 8
    sharp = np.array([SHARPNESS.get(name.split("_iso")[0], 0.3) for name in POPULATIONS])

    def curve(sharpness, x):
        return 1 - np.exp(-sharpness * x**1.5)

    each = sharp[None, :, None] * rng.lognormal(0, 0.6, (total, len(POPULATIONS), examples))
    drop = curve(each[None, None], r[None, :, None, None, None]) * np.linspace(1, 0.6, 6)[:, None, None, None, None]
    valid = rng.random((total, len(POPULATIONS), examples)) < 0.9
    valid[:, 1] &= rng.random((total, examples)) < 0.1  # few natural errors
    curves = np.full((3, len(CELLS), levels), np.nan)
    for j, cell in enumerate(CELLS):
        curves[0, j] = curve(SHARPNESS[cell], r)
        curves[2, j] = 1.4 * curve(SHARPNESS[cell], 0.8 * r)
    curves[1, 2], curves[1, 3] = curve(0.4, r), curve(0.6, r)
    if levels > 3:
        curves[0, 1, -2:] = np.nan
    half = 0.04 * (0.3 + curves)
    pixel = (len(POPULATIONS), shown, side, side, channels)
    picture = np.clip(rng.random((1, *pixel[1:])) ** 2 + 0.15 * np.sign(rng.normal(size=pixel)), 0, 1)
    spm = ("sigma", "member", "population", "example")
    mpe = spm[1:]
    by_class = curve(sharp[[0, 1, 3, 2]][:, None, None] * rng.lognormal(0, 0.4, (4, classes, 1)), r)
    by_class = np.concatenate([by_class, np.full((len(CELLS) - 4, classes, levels), np.nan)])
    by_class[1, ::3] = np.nan  # classes without natural errors
    weight = np.stack([curve(SHARPNESS[cell] * 4, xi) for cell in CELLS]) * np.ones((4, 1, 1))
    weight[3, 4:] = np.nan
    noisy = np.stack([curve(SHARPNESS[cell], r) for cell in CELLS]) * np.linspace(1, 0.6, 6)[:, None, None]
    kept = 1 - 0.9 * curves[0]
    variables = {
        "valid": (mpe, valid),
        "prediction": (mpe, rng.integers(0, classes, drop.shape[2:])),
        "input_probability_drop": (("noise", *spm), drop),
        "curve": (("reading", "cell", "sigma"), curves),
        "curve_low": (("reading", "cell", "sigma"), curves - half / 2),
        "curve_high": (("reading", "cell", "sigma"), curves + half / 2),
        "curve_band_low": (("reading", "cell", "sigma"), curves - half),
        "curve_band_high": (("reading", "cell", "sigma"), curves + half),
        "class_curve": (("cell", "class", "sigma"), by_class),
        "noise_curve": (("noise", "cell", "sigma"), noisy),
        "noise_curve_low": (("noise", "cell", "sigma"), noisy - 0.03),
        "noise_curve_high": (("noise", "cell", "sigma"), noisy + 0.03),
        "weight_curve": (("weight_noise", "cell", "xi"), weight),
        "weight_curve_low": (("weight_noise", "cell", "xi"), weight - 0.03),
        "weight_curve_high": (("weight_noise", "cell", "xi"), weight + 0.03),
        "share_kept": (("cell", "sigma"), kept),
        "share_returned": (("cell", "sigma"), 0.6 * (1 - kept)),
        "share_elsewhere": (("cell", "sigma"), 0.4 * (1 - kept)),
        "pictures": (("population", "shown", "height", "width", "channel"), picture),
        "picture_prediction": (("population", "shown"), rng.integers(0, classes, pixel[:2])),
        "picture_label": (("shown",), rng.integers(0, classes, shown)),
        "gradient_norm": (mpe, 0.1 * each**2),
        "hessian_top": (mpe, each**3),
        "hessian_trace": (mpe, 5 * each**3),
        "probability_hessian_top": (mpe, 0.1 * each**2),
        "probability_hessian_trace": (mpe, each * rng.normal(size=each.shape)),
        "worst_loss_rise": (mpe, each),
        "worst_margin_drop": (mpe, 2 * each),
        "audit": (("audit_attack", "audit_epsilon"), np.exp(-np.outer([0.5, 2, 8, 12], np.linspace(0, 0.3, 7)))),
    }
    variables["match_smd_before"] = (("distinct",), rng.normal(-0.9, 0.2, members))
    variables["match_smd_after"] = (("distinct",), rng.normal(0, 0.03, members))
    variables["match_share"] = (("distinct",), rng.uniform(0.5, 0.8, members))
    variables["picture_prediction"][1][0] = variables["picture_label"][1]
    coords = {
        "control": ("member", ["trained"] * members + ["untrained"] * untrained),
        "seed": ("member", np.arange(total)),
        "population": list(POPULATIONS),
        "example": np.arange(examples),
        "r": ("sigma", r),
        "sigma": r * 0.1,
        "noise": list(noises),
        "xi": xi,
        "weight_noise": list(kinds),
        "reading": ["raw", "iso", "scale_free"],
        "cell": list(CELLS),
        "class": [str(i) for i in range(classes)],
        "shown": np.arange(shown),
        "audit_attack": ["noise", "transfer", "fgsm", "pgd"],
        "audit_epsilon": np.linspace(0, 0.3, 7),
    }
    variables = {k: (d, v.astype(np.float32) if v.dtype == np.float64 else v) for k, (d, v) in variables.items()}
    return xr.Dataset(
        variables, coords, {"experiment": "flatness", "dataset": "digits", "epsilon": 0.15, "norm": "linf"}
    )


def flatness_summary(*, failed=True, bounded=True):
    def estimate(name, population, value, half, **coords):
        low, high = (value - half, value + half) if bounded else (None, None)
        told = {"level": 0.95, "members": 6, "examples": 60, "unit": "probability", "generalises_to": "both"}
        return {"name": name, "population": population, "value": value, "low": low, "high": high, **told, **coords}

    estimates = [estimate("accuracy.test", "genuine", 0.97283917, 0.0041, headline=True)]
    for r in (0.1, 0.3, 1.0):
        for reference, size in (("boosted", 0.05), ("genuine", 0.09), ("natural_error", -0.02)):
            where = {"reference": reference, "noise": "additive", "r": r, "sigma": 0.1 * r}
            for matching in ("raw", "iso", "matched"):
                name = "input_flatness.probability_drop"
                if matching != "iso" or reference == "boosted":
                    estimates.append(estimate(name, "adversarial", size * r, 0.01, matching=matching, **where))
            estimates.append(
                estimate("input_flatness.scale_free", "adversarial", 2 * size, 0.12, matching="scale_free", **where)
            )
    estimates.append(estimate("attack.success", "adversarial", 0.9312345678, 0.02, headline=True))
    claim = {"measure": "input_flatness.scale_free", "populations": ["adversarial", "boosted"], "r": 0.3}
    claim |= {"matching": "scale_free", "direction": "greater", "smallest_effect": 0.02, "p": 0.0004}
    claims = [
        {
            "name": "sharper_at_equal_confidence",
            **claim,
            "value": 0.1,
            "low": 0.08,
            "high": 0.12,
            "verdict": "supported",
        },
        {"name": "weights", **claim, "value": 0.01, "low": -0.03, "high": 0.05, "verdict": "undecided"},
    ]
    checks = [{"name": "audit.monotone", "passed": True, "detail": "success rises with epsilon"}]
    checks += [{"name": "duplicates", "passed": False, "detail": "members 2 and 5 agree on every input"}] * failed
    return {
        "schema": 1,
        "experiment": "flatness",
        "dataset": "digits",
        "config_hash": "3f9a" * 16,
        "headline": "At equal margin, probability falls 5.1 [4.2, 6.0] points more around adversarial than around "
        "boosted inputs; raw, 9.3 [8.0, 10.6].",
        "stages": {"train": 31.2, "attack": 12.0, "input": 22.0},
        "claims": claims,
        "estimates": estimates,
        "checks": checks,
    }


def save_run(directory, data, summary):
    """A finished run as `report.write` finds it."""
    directory.mkdir(parents=True, exist_ok=True)
    data.to_netcdf(directory / "arrays.nc", engine="h5netcdf")
    config = {"experiment": summary["experiment"], "seed": 0, "search": {"norm": "linf", "epsilon": 0.15}, "sweep": {}}
    environment = {"versions": {"jax": "0.10.2"}, "devices": ["cpu:0", "cpu:1"], "git_commit": None}
    for name, value in (("summary", summary), ("config", config), ("environment", environment)):
        (directory / f"{name}.json").write_text(json.dumps(value))
    return directory


def train_arrays(*, members=4, examples=30, classes=10, epochs=3, sweep=False, seed=0):
    """A Dataset as `train` saves it: trained members, one with shuffled labels and an untrained one."""
    rng = np.random.default_rng(seed)
    total = members + 2
    control = ["trained"] * members + ["shuffled", "untrained"]
    accuracy = np.array([0.95 + 0.005 * i for i in range(members)] + [0.12, 0.1])
    observed = rng.uniform(0.02, 0.05, (total, total))
    bins = np.linspace(0, 1, 11)[1:] - 0.05
    count = rng.integers(0, 200, (total, 10)).astype(np.int32)
    curve = np.exp(-np.arange(1, epochs + 1)) * rng.uniform(1, 2, (total, 1))
    curve[-1] = np.nan
    member_bin, pair = ("member", "bin"), ("member", "other")
    variables = {
        "accuracy": (("member",), accuracy),
        "nll": (("member",), 1 - accuracy),
        "class_accuracy": (("member", "class"), rng.uniform(0.8, 1, (total, classes))),
        "bin_count": (member_bin, count),
        "bin_accuracy": (member_bin, np.where(count > 20, bins, np.nan)),
        "bin_confidence": (member_bin, np.where(count > 20, bins, np.nan)),
        "disagreement": (pair, (observed + observed.T) / 2 * (1 - np.eye(total))),
        "disagreement_expected": (pair, np.where(np.eye(total) > 0, np.nan, 0.09)),
        "train_loss": (("member", "epoch"), curve),
        "validation_accuracy": (("member", "epoch"), 1 - curve / 4),
    }
    rate = np.where(np.arange(total) % 2, 1e-3, 3e-3) if sweep else np.full(total, 1e-3)
    coords = {
        "control": ("member", control),
        "seed": ("member", np.arange(total)),
        "learning_rate": ("member", rate),
        "class": [f"a long class name {i}" for i in range(classes)],
        "epoch": np.arange(1, epochs + 1),
        "bin": bins,
        "example": np.arange(examples),
    }
    return xr.Dataset(variables, coords, {"experiment": "train", "dataset": "digits"})


def benchmark_arrays(*, peers=True):
    """A Dataset as `benchmark` saves it; contestants that did not run are NaN."""
    known = ["landscape", "vmap", "pytorch"]
    seconds = np.random.default_rng(0).uniform(1, 3, (2, 2, 3, 4))
    seconds[1, :, 2] = np.nan
    if not peers:
        seconds[:, :, 1:] = np.nan
    coords = {"race": ["pgd", "forward"], "model": ["cnn", "cnn_wide"], "peer": known, "round": np.arange(4)}
    return xr.Dataset({"seconds": (("race", "model", "peer", "round"), seconds)}, coords)


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """A run with its report; tests only read it."""
    directory = save_run(tmp_path_factory.mktemp("run"), flatness_arrays(levels=5, examples=20), flatness_summary())
    report.write(directory)
    return directory


@pytest.fixture(scope="module")
def page(directory):
    return (directory / "report.html").read_text(encoding="utf-8")


def loaded_from_outside(page):
    """Everything that a browser would fetch for the page: src, href, srcset, url(), @import that is no data URI."""
    found = re.findall(r"""(?:src|href|srcset)\s*=\s*["']([^"']*)["']|url\(([^)]*)\)|(@import[^;]*)""", page)
    return [text for text in map("".join, found) if not text.startswith(("data:", "#"))]


def test_a_report_is_one_file_with_all_figures(directory, page):
    assert loaded_from_outside(page) == []
    plates = figures.FIGURES["flatness"]
    for plate in plates:
        picture = directory / "figures" / f"{plate.name}.{plate.kind}"
        assert picture.stat().st_size > 5000, plate.name
        assert plate.title in page
    assert page.count("data:image/") == len(plates) + 1  # the main figure also in its narrow form
    assert (directory / "figures" / "flatness.pdf").read_bytes().startswith(b"%PDF")


def test_the_page_tells_what_the_summary_holds_failed_checks_first(page):
    summary = flatness_summary()
    body = page[page.index("<body>") :]
    places = [body.index(text) for text in ("members 2 and 5 agree", summary["headline"], "✓</span> supported")]
    assert places == sorted(places)
    for text in ("0.973 [0.969, 0.977]", "undecided", "search.epsilon", "versions.jax", "3f9a3f9a", "L∞ 0.15"):
        assert text in page
    assert "python -m landscape.main --config=configs/flatness.py:digits" in page
    assert not re.search(r"\d\.\d{7}", re.sub(r'data:[^"]*', "", page)), "a number with seven decimals"
    assert page.count("<tr><td>") == len(summary["estimates"])


def test_reporting_again_gives_the_same_bytes_in_seconds(directory):
    def everything():
        return {path.name: path.read_bytes() for path in directory.rglob("*") if path.is_file()}

    first = everything()
    began = time.process_time()
    report.write(directory)
    # 10 s of CPU on slow cores that others share; computing anything of the run again would take minutes.
    assert time.process_time() - began < 30
    again = everything()
    assert [name for name in first if first[name] != again[name]] == []


def test_the_csv_of_the_main_figure_equals_the_arrays(directory):
    with (directory / "figures" / "flatness.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    data = xr.load_dataset(directory / "arrays.nc", engine="h5netcdf")
    assert len(rows) == int(np.isfinite(data["curve"]).sum())
    for row in rows:
        level = int(np.flatnonzero(data["r"].values == float(row["r"]))[0])
        here = data.sel(reading=row["reading"], cell=row["cell"]).isel(sigma=level)
        assert float(row["sigma_pixels"]) == float(here["sigma"])
        for name in ("curve", "curve_low", "curve_high", "curve_band_low", "curve_band_high"):
            assert np.float32(row[name]) == here[name].values


@pytest.mark.slow
def test_markup_in_names_is_text_and_many_classes_in_colour_are_drawn(tmp_path):
    data = flatness_arrays(classes=200, channels=3, levels=2, examples=5, shown=16)
    strange = ["<script>alert(1)</script>", "cat $ & dog_x", "猫\nzwei"]
    data = data.assign_coords({"class": strange + [f"Egyptian long-haired cat {i}" for i in range(197)]})
    summary = flatness_summary()
    summary["headline"] = "<b>bold</b> & more"
    summary["checks"].append({"name": "<i>", "passed": False, "detail": "<script>alert(2)</script>"})
    page = report.write(save_run(tmp_path, data, summary)).read_text(encoding="utf-8")
    assert "<script>alert" not in page and "<b>bold" not in page
    assert "<h1>" in page and "&lt;script&gt;alert(2)" in page and "&lt;b&gt;bold&lt;/b&gt; &amp; more" in page
    assert "Not drawn" not in page


@pytest.mark.slow
def test_one_of_everything_without_intervals_is_drawn(tmp_path):
    data = flatness_arrays(members=1, untrained=0, examples=1, levels=1, shown=1, classes=2)
    data["valid"][:] = True
    for name in ("curve_band_low", "curve_band_high", "weight_curve_low", "weight_curve_high"):
        data[name][:] = np.nan  # fewer than four members: no interval
    summary = flatness_summary(failed=False, bounded=False)
    summary["headline"] = "It goes on. " * 40
    page = report.write(save_run(tmp_path, data, summary)).read_text()
    assert '<h1 class="long">' in page  # in smaller letters
    assert "Not drawn" not in page
    assert 'class="failed"' not in page


def test_what_is_missing_is_named(tmp_path):
    data = flatness_arrays(levels=3, examples=8).drop_vars(["hessian_top", "class_curve", "match_share"])
    data["curve"][:] = np.nan
    drawn, absent = figures.draw(data, "flatness", tmp_path)
    reasons = {figure.plate.name: figure.reason for figure in absent}
    assert reasons == {
        "flatness": "its values are missing, or too few to draw",
        "curvature": "arrays.nc has no hessian_top",
        "classes": "arrays.nc has no class_curve",
    }  # matching is optional
    assert len(drawn) == len(figures.FIGURES["flatness"]) - 4


def test_invalid_inputs_and_controls_are_left_out_of_the_spreads(tmp_path):
    """What is masked may hold anything: the figures do not change."""
    clean = flatness_arrays(levels=3, examples=8)
    dirty = clean.copy(deep=True)
    out = ~dirty["valid"] | (dirty["control"] != "trained")
    for name in ("input_probability_drop", "gradient_norm", "worst_loss_rise", "hessian_trace"):
        dirty[name] = dirty[name].where(~out, 1e9)
    plates = [p for p in figures.FIGURES["flatness"] if p.name in ("histograms", "curvature", "worst", "noises")]
    with mpl.rc_context(style.RC):
        for plate in plates:
            first, second = (style.save(plate.draw(data), tmp_path / "x.svg").read_bytes() for data in (clean, dirty))
            assert first == second, plate.name


@pytest.mark.parametrize(
    "data",
    [
        train_arrays(),
        train_arrays(sweep=True, classes=200),
        train_arrays(members=2, epochs=1, classes=2, examples=1),
        benchmark_arrays(),
    ],
    ids=["train", "train with a sweep", "train for one epoch", "benchmark"],
)
def test_the_other_experiments_have_all_their_figures(tmp_path, data):
    experiment = "train" if "train_loss" in data else "benchmark"
    drawn, absent = figures.draw(data, experiment, tmp_path)
    assert absent == []
    assert [figure.plate for figure in drawn] == list(figures.FIGURES[experiment])
    assert all(figure.paths[0].stat().st_size > 5000 for figure in drawn)
    assert sum(path.suffix == ".csv" for path in tmp_path.iterdir()) == 1


def test_a_single_member_and_a_benchmark_without_peers_name_what_is_not_there(tmp_path):
    _, absent = figures.draw(train_arrays(members=1), "train", tmp_path)
    assert [figure.plate.name for figure in absent] == ["disagreement"]
    _, absent = figures.draw(benchmark_arrays(peers=False), "benchmark", tmp_path)
    assert [figure.plate.name for figure in absent] == ["ratios"]


def test_members_are_grouped_by_what_was_swept():
    shown = [(label, members.tolist()) for label, _, members in train.groups(train_arrays(sweep=True))]
    rates = [("learning rate 0.003", [0, 2]), ("learning rate 0.001", [1, 3])]
    assert shown == [*rates, ("shuffled labels", [4]), ("untrained", [5])]


def test_an_unfinished_run_is_refused_in_one_line(tmp_path):
    with pytest.raises(UserError, match=r"no arrays\.nc, summary\.json.*finished run"):
        report.write(tmp_path)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "–"),
        (float("nan"), "–"),
        (0.123456789, "0.123"),
        (-2.0, "−2"),
        (512, "512"),
        (71234, "71234"),
        (True, "True"),
        (1.23456e-7, "1.23e−7"),
        ("a-b", "a-b"),
    ],
)
def test_numbers_as_text(value, shown):
    assert numbers.text(value) == shown


@pytest.mark.parametrize(
    ("value", "low", "high", "shown"),
    [
        (0.00725, -0.00572, 0.0202, "0.007 [−0.006, 0.020]"),
        (12.3456, 11.2, 13.7, "12.3 [11.2, 13.7]"),
        (-0.0004, -0.03, 0.03, "0.00 [−0.03, 0.03]"),
        (0.999998, 0.999993, 1.0, "1.000 [1.000, 1.000]"),
        (0.01514, 0.014981, 0.015306, "0.01514 [0.01498, 0.01531]"),
        (1234.5, 1100.0, 1400.0, "1234 [1100, 1400]"),
        (2e-7, 1e-7, 3e-7, "2.00e−7 [1.00e−7, 3.00e−7]"),
        (0.5, None, None, "0.5"),
        (0.5, 0.5, 0.5, "0.5"),
        (None, None, None, "–"),
    ],
)
def test_intervals_decide_the_digits(value, low, high, shown):
    assert numbers.interval({"value": value, "low": low, "high": high}) == shown


def test_durations():
    assert [numbers.duration(s) for s in (0.84, 12.2, 200.0, 7500.0)] == ["0.8 s", "12 s", "3 min 20 s", "2 h 5 min"]


def test_the_bar_of_a_claim_keeps_its_proportions():
    bar = tables.claim_card({"value": 0.1, "low": 0.0, "high": 0.3, "smallest_effect": 0.1, "verdict": "undecided"})[
        "bar"
    ]
    assert bar["low"] == bar["zero"]
    assert (bar["value"] - bar["zero"]) / bar["width"] == pytest.approx(1 / 3, abs=1e-3)
    assert bar["small_width"] / bar["width"] == pytest.approx(2 / 3, abs=1e-3)
    assert 0 <= bar["small"] and bar["low"] + bar["width"] <= 100


def test_a_matched_reading_tells_how_many_found_a_partner():
    entry = {"name": "input_flatness.probability_drop", "population": "adversarial", "reference": "boosted", "r": 0.3}
    entry |= {"noise": "additive", "value": 0.01, "low": 0.005, "high": 0.015, "unit": "probability"}
    matched = entry | {"matching": "matched", "share_kept": 0.0797, "smd_after": -0.01}
    (row,) = tables.four_readings({"estimates": [entry | {"matching": "raw"}, matched], "claims": []})
    raw, _, cell, _ = row["cells"]
    assert " ".join(cell["parts"]) == f"{cell['value']} (8 % kept)" and len(cell["parts"]) == 3
    assert " ".join(raw["parts"]) == raw["value"] and raw["parts"][1].startswith("[")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0"),
        (1e-4, "1e-4"),
        (0.02, "0.02"),
        (999.0, "999"),
        (999.7, "1000"),
        (-2000.0, "-2000"),
        (9999.0, "9999"),
        (1e4, "1e+04"),
    ],
)
def test_ticks_of_log_axes_are_plain_numbers_from_a_thousandth_to_ten_thousand(value, shown):
    assert style.short_number(value) == shown
