"""Numbers of a transfer run: planted classifiers whose mistakes are known, closed forms, checks, what is refused."""

from functools import partial

import numpy as np
import pytest
import transfer_arrays as arrays
import xarray as xr
from transfer_arrays import HELD, SOURCES, K, config_of, made_up, together
from whole_runs import load

from landscape import experiments, presets
from landscape.experiments.transfer import config as tc
from landscape.experiments.transfer import estimates as te
from landscape.experiments.transfer.config import Attack, GuideSet, attacks_of, guide_sets
from landscape.experiments.tuning import outside
from landscape.files import UserError
from landscape.stats.intervals import interval

FIRST = {"kind": "full", "norm": "linf", "epsilon": 0.14}
MAIN = {"targets": "attackers", "condition": "clean_correct", **FIRST}


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    monkeypatch.setattr(te, "effective_interval", partial(te.effective_interval, num_resamples=100))


def table_of(data, **changes):
    return te.estimate(together(data), config_of(**changes))


def derived(data):
    return te.of_one(te.derive(together(data)))


def check_of(data, name):
    config = config_of()
    found = te.checks(together(data), te.estimate(together(data), config), config)
    return next(one for one in found if one.name == name)


# ---- what becomes of one classifier's examples at another ----


def test_copies_make_the_same_mistake_always():
    table = table_of(arrays.attacks_of("copies"))
    for targets in ("attackers", "held_out"):
        at = MAIN | {"targets": targets}
        same = table.one("transfer.same", **at)
        assert same["value"] == same["high"] == 1.0 and same["low"] > 0.98
        # By chance mistakes agree about once in the K - 1 that there are.
        assert table.one("transfer.chance", **at)["value"] == pytest.approx(1 / (K - 1), abs=0.05)
        assert table.one("transfer.same_beyond_chance", **at)["low"] > 0.6


def test_mistakes_at_random_are_chance():
    table = table_of(arrays.attacks_of("chance"))
    assert table.one("transfer.wrong", **MAIN)["value"] == 1.0
    beyond = table.one("transfer.same_beyond_chance", **MAIN)
    assert beyond["low"] <= 0 <= beyond["high"]
    assert beyond["high"] - beyond["low"] < 0.12  # 0.100, since intervals cover skewed values


def test_an_attack_that_does_not_transfer():
    data = arrays.attacks_of("immune")
    table = table_of(data)
    for quantity in ("wrong", "same", "chance", "noise"):
        found = table.one(f"transfer.{quantity}", **MAIN)
        assert found["value"] == found["low"] == 0 and found["high"] < 0.02
    assert table.one("attack.success", **FIRST)["value"] == 1.0
    order = check_of(data, "full.linf.0.14.order")
    assert order.passed and "others 0.0 %" in order.detail
    data["noise_wrong"] = data.noise_wrong | True  # if noise did more than the attack, the check says so
    assert not check_of(data, "full.linf.0.14.order").passed


def test_controls_and_held_out_members_have_rows_of_their_own():
    data = arrays.attacks_of("copies", roles=[*arrays.ROLES[:-1], "untrained"])
    data.prediction.values[:, :, -1] = (data.label.values + 1) % K
    data.prediction.values[:, :, SOURCES:-1, 150:] = data.label.values[150:]
    table = table_of(data)
    wrong = {row["targets"]: row["value"] for row in table.select("transfer.wrong", condition="clean_correct", **FIRST)}
    # 20 images are natural errors; a control of a kind that there is none of has no row.
    assert wrong == {"attackers": 1.0, "held_out": pytest.approx(130 / 280), "untrained": 1.0}


def test_conditions_choose_their_images():
    data = arrays.attacks_of("copies")
    data.prediction.values[:, 1, 1, 20:120] = data.label.values[20:120]  # the second source fails on 100
    table = table_of(data)
    for condition, count in {"all": 300, "clean_correct": 280, "source_fooled": 180}.items():
        at = {"targets": "attackers", "condition": condition}
        assert table.one("transfer.wrong", **at, **FIRST)["examples"] == count
        # First flips are read where sources are fooled alone.
        flips = table.get("transfer.wrong", **at, kind="first_flip")
        assert (flips is not None) == (condition == "source_fooled")
    # Chance is that of the images which count.
    pairs = te.outcomes_of(derived(data)).isel(attack=0).sel(condition="source_fooled")
    assert pairs.common.sum() == 180 and not pairs.chance.values[..., ~pairs.common.values].any()


def test_the_only_same_mistake_of_its_class_counts_as_chance():
    data = arrays.attacks_of("copies")
    label = data.label.values
    (right,) = np.nonzero((label == 0) & (np.arange(300) >= 20))
    data.prediction.values[..., right[1:]] = 0  # of class 0 all members know all images but one
    pairs = te.outcomes_of(derived(data)).isel(attack=0).sel(condition="clean_correct")
    one = pairs.isel(example=right[0])
    assert (one.same == 1).all() and (one.chance == 1).all() and (one.same_beyond_chance == 0).all()
    different = np.arange(data.sizes["target"])[:, None] % (K - 1) + 1
    data.prediction.values[..., label == 1] = (1 + different) % K
    table = table_of(data)
    rows = {name: table.one(f"transfer.{name}", **MAIN) for name in ("same", "chance", "same_beyond_chance")}
    same, chance, beyond = (row["value"] for row in rows.values())
    assert beyond == pytest.approx(same - chance)
    said = te.headline(table, config_of())
    assert f"in {rows['same'].text(100.0)} % both make the same mistake" in said
    assert f"by chance they would in {rows['chance'].text(100.0)} %" in said
    # A different mistake there is none by chance either.
    data.prediction.values[..., right[0]] = different[:, 0]
    one = te.outcomes_of(derived(data)).isel(attack=0, example=right[0]).sel(condition="clean_correct")
    apart = one.same == 0
    assert apart.any() and (one.chance.where(apart, 0.0) == 0).all()


def test_too_few_images_say_nothing():
    data = arrays.attacks_of("copies")
    data.clean_prediction.values[0, 4:] = (data.label.values[4:] + 1) % K
    assert not table_of(data).select(condition="clean_correct")
    assert "unknown share" in te.headline(table_of(data), config_of())


def test_a_member_with_random_labels_is_named_and_left_out():
    data = made_up()
    assert check_of(data, "members.learned").passed
    data.validation_margin.values[5] = np.where(np.arange(50) % 5, -1.0, 1.0)
    data.clean_prediction.values[5] += 1
    assert te.derive(together(data)).role.values[:, 0].tolist() == [*arrays.ROLES[:5], "unlearned", "held_out"]
    found = check_of(data, "members.learned")
    assert not found.passed and found.detail.endswith("member 5 (20 %)")
    table = table_of(data)
    assert table.one("transfer.wrong", **MAIN | {"targets": "held_out"})["members"] == HELD - 1
    assert {row["members"] for row in table.select("shared.held_out_gain")} == {HELD - 1}


def test_copies_and_perturbations_outside_the_ball_are_flagged():
    data = arrays.attacks_of("copies")
    assert check_of(data, "members.distinct").passed and check_of(data, "full.linf.0.14.inside").passed
    data.validation_margin.values[3] = data.validation_margin.values[1]
    found = check_of(data, "members.distinct")
    assert not found.passed and "3 repeats member 1" in found.detail
    data.perturbation_norm.values[0, 1, 5] = 0.1401
    assert not check_of(data, "full.linf.0.14.inside").passed


@pytest.mark.parametrize("together_always", [True, False])
def test_members_fooled_together_are_seen_and_independent_ones_are_not(together_always):
    data, rng = arrays.attacks_of("copies", images=1500), np.random.default_rng(2)
    margin = data.clean_margin.values
    margin[SOURCES:] = rng.normal(1, 1, margin.shape[1])[None]  # attackers' margins say nothing of it
    shape = data.prediction.shape[1:]
    draw = rng.random((SOURCES, 1, shape[2])) if together_always else rng.random(shape)
    wrong = draw < 1 / (1 + np.exp(margin))[None]
    wrong[np.arange(SOURCES), np.arange(SOURCES)] = True
    data["prediction"] = data.prediction.copy(data=np.where(wrong, data.label + 1, data.label)[None].repeat(3, axis=0))
    table = te.fooled_together(derived(data), te.outcomes_of(derived(data)))
    seen, expected = table.select("shared.fooled_count", **FIRST).cube("population", "count").value.values
    assert seen.sum() == pytest.approx(1) and expected.sum() == pytest.approx(1)
    assert (np.abs(seen - expected).max() > 0.1) == together_always


# ---- a sweep ----


@pytest.mark.slow  # two tables
def test_values_of_a_sweep_are_strata_and_nothing_is_pooled():
    config, kinds = config_of(), [made_up("copies"), made_up("immune")]
    data = together(*kinds, weight_decay=[0.1, 1.0])
    table = te.estimate(data, config)
    assert len(table) == len(table_of(kinds[0])) + len(table_of(kinds[1]))
    for kind, value in zip(kinds, (0.1, 1.0), strict=True):
        alone = [{**row, "train_weight_decay": value} for row in table_of(kind)]
        assert [dict(row) for row in table.select(train_weight_decay=value)] == alone
    for value in (0.1, 1.0):
        row = table.one("transfer.wrong", train_weight_decay=value, **MAIN)
        assert f"{te.percent(row)} at weight decay {value:g}" in te.headline(table, config)
    verdicts = {claim["name"]: claim["verdict"] for claim in te.claims(table, config)}
    assert verdicts["mistakes_are_shared, weight_decay 0.1"] == "supported"
    assert verdicts["mistakes_are_shared, weight_decay 1"] != "supported" and len(verdicts) == 4
    kinds[1].perturbation_norm.values[0, 1, 5] = 0.1401
    checks = te.checks(together(*kinds, weight_decay=[0.1, 1.0]), table, config)
    assert len({check.name for check in checks}) == len(checks)
    (failed,) = [check for check in checks if not check.passed]
    assert failed.name == "full.linf.0.14.inside" and failed.detail.startswith("weight decay 1: largest")


# ---- searches against all attackers ----


def test_the_median_radius_is_weighted_and_censored():
    many = np.r_[np.linspace(0.1, 0.2, 60), np.full(40, 0.3)][None]
    found = te.censored_median(many, 0.3)
    assert found.value == pytest.approx(np.sort(many[0])[49])
    assert found.low < found.value < found.high < 0.3
    assert np.isnan(te.censored_median(many[:, 15:], 0.3).high)  # 45 of 85: some resamples have a minority
    assert te.censored_median(many[:, 30:], 0.3) is None


def test_joint_searches_are_of_the_images_that_all_know():
    data = xr.merge([arrays.attacks_of("copies"), arrays.joint_of()], combine_attrs="override")
    table = table_of(data)
    wrong = data.joint_wrong.isel(objective=0, ball=1, joint_example=slice(20, None))
    at = {"objective": "loss", "epsilon": 0.14}
    everyone = wrong.isel(target=slice(SOURCES)).all("target").mean()
    assert table.one("shared.attackers_fooled", **at)["value"] == pytest.approx(float(everyone))
    held_out = wrong.isel(target=slice(SOURCES, None)).mean()
    assert table.one("shared.held_out_fooled", **at)["value"] == pytest.approx(float(held_out))
    radius = [table.one(f"distance.radius_{name}")["value"] for name in ("all", "one")]
    own = np.sort(data.own_radius.values[:, 20:], axis=None)
    assert radius == [0.2, own[own.size // 2 - 1]]


# ---- guides ----


def guided(curve, ball, **changes):
    data = xr.merge([arrays.attacks_of("copies"), arrays.guides_of(curve, ball)], combine_attrs="override")
    return data, table_of(data, **changes)


def test_equivalent_ensemble_sizes():
    at = {"guidance": "ball", "budget": "steps"}
    data, table = guided((0.2, 0.4, 0.6), 0.4)
    found = table.one("shared.equivalent_size", **at)
    assert found["value"] == pytest.approx(2.0) and found["text"] == "2.0 [2.0, 2.0]" and found["unit"] == "members"
    assert check_of(data, "guides.tuned").passed and check_of(data, "guides.rises").passed
    found = guided((0.2, 0.4, 0.6), 0.05)[1].one("shared.equivalent_size", **at)
    assert found["value"] is None and found["text"] == "<1 [<1, <1]"
    assert te.size_text((np.inf, 3.0, np.inf), np.array([1, 2, 4])) == ">4 [3.0, >4]"
    data, table = guided((0.4, 0.4, 0.4), 0.4)  # copies are equal to one, and flagged
    assert table.one("shared.equivalent_size", guidance="ball")["text"] == "1.0 [1.0, 1.0]"
    assert not check_of(data, "guides.rises").passed
    data.tuning.values[3, 2] = 2.0  # so is an end of the grid
    found = check_of(data, "guides.tuned")
    assert not found.passed and found.detail.startswith("2 of 12 guide sets")


def test_gains_are_paired_by_held_out_member():
    table = guided((0.2, 0.4, 0.6), 0.1)[1]
    gain = table.one("shared.held_out_gain", guidance="members", size=4, budget="steps")
    assert gain["value"] == pytest.approx(0.4, abs=0.06) and gain["low"] > 0.3
    assert (gain["held_out_gaining"], gain["held_out"], gain["reference"]) == (HELD, HELD, "members.1")
    assert gain["wilcoxon_p"] == pytest.approx(2 / 2**HELD)
    loss = table.one("shared.held_out_gain", guidance="ball", budget="steps")
    assert loss["high"] < 0 and loss["held_out_gaining"] == 0
    noisy = table.one("shared.held_out_gain", guidance="members_ball", size=2, budget="steps")
    assert noisy["reference"] == "members.2" and noisy["value"] < -0.2
    assert {row["examples"] for row in table.select("shared.held_out_success")} == {180}  # images that all know


def test_step_sizes_that_may_lie_outside_their_grid():
    goal = np.array([[0.0, 1.0, 0.0], [0.5, 0.5, 1.0], [0.7, 0.0, 0.5]])
    assert outside(goal).tolist() == [0, 1] and outside(goal[:1]).tolist() == [0, 1, 2]


# ---- local geometry, and lines ----


def geometry_data(**more):
    data = arrays.attacks_of("copies")
    return xr.merge([data, arrays.geometry_of(data.label.values, **more)], combine_attrs="override")


def test_who_belongs_to_a_population():
    data = geometry_data()
    data.clean_prediction.values[5, 23] += 1  # a held-out member errs on the image itself
    data.geometry_prediction.values[2, 1, 26] = data.label.values[26]  # one source is not fooled
    data.geometry_log_odds.values[1, 3, 29] = 2.2  # one was not brought there
    data.geometry_prediction.values[3, 3, 32] = data.label.values[32]  # one was brought back to its class
    valid = te.by_population(derived(data), 2.0).valid.transpose("population", "source", "geometry_example")
    valid = dict(zip(valid.population.values.tolist(), valid.values, strict=True))
    image = np.arange(80)
    kind, right = (image - 20) % 3, (image >= 20) & (image != 23)
    whole = (SOURCES, 80)
    np.testing.assert_array_equal(valid["genuine"], np.broadcast_to(right, whole))
    unshared = np.broadcast_to((kind == 0) & right, whole).copy()
    unshared[2, 26] = False
    np.testing.assert_array_equal(valid["unshared"], unshared)
    np.testing.assert_array_equal(valid["shared"], np.broadcast_to((kind == 1) & right, whole))
    np.testing.assert_array_equal(valid["joint"], np.broadcast_to(right & (image < 68), whole))
    # Steered ones are those that they are steered from, whatever held-out members make of them now.
    unshared[1, 29] = unshared[3, 32] = False
    np.testing.assert_array_equal(valid["unshared_iso"], unshared)
    np.testing.assert_array_equal(valid["shared_iso"], valid["shared"])


@pytest.mark.parametrize("slope", [0.0, 1.0])
def test_differences_in_every_comparison(slope):
    """Shared ones have 1.5 more, their images 2 more, and raw what half a nat of log-odds brings besides."""
    whole = table_of(geometry_data(slope=slope))
    table = whole.select("distance.manifold", reference="unshared")
    value = {row["matching"]: row for row in table.select(population="shared")}
    assert value["raw"]["value"] == pytest.approx(3.5 + 0.5 * slope, abs=0.15 + 0.3 * slope)
    assert value["iso"]["value"] == pytest.approx(3.5, abs=0.05)
    assert value["matched"]["value"] == pytest.approx(3.5, abs=0.15)
    if slope == 0:  # the images' own part is gone
        assert value["change"]["value"] == pytest.approx(1.5, abs=1e-9)
    assert all(row["low"] <= row["value"] <= row["high"] for row in value.values())
    joint = table.one("distance.manifold", population="joint", matching="change")
    assert joint["value"] == pytest.approx(1.5, abs=1e-9 + slope)
    count = {row["population"]: row["value"] for row in whole.select("shared.belonging")}
    assert count == {"unshared": pytest.approx(1 / 3), "shared": pytest.approx(1 / 3), "joint": pytest.approx(0.8)}
    assert {row["value"] for row in whole.select("shared.reached_log_odds")} == {1.0}
    shares = whole.select("purity.true_class", reference=None)
    assert len(shares) == 4 and all(row["high"] == 1.0 and 0.8 < row["low"] < 1.0 for row in shares)


def test_the_scale_free_difference_is_blind_to_scale():
    data = geometry_data()
    for _ in range(2):
        about = {"population": "shared", "reference": "unshared", "matching": "raw"}
        assert table_of(data).one("input_flatness.scale_free", **about)["value"] == pytest.approx(0.2, abs=1e-9)
        for name in ("margin", "input_margin_drop"):
            data[f"geometry_{name}"] = 7.0 * data[f"geometry_{name}"]
        data["geometry_margin"][:, 3:] = 2.0


def test_of_nobody_nothing_is_said():
    data = geometry_data()
    data["geometry_prediction"][:] = data.label.values[:80]
    rows = te.of_geometry(derived(data), config_of())
    assert {row["population"] for row in rows if row["name"] != "shared.belonging"} == {"genuine"}


def test_lines_have_intervals_over_pairs():
    data = xr.merge([arrays.attacks_of("copies"), arrays.between_of()], combine_attrs="override")
    table, apart = table_of(data), data.disagreement.values
    manifold, pixels = (table.one("path.largest_disagreement", population=n, reference=None) for n in data.space.values)
    assert manifold["value"] == pytest.approx(apart[0].max(axis=0).mean())
    assert (manifold["members"], manifold["examples"], manifold["generalises_to"]) == (7, 40, "new images")
    difference = table.one("path.largest_disagreement", reference="pixels")
    assert difference["value"] == pytest.approx(manifold["value"] - pixels["value"])
    middle = table.one("path.disagreement", space="manifold", step=0.5)
    assert middle["high"] == pytest.approx(interval(apart[:1, 2]).high, rel=1e-6)


# ---- claims and headline ----


def test_claims_and_headline_are_read_off_the_table():
    config, table = config_of(**{"claims.many_guide_better.size": 2}), table_of(made_up())
    found = {claim["name"]: claim for claim in te.claims(table, config)}
    shared, many = found["mistakes_are_shared"], found["many_guide_better"]
    assert shared["verdict"] == "supported" and shared["radius"] == 0.14
    assert many["populations"] == ["2 members", "one member"] and many["verdict"] == "supported"
    assert many["value"] == pytest.approx(0.2, abs=0.05)
    without = te.claims(table_of(arrays.attacks_of("chance")), config)  # no guides, and nothing shared
    assert {claim["verdict"] for claim in without} == {"undecided"}
    text = te.headline(table, config)
    assert "(L-inf 0.14) fools another one in 100.0 [" in text and "an ensemble of 2.0 [2.0, 2.0] guides" in text
    config.held_out_model.checkpoints = ("a.npz",)  # files of the same architecture
    assert "another architecture" not in te.headline(table, config)
    config.held_out_model.name = "cnn_wide"
    assert "classifiers of another architecture in 100.0" in te.headline(table, config)
    rows = [row for row in table if row.get("headline")]
    assert {row["name"] for row in rows} == {
        "transfer.wrong", "transfer.same", "transfer.chance", "shared.held_out_gain",
    }  # fmt: skip
    assert not {"attack", "guide_set"} & set().union(*rows)  # attacks and guide sets are named once


# ---- configs ----


def test_attacks_and_guide_sets_of_a_config():
    found = attacks_of(load("transfer", "digits,full"))
    assert found[0] == Attack("full", "linf", 0.14) and len(set(found)) == len(found) == 8
    assert {a.epsilon for a in found if a.kind != "full"} == {0.25, 1.5}
    sets = guide_sets(config_of(**{"guides.sets": tc.SETS}))
    assert [s.name for s in sets] == [
        "members.1", "members.2", "members.4", "ball.1", "frozen.1", "trajectory.1", "swag.1", "random.4",
        "members_ball.2", "members_ball.4",
    ]  # fmt: skip
    assert [s.gradients for s in sets] == [1, 2, 4, 1, 1, 1, 1, 1, 2, 4]
    assert {s.guidance for s in sets if s.radius > 0} == {"ball", "frozen", "members_ball"}
    assert sets[0] == GuideSet("members", 1, 0.0)


def test_the_held_out_architecture_follows_the_attackers_and_not_they_it():
    for changed, names in ({"held_out_model.name": "mlp"}, ("cnn", "mlp")), ({"model.name": "mlp"}, ("mlp", "mlp")):
        config = load("transfer")
        config.update_from_flattened_dict(changed)
        assert (config.model.name, config.held_out_model.name) == names


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("num_attackers", 2, "expected more than 2"),
        ("num_members", 17, "expected at least num_attackers [+] 2 = 18"),
        ("parts", ("join",), "did you mean joint"),
        ("transfer.attacks", ("first_flip",), "expected full among them"),
        ("transfer.linf", (0.2, 0.1), "expected growing radii"),
        ("transfer.linf", (), "expected one radius or more"),
        ("transfer.l2", (0.0, 1.0), "expected growing radii above 0"),
        ("transfer.linf", (8.0,), "did you mean 0.0314, 8 of 255"),
        ("transfer.step", 0.0, "expected a share of the radius above 0"),
        ("joint.objectives", ("mean",), "expected one of loss"),
        ("guides.sizes", (1, 3, 16), "expected 1, 2, 4, ..., each twice the one before"),
        ("guides.sizes", (1, 2, 4), "expected to end at num_attackers=16"),
        ("guides.num_steps", 40, "expected a multiple of the largest of guides.sizes"),
        ("guides.step_sizes", (0.2, 0.1), "expected growing shares of the radius"),
        ("guides.sets", ("balls",), "did you mean ball"),
        ("claims.many_guide_better.size", 3, "expected one of guides.sizes"),
        ("claims.many_guide_better.matching", "clean_correct", "expected one of gradients, steps"),
        ("between.num_points", 2, "at least 3: both ends"),
        ("geometry.rho", 0.5, "less than 0.5"),
        ("claims.mistakes_are_shared.measure", "transfer.wrong", "expected one of transfer.same_beyond_chance"),
        ("claims.mistakes_are_shared.matching", "source_fooled", "sets that all pairs have in common"),
        ("claims.mistakes_are_shared.direction", "more", "greater or less"),
    ],
)
def test_what_is_refused(field, value, message):
    config = load("transfer", "digits,full")
    with config.unlocked():
        config.update_from_flattened_dict({field: value})
    with pytest.raises(UserError, match=message):
        experiments.validate(config)


def test_a_sweep_beside_files_is_refused():
    config = load("transfer", "digits,full")
    config.update_from_flattened_dict({"sweep.ema": (0.0, 0.9), "model.checkpoints": ("a.npz",)})
    with pytest.raises(UserError, match=r"model\.checkpoints=.*: expected no files beside a sweep"):
        tc.check(config, dict(presets.leaves(config)))


def test_names_are_those_of_the_programs():
    from landscape import objectives
    from landscape.experiments.transfer import figures, stages

    assert tc.OBJECTIVES == objectives.JOINT == tuple(figures.OBJECTIVES)
    assert {*tc.SETS, "members"} == set(figures.GUIDANCE)
    assert set(te.MEASURES) == set(figures.TITLES)
    assert set(te.SOURCE.values()) == set(stages.MADE)
