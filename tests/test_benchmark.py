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
from landscape.experiments.benchmark import EXPERIMENT, attacks, estimates, figures, races, stages
from landscape.experiments.benchmark.config import ATTACKERS, NORMS, NOT_ASKED, NOT_INSTALLED, OURS, PEERS, RACES, WAYS
from landscape.experiments.setting import Examples
from landscape.files import UserError
from landscape.reporting import figures as drawing

ROUNDS, N = 7, 400


@pytest.fixture
def config(tmp_path):
    """What goes with `made_up`."""
    return smoke_config("benchmark", tmp_path)


def made_up(*, skipped=(), gap=np.nan, excess=0.0, ratio=1.0, foolbox=True, members=1):
    """A run in which every way takes twice as long as the one before it, and attacks find equally much.

    Of 400 images in two norms about half are robust, distances are exponential; members are repeated.
    """
    why = [[NOT_ASKED if way not in (OURS, *RACES[race]) else NOT_INSTALLED if way in skipped else "" for way in WAYS]
           for race in RACES]  # fmt: skip
    seconds = np.where(np.array(why) == "", 2.0 ** np.arange(len(WAYS)), np.nan)[:, None, :, None] * np.ones(ROUNDS)
    distance = np.broadcast_to(np.random.default_rng(0).exponential(size=N), (2, 2, members, N)).copy()
    robust = (distance > 0.7).astype(float)
    robust[0, ..., : round(N * excess)], robust[1, ..., : round(N * excess)] = 1.0, 0.0
    distance[0] *= ratio
    if not foolbox:
        robust[1], distance[1] = np.nan, np.nan
    of_race, shape, found = ("race", "model"), (len(RACES), 1), ("attacker", "norm", "member", "example")
    arrays = {
        "seconds": ((*of_race, "way", "round"), seconds),
        "left_out": ((*of_race, "way"), np.array(why)[:, None]),
        "robust": (found, robust),
        "distance": (found, distance),
        "radius": ("norm", np.array([0.02, 0.4])),
    }
    numbers = {"images": 100, "classifiers": 4, "examples": 64, "logit_difference": gap}
    arrays |= {name: (of_race, np.full(shape, value)) for name, value in numbers.items()}
    coords = {"race": list(RACES), "model": ["cnn"], "way": list(WAYS), "round": np.arange(ROUNDS)}
    coords |= {"attacker": list(ATTACKERS), "norm": list(NORMS), "example": np.arange(N)}
    return described(xr.Dataset(arrays, coords), EXPERIMENT.schema)


def by_number():
    """Rates that double with the number of members, for two classifiers."""
    shape = ("model", "count", "race", "round")
    seconds = np.ones((2, 3, 2, ROUNDS))
    arrays = {"member_seconds": (shape, seconds), "flops": (shape[:3], np.full(seconds.shape[:3], 0.5e9))}
    coords = {"model": ["cnn", "resnet18"], "count": [1, 2, 4], "race": ["pgd", "train_step"]}
    data = xr.Dataset(arrays | {"product_rate": ((), 1e9)}, coords | {"round": np.arange(ROUNDS)})
    return described(data, EXPERIMENT.schema)


def estimated(data, config):
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
    rng = np.random.default_rng(0)
    found = [estimates.median(rng.exponential(size=12)) for _ in range(2000)]
    covered = np.mean([low <= np.log(2) <= high for _, low, high, _ in found])  # whatever the distribution
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


def test_ratios_say_how_many_times_as_long_others_take_in_the_same_round(config):
    """A machine that slows down fourfold on the way changes none."""
    data = made_up()
    data["seconds"] = data.seconds * np.linspace(1, 4, ROUNDS)
    table, _, headline = estimated(data, config)
    row = table.one("throughput.ratio", race="pgd", way="foolbox")
    assert row["value"] == row["low"] == row["high"] == 2.0 ** WAYS.index("foolbox") and row["headline"]
    rate = table.one("throughput.images", race="pgd", way="pytorch")  # in the fourth of seven rounds
    assert rate["value"] == pytest.approx(100 / 2.0 ** WAYS.index("pytorch") / 2.5) and rate["unit"] == "images/s"
    assert len(table.select("throughput.ratio")) == sum(map(len, RACES.values()))
    assert "Foolbox on PyTorch takes 128.00 [128.00, 128.00] times as long (cnn) for a PGD attack" in headline
    assert "left out" not in headline


def test_ways_that_take_no_part_have_rows_that_say_why(config):
    table, checks, headline = estimated(made_up(skipped=PEERS, foolbox=False), config)
    skipped = [row for row in table.select("throughput.ratio") if row["way"] in PEERS]
    assert skipped and all(row["value"] is None and row["left_out"] == NOT_INSTALLED for row in skipped)
    assert not any(row.get("headline") for row in skipped) and not checks
    assert all(row["value"] > 0 for row in table if row.get("way") not in PEERS)
    assert {row["population"] for row in table if row["name"].startswith("attack")} == {OURS}
    assert f"were left out ({NOT_INSTALLED})" in headline and "one at a time" in headline
    assert "inf" not in headline and "nan" not in headline


def test_images_that_pass_through_a_classifier():
    own = {"num_trials": 16, "num_draws": 8, "num_searched": 2}
    about = ConfigDict({"num_members": 4, "search": {"num_steps": 40}, "benchmark": own})
    assert {race: races.num_images(about, race, 64) for race in RACES} == {
        "input_noise": 4 * 2 * 16 * 64,
        "weight_noise": 4 * 2 * 8 * 64,
        "surface": 4 * 15**2 * 64,
        "pgd": 2 * 40 * 64,
        "curvature": 2 * 64,
        **dict.fromkeys(("gradient", "train_step"), 4 * 64),
    }


def test_numbers_of_threads_that_are_tried():
    assert races.thread_counts(6, few=False) == [1, 2, 4, 6] and races.thread_counts(6, few=True) == [6]


def test_what_a_smoke_run_times_is_compiled_as_ever(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_backend_optimization_level=0")
    assert races.compiler(True).keywords == {"compiler_options": {"xla_backend_optimization_level": 3}}
    assert races.compiler(False) is jax.jit


def test_a_training_step_of_all_members_is_that_of_each():
    """Both ways do the same work: their states after the step are equal."""
    about = ConfigDict({"seed": 0, "smoke": False, "mapping": "map", "benchmark": {"num_examples": 4}})
    together, alone = (program() for program in races.train_step(stages.generated(about, "cnn", 2)))
    for i, state in enumerate(alone):
        for ours, theirs in zip(jax.tree.leaves(together), jax.tree.leaves(state), strict=True):
            np.testing.assert_allclose(ours[i], theirs, atol=1e-5)
    assert float(together.loss_sum[0]) > 0


def test_rates_by_the_number_of_members(config):
    config.benchmark.part = "members"
    table, _, headline = estimated(by_number(), config)
    assert table.one("throughput.members", model="cnn", race="pgd", count=4)["value"] == 4
    assert table.one("throughput.share", model="cnn", race="pgd", count=4)["value"] == 0.5
    assert "takes 1.0 times as long on 4 classifiers as on 1 (cnn)" in headline and "0.50" in headline


# ---- strength beside Foolbox ----


def test_equal_attacks_are_found_equal(config):
    table, checks, headline = estimated(made_up(), config)
    for norm, epsilon in zip(NORMS, (0.02, 0.4), strict=True):
        row = table.one("attack.robust_accuracy", norm=norm, reference="foolbox")
        assert (row["value"], row["epsilon"]) == (0, epsilon)
        near = table.one("attack.distance", norm=norm, reference="foolbox")
        assert near["value"] == near["high"] == 1
    assert len(checks) == 4 and all(checks.values()) and "0.0 [0.0, 0.0] points in L-inf" in headline
    share = table.one("attack.robust_accuracy", norm="linf", population=OURS, reference=None)
    assert share["low"] < share["value"] < share["high"] and share["generalises_to"] == "new images"
    four = estimates.estimate(made_up(excess=0.02, members=4), config)
    row = four.one("attack.robust_accuracy", norm="l2", reference="foolbox")
    assert row["generalises_to"] == "both" and row["members"] == 4 and row["low"] < row["value"] < row["high"]


@pytest.mark.parametrize(
    ("changes", "failing"),
    [
        ({"excess": 0.02}, [f"robust_accuracy.{norm}" for norm in NORMS]),
        ({"ratio": 1.03, "gap": 1e-5}, [f"distance.{norm}" for norm in NORMS]),
        ({"gap": 2e-4}, ["pytorch.same_network"]),
    ],
)
def test_weaker_attacks_and_other_networks_fail_their_checks(config, changes, failing):
    _, checks, _ = estimated(made_up(**changes), config)
    assert [name for name, passed in checks.items() if not passed] == failing


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


def test_figures_are_drawn_of_what_there_is(config, tmp_path, unsaved):
    def drawn(data):
        content = estimates.derive(data), estimates.estimate(data, config)
        found, absent = drawing.draw(figures.FIGURES, content, tmp_path)
        return [one.spec.name for one in found], [one.spec.name for one in absent]

    assert drawn(made_up(members=4)) == (["ratios", "strength"], [])
    assert drawn(made_up(skipped=WAYS[1:], foolbox=False)) == (["strength"], ["ratios"])
    assert drawn(made_up().drop_vars(["robust", "distance", "radius"])) == (["ratios"], [])
    config.benchmark.part = "members"
    assert drawn(by_number()) == (["by_count"], [])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"benchmark.part": "resnets"}, "did you mean resnet"),
        ({"benchmark.ways": ("torch",)}, "benchmark.ways='torch': expected one of one_device"),
        ({"benchmark.part": "resnet", "benchmark.models": ("mlp",)}, "expected some of cnn, resnet18 in the part"),
        ({"benchmark.part": "members"}, "benchmark.races=.*expected some of pgd, input_noise, train_step"),
        ({"benchmark.counts": (4, 4)}, "benchmark.counts=.*each once"),
        ({"sweep.learning_rate": (1e-3, 1e-2)}, "sweep.learning_rate=.*: expected no swept values"),
    ],
)
def test_what_a_config_may_not_say(config, changes, message):
    config.update_from_flattened_dict(changes)
    with pytest.raises(UserError, match=message):
        experiments.validate(config)


def test_a_whole_run_without_peers(tmp_path, monkeypatch, shared):
    """From the config to the report; estimated anew from the arrays alone, nothing changes."""
    monkeypatch.setattr(races, "peers_installed", lambda: False)
    changes = {"benchmark.races": ("gradient",), "benchmark.ways": ("map", "vmap")}
    config = smoke_config("benchmark", tmp_path, **changes, **shared)
    arrays, summary = whole_runs.done(config, tmp_path / "run", audited=False)
    assert all(v.attrs["units"] and v.attrs["long_name"] for v in arrays.variables.values())
    assert {"seconds", "robust", "distance", "radius", "audit"} <= set(arrays.variables)
    assert np.isnan(arrays.robust.sel(attacker="foolbox")).all() and "map" in arrays.way.values
    assert any(check["name"].startswith("audit.") for check in summary["checks"])
    with runs.open_run(config, tmp_path / "run") as run:
        experiments.execute(run, reestimate=True)
        assert runs.read_summary(run) == summary
    assert "Not drawn" not in (tmp_path / "run" / "report.html").read_text()


SMALL = {"num_members": 2, "benchmark.num_examples": 2}


@pytest.mark.slow
def test_members_a_second_by_their_number(tmp_path):
    changes = {"benchmark.models": ("cnn", "resnet18"), "benchmark.races": ("pgd", "input_noise", "train_step")}
    changes |= {"benchmark.part": "members", "benchmark.counts": (1, 2)}
    arrays, summary = whole_runs.done(smoke_config("benchmark", tmp_path, **SMALL, **changes), tmp_path / "run")
    assert (arrays["member_seconds"] > 0).all() and (arrays["flops"] > 0).all()
    rates = [row for row in summary["estimates"] if row["name"] == "throughput.members"]
    assert len(rates) == 3 * 2 * 2 and all(row["value"] > 0 for row in rates)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Foolbox imports what SciPy has moved
def test_a_residual_network_beside_pytorch(tmp_path):
    """With or without PyTorch: what took no part says why."""
    config = whole_runs.load("benchmark", "digits,smoke,resnet")
    config.update_from_flattened_dict(SMALL)
    experiments.validate(config)
    arrays, summary = whole_runs.done(config, tmp_path / "run")
    assert arrays.model.values.tolist() == ["resnet18"] and "landscape" in summary["headline"]
    assert np.isfinite(arrays.seconds.sel(way="loop", race="train_step")).all()
