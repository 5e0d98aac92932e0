"""The experiment `benchmark`: fair turns, medians with exact intervals, reasons of ways left out, planted numbers."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import whole_runs
import xarray as xr
from ml_collections import ConfigDict
from whole_runs import smoke_config

from landscape import experiments, runs
from landscape.experiments.base import described
from landscape.experiments.benchmark import EXPERIMENT, attacks, by_count, estimates, figures, races
from landscape.experiments.benchmark.config import (
    ATTACKERS,
    DISAGREES,
    NO_PORT,
    NORMS,
    NOT_ASKED,
    NOT_INSTALLED,
    OURS,
    PEERS,
    RACES,
    WAYS,
)
from landscape.experiments.setting import Examples
from landscape.files import UserError
from landscape.reporting import figures as drawing

ROUNDS, S, N = 7, 4, 400


@pytest.fixture
def config(tmp_path):
    """What goes with `made_up`."""
    return smoke_config("benchmark", tmp_path)


def made_up(*, skipped=(), why=NOT_INSTALLED, gap=np.nan, excess=0.0, ratio=1.0, foolbox=True, members=1):
    """A run in which every way takes twice as long as the one before it, and attacks find equally much.

    Of 400 images in two norms about half are robust, distances are exponential; members are repeated.
    """
    taking_part = np.array([[way in (OURS, *RACES[race]) and way not in skipped for way in WAYS] for race in RACES])
    reasons = np.array([["" if there else why if way in RACES[race] else NOT_ASKED
                         for way, there in zip(WAYS, own, strict=True)]
                        for race, own in zip(RACES, taking_part, strict=True)])[:, None]  # fmt: skip
    seconds = np.where(taking_part, 2.0 ** np.arange(len(WAYS)), np.nan)[:, None, :, None] * np.ones(ROUNDS)
    distance = np.broadcast_to(np.random.default_rng(0).exponential(size=N), (2, 2, members, N)).copy()
    robust = (distance > 0.7).astype(float)
    robust[0, ..., : round(N * excess)], robust[1, ..., : round(N * excess)] = 1.0, 0.0
    distance[0] *= ratio
    if not foolbox:
        robust[1], distance[1] = np.nan, np.nan
    of_race, shape, found = ("race", "model"), (len(RACES), 1), ("attacker", "norm", "member", "example")
    arrays = {
        "seconds": ((*of_race, "way", "round"), seconds),
        "images": (of_race, np.full(shape, 100)),
        "classifiers": (of_race, np.full(shape, 4)),
        "examples": (of_race, np.full(shape, 64)),
        "left_out": ((*of_race, "way"), reasons),
        "logit_difference": (of_race, np.full(shape, gap)),
        "robust": (found, robust),
        "distance": (found, distance),
        "radius": ("norm", np.array([0.02, 0.4])),
    }
    coords = {"race": list(RACES), "model": ["cnn"], "way": list(WAYS), "round": np.arange(ROUNDS)}
    coords |= {"attacker": list(ATTACKERS), "norm": list(NORMS), "example": np.arange(N)}
    return described(xr.Dataset(arrays, coords), EXPERIMENT.schema)


def by_number(share=0.5):
    """Rates that double with the number of members, for two classifiers."""
    shape = ("model", "count", "race", "round")
    seconds = np.ones((2, 3, 2, ROUNDS))
    arrays = {"member_seconds": (shape, seconds), "flops": (shape[:3], np.full(seconds.shape[:3], share * 1e9))}
    coords = {"model": ["cnn", "resnet18"], "count": [1, 2, 4], "race": ["pgd", "train_step"]}
    data = xr.Dataset(arrays | {"product_rate": ((), 1e9)}, coords | {"round": np.arange(ROUNDS)})
    return described(data, EXPERIMENT.schema)


def judged(data, config):
    """(table, which checks passed, headline)."""
    table = estimates.estimate(data, config)
    checks = {check.name: check.passed for check in estimates.checks(data, table, config)}
    return table, checks, estimates.headline(table, config)


# ---- times ----


def test_median_and_its_interval_between_order_statistics():
    assert estimates.median(np.arange(1.0, 8.0)[::-1]) == (4.0, 1.0, 7.0, 1 - 2 / 2**7)
    # n = 9: second smallest to second largest covers with 1 - 2 (1 + 9) / 2^9 = 0.961.
    assert estimates.median(np.arange(9.0)) == (4.0, 1.0, 7.0, 1 - 20 / 2**9)
    assert estimates.median(np.array([3.0, 1.0])) == (2.0, 1.0, 3.0, 0.5)


@pytest.mark.parametrize("n", [7, 12])
def test_the_interval_covers_the_median_of_a_skewed_distribution_as_often_as_it_says(n):
    rng = np.random.default_rng(0)
    found = [estimates.median(rng.exponential(size=n)) for _ in range(2000)]
    covered = np.mean([low <= np.log(2) <= high for _, low, high, _ in found])
    assert abs(covered - found[0][3]) < 4 * np.sqrt(0.05 * 0.95 / 2000)


def test_ways_take_turns_and_each_runs_once_before(monkeypatch):
    monkeypatch.setattr(races, "REST", 0)
    order = []
    programs = {name: lambda name=name: order.append(name) for name in (OURS, "map", "vmap")}
    seconds = races.race(programs, 3)
    first, second, third = programs
    assert order == [*programs, first, second, third, second, third, first, third, first, second]
    assert seconds.shape == (len(WAYS), 3)
    assert {way for way, own in zip(WAYS, seconds, strict=True) if np.isfinite(own).all()} == set(programs)


def test_ratios_say_how_many_times_as_long_others_take(config):
    table, _, headline = judged(made_up(), config)
    row = table.one("throughput.ratio", race="pgd", way="foolbox")
    assert row["value"] == row["low"] == row["high"] == 2.0 ** WAYS.index("foolbox") and row["headline"]
    rate = table.one("throughput.images", race="pgd", way="pytorch")
    assert rate["value"] == 100 / 2.0 ** WAYS.index("pytorch") and rate["unit"] == "images/s"
    assert len(table.select("throughput.ratio")) == sum(map(len, RACES.values()))
    assert "Foolbox on PyTorch takes 256.00 [256.00, 256.00] times as long (cnn) for a PGD attack" in headline
    assert "left out" not in headline


def test_a_ratio_is_taken_within_a_round(config):
    """A machine that slows down fourfold on the way changes no ratio."""
    data = made_up()
    data["seconds"] = data.seconds * np.linspace(1, 4, ROUNDS)
    row = estimates.estimate(data, config).one("throughput.ratio", race="gradient", way="map")
    assert row["value"] == row["low"] == row["high"] == 2.0 ** WAYS.index("map")


@pytest.mark.parametrize("why", [NOT_INSTALLED, DISAGREES, NO_PORT])
def test_ways_that_take_no_part_have_rows_that_say_why(config, why):
    table, checks, headline = judged(made_up(skipped=PEERS, why=why, foolbox=False), config)
    skipped = [row for row in table.select("throughput.ratio") if row["way"] in PEERS]
    assert skipped and all(row["value"] is None and row["left_out"] == why for row in skipped)
    assert not any(row.get("headline") for row in skipped) and not checks
    assert all(row["value"] > 0 for row in table if row.get("way") not in PEERS)
    assert f"were left out ({why})" in headline and "one at a time" in headline
    assert "inf" not in headline and "nan" not in headline


def test_other_networks_in_pytorch_fail_their_check(config):
    assert judged(made_up(gap=2e-4), config)[1]["pytorch.same_network"] is False
    assert judged(made_up(gap=1e-5), config)[1]["pytorch.same_network"] is True


def test_images_that_pass_through_a_classifier():
    own = {"num_trials": 16, "num_draws": 8, "num_searched": 2, "num_pairs": 16, "num_waypoint_steps": 64}
    about = ConfigDict({"num_members": 4, "search": {"num_steps": 40}, "benchmark": own})
    assert {race: races.num_images(about, race, 64) for race in RACES} == {
        "input_noise": 4 * 2 * 16 * 64,
        "weight_noise": 4 * 2 * 8 * 64,
        "pgd": 2 * 40 * 64,
        "bypass": 2 * 64 * 16,
        **dict.fromkeys(("forward", "gradient", "train_step"), 4 * 64),
    }


def test_numbers_of_threads_that_are_tried():
    assert races.thread_counts(6, few=False) == [1, 2, 4, 6] and races.thread_counts(6, few=True) == [6]
    assert races.thread_counts(2, few=False) == [1, 2]


def test_a_training_step_of_all_members_is_that_of_each():
    """Both ways do the same work: their states after the step are equal."""
    about = ConfigDict({"seed": 0, "mapping": "map", "benchmark": {"num_examples": 4}})
    task = by_count.generated(about, "cnn", 2)
    together, alone = (program() for program in races.train_step(task, task.how))
    for i, state in enumerate(alone):
        for ours, theirs in zip(jax.tree.leaves(together), jax.tree.leaves(state), strict=True):
            np.testing.assert_allclose(ours[i], theirs, atol=1e-5)
    assert float(together.loss_sum[0]) > 0


def test_rates_by_the_number_of_members(config):
    config.benchmark.part = "members"
    table, _, headline = judged(by_number(), config)
    assert table.one("throughput.members", model="cnn", race="pgd", count=4)["value"] == 4
    assert table.one("throughput.share", model="cnn", race="pgd", count=4)["value"] == 0.5
    assert "takes 1.0 times as long as 1 (4 of cnn)" in headline and "0.50" in headline


# ---- strength beside Foolbox ----


def test_equal_attacks_are_found_equal(config):
    table, checks, headline = judged(made_up(), config)
    for norm, epsilon in zip(NORMS, (0.02, 0.4), strict=True):
        row = table.one("attack.robust_accuracy", norm=norm, reference="foolbox")
        assert (row["value"], row["epsilon"]) == (0, epsilon)
        near = table.one("attack.distance", norm=norm, reference="foolbox")
        assert near["value"] == near["high"] == 1
    assert len(checks) == 4 and all(checks.values()) and "0.0 [0.0, 0.0] points in L-inf" in headline
    share = table.one("attack.robust_accuracy", norm="linf", population=OURS, reference=None)
    assert share["low"] < share["value"] < share["high"] and share["generalises_to"] == "new images"


def test_of_four_members_the_interval_speaks_of_others_too(config):
    table = estimates.estimate(made_up(excess=0.02, members=4), config)
    row = table.one("attack.robust_accuracy", norm="l2", reference="foolbox")
    assert row["generalises_to"] == "both" and row["members"] == 4 and row["low"] < row["value"] < row["high"]


@pytest.mark.parametrize(("changes", "failing"), [({"excess": 0.02}, "robust_accuracy"), ({"ratio": 1.03}, "distance")])
def test_a_weaker_attack_fails_its_check(config, changes, failing):
    _, checks, _ = judged(made_up(**changes), config)
    assert {name for name, passed in checks.items() if not passed} == {f"{failing}.{norm}" for norm in NORMS}


def test_without_foolbox_there_are_ours_alone(config):
    table, checks, _ = judged(made_up(foolbox=False), config)
    assert not checks and {row["population"] for row in table if row["name"].startswith("attack")} == {OURS}


def test_the_weighted_median():
    values, median = np.array([[1.0, 5.0, 3.0]]), estimates.weighted_median
    assert median(values, np.ones(1), np.ones(3)) == 3.0
    assert median(values, np.ones(1), np.array([0.0, 3.0, 1.0])) == 5.0
    assert median(np.array([[0.0, 0.0, 2.0, 3.0, 4.0]]), np.ones(1), np.ones(5)) == 3.0  # of those not wrong


def test_the_radius_leaves_half_of_what_the_nearest_images_say():
    """Logits 0 and (x + 1)^2 - (a + 1)^2 of a pixel at 0: the distance is a, of members with unlike a; two digits."""
    apply = lambda a, x: jnp.stack([jnp.zeros(len(x)), (x[:, 0, 0, 0] + 1) ** 2 - (a + 1) ** 2], axis=1)  # noqa: E731
    a = jnp.asarray([0.1, 0.2, 0.3123])
    images = Examples(np.zeros((5, 1, 1, 1), np.float32), np.zeros(5, np.int32), np.arange(5))
    budget = types.SimpleNamespace(attack_steps=300)
    config = types.SimpleNamespace(seed=0, mapping="map", benchmark=budget)
    np.testing.assert_allclose(attacks.radii(config, apply, a, images), 0.2, atol=0.0101)  # FMN ends just beyond


# ---- figures, config, whole runs ----


def drawn(data, config, folder):
    content = estimates.derive(data), estimates.estimate(data, config)
    found, absent = drawing.draw(figures.FIGURES, content, folder)
    return [one.spec.name for one in found], [one.spec.name for one in absent]


def test_figures_are_drawn_of_what_there_is(config, tmp_path):
    assert drawn(made_up(members=4), config, tmp_path) == (["ratios", "strength"], [])
    assert all((tmp_path / f"{name}.svg").stat().st_size > 5000 for name in ("ratios", "strength"))
    assert drawn(made_up(skipped=PEERS, foolbox=False), config, tmp_path / "alone") == (["ratios", "strength"], [])
    assert drawn(made_up(skipped=WAYS[1:]), config, tmp_path / "nobody") == (["strength"], ["ratios"])
    races_alone = made_up().drop_vars(["robust", "distance", "radius"])
    assert drawn(races_alone, config, tmp_path / "races") == (["ratios"], [])
    config.benchmark.part = "members"
    assert drawn(by_number(), config, tmp_path / "members") == (["by_count"], [])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"benchmark.part": "resnets"}, "did you mean resnet"),
        ({"benchmark.races": ("pdg",)}, "did you mean pgd"),
        ({"benchmark.ways": ("torch",)}, "benchmark.ways='torch': expected one of one_device"),
        ({"benchmark.models": ("cnnn",)}, "did you mean cnn"),
        ({"benchmark.part": "resnet", "benchmark.models": ("mlp",)}, "expected some of cnn, resnet18 in the part"),
        ({"benchmark.part": "members"}, "benchmark.races=.*expected some of pgd, input_noise, train_step"),
        ({"benchmark.counts": (4, 4)}, "benchmark.counts=.*each once"),
        ({"benchmark.num_pairs": 17}, "benchmark.num_pairs=17: expected at most benchmark.num_examples=16"),
    ],
)
def test_what_a_config_may_not_say(config, changes, message):
    config.update_from_flattened_dict(changes)
    with pytest.raises(UserError, match=message):
        experiments.validate(config)


SMALL = {"benchmark.races": ("gradient",), "benchmark.ways": ("map", "vmap"), "train.num_epochs": 1}


@pytest.mark.slow  # half a minute
def test_a_whole_run_without_peers(tmp_path, monkeypatch):
    """From the config to the report; estimated anew from the arrays alone, nothing changes."""
    monkeypatch.setattr(races, "peers_installed", lambda: False)
    config = smoke_config("benchmark", tmp_path, **SMALL)
    arrays, summary = whole_runs.done(config, tmp_path / "run")
    assert all(v.attrs["units"] and v.attrs["long_name"] for v in arrays.variables.values())
    assert {"seconds", "robust", "distance", "radius", "audit"} <= set(arrays.variables)
    assert np.isnan(arrays.robust.sel(attacker="foolbox")).all() and "map" in arrays.way.values
    assert any(check["name"].startswith("audit.") for check in summary["checks"])
    with runs.open_run(config, tmp_path / "run") as run:
        experiments.execute(run, reestimate=True)
        assert runs.read_summary(run) == summary
    assert "Not drawn" not in (tmp_path / "run" / "report.html").read_text()


@pytest.mark.slow
def test_members_a_second_by_their_number(tmp_path):
    races_of = {"benchmark.races": ("pgd", "input_noise", "train_step"), "benchmark.models": ("cnn", "resnet18")}
    changes = {"benchmark.part": "members", "benchmark.counts": (1, 2), "benchmark.num_examples": 2, **races_of}
    config = smoke_config("benchmark", tmp_path, **changes, **{"benchmark.num_pairs": 2})
    arrays, summary = whole_runs.done(config, tmp_path / "run")
    assert (arrays["member_seconds"] > 0).all() and (arrays["flops"] > 0).all()
    rates = [row for row in summary["estimates"] if row["name"] == "throughput.members"]
    assert len(rates) == 3 * 2 * 2 and all(row["value"] > 0 for row in rates)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Foolbox imports what SciPy has moved
def test_a_residual_network_beside_pytorch(tmp_path):
    """With or without PyTorch: what took no part says why."""
    config = whole_runs.load("benchmark", "digits,smoke,resnet")
    config.artifacts, config.data.cache = str(tmp_path / "artifacts"), str(tmp_path / "data")
    config.num_members, config.benchmark.num_examples, config.benchmark.num_pairs = 2, 2, 2
    experiments.validate(config)
    arrays, summary = whole_runs.done(config, tmp_path / "run")
    assert arrays.model.values.tolist() == ["resnet18"] and "landscape" in summary["headline"]
    assert np.isfinite(arrays.seconds.sel(way="loop", race="train_step")).all()
