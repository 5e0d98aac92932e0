"""A whole run of `transfer` through the same door as `main`; what it found, found again by another road."""

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
from landscape.experiments import load
from landscape.experiments.setting import example_keys
from landscape.experiments.transfer import geometry, stages
from landscape.experiments.transfer import members as mb
from landscape.measures.curvature import curvature
from landscape.measures.flatness import flatness
from landscape.measures.worst_case import worst_case
from landscape.models import classifiers
from landscape.objectives import JOINT

IMAGE = ("height", "width", "channel")
INPUTS = ("source", "input", "geometry_example")

WHOLE = pytest.mark.slow  # a whole run takes half a minute or more, most of it to compile


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A finished smoke run with two attacks: (config, arrays, summary, members, autoencoder, folder)."""
    folder = tmp_path_factory.mktemp("transfer")
    few = {"transfer.linf": (0.15,), "transfer.l2": (), "transfer.attacks": ("full", "first_flip")}
    few |= {"guides.sets": ("swag",), "model.name": "mlp"}  # convolutions take longer to compile
    config = smoke_config("transfer", folder, **few)
    arrays, summary = whole_runs.done(config, folder / "run")
    with runs.open_run(config, folder / "again") as run:
        members = mb.prepare(run.config, run)
        yield run.config, arrays, summary, members, mb.manifold(run.config, run, members)[1], folder


@partial(jax.jit, static_argnums=0)
def logits_of(apply, variables, x):
    return apply(variables, x)


def says_of(members, number, x):
    """Logits of one target."""
    return logits_of(*members.targets.one(int(number)), jnp.asarray(x))


def wrong_of(members, x, label):
    """Whether each target errs, [target, example]."""
    return np.stack([np.argmax(says_of(members, t, x), axis=-1) != label for t in range(len(members.roles))])


def pictures_of(arrays, name, dim):
    return jnp.asarray(arrays[name].transpose(dim, *IMAGE).values)


@WHOLE
def test_it_writes_what_is_promised(done):
    _, arrays, summary, *_ = done
    assert all(v.attrs["units"] and v.attrs["long_name"] for v in arrays.variables.values())
    assert arrays.role.values.tolist() == ["attacker"] * 4 + ["held_out"] * 2 + ["untrained", "shuffled"]
    assert arrays.attack.values.tolist() == ["full.linf.0.15", "first_flip.linf.0.15"]
    assert {c["name"] for c in summary["claims"]} == {"mistakes_are_shared", "many_guide_better"}
    assert {"members.learned", "members.distinct", "full.linf.0.15.order", "guides.tuned"} <= {
        c["name"] for c in summary["checks"]
    }
    assert {"clean", "transfer.full.linf", "gradients", "audit", "joint", "geometry", "between", "trajectory"} <= set(
        summary["stages"]
    )
    assert {"guides.pixels.start", "guides.pixels.members.4", "guides.pixels.swag.1"} <= set(summary["stages"])


@WHOLE
def test_it_is_estimated_and_reported_again_without_anything_computed(done):
    config, _, summary, *_, folder = done
    experiment = load("transfer")
    table = (folder / "run" / "estimates.csv").read_text()
    with runs.open_run(config, folder / "run") as run:
        experiment.summarise(config, run)
        page = experiment.report(run).read_text(encoding="utf-8")
        assert runs.read_summary(run)["headline"] == summary["headline"] and summary["headline"] in page
    assert (folder / "run" / "estimates.csv").read_text() == table


@WHOLE
def test_predictions_are_those_of_the_pictures(done):
    """The first source's examples, tried again on every target, one at a time."""
    _, arrays, _, members, *_ = done
    pictures, start = (pictures_of(arrays, name, "shown") for name in ("picture", "picture_start"))
    count = len(pictures)
    first = arrays.isel(attack=0, source=0, example=slice(count))
    label = first.label.values
    wrong = (first.prediction != first.label).transpose("target", "example")
    np.testing.assert_array_equal(wrong, wrong_of(members, pictures, label))
    np.testing.assert_allclose(first.perturbation_norm, np.abs(pictures - start).max(axis=(1, 2, 3)), rtol=1e-5)
    clean = first.clean_prediction.transpose("target", "example") != label
    np.testing.assert_array_equal(clean, wrong_of(members, start, label))


@WHOLE
def test_gradients_point_where_each_attacker_says(done):
    _, arrays, _, members, *_ = done
    x, label = jnp.asarray(members.test.x[:3]), jnp.asarray(members.test.label[:3])

    @jax.jit
    @jax.grad
    def slope(x, variables):
        return jnp.sum(objectives.gap(members.classifier.apply(variables, x), label))

    gradient = [slope(x, ensembles.take(members.attackers, s)) for s in (0, 2)]
    one, other = (np.asarray(g, float).reshape(3, -1) for g in gradient)
    expected = (one * other).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)
    saved = arrays.gradient_cosine.transpose("source", "other", "example").values
    np.testing.assert_allclose(saved[0, 2, :3], expected, atol=1e-4)
    np.testing.assert_allclose(saved[2, 0], saved[0, 2], atol=1e-6)
    np.testing.assert_allclose(saved[1, 1], 1.0, atol=1e-5)


def test_cosines_by_hand():
    delta = jnp.array([[[3.0, 4.0], [0.0, 0.0]], [[4.0, -3.0], [1.0, 0.0]], [[-3.0, -4.0], [2.0, 0.0]]])
    found = np.asarray(stages.cosines(delta))
    np.testing.assert_allclose(found[:, :, 0], [[1, 0, -1], [0, 1, 0], [-1, 0, 1]], atol=1e-6)
    np.testing.assert_allclose(found[:, :, 1], [[0, 0, 0], [0, 1, 1], [0, 1, 1]], atol=1e-6)


@WHOLE
def test_joint_searches_and_radii_hold_again(done):
    """What was found fools whom it is said to fool, and lies as far as its radius says."""
    config, arrays, _, members, *_ = done
    found = pictures_of(arrays, "joint_picture", "joint_shown")
    count = len(found)
    label, radius = members.test.label[:count], arrays.smallest_radius.values[:count]
    wrong, there = wrong_of(members, found, label), np.isfinite(radius)
    np.testing.assert_array_equal(arrays.smallest_wrong.transpose("target", "joint_example").values[:, :count], wrong)
    assert there.any() and np.all(wrong[:4][:, there])
    moved = np.abs(found - members.test.x[:count]).max(axis=(1, 2, 3))
    np.testing.assert_allclose(moved[there], radius[there], atol=1e-6)
    assert np.all(moved[~there] == 0)
    # One ball and objective again.
    keys = jax.random.split(jax.random.key(0), count)  # of no matter: it starts at the image
    ball = {"norm": "linf", "epsilon": 0.15, "step_size": 0.15 * config.transfer.step, "start": "image"}
    ball |= {"kind": JOINT.index("loss"), "num_steps": config.joint.num_steps}
    search = jax.jit(partial(joint.fool_all, apply=members.classifier.apply, **ball))
    again = search(keys, members.attackers, jnp.asarray(members.test.x[:count]), jnp.asarray(label))
    saved = arrays.joint_wrong.sel(objective="loss").isel(ball=0).transpose("target", "joint_example").values[:, :count]
    np.testing.assert_array_equal(saved, wrong_of(members, again, label))


@WHOLE
def test_geometry_is_of_the_examples_that_transfer(done):
    """The same attack as the matrix."""
    config, arrays, _, members, *_ = done
    count, at = arrays.sizes["geometry_example"], {name: i for i, name in enumerate(arrays.input.values.tolist())}
    own = arrays.prediction.isel(attack=0).transpose("source", "target", "example").values[..., :count]
    says = arrays.geometry_prediction.transpose(*INPUTS).values
    for s in range(config.num_attackers):
        np.testing.assert_array_equal(says[s, at["own"]], own[s, s])
        np.testing.assert_array_equal(says[s, at["clean"]], arrays.clean_prediction.values[s, :count])
    wrong = arrays.geometry_wrong.transpose("held_out", *INPUTS).values
    fooled = own[:, arrays.held_out.values].swapaxes(0, 1) != members.test.label[:count]
    np.testing.assert_array_equal(wrong[:, :, at["own"]], fooled)
    margin = arrays.geometry_margin.transpose(*INPUTS).values
    for iso in ("own_iso", "joint_iso"):  # a few shrinking steps bring some there, or nearer
        off, before = (np.abs(margin[:, at[n]] - config.geometry.iso_margin) for n in (iso, iso.removesuffix("_iso")))
        assert np.mean(off < 0.1) > 0.2 and np.median(off) < np.median(before)


@WHOLE
def test_geometry_is_measured_where_it_is_said_to_be(done):
    """Every measure of what the joint search finds again, for one source."""
    config, arrays, _, members, cell, _ = done
    source, count, apply, section = 3, arrays.sizes["geometry_example"], members.classifier.apply, config.geometry
    x, label = jnp.asarray(members.test.x[:count]), jnp.asarray(members.test.label[:count])
    ball = {"norm": "linf", "epsilon": 0.15, "step_size": 0.15 * config.transfer.step, "start": "image"}
    ball |= {"kind": JOINT.index(config.joint.radius_objective), "num_steps": config.transfer.num_steps}
    search = jax.jit(partial(joint.fool_all, apply=apply, **ball))
    pictures = search(jax.random.split(jax.random.key(0), count), members.attackers, x, label)
    keys = example_keys(config.seed, geometry.KEY, members.test.ids[:count])
    one = ensembles.take(members.attackers, source)
    logits = logits_of(apply, one, pictures)
    tracked = jnp.argmax(logits, axis=-1)
    sigma, rho = (jnp.float32(share * 0.15) for share in (section.noise, section.rho))

    @jax.jit
    def measured(*at):
        flat = flatness(*at, apply=apply, sigmas=sigma[None], num_trials=section.num_trials)
        bent = curvature(*at, apply=apply, num_steps=section.num_lanczos, num_probes=section.num_probes)
        return (
            flat,
            bent,
            worst_case(*at, apply=apply, norm="linf", rho=rho, num_steps=section.num_worst, num_restarts=1),
        )

    flat, bent, worst = measured(keys, one, pictures, tracked)
    made_again = jax.jit(cell.reconstruct)(ensembles.take(cell.ensemble, 0), pictures, label)
    top = np.sort(logits, axis=-1)
    expected = {
        "delta_l2": np.linalg.norm(np.asarray(pictures - x).reshape(count, -1), axis=1),
        "margin": top[:, -1] - top[:, -2],
        **{f"input_{name}": flat[name][0] for name in ("probability_drop", "margin_drop")},
        "worst_margin_drop": worst["worst_margin_drop"],
        **{name: bent[name] for name in ("gradient_norm", "hessian_top")},
        "manifold": np.linalg.norm(np.asarray(made_again - pictures).reshape(count, -1), axis=1),
    }
    train = members.prepared.dataset.splits["train"]
    bank = members.prepared.dataset.images[train].reshape(len(train), -1) / 255.0
    far = np.linalg.norm(np.asarray(pictures, float).reshape(count, -1)[:, None] - bank[None], axis=-1)
    near = members.prepared.dataset.labels[train][np.argsort(far, axis=1)[:, : section.num_neighbors]]
    expected["nearest"] = far.min(axis=1)
    expected["nearest_true"] = (near == np.asarray(label)[:, None]).mean(axis=1)
    expected["nearest_taken"] = (near == np.asarray(tracked)[:, None]).mean(axis=1)
    assert np.any(tracked != label)
    for name, value in expected.items():
        saved = arrays[f"geometry_{name}"].transpose(*INPUTS).values[source, geometry.MADE.index("joint")]
        np.testing.assert_allclose(saved, value, rtol=2e-3, atol=2e-4, err_msg=name)


@WHOLE
def test_lines_between_classes_begin_and_end_at_their_images(done):
    """In pixels the ends are the images; on the manifold what the autoencoder makes of them."""
    _, arrays, _, members, cell, _ = done
    pair, label = arrays.endpoints.transpose("pair", "end").values, members.test.label
    vote = arrays.vote.transpose("space", "step", "pair", "class").values
    assert np.all(vote.sum(axis=-1) == 6) and np.all(label[pair[:, 0]] != label[pair[:, 1]])
    for end, step in ((0, 0), (1, -1)):  # pairs are of images that all know
        assert np.all(vote[1, step][np.arange(len(pair)), label[pair[:, end]]] == 6)
    apart, shown = arrays.disagreement.transpose("space", "step", "pair").values, arrays.pair_shown.values
    peak = apart[0, 1:-1].max(axis=0)
    assert peak[shown[0]] == peak.max() and peak[shown[-1]] == peak.min() and len(set(shown.tolist())) == len(shown)
    pictures = jnp.asarray(arrays.between_picture.transpose("pair_shown", "place", *IMAGE).values)
    said = np.stack([np.asarray(jax.nn.softmax(says_of(members, t, pictures[:, 1]))) for t in range(6)])
    np.testing.assert_allclose(geometry.disagreement(jnp.asarray(said)), peak[shown], atol=1e-5)
    reconstruct = jax.jit(cell.reconstruct)
    for end, place in ((0, 0), (1, 2)):
        chosen = pair[shown, end]
        again = reconstruct(ensembles.take(cell.ensemble, 0), jnp.asarray(members.test.x[chosen]), label[chosen])
        np.testing.assert_allclose(pictures[:, place], again, atol=1e-5)


def test_disagreement_in_closed_form():
    one = jnp.asarray([0.7, 0.2, 0.1])
    np.testing.assert_allclose(geometry.disagreement(jnp.stack([one, one])), 0.0, atol=1e-6)
    np.testing.assert_allclose(geometry.disagreement(jnp.eye(3)), np.log(3), rtol=1e-6)
    p = np.asarray(jax.nn.softmax(jax.random.normal(jax.random.key(0), (4, 7, 5)), axis=-1), np.float64)
    mean = p.mean(axis=0)
    divergence = (p * np.log(p / mean)).sum(axis=-1).mean(axis=0)  # the mean divergence of members from their mean
    np.testing.assert_allclose(geometry.disagreement(jnp.asarray(p)), divergence, rtol=1e-4)


def test_pairs_are_of_two_classes_that_all_know():
    label = np.asarray([0, 0, 1, 1, 2, 2, 2, 0])
    right = np.asarray([1, 1, 1, 0, 1, 1, 0, 1], bool)
    pairs = geometry.pairs_of(label, right, 4, seed=0)
    assert len(pairs) == 3 and len(np.unique(pairs)) == 6  # no image in two pairs
    assert np.all(label[pairs[:, 0]] != label[pairs[:, 1]]) and np.all(right[pairs])
    np.testing.assert_array_equal(pairs, geometry.pairs_of(label, right, 4, seed=0))
    assert geometry.pairs_of(label, label == 0, 4, seed=0).shape == (0, 2)


@WHOLE
def test_targets_of_two_architectures_stand_in_one_row(done):
    """A target of another architecture says what it says alone, and the others what they said without it."""
    _, _, _, members, *_ = done
    other = classifiers.build("cnn", num_classes=10, mean=(0.5,), std=(0.3,), norm="none", activation="relu")
    x = jnp.asarray(members.test.x[:7])
    group = jax.jit(lambda keys: jax.lax.map(lambda key: other.init(key, x[:1]), keys))(
        jax.random.split(jax.random.key(0), 3)
    )
    own, apply = members.targets.groups[0], members.classifier.apply
    parts = (ensembles.take(own, slice(4)), group, ensembles.take(own, slice(4, None)))
    targets = mb.Targets((apply, other.apply, apply), parts)

    def says(apply, variables, x):
        return apply(variables, x)

    found = np.asarray(jax.jit(lambda groups, x: targets.map(says, groups, x))(parts, x))
    for number, old in zip([*range(4), *range(7, len(found))], range(len(members.roles)), strict=True):
        np.testing.assert_allclose(found[number], says_of(members, old, x), atol=1e-5)
    for number in range(3):
        expected = logits_of(other.apply, ensembles.take(group, number), x)
        np.testing.assert_allclose(found[4 + number], expected, atol=1e-5)
        np.testing.assert_allclose(logits_of(*targets.one(4 + number), x), expected, atol=1e-5)
    some = targets.take(np.array([1, 3, 5, 8]))
    again = np.asarray(jax.jit(lambda groups, x: some.predict(groups, x[None]))(some.groups, x))
    np.testing.assert_array_equal(again[:, 0], found[[1, 3, 5, 8]].argmax(axis=-1))
    with pytest.raises(IndexError):
        targets.one(len(found))


@pytest.mark.slow
def test_held_out_members_of_another_architecture(done, tmp_path):
    """They are trained with their own seeds, stand in their places, and attackers stay what they were."""
    config, _, _, members, *_ = done
    other = ConfigDict(config.to_dict())
    other.held_out_model.name = "cnn"
    with runs.open_run(other, tmp_path / "run") as run:
        found = mb.prepare(run.config, run)
    assert found.roles.tolist() == members.roles.tolist() and found.seeds.tolist() == members.seeds.tolist()
    x = members.test.x[:5]
    for number in (0, 3, 6, 7):  # attackers and controls
        np.testing.assert_allclose(says_of(found, number, x), says_of(members, number, x), atol=1e-5)
    sizes = [jax.tree.map(jnp.size, found.targets.one(number)[1]) for number in (0, 4, 5)]
    assert sizes[1] == sizes[2] != sizes[0]
    assert np.abs(np.asarray(says_of(found, 4, x) - says_of(found, 5, x))).max() > 0.01
