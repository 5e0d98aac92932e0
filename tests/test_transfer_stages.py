"""A whole run of `transfer` through the same door as `main`; what it found, found again by another road."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import whole_runs
from ml_collections import ConfigDict
from whole_runs import smoke_config

from landscape import ensembles, runs
from landscape.attacks import joint
from landscape.experiments import load
from landscape.experiments.setting import example_keys
from landscape.experiments.transfer import estimates, stages
from landscape.experiments.transfer import members as mb
from landscape.measures.curvature import curvature
from landscape.measures.flatness import flatness
from landscape.measures.worst_case import worst_case
from landscape.models import classifiers
from landscape.objectives import JOINT

IMAGE = ("height", "width", "channel")
INPUTS = ("source", "input", "geometry_example")

AGAIN = pytest.mark.slow  # what a run found, computed again


@pytest.fixture(scope="module")
def done(tmp_path_factory, shared):
    """A finished smoke run of one kind of training: (config, arrays, summary, members, autoencoder, folder)."""
    folder = tmp_path_factory.mktemp("transfer")
    few = {"transfer.linf": (0.15,), "transfer.l2": (), "guides.sets": ("swag",), "model.name": "mlp"}
    config = smoke_config("transfer", folder, **few, **shared)  # convolutions take longer to compile
    arrays, summary = whole_runs.done(config, folder / "run", audited=False)
    with runs.open_run(config, folder / "again") as run:
        (members,) = mb.prepare(run.config, run)
        description = mb.manifold(run.config, run, members)[1]
        yield run.config, arrays.isel(training=0), summary, members, description, folder


@partial(jax.jit, static_argnums=0)
def logits_of(apply, variables, x):
    return apply(variables, x)


def says_of(members, number, x):
    """Logits of one target, all being of one architecture."""
    return logits_of(members.classifier.apply, ensembles.take(members.targets.groups[0], number), jnp.asarray(x))


def wrong_of(members, x, label):
    """Whether each target errs, [target, example]."""
    return np.stack([np.argmax(says_of(members, t, x), axis=-1) != label for t in range(len(members.roles))])


def pictures_of(arrays, name, dim):
    return jnp.asarray(arrays[name].transpose(dim, *IMAGE).values)


def fool_all(config, members, count, kind, num_steps):
    """The search against all attackers on the first images, again."""
    ball = {"norm": "linf", "epsilon": 0.15, "step_size": 0.15 * config.transfer.step, "start": "image"}
    ball |= {"kind": JOINT.index(kind), "num_steps": num_steps, "apply": members.classifier.apply}
    keys = jax.random.split(jax.random.key(0), count)  # of no matter: it starts at the image
    images = jnp.asarray(members.test.x[:count]), jnp.asarray(members.test.label[:count])
    return jax.jit(partial(joint.fool_all, **ball))(keys, members.attackers, *images)


def test_it_writes_what_is_promised_and_is_estimated_again_without_anything_computed(done):
    config, arrays, summary, *_, folder = done
    assert all(v.attrs["units"] and v.attrs["long_name"] for v in arrays.variables.values())
    assert arrays.role.values.tolist() == ["attacker"] * 4 + ["held_out"] * 2 + ["untrained", "shuffled"]
    assert {c["name"] for c in summary["claims"]} == {"mistakes_are_shared", "many_guide_better"}
    checks = {"members.learned", "members.distinct", "full.linf.0.15.order", "guides.tuned"}
    assert checks <= {c["name"] for c in summary["checks"]}
    names = {"clean", "transfer.full.linf", "transfer.first_flip.linf", "audit", "joint", "geometry", "between"}
    assert names | {"guides.members.4", "guides.swag.1"} <= set(summary["stages"])
    experiment, table = load("transfer"), (folder / "run" / "estimates.csv").read_text()
    with runs.open_run(config, folder / "run") as run:
        experiment.summarise(config, run)
        page = experiment.report(run).read_text(encoding="utf-8")
        assert runs.read_summary(run)["headline"] == summary["headline"] and summary["headline"] in page
    assert (folder / "run" / "estimates.csv").read_text() == table


def test_predictions_are_those_of_the_pictures(done):
    """The first source's examples, tried again on every target, one at a time."""
    _, arrays, _, members, *_ = done
    pictures, start = (pictures_of(arrays, name, "shown") for name in ("picture", "picture_start"))
    first = arrays.isel(attack=0, source=0, example=slice(len(pictures)))
    label = first.label.values
    wrong = (first.prediction != first.label).transpose("target", "example")
    np.testing.assert_array_equal(wrong, wrong_of(members, pictures, label))
    np.testing.assert_allclose(first.perturbation_norm, np.abs(pictures - start).max(axis=(1, 2, 3)), rtol=1e-5)
    clean = first.clean_prediction.transpose("target", "example") != label
    np.testing.assert_array_equal(clean, wrong_of(members, start, label))


@AGAIN
def test_joint_searches_and_radii_hold_again(done):
    """What was found fools whom it is said to fool, and lies as far as its radius says."""
    config, arrays, _, members, *_ = done
    found = pictures_of(arrays, "joint_picture", "joint_shown")
    count = len(found)
    label, radius = members.test.label[:count], arrays.smallest_radius.values[:count]
    wrong, there = wrong_of(members, found, label), np.isfinite(radius)
    assert there.any() and np.all(wrong[:4][:, there])
    moved = np.abs(found - members.test.x[:count]).max(axis=(1, 2, 3))
    np.testing.assert_allclose(moved[there], radius[there], atol=1e-6)
    assert np.all(moved[~there] == 0)
    again = fool_all(config, members, count, "loss", config.joint.num_steps)  # one ball and objective
    saved = arrays.joint_wrong.sel(objective="loss").isel(ball=0).transpose("target", "joint_example").values[:, :count]
    np.testing.assert_array_equal(saved, wrong_of(members, again, label))


@AGAIN
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
    log_odds = arrays.geometry_log_odds.transpose(*INPUTS).values
    for iso in ("own_iso", "joint_iso"):  # a few shrinking steps bring some there, or nearer
        pair = (iso, iso.removesuffix("_iso"))
        off, before = (np.abs(log_odds[:, at[name]] - config.geometry.iso_log_odds) for name in pair)
        assert np.mean(off < 0.1) > 0.2 and np.median(off) < np.median(before)


@AGAIN
def test_geometry_is_measured_where_it_is_said_to_be(done):
    """Every measure of what the joint search finds again, for one source."""
    config, arrays, _, members, description, _ = done
    source, count, train = 3, arrays.sizes["geometry_example"], members.prepared.dataset.splits["train"]
    x, label = jnp.asarray(members.test.x[:count]), members.test.label[:count]
    pictures = fool_all(config, members, count, "hardmin", config.transfer.num_steps)
    logits = says_of(members, source, pictures)
    tracked, top = np.argmax(logits, axis=-1), np.sort(logits, axis=-1)
    apply, section = members.classifier.apply, config.geometry
    sigma, rho = (jnp.float32(share * 0.15) for share in (section.noise, section.rho))

    @jax.jit
    def measured(*at):
        flat = flatness(*at, apply=apply, sigmas=sigma[None], num_trials=section.num_trials)
        found = {f"input_{name}": flat[name][0] for name in ("probability_drop", "margin_drop")}
        worst = worst_case(*at, apply=apply, norm="linf", rho=rho, num_steps=section.num_worst, num_restarts=1)
        bent = curvature(*at, apply=apply, num_steps=section.num_lanczos, num_probes=section.num_probes)
        more = {"worst_margin_drop": worst["worst_margin_drop"]}
        return found | more | {name: bent[name] for name in ("gradient_norm", "hessian_top")}

    keys = example_keys(config.seed, stages.GEOMETRY_KEY, members.test.ids[:count])
    expected = measured(keys, ensembles.take(members.attackers, source), pictures, jnp.asarray(tracked))
    made_again = jax.jit(description.reconstruct)(ensembles.take(description.ensemble, 0), pictures, label)
    references = members.prepared.dataset.images[train].reshape(len(train), -1) / 255.0
    far = np.linalg.norm(np.asarray(pictures, float).reshape(count, -1)[:, None] - references[None], axis=-1)
    order = np.argsort(far, axis=1)[:, : config.geometry.num_neighbors]
    near = members.prepared.dataset.labels[train][order]
    expected |= {
        "delta_l2": np.linalg.norm(np.asarray(pictures - x).reshape(count, -1), axis=1),
        "margin": top[:, -1] - top[:, -2],
        "manifold": np.linalg.norm(np.asarray(made_again - pictures).reshape(count, -1), axis=1),
        "nearest": far.min(axis=1),
        "nearest_true": (near == label[:, None]).mean(axis=1),
        "nearest_taken": (near == tracked[:, None]).mean(axis=1),
    }
    assert np.any(tracked != label) and len(expected) == 11
    for name, value in expected.items():
        saved = arrays[f"geometry_{name}"].transpose(*INPUTS).values[source, stages.MADE.index("joint")]
        np.testing.assert_allclose(saved, value, rtol=2e-3, atol=2e-4, err_msg=name)


@AGAIN
def test_lines_between_classes_begin_and_end_at_their_images(done):
    """In pixels the ends are the images; on the manifold what the autoencoder makes of them."""
    config, arrays, _, members, description, _ = done
    label, right = members.test.label, estimates.derive(arrays).right.values
    pair = stages.pairs_of(label, right, config.between.num_pairs, config.seed)
    vote = arrays.vote.transpose("space", "step", "pair", "class").values
    assert np.all(vote.sum(axis=-1) == 6)
    for end, step in ((0, 0), (1, -1)):  # pairs are of images that all know
        assert np.all(vote[1, step][np.arange(len(pair)), label[pair[:, end]]] == 6)
    apart, shown = arrays.disagreement.transpose("space", "step", "pair").values, arrays.pictured.values
    peak = apart[0, 1:-1].max(axis=0)
    assert peak[shown[0]] == peak.max() and peak[shown[-1]] == peak.min() and len(set(shown.tolist())) == len(shown)
    pictures = jnp.asarray(arrays.between_picture.transpose("pair_shown", "point", *IMAGE).values)
    said = np.stack([np.asarray(jax.nn.softmax(says_of(members, t, pictures[:, 1]))) for t in range(6)])
    np.testing.assert_allclose(stages.disagreement(jnp.asarray(said)), peak[shown], atol=1e-5)
    for end, point in ((0, 0), (1, 2)):
        x = jnp.asarray(members.test.x[pair[shown, end]])
        again = jax.jit(description.reconstruct)(ensembles.take(description.ensemble, 0), x, label[pair[shown, end]])
        np.testing.assert_allclose(pictures[:, point], again, atol=1e-5)


def test_disagreement_in_closed_form():
    one = jnp.asarray([0.7, 0.2, 0.1])
    np.testing.assert_allclose(stages.disagreement(jnp.stack([one, one])), 0.0, atol=1e-6)
    np.testing.assert_allclose(stages.disagreement(jnp.eye(3)), np.log(3), rtol=1e-6)


def test_pairs_are_of_two_classes_that_all_know():
    label = np.asarray([0, 0, 1, 1, 2, 2, 2, 0])
    right = np.asarray([1, 1, 1, 0, 1, 1, 0, 1], bool)
    pairs = stages.pairs_of(label, right, 4, seed=0)
    assert len(pairs) == 3 and len(np.unique(pairs)) == 6  # no image in two pairs
    assert np.all(label[pairs[:, 0]] != label[pairs[:, 1]]) and np.all(right[pairs])
    assert stages.pairs_of(label, label == 0, 4, seed=0).shape == (0, 2)


@pytest.mark.slow
def test_targets_of_two_architectures_stand_in_one_row():
    """A target of another architecture says what it says alone."""
    x = jax.random.uniform(jax.random.key(0), (7, 8, 8, 1))
    built = {"num_classes": 10, "mean": (0.5,), "std": (0.3,), "norm": "none", "activation": "relu"}
    mlp, cnn = (classifiers.build(name, **built) for name in ("mlp", "cnn"))
    groups = tuple(
        ensembles.stack([one.init(jax.random.key(i), x[:1]) for i in range(count)])
        for one, count in ((mlp, 2), (cnn, 3), (mlp, 1))
    )
    targets = mb.Targets((mlp.apply, cnn.apply, mlp.apply), groups)
    alone = [
        logits_of(apply, ensembles.take(group, i), x)
        for apply, group in zip(targets.applies, groups, strict=True)
        for i in range(ensembles.size(group))
    ]
    found = jax.jit(lambda groups, x: targets.map(lambda apply, variables, x: apply(variables, x), groups, x))(
        groups, x
    )
    np.testing.assert_allclose(found, alone, atol=1e-5)
    some = targets.take(np.array([1, 3, 5]))
    again = np.asarray(jax.jit(lambda groups, x: some.predict(groups, x[None]))(some.groups, x))
    np.testing.assert_array_equal(again[:, 0], np.argmax(alone, axis=-1)[[1, 3, 5]])


@AGAIN
def test_held_out_members_of_another_architecture_and_a_sweep(done, tmp_path):
    """Held-out ones are trained with their own seeds, stand in their places, and attackers stay what they were; of a
    sweep each value has members of its own and the same controls.
    """
    config, _, _, members, *_ = done
    other, values = ConfigDict(config.to_dict()), (config.train.weight_decay, 1.0)
    other.held_out_model.name, other.sweep.weight_decay = "cnn", values
    with runs.open_run(other, tmp_path / "run") as run:
        found = mb.prepare(run.config, run)
    assert [(one.training["train_weight_decay"], one.suffix) for one in found] == [
        (value, f".weight_decay_{value:g}") for value in values
    ]
    x, said = jnp.asarray(members.test.x[:5]), []
    for one in found:
        assert one.roles.tolist() == members.roles.tolist() and one.seeds.tolist() == members.seeds.tolist()
        groups = zip(one.targets.applies, one.targets.groups, strict=True)
        said.append(
            [logits_of(apply, ensembles.take(g, i), x) for apply, g in groups for i in range(ensembles.size(g))]
        )
    said = np.asarray(said)
    assert (np.abs(said[0] - said[1]).max(axis=(1, 2)) < 1e-5).tolist() == [False] * 6 + [True] * 2
    for number in (0, 3, 6, 7):  # attackers and controls
        np.testing.assert_allclose(said[0, number], says_of(members, number, x), atol=1e-5)
    assert np.abs(said[0, 4] - said[0, 5]).max() > 0.01
    sizes = [jax.tree.map(jnp.size, ensembles.take(group, 0)) for group in found[0].targets.groups]
    assert sizes[0] == sizes[2] != sizes[1]
