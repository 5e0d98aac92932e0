"""The benchmark's bookkeeping: fair turns, medians with exact intervals, rows for those who did not take part."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import whole_runs
from ml_collections import ConfigDict

from landscape.experiments import benchmark
from landscape.experiments import benchmark_attacks as attacks
from landscape.experiments import benchmark_large as large
from landscape.experiments import benchmark_races as races
from landscape.experiments.benchmark_races import CONTESTANTS, OURS, RACES
from landscape.experiments.setting import Examples


def test_median_and_its_interval_between_order_statistics():
    assert benchmark.median(np.arange(1.0, 8.0)[::-1]) == (4.0, 1.0, 7.0, 1 - 2 / 2**7)
    # n = 9: second smallest to second largest covers with 1 - 2 (1 + 9) / 2^9 = 0.961.
    assert benchmark.median(np.arange(9.0)) == (4.0, 1.0, 7.0, 1 - 20 / 2**9)
    value, low, high, level = benchmark.median(np.array([3.0, 1.0]))
    assert (value, low, high, level) == (2.0, 1.0, 3.0, 0.5)


@pytest.mark.parametrize("n", [7, 12])
def test_the_interval_covers_the_median_of_a_skewed_distribution_as_often_as_it_says(n):
    rng = np.random.default_rng(0)
    told = [benchmark.median(rng.exponential(size=n)) for _ in range(2000)]
    covered = np.mean([low <= np.log(2) <= high for _, low, high, _ in told])
    assert abs(covered - told[0][3]) < 4 * np.sqrt(0.05 * 0.95 / 2000)


def test_contestants_take_turns_and_each_runs_once_before(monkeypatch):
    monkeypatch.setattr(races, "REST", 0)
    order = []
    thunks = {name: lambda name=name: order.append(name) for name in (OURS, "map", "vmap")}
    seconds = races.race(thunks, 3)
    first, second, third = OURS, "map", "vmap"
    assert order == [*thunks, first, second, third, second, third, first, third, first, second]
    assert seconds.shape == (len(CONTESTANTS), 3)
    took_part = [name for i, name in enumerate(CONTESTANTS) if np.isfinite(seconds[i]).all()]
    assert sorted(took_part) == sorted(thunks)


def config_of(**values):
    defaults = {"num_members": 4, "search": types.SimpleNamespace(num_steps=40)}
    timing = types.SimpleNamespace(
        num_trials=16, num_draws=8, num_repeats=7, num_searched=2, num_pairs=16, num_bends=64
    )
    return types.SimpleNamespace(**defaults, benchmark=timing, **values)


def timed(skipped=(), gap=np.nan):
    """Arrays of a run in which every contestant takes twice as long as the one before it."""
    shape = (len(RACES), 1, len(CONTESTANTS), 7)
    seconds = np.broadcast_to(2.0 ** np.arange(len(CONTESTANTS))[:, None], shape).copy()
    for name in skipped:
        seconds[:, :, CONTESTANTS.index(name)] = np.nan
    return {
        "seconds": (("race", "model", "peer", "round"), seconds),
        "images": (("race", "model"), np.full((len(RACES), 1), 100)),
        "logit_difference": (("race", "model"), np.full((len(RACES), 1), gap)),
    }


def test_ratios_tell_how_many_times_faster_ours_is():
    told = benchmark.estimates(config_of(), timed(), ("cnn",), 64, True)
    (found,) = [e for e in told if e["name"] == "throughput.pgd.ratio" and e["peer"] == "foolbox"]
    assert found["value"] == found["low"] == found["high"] == 2.0 ** CONTESTANTS.index("foolbox")
    (rate,) = [e for e in told if e["name"] == "throughput.pgd" and e["peer"] == "pytorch"]
    assert rate["value"] == 100 / 2.0 ** CONTESTANTS.index("pytorch") and rate["unit"] == "images/s"
    assert len(told) == sum(2 * len(peers) + 1 for peers in RACES.values())
    assert "than Foolbox on PyTorch" in benchmark.headline(told, ("cnn",))


@pytest.mark.parametrize(
    ("installed", "gap", "note"),
    [(False, np.nan, "not installed"), (True, 0.1, "logits differ"), (True, np.nan, "no port")],
)
def test_peers_that_do_not_take_part_have_rows_that_say_why(installed, gap, note):
    told = benchmark.estimates(config_of(), timed(races.PEERS, gap), ("cnn",), 64, installed)
    skipped = [e for e in told if e["peer"] in races.PEERS]
    assert skipped and all(e["value"] is None and note in e["note"] for e in skipped)
    assert all(e["value"] > 0 for e in told if e["peer"] not in races.PEERS)
    assert "No peer took part" in benchmark.headline(told, ("cnn",))
    assert "inf" not in benchmark.headline(told, ("cnn",)) and "nan" not in benchmark.headline(told, ("cnn",))


def test_images_that_pass_through_a_classifier():
    counts = {race: races.num_images(config_of(), race, 64) for race in RACES}
    assert counts == {
        "input_noise": 4 * 2 * 16 * 64,
        "weight_noise": 4 * 2 * 8 * 64,
        "pgd": 2 * 40 * 64,
        "bypass": 2 * 64 * 16,
        "forward": 4 * 64,
        "gradient": 4 * 64,
    }


def test_a_training_step_of_all_members_is_that_of_each():
    """Both contestants do the same work: their states after the step are equal."""
    timing = types.SimpleNamespace(num_examples=4)
    task = large.task_of(ConfigDict({"seed": 0, "mapping": "map", "benchmark": vars(timing)}), "cnn", 2)
    together, alone = (program() for program in large.train_step(task, task.how))
    for i, state in enumerate(alone):
        for ours, theirs in zip(jax.tree.leaves(together), jax.tree.leaves(state), strict=True):
            np.testing.assert_allclose(ours[i], theirs, atol=1e-5)
    assert float(together.loss_sum[0]) > 0


# ---- strength beside Foolbox ----


def attacked(excess=0.0, ratio=1.0, installed=True, members=1):
    """One member, 400 images in two norms: half are robust, distances exponential around 1; members may be repeated."""
    rng = np.random.default_rng(0)
    distance = np.broadcast_to(rng.exponential(size=400), (2, 2, 1, 400)).copy()
    robust = (distance > 0.7).astype(float)
    robust[0, :, :, : round(400 * excess)] = 1.0
    robust[1, :, :, : round(400 * excess)] = 0.0
    distance[0] *= ratio
    if not installed:
        robust[1], distance[1] = np.nan, np.nan
    robust, distance = (np.repeat(values, members, axis=2) for values in (robust, distance))
    radius = (("norm",), np.array([0.02, 0.4]))
    return {"robust": (attacks.DIMS, robust), "distance": (attacks.DIMS, distance), "radius": radius}


def strength(**changes):
    config = types.SimpleNamespace(seed=0, model=types.SimpleNamespace(name="cnn"))
    told, checks = attacks.attack_estimates(config, attacked(**changes))
    return {(e["name"], e["norm"]): e for e in told}, {check["name"]: check["passed"] for check in checks}


def test_equal_attacks_are_told_to_be_equal():
    told, checks = strength()
    assert told["attack.robust_accuracy.excess", "l2"]["value"] == 0
    assert told["attack.distance.ratio", "linf"]["value"] == told["attack.distance.ratio", "linf"]["high"] == 1
    assert len(checks) == 4 and all(checks.values())
    share = told["attack.robust_accuracy.landscape", "linf"]
    assert share["low"] < share["value"] < share["high"] and share["generalises_to"] == "new images"
    assert share["epsilon"] == 0.02 and told["attack.robust_accuracy.excess", "l2"]["epsilon"] == 0.4


def test_of_four_members_the_interval_speaks_of_others_too():
    told, _ = strength(excess=0.02, members=4)
    share = told["attack.robust_accuracy.excess", "l2"]
    assert share["generalises_to"] == "both" and share["members"] == 4 and share["low"] < share["value"] < share["high"]


def test_the_radius_leaves_half_of_what_the_nearest_images_say():
    """Logits 0 and (x + 1)^2 - (a + 1)^2 of a pixel at 0: the distance is a, of members with unlike a; two digits."""
    apply = lambda a, x: jnp.stack([jnp.zeros(len(x)), (x[:, 0, 0, 0] + 1) ** 2 - (a + 1) ** 2], axis=1)  # noqa: E731
    a = jnp.asarray([0.1, 0.2, 0.3123])
    images = Examples(np.zeros((5, 1, 1, 1), np.float32), np.zeros(5, np.int32), np.arange(5))
    budget = types.SimpleNamespace(attack_steps=300)
    config = types.SimpleNamespace(seed=0, mapping="map", benchmark=budget)
    found = attacks.radii(config, apply, a, images)["radius"][1]
    np.testing.assert_allclose(found, 0.2, atol=0.0101)  # FMN ends just beyond the boundary


@pytest.mark.parametrize(
    ("changes", "failing"), [({"excess": 0.02}, "robust accuracy"), ({"ratio": 1.03}, "median distance")]
)
def test_a_weaker_attack_fails_its_check(changes, failing):
    _, checks = strength(**changes)
    assert {name for name, passed in checks.items() if not passed} == {
        f"{failing} in {norm} is that of Foolbox's best" for norm in attacks.NORMS
    }


def test_without_foolbox_ours_alone_is_told():
    told, checks = strength(installed=False)
    assert not checks and {name.split(".")[-1] for name, _ in told} == {"landscape"}


def test_the_weighted_median():
    values = np.array([[1.0, 5.0, 3.0]])
    assert attacks.median(values, np.ones(1), np.ones(3)) == 3.0
    assert attacks.median(values, np.ones(1), np.array([0.0, 3.0, 1.0])) == 5.0
    assert attacks.median(np.array([[0.0, 0.0, 2.0, 3.0, 4.0]]), np.ones(1), np.ones(5)) == 3.0  # of those not wrong


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Foolbox imports what SciPy has moved
def test_a_whole_run(tmp_path):
    """Attacks take part with or without Foolbox; everything saved is described, or saving would stop."""
    arrays, summary = whole_runs.done(whole_runs.smoke_config("benchmark", tmp_path), tmp_path / "run")
    assert all(v.attrs["units"] and v.attrs["long_name"] for v in arrays.variables.values())
    assert {"robust", "distance", "radius", "audit"} <= set(arrays.variables)
    assert any(c["name"].startswith("audit.") for c in summary["checks"])


@pytest.mark.slow
def test_members_a_second_by_their_number(tmp_path):
    changes = {"benchmark.part": "members", "benchmark.counts": (1, 2), "benchmark.num_examples": 2}
    config = whole_runs.smoke_config("benchmark", tmp_path, **changes)
    arrays, summary = whole_runs.done(config, tmp_path / "run")
    assert (arrays["member_seconds"] > 0).all() and (arrays["share"] > 0).all()
    assert {(e["name"], e["members"]) for e in summary["estimates"]} == {
        (f"throughput.{race}", count) for race in large.RACES for count in (1, 2)
    }
