"""Reports are made from saved arrays alone: whole, self-contained, the same each time, and honest about gaps."""

import collections
import csv
import functools
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
from landscape.experiments import page as pages
from landscape.experiments.base import SCHEMA, described
from landscape.experiments.flatness import estimates
from landscape.experiments.flatness.figures import FIGURES
from landscape.experiments.train import estimates as train
from landscape.experiments.train import figures as train_figures
from landscape.files import write_netcdf
from landscape.presets.measuring import FIRST
from landscape.reporting import figures, numbers, style, tables
from landscape.runs.progress import duration
from landscape.stats.table import ENDS, Row, Table, read_csv

POPULATIONS = (
    *("genuine", "natural_error", "adversarial", "boosted", "boundary"),
    *("noise_linf", "noise_l2", "adversarial_iso", "boosted_iso"),
)
SHARPNESS = (0.25, 1.1, 0.8, 0.4, 0.3, 0.3, 0.3, 0.6, 0.4)
EACH = ("member", "population", "example")


def random_arrays(experiment, coords, **sizes):
    """A Dataset with these coordinates, and all variables of an experiment's schema that have their dims, at random."""
    rng, data = np.random.default_rng(0), xr.Dataset(coords=coords)
    sizes |= data.sizes
    for name, quantity in experiments.load(experiment).schema.items():
        if {*quantity.dims} <= {*sizes} and name not in {*sizes, *SCHEMA, *coords} - {"audit"}:
            data[name] = quantity.dims, rng.uniform(0.1, 0.9, [sizes[dim] for dim in quantity.dims]).astype(np.float32)
    return data


def made_up(*, members=5, untrained=1, examples=30, classes=6, channels=1, levels=3, shown=6):
    """A Dataset as `flatness` saves it, with smooth curves and few natural errors; r = 0.3 is among the levels."""
    rng, at = np.random.default_rng(0), POPULATIONS.index
    total, r, xi = members + untrained, 0.3 * 2.0 ** (np.arange(levels) - levels // 2), np.array([0.05, 0.5])
    coords = {
        "control": ("member", ["trained"] * members + ["untrained"] * untrained),
        "seed": ("member", np.arange(total)),
        "population": list(POPULATIONS),
        "example": np.arange(examples),
        "r": r,
        "sigma": (("noise", "r"), np.broadcast_to(r * 0.1, (2, levels))),
        "noise": ["additive", "sphere"],
        "xi": xi,
        "weight_noise": ["multiplicative", "additive"],
        "class": [str(i) for i in range(classes)],
        "shown": np.arange(shown),
        "audit_attack": ["noise", "transfer", "fgsm", "pgd"],
        "audit_epsilon": np.linspace(0, 0.3, 7),
        "check": ["audit.monotone", "audit.sane"],
        "check_passed": ("check", [True, False]),
        "check_detail": ("check", ["success rises with epsilon", "not at all"]),
    }
    data = random_arrays("flatness", coords, height=8, width=8, channel=channels)
    wrong, label = rng.random((total, examples)) < 0.15, rng.integers(0, classes, (total, examples))
    valid = np.broadcast_to(~wrong[:, None], data.valid.shape) & (rng.random(data.valid.shape) < 0.9)
    valid[:, at("genuine")], valid[:, at("natural_error")] = ~wrong, wrong
    prediction = np.broadcast_to(label[:, None], valid.shape).copy()
    for name in ("natural_error", "adversarial", "boundary", "adversarial_iso"):
        prediction[:, at(name)] = (label + 1) % classes
    data["label"] = ("member", "example"), label
    for name, values in (("valid", valid), ("prediction", prediction), ("survives_8_bits", np.ones_like(valid))):
        data[name] = EACH, values
    each = np.array(SHARPNESS)[None, :, None] * rng.lognormal(0, 0.6, valid.shape)
    for prefix, size in (("input", data.r), ("weight", 4 * data.xi)):
        drop = 1 - np.exp(-xr.DataArray(each, dims=EACH) * size**1.5)
        for name, factor in (("probability_drop", 1.0), ("loss_rise", 2.0), ("margin_drop", data.margin)):
            data[f"{prefix}_{name}"] = (drop * factor).broadcast_like(data[f"{prefix}_{name}"])
    data["input_kept"] = 1 - 0.9 * data.input_probability_drop
    data["input_returned"] = 0.5 * data.input_probability_drop
    data["hessian_top"] = EACH, each**3
    stages = json.dumps({"search": 31.2, "flatness": 22.0})
    return data.assign_attrs(epsilon=0.15, norm="linf", stages=stages)


def reported(directory, data):
    """The page of a finished run with these arrays: estimated and reported through the experiment's own doors."""
    experiment, config = experiments.load("flatness"), smoke_config("flatness", directory)
    config.search.epsilon, config.measures = 0.15, (*FIRST, "certified")
    described(data, experiment.schema)
    with runs.open_run(config, directory / "run") as run:
        write_netcdf(run.directory / "arrays.nc", data)
        experiment.summarise(config, run)
        return experiment.report(run).read_text(encoding="utf-8")


def train_arrays(*, members=4, examples=60, classes=10, epochs=3, sweep=False):
    """A Dataset as `train` saves it: trained members, one with shuffled labels and an untrained one."""
    total, label = members + 2, np.arange(examples) % classes
    coords = {
        "control": ("member", ["trained"] * members + ["shuffled", "untrained"]),
        "seed": ("member", np.arange(total)),
        "train_learning_rate": ("member", np.where(sweep & (np.arange(total) % 2 == 0), 3e-3, 1e-3)),
        "class": [f"a long class name {i}" for i in range(classes)],
        "epoch": np.arange(1, epochs + 1),
        "example": np.arange(examples),
    }
    data = random_arrays("train", coords)
    data["train_loss"][-1] = np.nan
    guess = np.random.default_rng(0).integers(0, classes, (total, examples))
    data["label"], data["prediction"] = ("example", label), (("member", "example"), np.where(guess > 0, label, guess))
    return train.derive(data)


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
    there = set(made_up().variables)  # what a config switches on further is drawn from runs of its own
    figures_of_one_kind = [figure for figure in FIGURES if figure.name != "sweep" and there.issuperset(figure.needs)]
    assert len(figures_of_one_kind) > 12
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
    first, _ = summary["claims"]
    positions = [body.index(text) for text in ("not at all", summary["headline"], f"</span> {first['verdict']}")]
    assert positions == sorted(positions)
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
    drawn = {"raw": 6 * 3, "iso": 3 * 3, "scale_free": 3 * 3}  # the 2 x 2, noise and the untrained, at each r
    assert collections.Counter(row["comparison"] for row in rows) == drawn
    for row in rows:
        iso = row["comparison"] != "raw"
        name = "scale_free" if row["comparison"] == "scale_free" else "probability_drop"
        population = {"noise": "noise_linf"}.get(row["population"], row["population"])
        population += "_iso" * (iso and population != "genuine")
        where = {"reference": None, "noise": "additive", "r": float(row["r"]), "matching": "iso" if iso else None}
        found = table.one(f"input_flatness.{name}", population=population, **where)
        assert all((float(row[end]) if row[end] else None) == found.get(end) for end in ENDS)


@pytest.mark.slow
def test_markup_in_names_is_text_and_many_classes_in_colour_are_drawn(tmp_path):
    data = made_up(classes=200, channels=3, levels=2, shown=16)
    strange = ["<script>alert(1)</script>", "cat $ & dog_x", "猫\nzwei"]
    data = data.assign_coords({"class": strange + [f"Egyptian long-haired cat {i}" for i in range(197)]})
    data.check_detail.values[1] = "<script>2</script> & <b>"
    page = reported(tmp_path, data)
    assert "<script>alert" not in page and "<script>2" not in page
    assert "<h1" in page and "&lt;script&gt;2&lt;/script&gt; &amp; &lt;b&gt;" in page
    assert "Not drawn" not in page


@pytest.mark.slow
def test_one_of_everything_without_intervals_is_drawn(tmp_path):
    data = made_up(members=1, untrained=0, examples=1, levels=1, shown=1, classes=2)
    data["valid"][:] = True
    page = reported(tmp_path, data.isel(check=[0]))
    drawn = {figure.name: f"<h3>{figure.title}</h3>" in page for figure in FIGURES}
    # One image allows no comparison, which the page says; what was not asked for or not measured goes without a word.
    silent = {"sweep", "agreement", "spectrum", "along"}
    assert {name for name, there in drawn.items() if not there} == silent | {"comparisons", "relative", "matching"}
    assert page.count("Not drawn") == 3


def test_what_is_missing_is_named(tmp_path):
    data = estimates.derive(made_up()).drop_vars(["hessian_top", "input_kept", "log_odds", "audit"])
    drawn, absent = figures.draw(FIGURES, (data, Table()), tmp_path)
    reasons = {figure.spec.name: figure.reason for figure in absent}
    nothing = "its values are missing, or too few to draw"
    assert reasons == {
        **dict.fromkeys(("flatness", "comparisons", "classes", "noises", "relative", "weights"), nothing),
        **dict.fromkeys(("certified", "weight_hessian"), nothing),
        "audit": "arrays.nc has no audit",
    }
    silent = {one.name for one in FIGURES} - {one.spec.name for one in (*drawn, *absent)}
    assert {"curvature", "shares", "matching"} <= silent  # optional, since a config can leave their arrays out
    assert all(one.optional or one.name == "sweep" for one in FIGURES if one.name in silent)


@pytest.mark.slow
def test_invalid_inputs_and_controls_are_left_out_of_every_figure(tmp_path):
    """What is masked may hold anything: the figures do not change."""
    clean = made_up(members=3, examples=15, levels=2)
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
    "about",
    [{"sweep": True, "classes": 200, "examples": 400}, {"members": 2, "epochs": 1, "classes": 2, "examples": 2}],
    ids=["a sweep", "one epoch"],
)
def test_train_has_all_its_figures(tmp_path, about):
    drawn, absent = figures.draw(train_figures.FIGURES, (train_arrays(**about), Table()), tmp_path)
    assert absent == [] and [figure.spec for figure in drawn] == list(train_figures.FIGURES)
    assert all(figure.paths[0].stat().st_size > 5000 for figure in drawn)
    assert sum(path.suffix == ".csv" for path in tmp_path.iterdir()) == 1


def test_a_single_member_names_what_is_not_there(tmp_path):
    _, absent = figures.draw(train_figures.FIGURES, (train_arrays(members=1), Table()), tmp_path)
    assert [figure.spec.name for figure in absent] == ["disagreement"]


def test_members_are_grouped_by_what_was_swept():
    shown = [(label, members.tolist()) for label, _, members in train_figures.groups(train_arrays(sweep=True))]
    rates = [("learning rate 0.003", [0, 2]), ("learning rate 0.001", [1, 3])]
    assert shown == [*rates, ("shuffled labels", [4]), ("untrained", [5])]


def test_numbers_as_text():
    values = (None, float("nan"), 0.123456789, -2.0, 512, 71234, True, 1.23456e-7, "a-b")
    assert [*map(numbers.text, values)] == ["–", "–", "0.123", "−2", "512", "71234", "True", "1.23e−7", "a-b"]


def test_intervals_decide_the_digits():
    for (value, low, high), shown in {
        (0.00725, -0.00572, 0.0202): "0.007 [−0.006, 0.020]",
        (12.3456, 11.2, 13.7): "12.3 [11.2, 13.7]",
        (-0.0004, -0.03, 0.03): "0.00 [−0.03, 0.03]",
        (0.999998, 0.999993, 1.0): "1.000 [1.000, 1.000]",
        (0.01514, 0.014981, 0.015306): "0.01514 [0.01498, 0.01531]",
        (1234.5, 1100.0, 1400.0): "1234 [1100, 1400]",
        (2e-7, 1e-7, 3e-7): "2.00e−7 [1.00e−7, 3.00e−7]",
        (0.5, None, None): "0.5",
        (0.5, 0.5, 0.5): "0.5",
        (None, None, None): "–",
    }.items():
        assert numbers.interval({"value": value, "low": low, "high": high}) == shown


def test_an_interval_times_a_factor_with_fewer_digits():
    parts = numbers.parts({"value": 0.0124123, "low": 0.01240, "high": 0.01243}, 1e3, digits=3)
    assert parts == ("12.4", "[12.4, 12.4]")


def test_durations():
    seconds = (0.84, 9.97, 12.2, 200.0, 7500.0)
    assert [duration(s) for s in seconds] == ["0.8 s", "10 s", "12 s", "3 min 20 s", "2 h 5 min"]


def test_the_bar_of_a_claim_keeps_its_proportions():
    claim = {"value": 0.1, "low": 0.0, "high": 0.3, "smallest_effect": 0.1, "verdict": "undecided"}
    bar = tables.claim_card(claim)["bar"]
    assert bar["low"] == bar["zero"]
    assert (bar["value"] - bar["zero"]) / bar["width"] == pytest.approx(1 / 3, abs=1e-3)
    assert bar["small_width"] / bar["width"] == pytest.approx(2 / 3, abs=1e-3)
    assert 0 <= bar["small"] and bar["low"] + bar["width"] <= 100


def estimate(name, value, low=None, high=None, **about):
    return Row({"name": name, "value": value, "low": low, "high": high, **about})


def test_comparisons_stand_side_by_side_and_say_how_many_found_a_partner():
    about = {"population": "adversarial", "reference": "boosted", "noise": "additive", "r": 0.3}
    drop = functools.partial(estimate, "input_flatness.probability_drop", 0.01, **about)
    rows = (
        drop(0.005, 0.015, matching="raw"),
        drop(-0.005, 0.015, matching="matched", share_kept=0.0797),
        drop(0.005, 0.015, matching="raw") | {"r": 0.6},
        estimate("accuracy.test", 0.9, headline=True),
    )
    (table,), rest = pages.tables(Table(tuple(map(Row, rows))), [{"r": 0.28}])
    ((line,),) = table.groups.values()
    raw, matched = line.entries  # of columns that have any row
    assert line.name == "adversarial − boosted" and "r = 0.3 " in table.note
    assert [text for text in raw.texts if text] == ["0.010", "[0.005, 0.015]"] and raw.bold
    assert matched.texts[2] == "(8 % kept)" and not matched.bold
    assert [row["name"] for row in rest] == ["accuracy.test"]


def test_of_descriptions_the_finest_rounding_and_the_use_of_codes_are_shown_and_baselines_last():
    sizes = {"vq": "codes", "ae": "dim", "pca": "dim"}
    vq, ae, pca = ({"layer": "image", "family": family, size: 8} for family, size in sizes.items())
    rows = [estimate("rate.quantised", 10.0, **pca)]
    rows += [estimate("rate.quantised", 10 / step, step=step, **ae) for step in (1.0, 0.25)]
    rows += [estimate("usage.perplexity", 12.34, 11.1, 13.8, **vq), estimate("usage.codes", 0.98765, **vq)]
    (table,), rest = pages.tables(Table(tuple(rows)), [])
    (lines,) = table.groups.values()
    shown = {line.name: [[text for text in entry.texts if text] for entry in line.entries] for line in lines}
    assert shown == {
        "ae 8": [["40", "at 0.25 σ"], ["–"]],
        "vq 8": [["–"], ["12.3", "[11.1, 13.8]", "perplexity, 99 %"]],
        "PCA 8": [["10"], ["–"]],
    }
    assert list(shown)[-1] == "PCA 8" and rest == []


def test_ticks_of_log_axes_are_plain_numbers_from_a_thousandth_to_ten_thousand():
    values = (0.0, 1e-4, 0.02, 999.0, 999.7, -2000.0, 9999.0, 1e4)
    assert [*map(style.short_number, values)] == ["0", "1e-4", "0.02", "999", "1000", "-2000", "9999", "1e+04"]
