"""The experiment `shared`: a whole smoke run through the same door as `main`, its numbers by another road."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import whole_runs
from ml_collections import ConfigDict
from whole_runs import smoke_config

from landscape import ensembles, objectives, runs
from landscape.attacks import joint
from landscape.experiments import (
    shared_between,
    shared_setting,
)
from landscape.experiments.setting import example_keys
from landscape.measures.curvature import curvature
from landscape.measures.flatness import flatness
from landscape.measures.worst_case import worst_case
from landscape.models import classifiers
from landscape.objectives import JOINT

WHOLE = pytest.mark.slow  # a whole run takes a minute or more, most of it to compile


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A finished smoke run with two attacks: (config, arrays, summary, what its searches are made of, autoencoder)."""
    folder = tmp_path_factory.mktemp("shared")
    few = {"transfer.linf": (0.15,), "transfer.l2": (), "transfer.attacks": ("full", "first_flip")}
    few["ladder.rungs"] = ("swag",)
    few["model.name"] = "mlp"  # no stage knows what a classifier is made of, and convolutions take longer to compile
    config = smoke_config("shared", folder, **few)
    arrays, summary = whole_runs.done(config, folder / "run")
    with runs.open_run(config, folder / "again") as run:
        shared = shared_setting.prepare(run.config, run)
        yield run.config, arrays, summary, shared, shared_setting.manifold(run.config, run, shared)[1]


@partial(jax.jit, static_argnums=0)
def logits_of(apply, variables, x):
    return apply(variables, x)


def says_of(shared, number, x):
    """Logits of one judge."""
    return logits_of(*shared.judges.one(int(number)), jnp.asarray(x))


@WHOLE
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


@WHOLE
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


@WHOLE
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


@WHOLE
def test_the_joint_search_of_shapes_is_that_of_the_config(done):
    config, arrays, _, shared, _ = done
    count = arrays.sizes["shape_example"]
    x, label = jnp.asarray(shared.test.x[:count]), jnp.asarray(shared.test.label[:count])
    pictures = jnp.asarray(arrays["shape_picture"].transpose("shape_shown", "height", "width", "channel").values)
    ball = {"norm": "linf", "epsilon": 0.15, "step_size": 0.15 * config.transfer.step, "start": "image"}
    keys = jax.random.split(jax.random.key(0), count)  # of no matter: it starts at the image
    ball |= {"kind": JOINT.index(config.joint.radius_objective), "num_steps": config.transfer.num_steps}
    again = jax.jit(partial(joint.fool_all, apply=shared.classifier.apply, **ball))(keys, shared.attackers, x, label)
    np.testing.assert_allclose(pictures, again, atol=1e-5)


@WHOLE
def test_shapes_are_measured_where_they_are_said_to_be(done):
    """Every measure of what the joint search finds again, for one source."""
    config, arrays, _, shared, cell = done
    source, count, apply, section = 3, arrays.sizes["shape_example"], shared.classifier.apply, config.shapes
    x, label = jnp.asarray(shared.test.x[:count]), jnp.asarray(shared.test.label[:count])
    pictures = jnp.asarray(arrays["shape_picture"].transpose("shape_shown", "height", "width", "channel").values)
    keys = example_keys(config.seed, "shapes", shared.test.ids[:count])
    one = ensembles.take(shared.attackers, source)
    logits = logits_of(apply, one, pictures)
    tracked = jnp.argmax(logits, axis=-1)
    sigma, rho = (jnp.float32(share * 0.15) for share in (section.noise, section.rho))
    bends = {"num_steps": section.num_lanczos, "num_probes": section.num_probes}
    climbs = {"norm": "linf", "rho": rho, "num_steps": section.num_worst, "num_restarts": 1}

    @jax.jit
    def measured(*at):
        flat = flatness(*at, apply=apply, sigmas=sigma[None], num_trials=section.num_trials)
        return flat, curvature(*at, apply=apply, **bends), worst_case(*at, apply=apply, **climbs)

    flat, bent, worst = measured(keys, one, pictures, tracked)
    made_again = jax.jit(cell.reconstruct)(ensembles.take(cell.ensemble, 0), pictures, label)
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


@WHOLE
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
    reconstruct = jax.jit(cell.reconstruct)
    np.testing.assert_allclose(shared_between.disagreement(jnp.asarray(said)), peak[shown], atol=1e-5)
    for end, place in ((0, 0), (1, 2)):
        x = jnp.asarray(shared.test.x[pair[shown, end]])
        again = reconstruct(ensembles.take(cell.ensemble, 0), x, jnp.asarray(label[pair[shown, end]]))
        np.testing.assert_allclose(pictures[:, place], again, atol=1e-5)


@WHOLE
def test_gradients_point_where_each_attacker_says(done):
    _, arrays, _, shared, _ = done
    x, label = jnp.asarray(shared.test.x[:3]), jnp.asarray(shared.test.label[:3])

    @jax.jit
    @jax.grad
    def slope(x, variables):
        return jnp.sum(objectives.gap(shared.classifier.apply(variables, x), label))

    gradient = [slope(x, ensembles.take(shared.attackers, s)) for s in (0, 2)]
    one, other = (np.asarray(g, float).reshape(3, -1) for g in gradient)
    expected = (one * other).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)
    saved = arrays["gradient_cosine"].transpose("source", "other", "example").values
    np.testing.assert_allclose(saved[0, 2, :3], expected, atol=1e-4)
    np.testing.assert_allclose(saved[2, 0], saved[0, 2], atol=1e-6)
    np.testing.assert_allclose(saved[1, 1], 1.0, atol=1e-5)


@WHOLE
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
    keys = jax.random.split(jax.random.key(0), count)  # of no matter: it starts at the image
    ball = {"norm": "linf", "epsilon": 0.15, "step_size": 0.15 * config.transfer.step, "start": "image"}
    ball |= {"kind": JOINT.index("logits"), "num_steps": config.joint.num_steps}
    search = jax.jit(partial(joint.fool_all, apply=shared.classifier.apply, **ball))
    again = search(keys, shared.attackers, jnp.asarray(shared.test.x[:count]), jnp.asarray(label))
    says = np.argmax(says_of(shared, 5, again), axis=-1) != label
    np.testing.assert_array_equal(everyone.isel(target=5).values[:count], says)


@WHOLE
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


@WHOLE
def test_judges_of_two_architectures_stand_in_one_row(done):
    """A judge of another architecture says what it says alone, and the others what they said without it."""
    _, _, _, shared, _ = done
    other = classifiers.build("cnn", num_classes=10, mean=(0.5,), std=(0.3,), norm="none", activation="relu")
    x = jnp.asarray(shared.test.x[:7])
    keys = jax.random.split(jax.random.key(0), 3)
    group = jax.jit(lambda keys: jax.lax.map(lambda key: other.init(key, x[:1]), keys))(keys)
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
        expected = logits_of(other.apply, ensembles.take(group, number), x)
        np.testing.assert_allclose(found[4 + number], expected, atol=1e-5)
        np.testing.assert_allclose(says_of(shared._replace(judges=judges), 4 + number, x), expected, atol=1e-5)
    some = judges.take(np.array([1, 3, 5, 8]))
    again = np.asarray(jax.jit(lambda groups, x: some.map(says, groups, x))(some.groups, x))
    np.testing.assert_allclose(again, found[[1, 3, 5, 8]], atol=1e-5)
    with pytest.raises(IndexError):
        judges.one(len(found))


@WHOLE
def test_held_out_members_of_another_architecture(done, tmp_path):
    """They are trained with their own seeds, stand in their places, and attackers stay what they were."""
    config, _, _, shared, _ = done
    other = ConfigDict(config.to_dict())
    other.held_out_model.name = "cnn"
    with runs.open_run(other, tmp_path / "run") as run:
        found = shared_setting.prepare(run.config, run)
    assert found.names.tolist() == shared.names.tolist() and found.seeds.tolist() == shared.seeds.tolist()
    x = shared.test.x[:5]
    for number in (0, 3, 6, 7):  # attackers and controls
        np.testing.assert_allclose(says_of(found, number, x), says_of(shared, number, x), atol=1e-5)
    sizes = [jax.tree.map(jnp.size, found.judges.one(number)[1]) for number in (0, 4, 5)]
    assert sizes[1] == sizes[2] != sizes[0]
    assert np.abs(np.asarray(says_of(found, 4, x) - says_of(found, 5, x))).max() > 0.01
