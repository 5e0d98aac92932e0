"""Reports are made from saved arrays alone: whole, self-contained, the same each time, and honest about gaps."""

import csv
import json
import re
import time

import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr
from ml_collections import ConfigDict
from whole_runs import smoke_config

from landscape import experiments, runs
from landscape.experiments.base import described
from landscape.experiments.flatness import estimates
from landscape.experiments.flatness.figures import FIGURES
from landscape.experiments.train import estimates as train
from landscape.experiments.train import figures as train_figures
from landscape.files import UserError, write_netcdf
from landscape.reporting import figures, numbers, report, style, tables
from landscape.stats.table import Table, read_csv

POPULATIONS = (
    *("genuine", "natural_error", "adversarial", "boosted", "boundary"),
    *("noise_linf", "noise_l2", "adversarial_iso", "boosted_iso"),
)
SHARPNESS = (0.25, 1.1, 0.8, 0.4, 0.3, 0.3, 0.3, 0.6, 0.4)
NOISES = ("additive", "multiplicative", "envelope", "sphere", "linf_ball", "additive_clipped")


def made_up(*, members=6, untrained=2, examples=40, classes=10, channels=1, levels=4, shown=12, seed=0):
    """A Dataset as `flatness` saves it, with smooth curves and few natural errors; r = 0.3 is among the levels."""
    rng = np.random.default_rng(seed)
    r = 0.3 * 2.0 ** (np.arange(levels) - levels // 2)
    kinds, xi = ("multiplicative", "layer_relative", "filter_normalised", "additive"), np.geomspace(0.01, 0.5, 3)
    total, side, at = members + untrained, 8, POPULATIONS.index
    mpe = ("member", "population", "example")
    each = np.array(SHARPNESS)[None, :, None] * rng.lognormal(0, 0.6, (total, len(POPULATIONS), examples))
    margin = rng.uniform(1, 6, each.shape)

    def drops(x, count):
        drop = 1 - np.exp(-each * x[:, None, None, None] ** 1.5)
        return drop * np.linspace(1, 0.6, count)[:, None, None, None, None]

    wrong = rng.random((total, examples)) < 0.15
    label = rng.integers(0, classes, (total, examples))
    valid = np.broadcast_to(~wrong[:, None], each.shape) & (rng.random(each.shape) < 0.9)
    valid[:, at("genuine")], valid[:, at("natural_error")] = ~wrong, wrong
    prediction = np.broadcast_to(label[:, None], each.shape).copy()
    for name in ("natural_error", "adversarial", "boundary", "adversarial_iso"):
        prediction[:, at(name)] = (label + 1) % classes
    picture = np.clip(rng.random((1, shown, side, side, channels)) ** 2 + 0.15 * np.sign(rng.normal(size=(
        len(POPULATIONS), shown, side, side, channels))), 0, 1)  # fmt: skip
    by_noise, by_weight = (("noise", "r", *mpe), drops(r, 6)), (("weight_noise", "xi", *mpe), drops(4 * xi, 4))
    variables = {
        "label": (("member", "example"), label),
        "valid": (mpe, valid),
        "prediction": (mpe, prediction),
        "survives_8_bits": (mpe, np.ones_like(valid)),
        "margin": (mpe, margin),
        "error_probability": (mpe, 1 / (1 + np.exp(margin))),
        "delta_l2": (mpe, np.full(each.shape, 1.0)),
        "delta_linf": (mpe, np.full(each.shape, 0.1)),
        **{f"input_{n}": (by_noise[0], s * by_noise[1]) for n, s in (("probability_drop", 1), ("loss_rise", 2))},
        **{f"weight_{n}": (by_weight[0], s * by_weight[1]) for n, s in (("probability_drop", 1), ("loss_rise", 2))},
        "input_margin_drop": (by_noise[0], by_noise[1] * margin),
        "weight_margin_drop": (by_weight[0], by_weight[1] * margin),
        "input_kept": (by_noise[0], 1 - 0.9 * by_noise[1]),
        "input_returned": (by_noise[0], 0.5 * by_noise[1]),
        "gradient_norm": (mpe, 0.1 * each**2),
        "hessian_top": (mpe, each**3),
        "hessian_trace": (mpe, 5 * each**3),
        "probability_hessian_top": (mpe, 0.1 * each**2),
        "probability_hessian_trace": (mpe, each * rng.normal(size=each.shape)),
        "worst_loss_rise": (mpe, each),
        "worst_margin_drop": (mpe, 2 * each),
        "pictures": (("population", "shown", "height", "width", "channel"), picture),
        "audit": (("audit_attack", "audit_epsilon"), np.exp(-np.outer([0.5, 2, 8, 12], np.linspace(0, 0.3, 7)))),
    }
    coords = {
        "control": ("member", ["trained"] * members + ["untrained"] * untrained),
        "seed": ("member", np.arange(total)),
        "population": list(POPULATIONS),
        "example": np.arange(examples),
        "r": r,
        "sigma": (("noise", "r"), np.broadcast_to(r * 0.1, (6, levels))),
        "noise": list(NOISES),
        "xi": xi,
        "weight_noise": list(kinds),
        "class": [str(i) for i in range(classes)],
        "shown": np.arange(shown),
        "audit_attack": ["noise", "transfer", "fgsm", "pgd"],
        "audit_epsilon": np.linspace(0, 0.3, 7),
        "check": ["audit.monotone", "audit.sane"],
        "check_passed": ("check", [True, False]),
        "check_detail": ("check", ["success rises with epsilon", "not at all"]),
    }
    variables = {k: (d, v.astype(np.float32) if v.dtype == np.float64 else v) for k, (d, v) in variables.items()}
    about = {"epsilon": 0.15, "norm": "linf", "stages": json.dumps({"search": 31.2, "flatness": 22.0})}
    return xr.Dataset(variables, coords, about)


def reported(directory, data):
    """The page of a finished run with these arrays: estimated and reported through the experiment's own doors."""
    experiment, config = experiments.load("flatness"), smoke_config("flatness", directory)
    config.search.epsilon = 0.15
    described(data, experiment.schema)
    with runs.open_run(config, directory / "run") as run:
        write_netcdf(run.directory / "arrays.nc", data)
        experiment.summarise(config, run)
        return experiment.report(run).read_text(encoding="utf-8")


def train_arrays(*, members=4, examples=60, classes=10, epochs=3, sweep=False, seed=0):
    """A Dataset as `train` saves it: trained members, one with shuffled labels and an untrained one."""
    rng = np.random.default_rng(seed)
    total, pair = members + 2, ("member", "example")
    label = np.arange(examples) % classes
    chance = np.array([0.9] * members + [1 / classes] * 2)[:, None]
    wrong = rng.integers(0, classes, (total, examples))
    prediction = np.where(rng.random((total, examples)) < chance, label, wrong)
    curve = np.exp(-np.arange(1, epochs + 1)) * rng.uniform(1, 2, (total, 1))
    curve[-1] = np.nan
    variables = {
        "label": ("example", label),
        "prediction": (pair, prediction),
        "confidence": (pair, rng.uniform(0.3, 1, (total, examples)).astype(np.float32)),
        "loss": (pair, rng.uniform(0, 2, (total, examples)), {"units": "nats"}),
        "brier": (pair, rng.uniform(0, 1, (total, examples))),
        "train_loss": (("member", "epoch"), curve),
        "validation_accuracy": (("member", "epoch"), 1 - curve / 4),
    }
    rate = np.where(np.arange(total) % 2, 1e-3, 3e-3) if sweep else np.full(total, 1e-3)
    coords = {
        "control": ("member", ["trained"] * members + ["shuffled", "untrained"]),
        "seed": ("member", np.arange(total)),
        "train_learning_rate": ("member", rate),
        "class": [f"a long class name {i}" for i in range(classes)],
        "epoch": np.arange(1, epochs + 1),
        "example": np.arange(examples),
    }
    return train.derive(xr.Dataset(variables, coords))


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """A run with its report; tests only read it."""
    folder = tmp_path_factory.mktemp("reported")
    reported(folder, made_up())
    return folder / "run"


@pytest.fixture(scope="module")
def page(directory):
    return (directory / "report.html").read_text(encoding="utf-8")


def loaded_from_outside(page):
    """Everything that a browser would fetch for the page: src, href, srcset, url(), @import that is no data URI."""
    found = re.findall(r"""(?:src|href|srcset)\s*=\s*["']([^"']*)["']|url\(([^)]*)\)|(@import[^;]*)""", page)
    return [text for text in map("".join, found) if not text.startswith(("data:", "#"))]


def test_a_report_is_one_file_with_all_figures(directory, page):
    assert loaded_from_outside(page) == [] and "Not drawn" not in page
    figures_of_one_kind = [figure for figure in FIGURES if figure.name != "sweep"]
    for figure in figures_of_one_kind:
        picture = directory / "figures" / f"{figure.name}.{figure.kind}"
        assert picture.stat().st_size > 5000, figure.name
        assert figure.title in page
    assert page.count("data:image/") == len(figures_of_one_kind) + 1  # the main figure also in its narrow form
    assert (directory / "figures" / "flatness.pdf").read_bytes().startswith(b"%PDF")


def test_the_page_has_what_the_summary_holds_failed_checks_first(directory, page):
    summary = json.loads((directory / "summary.json").read_text())
    table = read_csv((directory / "estimates.csv").read_text())
    body = page[page.index("<body>") :]
    (claim,) = summary["claims"]
    places = [body.index(text) for text in ("not at all", summary["headline"], f"</span> {claim['verdict']}")]
    assert places == sorted(places)
    accuracy = numbers.interval(table.one("accuracy.test", population="clean"))
    for text in (accuracy, "search.epsilon", "versions.jax", summary["config_hash"][:8], "L∞ 0.15", "53 s"):
        assert text in page, text
    assert "python -m landscape.main --config=configs/flatness.py:digits" in page
    assert not re.search(r"\d\.\d{7}", re.sub(r'data:[^"]*', "", page)), "a number with seven decimals"
    assert page.count("<tr><td>") == len(table)


def test_reporting_again_gives_the_same_bytes_in_seconds(directory):
    def everything():
        return {path.name: path.read_bytes() for path in directory.rglob("*") if path.is_file()}

    first = everything()
    began = time.process_time()
    with runs.open_run(ConfigDict(json.loads(first["config.json"])), directory) as run:
        experiments.load("flatness").report(run)
    # 10 s of CPU on slow cores that others share; computing anything of the run again would take minutes.
    assert time.process_time() - began < 30
    again = everything()
    assert [name for name in first if first[name] != again[name] and name != ".lock"] == []


def test_the_csv_of_the_main_figure_equals_the_table(directory):
    with (directory / "figures" / "flatness.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    table = read_csv((directory / "estimates.csv").read_text())
    drawn = {"raw": 6 * 4, "iso": 2 * 4, "scale_free": 6 * 4}  # the 2 x 2, noise and the untrained, at each r
    assert {name: sum(row["comparison"] == name for row in rows) for name in drawn} == drawn
    for row in rows:
        free, iso = row["comparison"] == "scale_free", row["comparison"] == "iso"
        population = {"noise": "noise_linf"}.get(row["population"], row["population"]) + "_iso" * iso
        where = {"population": population, "reference": None, "noise": "additive", "r": float(row["r"])}
        where["matching"] = "iso" if iso else None
        found = table.one("input_flatness." + ("scale_free" if free else "probability_drop"), **where)
        assert float(row["value"]) == found["value"]
        for end in ("low", "high", "band_low", "band_high"):
            assert (float(row[end]) if row[end] else None) == found.get(end)


@pytest.mark.slow
def test_markup_in_names_is_text_and_many_classes_in_colour_are_drawn(tmp_path):
    data = made_up(classes=200, channels=3, levels=2, shown=16)
    strange = ["<script>alert(1)</script>", "cat $ & dog_x", "猫\nzwei"]
    data = data.assign_coords({"class": strange + [f"Egyptian long-haired cat {i}" for i in range(197)]})
    data.check_detail.values[1] = "<script>2</script> & <b>"
    page = reported(tmp_path, data)
    assert "<script>alert" not in page and "<script>2" not in page
    assert "<h1>" in page and "&lt;script&gt;2&lt;/script&gt; &amp; &lt;b&gt;" in page
    assert "Not drawn" not in page


def test_one_of_everything_without_intervals_is_drawn(tmp_path):
    data = made_up(members=1, untrained=0, examples=1, levels=1, shown=1, classes=2)
    data["valid"][:] = True
    page = reported(tmp_path, data.isel(check=[0]))
    drawn = {figure.name: f"<h3>{figure.title}</h3>" in page for figure in FIGURES}
    # Nothing is swept, and there is nothing to match with a single reference, which the page says.
    assert [name for name, there in drawn.items() if not there] == ["sweep", "matching"]
    assert page.count("Not drawn") == 1


def test_what_is_missing_is_named(tmp_path):
    data = estimates.derive(made_up()).drop_vars(["hessian_top", "input_kept", "margin"])
    drawn, absent = figures.draw(FIGURES, (data, Table()), tmp_path)
    reasons = {figure.spec.name: figure.reason for figure in absent}
    nothing = "its values are missing, or too few to draw"
    assert reasons == {
        **dict.fromkeys(("flatness", "classes", "noises", "weights"), nothing),
        "curvature": "arrays.nc has no hessian_top",
        "shares": "arrays.nc has no input_kept",
    }  # matching is optional
    assert len(drawn) == len(FIGURES) - 8


def test_invalid_inputs_and_controls_are_left_out_of_every_figure(tmp_path):
    """What is masked may hold anything: the figures do not change."""
    clean = made_up(levels=3)
    dirty = clean.copy(deep=True)
    out = ~dirty["valid"] | (dirty["control"] != "trained")
    for name in ("input_probability_drop", "gradient_norm", "worst_loss_rise", "hessian_trace"):
        dirty[name] = dirty[name].where(~out, 1e9).transpose(*clean[name].dims)
    config = smoke_config("flatness", tmp_path)
    known = {one.name: one for one in FIGURES}
    tables = [estimates.estimate(data, config).select(population=[*POPULATIONS]) for data in (clean, dirty)]
    with mpl.rc_context(style.RC):
        for name in ("histograms", "curvature", "worst", "noises", "classes"):
            drawn = [
                known[name].draw(estimates.derive(data), table)
                for data, table in zip((clean, dirty), tables, strict=True)
            ]
            first, second = (style.save(figure, tmp_path / "x.svg").read_bytes() for figure in drawn)
            assert first == second, name


@pytest.mark.parametrize(
    "content",
    [
        (train_arrays(), Table()),
        (train_arrays(sweep=True, classes=200, examples=400), Table()),
        (train_arrays(members=2, epochs=1, classes=2, examples=2), Table()),
    ],
    ids=["train", "train with a sweep", "train for one epoch"],
)
def test_the_other_experiments_have_all_their_figures(tmp_path, content):
    known = train_figures.FIGURES
    drawn, absent = figures.draw(known, content, tmp_path)
    assert absent == []
    assert [figure.spec for figure in drawn] == list(known)
    assert all(figure.paths[0].stat().st_size > 5000 for figure in drawn)
    assert sum(path.suffix == ".csv" for path in tmp_path.iterdir()) == 1


def test_a_single_member_names_what_is_not_there(tmp_path):
    _, absent = figures.draw(train_figures.FIGURES, (train_arrays(members=1), Table()), tmp_path)
    assert [figure.spec.name for figure in absent] == ["disagreement"]


def test_members_are_grouped_by_what_was_swept():
    shown = [(label, members.tolist()) for label, _, members in train_figures.groups(train_arrays(sweep=True))]
    rates = [("learning rate 0.003", [0, 2]), ("learning rate 0.001", [1, 3])]
    assert shown == [*rates, ("shuffled labels", [4]), ("untrained", [5])]


def test_an_unfinished_run_is_refused_in_one_line(tmp_path):
    with pytest.raises(UserError, match=r"no arrays\.nc, summary\.json.*finished run"):
        report.write(tmp_path, question="", figures=(), drawn=(xr.Dataset(), Table()), data=xr.Dataset())


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
    (row,) = tables.four_readings(
        {"experiment": "flatness", "estimates": [entry | {"matching": "raw"}, matched], "claims": []}
    )
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
