"""The experiment `shared`: planted members, a whole smoke run through the same door as `main`, its parts by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import whole_runs
from ml_collections import ConfigDict
from whole_runs import load, smoke_config

from landscape import ensembles, objectives, presets, runs
from landscape.attacks import joint
from landscape.experiments import (
    shared_between,
    shared_checks,
    shared_estimates,
    shared_found,
    shared_ladder,
    shared_setting,
    shared_transfer,
)
from landscape.experiments.setting import example_keys
from landscape.experiments.shared_setting import roles
from landscape.experiments.shared_transfer import Attack, attacks_of, cosines
from landscape.experiments.shared_values import members_of, seen, told
from landscape.files import UserError
from landscape.measures.curvature import curvature
from landscape.measures.flatness import flatness
from landscape.measures.worst_case import worst_case
from landscape.models import classifiers
from landscape.objectives import JOINT
from landscape.reporting import shared_ladder as looks
from landscape.stats.intervals import interval
from landscape.stats.transfer import CONDITIONS

K, SOURCES, HELD = 5, 4, 3


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A finished smoke run with two attacks: (config, arrays, summary, what its searches are made of, autoencoder)."""
    folder = tmp_path_factory.mktemp("shared")
    few = {"transfer.linf": (0.15,), "transfer.l2": (), "transfer.attacks": ("full", "first_flip")}
    few["ladder.rungs"] = ("swag",)
    config = smoke_config("shared", folder, **few)
    arrays, summary = whole_runs.done(config, folder / "run")
    with runs.open_run(config, folder / "again") as run:
        shared = shared_setting.prepare(run.config, run)
        yield run.config, arrays, summary, shared, shared_setting.manifold(run.config, run, shared)[1]


def says_of(shared, number, x):
    """Logits of one judge."""
    apply, variables = shared.judges.one(int(number))
    return apply(variables, jnp.asarray(x))


def test_it_writes_what_is_promised(done):
    _, arrays, summary, _, _ = done
    assert all(v.attrs["units"] and v.attrs["long_name"] for v in arrays.variables.values())
    assert arrays["role"].values.astype(str).tolist() == ["attacker"] * 4 + ["held_out"] * 2 + ["untrained", "shuffled"]
    assert arrays["attack"].values.astype(str).tolist() == ["full.linf.0.15", "first_flip.linf.0.15"]
    names = {e["name"] for e in summary["estimates"]}
    wanted = "transfer.wrong transfer.same transfer.different transfer.chance transfer.same_beyond_chance "
    wanted += "transfer.noise attack.success agreement.perturbation agreement.gradient shared.attackers_fooled "
    wanted += "shared.held_out_fooled shared.universal_attackers_fooled shared.universal_held_out_fooled "
    wanted += "shared.belonging distance.manifold curvature.hessian_top path.largest_disagreement"
    assert set(wanted.split()) <= names
    for e in summary["estimates"]:
        if e["value"] is None:  # fewer than one member, or more than all
            assert e["name"] == "shared.effective_members" and e["told"][0] in "<>"
            continue
        low, high = (e["value"] if e[k] is None else e[k] for k in ("low", "high"))
        assert low <= e["value"] <= high, e
    assert {c["name"] for c in summary["claims"]} == {"mistakes_are_shared", "many_guide_better"}
    names = {c["name"] for c in summary["checks"]}
    assert {"members.learned", "members.distinct", "full.linf.0.15.inside", "full.linf.0.15.order"} <= names
    assert {"members.distinct", "ladder.tuned", "ladder.pixels.rises"} <= names
    assert {"ladder.pixels.members.4", "ladder.pixels.swag.1", "trajectory"} <= set(summary["stages"])
    assert {"clean", "transfer.full.linf.0.15", "gradients", "audit", "joint", "universal", "shapes", "between"} <= set(
        summary["stages"]
    )


def test_predictions_are_those_of_the_pictures(done):
    """The first source's examples, judged again by every member, one at a time."""
    _, arrays, _, shared, _ = done
    pictures = jnp.asarray(arrays["picture"].transpose("shown", "height", "width", "channel").values)
    count = len(pictures)
    says = [np.argmax(says_of(shared, t, pictures), axis=-1) for t in range(len(shared.names))]
    saved = arrays["prediction"].isel(attack=0, source=0).transpose("target", "example").values[:, :count]
    np.testing.assert_array_equal(saved, says)
    start = arrays["picture_start"].transpose("shown", "height", "width", "channel").values
    norm = np.abs(pictures - start).max(axis=(1, 2, 3))
    np.testing.assert_allclose(arrays["perturbation_norm"].isel(attack=0, source=0).values[:count], norm, rtol=1e-5)
    clean = [np.argmax(says_of(shared, t, jnp.asarray(start)), axis=-1) for t in range(len(shared.names))]
    found = arrays["clean_prediction"].transpose("target", "example").values[:, :count]
    np.testing.assert_array_equal(found, clean)


def test_shapes_are_told_of_the_examples_that_transfer(done):
    """The same attack as the matrix, judged and measured again one source and image at a time."""
    config, arrays, _, shared, _ = done
    own = arrays["prediction"].isel(attack=0).transpose("source", "target", "example").values
    count = arrays.sizes["shape_example"]
    says = arrays["shape_prediction"].transpose("source", "input", "shape_example").values
    at = {name: i for i, name in enumerate(arrays["input"].values.astype(str))}
    for s in range(config.num_attackers):
        np.testing.assert_array_equal(says[s, at["own"]], own[s, s, :count])
        np.testing.assert_array_equal(says[s, at["clean"]], arrays["clean_prediction"].values[s, :count])
    wrong = arrays["shape_wrong"].transpose("judge", "source", "input", "shape_example").values
    held = np.flatnonzero(arrays["role"].values.astype(str) == "held_out")
    fooled = own[:, held, :count].swapaxes(0, 1) != shared.test.label[:count]
    np.testing.assert_array_equal(wrong[:, :, at["own"]], fooled)
    margin = arrays["shape_margin"].transpose("source", "input", "shape_example").values
    for iso in ("own_iso", "joint_iso"):  # a few shrinking steps bring some there, or nearer
        off = np.abs(margin[:, at[iso]] - config.shapes.iso_margin)
        assert np.mean(off < 0.1) > 0.2
        assert np.median(off) < np.median(np.abs(margin[:, at[iso.removesuffix("_iso")]] - config.shapes.iso_margin))


@pytest.mark.slow
def test_the_joint_search_of_shapes_is_that_of_the_config(done):
    config, arrays, _, shared, _ = done
    count = arrays.sizes["shape_example"]
    x, label = jnp.asarray(shared.test.x[:count]), jnp.asarray(shared.test.label[:count])
    pictures = jnp.asarray(arrays["shape_picture"].transpose("shape_shown", "height", "width", "channel").values)
    ball = {"norm": "linf", "epsilon": 0.15, "step_size": 0.15 * config.transfer.step, "start": "image"}
    again = joint.fool_all(
        jax.random.split(jax.random.key(0), count),  # of no matter: it starts at the image
        shared.attackers,
        x,
        label,
        apply=shared.classifier.apply,
        kind=JOINT.index(config.joint.radius_objective),
        num_steps=config.transfer.num_steps,
        **ball,
    )
    np.testing.assert_allclose(pictures, again, atol=1e-5)


def test_shapes_are_measured_where_they_are_said_to_be(done):
    """Every measure of what the joint search finds again, for one source."""
    config, arrays, _, shared, cell = done
    source, count, apply, section = 3, arrays.sizes["shape_example"], shared.classifier.apply, config.shapes
    x, label = jnp.asarray(shared.test.x[:count]), jnp.asarray(shared.test.label[:count])
    pictures = jnp.asarray(arrays["shape_picture"].transpose("shape_shown", "height", "width", "channel").values)
    keys = example_keys(config.seed, "shapes", shared.test.ids[:count])
    one = ensembles.take(shared.attackers, source)
    logits = apply(one, pictures)
    tracked = jnp.argmax(logits, axis=-1)
    sigma, rho = (jnp.float32(share * 0.15) for share in (section.noise, section.rho))
    flat = flatness(keys, one, pictures, tracked, apply=apply, sigmas=sigma[None], num_trials=section.num_trials)
    bent = curvature(
        keys, one, pictures, tracked, apply=apply, num_steps=section.num_lanczos, num_probes=section.num_probes
    )
    worst = worst_case(
        keys, one, pictures, tracked, apply=apply, norm="linf", rho=rho, num_steps=section.num_worst, num_restarts=1
    )
    made_again = cell.reconstruct(ensembles.take(cell.ensemble, 0), pictures, label)
    delta = np.asarray(pictures - x).reshape(count, -1)
    expected = {
        "delta_l2": np.linalg.norm(delta, axis=1),
        "margin": np.sort(logits, axis=-1)[:, -1] - np.sort(logits, axis=-1)[:, -2],
        "input_probability_drop": flat["probability_drop"][0],
        "input_margin_drop": flat["margin_drop"][0],
        "worst_margin_drop": worst["worst_margin_drop"],
        "gradient_norm": bent["gradient_norm"],
        "hessian_top": bent["hessian_top"],
        "manifold": np.linalg.norm(np.asarray(made_again - pictures).reshape(count, -1), axis=1),
    }
    train = shared.prepared.dataset.splits["train"]
    bank = shared.prepared.dataset.images[train].reshape(len(train), -1) / 255.0
    far = np.linalg.norm(np.asarray(pictures, float).reshape(count, -1)[:, None] - bank[None], axis=-1)
    order = np.argsort(far, axis=1)[:, : section.num_neighbors]
    near = shared.prepared.dataset.labels[train][order]
    expected["nearest"] = far.min(axis=1)
    expected["nearest_true"] = (near == np.asarray(label)[:, None]).mean(axis=1)
    expected["nearest_taken"] = (near == np.asarray(tracked)[:, None]).mean(axis=1)
    assert np.any(tracked != label)
    for name, value in expected.items():
        saved = arrays[f"shape_{name}"].transpose("source", "input", "shape_example").values[source, 2]
        np.testing.assert_allclose(saved, value, rtol=2e-3, atol=2e-4, err_msg=name)


def test_lines_between_classes_begin_and_end_at_their_images(done):
    """In pixels the ends are the images; on the manifold what the autoencoder makes of them."""
    _, arrays, _, shared, cell = done
    pair = arrays["pair"].transpose("pair", "end").values
    vote = arrays["vote"].transpose("ground", "step", "pair", "class").values
    learned = np.isin(arrays["role"].values.astype(str), ("attacker", "held_out"))
    assert np.all(vote.sum(axis=-1) == learned.sum())
    label = shared.test.label
    assert np.all(label[pair[:, 0]] != label[pair[:, 1]])
    for end, step in ((0, 0), (1, -1)):
        own = vote[1, step][np.arange(len(pair)), label[pair[:, end]]]
        assert np.all(own == learned.sum())  # pairs are of images that all classify rightly
    apart = arrays["disagreement"].transpose("ground", "step", "pair").values
    shown = arrays["between_pair"].values
    peak = apart[0, 1:-1].max(axis=0)
    assert peak[shown[0]] == peak.max() and peak[shown[-1]] == peak.min() and len(set(shown.tolist())) == len(shown)
    pictures = jnp.asarray(
        arrays["between_picture"].transpose("between_shown", "place", "height", "width", "channel").values
    )
    said = np.stack([np.asarray(jax.nn.softmax(says_of(shared, t, pictures[:, 1]))) for t in np.flatnonzero(learned)])
    np.testing.assert_allclose(shared_between.disagreement(jnp.asarray(said)), peak[shown], atol=1e-5)
    for end, place in ((0, 0), (1, 2)):
        x = jnp.asarray(shared.test.x[pair[shown, end]])
        again = cell.reconstruct(ensembles.take(cell.ensemble, 0), x, jnp.asarray(label[pair[shown, end]]))
        np.testing.assert_allclose(pictures[:, place], again, atol=1e-5)


def test_gradients_point_where_each_attacker_says(done):
    _, arrays, _, shared, _ = done
    x, label = jnp.asarray(shared.test.x[:3]), jnp.asarray(shared.test.label[:3])
    gradient = [
        jax.grad(
            lambda x, s=s: jnp.sum(
                objectives.gap(shared.classifier.apply(ensembles.take(shared.attackers, s), x), label)
            )
        )(x)
        for s in (0, 2)
    ]
    one, other = (np.asarray(g, float).reshape(3, -1) for g in gradient)
    expected = (one * other).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)
    saved = arrays["gradient_cosine"].transpose("source", "other", "example").values
    np.testing.assert_allclose(saved[0, 2, :3], expected, atol=1e-4)
    np.testing.assert_allclose(saved[2, 0], saved[0, 2], atol=1e-6)
    np.testing.assert_allclose(saved[1, 1], 1.0, atol=1e-5)


def test_joint_searches_and_radii_hold_again(done):
    """What was found fools whom it is said to fool, and lies as far as its radius says."""
    config, arrays, _, shared, _ = done
    found = jnp.asarray(arrays["joint_picture"].transpose("joint_shown", "height", "width", "channel").values)
    count = len(found)
    label = shared.test.label[:count]
    wrong = [np.argmax(says_of(shared, t, found), axis=-1) != label for t in range(len(shared.names))]
    np.testing.assert_array_equal(
        arrays["smallest_wrong"].transpose("target", "joint_example").values[:, :count], wrong
    )
    radius = arrays["smallest_radius"].values[:count]
    there = np.isfinite(radius)
    assert there.any()
    assert np.all(np.asarray(wrong)[:4][:, there])
    moved = np.abs(found - shared.test.x[:count]).max(axis=(1, 2, 3))
    np.testing.assert_allclose(moved[there], radius[there], atol=1e-6)
    assert np.all(moved[~there] == 0)
    # One ball and objective again.
    everyone = arrays["joint_wrong"].isel(objective=JOINT.index("logits"), ball=0)
    again = joint.fool_all(
        jax.random.split(jax.random.key(0), count),  # of no matter: it starts at the image
        shared.attackers,
        jnp.asarray(shared.test.x[:count]),
        jnp.asarray(label),
        apply=shared.classifier.apply,
        kind=JOINT.index("logits"),
        norm="linf",
        epsilon=0.15,
        step_size=0.15 * config.transfer.step,
        num_steps=config.joint.num_steps,
        start="image",
    )
    says = np.argmax(says_of(shared, 5, again), axis=-1) != label
    np.testing.assert_array_equal(everyone.isel(target=5).values[:count], says)


def test_universal_perturbations_are_judged_on_clipped_images(done):
    _, arrays, _, shared, _ = done
    delta = arrays["universal"].isel(made_by=0, ball=0).transpose("height", "width", "channel").values
    assert np.abs(delta).max() <= 0.15 + 1e-6
    says = np.argmax(says_of(shared, 4, jnp.clip(shared.test.x + delta, 0, 1)), axis=-1)
    saved = arrays["universal_wrong"].isel(made_by=0, ball=0, target=4).values
    np.testing.assert_array_equal(saved, says != shared.test.label)
    signs = arrays["universal"].sel(made_by="random signs").values
    np.testing.assert_allclose(np.abs(signs), 0.15, rtol=1e-5)
    assert 0.2 < np.mean(signs > 0) < 0.8


def test_judges_of_two_architectures_stand_in_one_row(done):
    """A judge of another architecture says what it says alone, and the others what they said without it."""
    _, _, _, shared, _ = done
    other = classifiers.build("mlp", num_classes=10, mean=(0.5,), std=(0.3,), norm="none", activation="relu")
    x = jnp.asarray(shared.test.x[:7])
    keys = jax.random.split(jax.random.key(0), 3)
    group = ensembles.stack([other.init(key, x[:1]) for key in keys])
    own = shared.judges.groups[0]
    parts = (ensembles.take(own, slice(4)), group, ensembles.take(own, slice(4, None)))
    apply = shared.classifier.apply
    judges = shared_setting.Judges((apply, other.apply, apply), parts)

    def says(apply, variables, x):
        return apply(variables, x)

    found = np.asarray(jax.jit(lambda groups, x: judges.map(says, groups, x))(judges.groups, x))
    order = [*range(4), *range(4, len(shared.names))]
    for number, old in zip([*range(4), *range(7, len(found))], order, strict=True):
        np.testing.assert_allclose(found[number], says_of(shared, old, x), atol=1e-5)
    for number in range(3):
        expected = other.apply(ensembles.take(group, number), x)
        np.testing.assert_allclose(found[4 + number], expected, atol=1e-5)
        np.testing.assert_allclose(says_of(shared._replace(judges=judges), 4 + number, x), expected, atol=1e-5)
    some = judges.take(np.array([1, 3, 5, 8]))
    again = np.asarray(jax.jit(lambda groups, x: some.map(says, groups, x))(some.groups, x))
    np.testing.assert_allclose(again, found[[1, 3, 5, 8]], atol=1e-5)
    with pytest.raises(IndexError):
        judges.one(len(found))


@pytest.mark.slow
def test_held_out_members_of_another_architecture(done, tmp_path):
    """They are trained with their own seeds, stand in their places, and attackers stay what they were."""
    config, _, _, shared, _ = done
    other = ConfigDict(config.to_dict())
    other.held_out_model.name = "mlp"
    with runs.open_run(other, tmp_path / "run") as run:
        found = shared_setting.prepare(run.config, run)
    assert found.names.tolist() == shared.names.tolist() and found.seeds.tolist() == shared.seeds.tolist()
    x = shared.test.x[:5]
    for number in (0, 3, 6, 7):  # attackers and controls
        np.testing.assert_allclose(says_of(found, number, x), says_of(shared, number, x), atol=1e-5)
    sizes = [jax.tree.map(jnp.size, found.judges.one(number)[1]) for number in (0, 4, 5)]
    assert sizes[1] == sizes[2] != sizes[0]
    assert np.abs(np.asarray(says_of(found, 4, x) - says_of(found, 5, x))).max() > 0.01


# ---- planted members ----


def planted(kind, images=300, seed=0):
    """Arrays of one attack on SOURCES attackers and HELD held-out members whose mistakes are known."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, K, images)
    count = SOURCES + HELD
    clean = np.broadcast_to(label, (count, images)).copy()
    clean[:, :20] = (label[:20] + 1) % K  # natural errors of all
    mistake = (label + rng.integers(1, K, images)) % K
    told = np.broadcast_to(mistake, (SOURCES, count, images)).copy()
    if kind == "chance":  # every member errs, whichever way
        told = (label + rng.integers(1, K, (SOURCES, count, images))) % K
    if kind == "immune":  # only the source is fooled
        told[:] = label
        told[np.arange(SOURCES), np.arange(SOURCES)] = mistake
    if kind == "permuted":  # the last held-out member's classes are turned by one
        told[:, -1] = (told[:, -1] + 1) % K
        clean[-1] = (clean[-1] + 1) % K
    role = np.array(["attacker"] * SOURCES + ["held_out"] * HELD)
    margin = rng.normal(1, 1, (count, images))
    arrays = {
        "role": (("target",), role),
        "label": (("example",), label),
        "clean_prediction": (("target", "example"), clean),
        "clean_margin": (("target", "example"), margin),
        "aim": (("example",), (label + 1) % K),
        "validation_margin": (("target", "v"), rng.normal(1, 1, (count, 50))),
        "prediction": (("attack", "source", "target", "example"), told[None]),
        "noise_wrong": (("attack", "source", "target", "example"), np.zeros((1, *told.shape), bool)),
        "perturbation_norm": (("attack", "source", "example"), np.full((1, SOURCES, images), 0.1)),
    }
    return arrays


ATTACK = Attack("full.linf.0.1", "full", "linf", 0.1)


def mean_of(arrays, quantity, targets="attackers", condition="clean_correct"):
    return told(seen(arrays, 0, condition), quantity, members_of(arrays["role"][1]), targets)


def test_copies_make_the_same_mistake_always():
    arrays = planted("copies")
    for targets in ("attackers", "held_out"):
        same = mean_of(arrays, "same", targets)
        assert same.value == 1.0 and same.high == 1.0 and same.low > 0.98
        # By chance mistakes agree about once in the K - 1 that there are.
        assert mean_of(arrays, "chance", targets).value == pytest.approx(1 / (K - 1), abs=0.05)
        assert mean_of(arrays, "same_beyond_chance", targets).low > 0.6


def test_controls_and_the_aim_are_told_by_themselves():
    arrays = planted("copies")
    arrays["role"] = (("target",), np.array(["attacker"] * SOURCES + ["held_out"] * (HELD - 1) + ["untrained"]))
    label, told_by = arrays["label"][1], arrays["prediction"][1][0]
    told_by[:, -1] = (label + 1) % K  # an untrained member says the aim always
    assert mean_of(arrays, "aim", "untrained").value == 1.0
    assert mean_of(arrays, "aim", "held_out").value == pytest.approx(1 / (K - 1), abs=0.05)
    assert mean_of(arrays, "wrong", "shuffled") is None  # there is none
    members = members_of(arrays["role"][1])
    assert members.all.tolist() == list(range(SOURCES + HELD - 1)) and members.controls["untrained"].tolist() == [6]


def test_held_out_members_are_told_by_themselves():
    """Attackers fool one another always, held-out members on the first 150 images alone."""
    arrays = planted("copies")
    label, told_by = arrays["label"][1], arrays["prediction"][1][0]
    told_by[:, SOURCES:, 150:] = label[150:]
    assert mean_of(arrays, "wrong").value == 1.0
    assert mean_of(arrays, "wrong", "held_out").value == pytest.approx(130 / 280)  # 20 are natural errors


def test_mistakes_at_random_are_chance():
    arrays = planted("chance")
    assert mean_of(arrays, "wrong").value == 1.0
    beyond = mean_of(arrays, "same_beyond_chance")
    assert beyond.low <= 0 <= beyond.high and beyond.high - beyond.low < 0.1


def test_the_zero_line_and_an_attack_that_does_not_transfer():
    arrays = planted("immune")
    for quantity in ("wrong", "same", "chance", "noise"):
        found = mean_of(arrays, quantity)
        assert found.value == 0 and found.low == 0 and found.high < 0.02
    members = members_of(arrays["role"][1])
    (order,) = shared_checks._order([ATTACK], arrays, members)
    assert order["passed"] and "others 0.0 %" in order["detail"]
    # If noise did more than the attack, the check says so.
    arrays["noise_wrong"] = (arrays["noise_wrong"][0], np.ones_like(arrays["noise_wrong"][1]))
    assert not shared_checks._order([ATTACK], arrays, members)[0]["passed"]


def test_permuted_classes_give_permuted_mistakes():
    """The member errs on every clean image but its natural errors, so that it leaves no image in common; of all images
    its mistakes are the source's, turned."""
    arrays = planted("permuted")
    assert seen(arrays, 0, "clean_correct").common.sum() <= 20
    one = seen(arrays, 0, "all")
    turned = (arrays["prediction"][1][0, 0, -1] - 1) % K
    np.testing.assert_array_equal(turned, arrays["prediction"][1][0, 0, 0])
    assert one.of["same"][0, -1].mean() == 0.0
    assert one.of["same"][0, -2].mean() == 1.0


def test_conditions_choose_their_images():
    arrays = planted("copies")
    clean, whole = (seen(arrays, 0, c) for c in ("clean_correct", "all"))
    assert clean.common.sum() == 280 and whole.common.sum() == 300
    arrays["prediction"][1][0, 1, 1, 20:120] = arrays["label"][1][20:120]  # the second source fails on 100
    fooled = seen(arrays, 0, "source_fooled")
    np.testing.assert_array_equal(fooled.mask.sum(axis=1), [280, 180, 280, 280])
    assert fooled.common.sum() == 180
    # Where sets differ the chance rate of a mean is that of the images it is over.
    np.testing.assert_array_equal(fooled.of["chance"][0, 2][~fooled.common], 0)
    assert fooled.own_chance[0, 2][20:120].mean() > 0.1


def test_a_member_with_random_labels_is_named_and_left_out():
    names = np.array(["attacker", "attacker", "attacker", "held_out", "held_out", "untrained"])
    accuracy = np.array([0.9, 0.92, 0.12, 0.88, 0.91, 0.1])
    found = roles(names, accuracy, 10)
    assert found.tolist() == ["attacker", "attacker", "unlearned", "held_out", "held_out", "untrained"]
    assert members_of(found).attackers.tolist() == [0, 1]
    margin = np.where(np.random.default_rng(0).random((6, 200)) < accuracy[:, None], 1.0, -1.0)
    arrays = {"role": (("target",), found), "validation_margin": (("target", "v"), margin)}
    check = shared_checks._learned(arrays)
    assert not check["passed"] and "member 2" in check["detail"] and "member 5" not in check["detail"]
    arrays["role"] = (("target",), roles(names, np.full(6, 0.9), 10))
    assert shared_checks._learned(arrays)["passed"]


def test_copies_are_flagged():
    margin = np.random.default_rng(0).normal(size=(5, 50))
    assert shared_checks._distinct({"validation_margin": ((), margin)}, 5)["passed"]
    margin[3] = margin[1]
    check = shared_checks._distinct({"validation_margin": ((), margin)}, 5)
    assert not check["passed"] and "1 and 3" in check["detail"]
    assert shared_checks._distinct({"validation_margin": ((), margin)}, 3)["passed"]  # controls are no copies


def test_perturbations_outside_the_ball_are_flagged():
    arrays = planted("copies")
    assert shared_checks._inside(ATTACK, arrays, 0)["passed"]
    arrays["perturbation_norm"][1][0, 1, 5] = 0.1001
    assert not shared_checks._inside(ATTACK, arrays, 0)["passed"]


def test_members_fooled_together():
    """Copies have correlation 1, members fooled independently, given their margins, about 0."""
    arrays, members = planted("copies", images=1500), None
    members = members_of(arrays["role"][1])
    rng = np.random.default_rng(2)
    label, margin = arrays["label"][1], arrays["clean_margin"][1]
    margin[SOURCES:] = rng.normal(1, 1, margin.shape[1])[None]  # attackers' margins say nothing of it
    chance = 1 / (1 + np.exp(margin))
    shape = arrays["prediction"][1].shape[1:]
    for together, low, high in ((True, 0.999, 1.001), (False, -0.05, 0.05)):
        draw = rng.random((SOURCES, 1, shape[2])) if together else rng.random(shape)
        wrong = draw < chance[None]
        wrong[np.arange(SOURCES), np.arange(SOURCES)] = True
        arrays["prediction"][1][0] = np.where(wrong, (label + 1) % K, label)
        (found,), counts = shared_estimates._together([ATTACK], arrays, members)
        assert found["name"] == "shared.correlation" and low <= found["value"] <= high
        assert found["low"] <= found["value"] <= found["high"]
        # Of copies both parts of the ratio are one in every image, so that nothing varies.
        assert (found["high"] - found["low"] < 1e-6) == together
        observed, expected = counts["count_seen"][1][0], counts["count_expected"][1][0]
        assert observed.sum() == pytest.approx(1) and expected.sum() == pytest.approx(1)
        assert (np.abs(observed - expected).max() > 0.1) == together


# ---- parts ----


def test_the_held_out_architecture_follows_the_attackers_and_not_they_it():
    config = load("shared")
    config.update_from_flattened_dict({"held_out_model.name": "mlp"})
    assert (config.model.name, config.held_out_model.name) == ("cnn", "mlp")
    config = load("shared")
    config.update_from_flattened_dict({"model.name": "mlp"})
    assert (config.model.name, config.held_out_model.name) == ("mlp", "mlp")


def test_claims_say_what_they_are_about(monkeypatch):
    """Populations and radii are those of the run, whatever the config was changed to."""
    config = load("shared")
    config.update_from_flattened_dict({"claims.many_guide_better.size": 2, "transfer.linf": (0.1, 0.2, 0.3)})
    config.ladder.searches = ("manifold", "pixels")
    attacks = attacks_of(config)
    gain = np.random.default_rng(0).uniform(0.1, 0.2, (8, 9))
    monkeypatch.setattr(shared_estimates.shared_ladder_estimates, "gain", lambda *_: interval(gain))
    monkeypatch.setattr(shared_estimates, "told", lambda *_: None)
    monkeypatch.setattr(shared_estimates, "seen", lambda *_: None)
    members = members_of(np.array(["attacker"] * 4 + ["held_out"] * 3))
    guided, shared = shared_estimates._claims(config, attacks, {}, members)
    assert shared["radius"] == 0.2 and shared["verdict"] == "undecided"
    assert guided["populations"] == ["2 members", "one member"] and guided["search"] == "manifold"
    assert guided["radius"] == config.manifold.epsilon and guided["verdict"] == "supported"
    gain[:] = 0.0  # the same for all members and images: nothing to judge it by
    assert shared_estimates._claims(config, attacks, {}, members)[0]["verdict"] == "undecided"


def test_attacks_of_a_config():
    config = load("shared")
    found = attacks_of(config)
    assert found[0] == Attack("full.linf.0.15", "full", "linf", 0.15)
    assert len({a.name for a in found}) == len(found) == 10
    assert {a.epsilon for a in found if a.kind != "full"} == {0.25, 1.5}
    config.transfer.linf, config.transfer.attacks = (0.1,), ("targeted", "full")
    assert attacks_of(config)[0].name == "full.linf.0.1"


def test_cosines_by_hand():
    delta = jnp.array([[[3.0, 4.0], [0.0, 0.0]], [[4.0, -3.0], [1.0, 0.0]], [[-3.0, -4.0], [2.0, 0.0]]])
    found = np.asarray(cosines(delta))
    np.testing.assert_allclose(found[:, :, 0], [[1, 0, -1], [0, 1, 0], [-1, 0, 1]], atol=1e-6)
    np.testing.assert_allclose(found[:, :, 1], [[0, 0, 0], [0, 1, 1], [0, 1, 1]], atol=1e-6)


def test_the_median_radius_is_weighted_and_censored():
    values = np.array([[1.0, 2.0, 3.0, 9.0]])
    ones = np.ones(4)
    assert shared_found.weighted_median(values, np.ones(1), ones) == 2.0
    assert shared_found.weighted_median(values, np.ones(1), np.array([0.0, 0, 3, 1])) == 3.0
    many = np.r_[np.linspace(0.1, 0.2, 60), np.full(40, 0.3)][None]
    found = shared_found._median_interval(many, 0.3)
    assert found.value == pytest.approx(np.sort(many[0])[49])
    assert found.low < found.value < found.high < 0.3
    assert np.isnan(shared_found._median_interval(many[:, 7:], 0.3).high)  # 53 of 93: some resamples have a minority
    assert shared_found._median_interval(many[:, 30:], 0.3) is None


def test_radii_by_hand():
    arrays = planted("copies", images=40)
    arrays["smallest_radius"] = (("n",), np.r_[np.full(20, 0.3), np.full(10, 0.2), np.full(10, np.inf)])
    arrays["own_radius"] = (("s", "n"), np.tile([[0.1], [0.15], [0.1], [0.05]], (1, 40)))
    arrays["smallest_wrong"] = (("t", "n"), np.ones((SOURCES + HELD, 40), bool))
    members = members_of(arrays["role"][1])
    found = {e["name"]: e for e in shared_found._radii(arrays, members, np.ones(40, bool), 0.5)}
    assert found["distance.radius_all"]["value"] == 0.3
    assert found["distance.radius_one"]["value"] == 0.1
    assert found["distance.beyond_hardest"]["value"] == pytest.approx((20 * 2 + 10 * 0.2 / 0.15) / 30)
    assert found["shared.smallest_held_out_fooled"]["value"] == 1.0
    assert found["distance.beyond_hardest"]["examples"] == 30


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("num_attackers", 2, "expected more than 2"),
        ("num_members", 17, "expected at least num_attackers [+] 2 = 18"),
        ("transfer.attacks", ("first_flip",), "expected full among them"),
        ("transfer.linf", (0.2, 0.1), "expected growing radii"),
        ("transfer.linf", (), "expected one radius or more"),
        ("transfer.l2", (0.0, 1.0), "expected growing radii above 0"),
        ("transfer.step", 0.0, "expected a share of the radius above 0"),
        ("joint.objectives", ("mean",), "expected one of loss"),
        ("ladder.sizes", (1, 3, 16), "expected 1, 2, 4, ..., each twice the one before"),
        ("ladder.sizes", (1, 2, 4), "expected to end at num_attackers=16"),
        ("ladder.num_steps", 40, "expected a multiple of the largest of ladder.sizes"),
        ("ladder.step_sizes", (0.2, 0.1), "expected growing shares of the radius"),
        ("ladder.rungs", ("balls",), "did you mean ball"),
        ("claims.many_guide_better.size", 3, "expected one of ladder.sizes"),
        ("claims.many_guide_better.matching", "clean_correct", "expected one of gradients, steps"),
        ("between.num_points", 2, "at least 3: both ends"),
        ("shapes.rho", 0.5, "less than 0.5"),
        ("claims.mistakes_are_shared.measure", "transfer.wrong", "expected one of transfer.same_beyond_chance"),
        ("claims.mistakes_are_shared.matching", "source_fooled", "sets that all pairs have in common"),
    ],
)
def test_what_is_refused(field, value, message):
    config = load("shared")
    with config.unlocked():
        config.update_from_flattened_dict({field: value})
    with pytest.raises(UserError, match=message):
        presets.validate(config)


def test_names_are_those_of_the_rooms():
    assert presets.names.JOINT == JOINT
    assert presets.names.SHARED_ATTACKS == shared_transfer.KINDS
    assert presets.names.BUDGETS == shared_ladder.BUDGETS
    assert set(presets.names.RUNGS) | {"members"} == set(looks.RUNGS)
    assert CONDITIONS[1] == "clean_correct"
