"""The experiment `gradients` through the same door as `main`, and what its stages compute by another road."""

import copy
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from whole_runs import done, moved_of, smoke_config

from landscape import ensembles, objectives, runs, spaces
from landscape.experiments import execute, setting
from landscape.experiments.gradients import ascents, stages
from landscape.experiments.gradients import spaces as ascent_spaces
from landscape.experiments.setting import Examples, Setting
from landscape.files import UserError
from landscape.samplers import fixed
from landscape.search import normalized_steps, search
from landscape.stats.table import read_csv

AGAIN = pytest.mark.slow  # what a run found, computed again


@pytest.fixture(scope="module")
def finished(tmp_path_factory, shared):
    """A finished smoke run: (config, directory, arrays, summary)."""
    folder = tmp_path_factory.mktemp("gradients")
    config = smoke_config("gradients", folder, **{"model.name": "mlp", "ascent.layers": ("last",)}, **shared)
    arrays, summary = done(config, folder / "run")
    assert all(v.attrs["units"] and v.attrs["long_name"] for v in arrays.variables.values())
    return config, folder / "run", arrays.isel(training=0), summary


@pytest.fixture(scope="module")
def opened(finished):
    """Members and spaces again, restored: (config, prepared, pixels and manifold, image layer, test images)."""
    config, directory = finished[:2]
    with runs.open_run(config, directory.parent / "again") as run:
        prepared = setting.prepare(config, run)
        test = setting.shuffled(prepared.dataset, "test", config.num_examples, config.seed)
        layer = ascent_spaces.images(config, prepared)
        both = (
            ascent_spaces.pixels(config, prepared, layer),
            ascent_spaces.manifold(config, run, prepared, layer, "vae"),
        )
        yield config, prepared, both, layer, test


def test_a_run_goes_from_its_config_to_its_report(finished):
    config, directory, arrays, summary = finished
    assert arrays.space.values.tolist() == ["pixels", "vae", "dense2"]
    table = read_csv((directory / "estimates.csv").read_text())
    wanted = "agreement.gradient agreement.smooth_gradient confidence.ascended agreement.pushed_with_pixels "
    wanted += "agreement.pushed_with_step confidence.ascended_held_out confidence.guided "
    wanted += "distance.ascended distance.ascended_to_training confidence.guided_held_out distance.guided "
    wanted += "distance.guided_to_training input_flatness.scale_free path.reached_distance"
    assert set(wanted.split()) <= {row["name"] for row in table}
    assert all(text in summary["headline"] for text in ("With 2 guides instead of 1", "on the manifold of the vae"))
    names = {f"{name}.{space}" for name in ("maps", "ascent", "guided") for space in ("pixels", "vae")}
    assert names | {"smooth", "ascent.dense2"} <= set(summary["stages"])
    wanted = {"data.no_copies", "ascent.pixels", "ascent.vae", "ascent.dense2", "push_forward.vae"}
    assert {check["name"] for check in summary["checks"] if check["passed"]} == wanted
    page = (directory / "report.html").read_text()
    assert "Not drawn" not in page and page.count("<figure") == 9
    with runs.open_run(config, directory) as run:
        execute(run, reestimate=True)
    assert read_csv((directory / "estimates.csv").read_text()) == table


def test_what_has_no_meaning_is_missing(finished):
    """A hidden layer has no images; of one classifier all objectives are the same."""
    arrays = finished[2]
    ran = np.isfinite(arrays.guided_moved).all(["guides", "objective", "start", "guided_example"])
    assert ran.values.tolist() == [True, True, False]
    assert not np.isfinite(arrays.ascent_held_out.sel(space="dense2")).any()
    alone = arrays.guided_held_out.sel(space="vae", guides=1)
    np.testing.assert_array_equal(alone.sel(objective="mean"), alone.sel(objective="agreeing"))
    assert np.isfinite(arrays.picture_course).all() and np.isfinite(arrays.ascent_nearest).all()


@AGAIN
def test_gradients_of_pixels_are_those_of_autodiff(finished, opened):
    """One class and member at a time, by jax.grad of one image."""
    arrays, (_, prepared, _, _, test) = finished[2].sel(space="pixels"), opened
    for label, i in ((3, 0), (7, 2)):
        g = []
        for member in range(2):
            variables, target = ensembles.take(prepared.ensemble, member), jnp.array([label])
            log_p = lambda x: objectives.log_probability(prepared.classifier.apply(variables, x), target)[0]  # noqa: E731
            g.append(np.asarray(jax.grad(log_p)(jnp.asarray(test.x[i : i + 1]))).ravel())
        cosine = g[0] @ g[1] / (np.linalg.norm(g[0]) * np.linalg.norm(g[1]))
        np.testing.assert_allclose(cosine, arrays.gradient_cosine.values[0, label, i], atol=1e-4)


def plain(objective, space, guide, z0, label, settings, size):
    """A search of one start with a guide, whose steps have one length."""
    how = {"objective": objective, "space": space, "sampler": fixed(guide), "epsilon": jnp.inf}
    how |= {"num_steps": settings.num_steps, "frames": settings.num_steps}
    return search(jax.random.key(0), z0, label, optimizer=normalized_steps(settings.step * size), **how)


def probabilities(prepared, members, x, label):
    """Of a class by some classifiers, [member]."""
    logits = [prepared.classifier.apply(ensembles.take(prepared.ensemble, member), x) for member in members]
    return np.array([float(objectives.probability(one, label)[0]) for one in logits])


@AGAIN
def test_an_ascent_is_a_search_with_the_guide(finished, opened):
    """Row (image, start 1, class 4) of the second classifier, in pixels and in the latent, on its own."""
    arrays, (config, prepared, both, layer, test), label = finished[2], opened, jnp.array([4])
    own = ensembles.take(prepared.ensemble, 1)
    objective = objectives.ascend(prepared.classifier.apply, objectives.log_probability)
    for here in both:
        space = here.space(here.own, own)
        z0 = space.encode(jnp.asarray(test.x[1:2]))
        found = plain(objective, space, own, z0, label, config.ascent, here.size)
        end = space.decode(found.z)
        saved = arrays.sel(space=here.name).isel({"member": 1, "start": 0, "ascent_example": 1, "class": 4})
        np.testing.assert_allclose(found.value[:, 0], saved.ascent_value, rtol=1e-3, atol=1e-4)
        by_each = probabilities(prepared, (1, 2, 3), end, label)
        wanted = (saved.ascent_probability, saved.ascent_held_out)
        np.testing.assert_allclose((by_each[0], by_each[1:].mean()), wanted, rtol=1e-3)
        squares = np.square(layer.training.x - np.asarray(end)).sum(axis=(1, 2, 3))
        np.testing.assert_allclose(squares.min() ** 0.5, saved.ascent_nearest, rtol=1e-3)


@AGAIN
def test_zeros_and_noise_are_starts_of_their_own(opened):
    config, prepared, both, _, test = opened
    x, guide = jnp.asarray(test.x[:3]), ensembles.take(prepared.ensemble, 0)
    for here in both:
        eps = ascent_spaces.normal(config, here, "ascent", test.ids[:3])
        begun = ascent_spaces.starts(here, here.own, guide, x, eps)
        np.testing.assert_allclose(begun[:3], here.space(here.own, guide).encode(x), atol=1e-6)
        assert (begun[6:] == 0).all() and begun.shape[0] == 9
        # Depends on the image's id alone.
        np.testing.assert_array_equal(ascent_spaces.normal(config, here, "ascent", test.ids[1:2])[0], eps[1])


def test_steps_have_the_length_that_was_asked_for():
    """Steepest: exactly; of adam, whose first step moves every coordinate by its rate, as far in sum of squares."""
    g = jnp.asarray(np.random.default_rng(0).normal(size=(1, 6, 6, 1)), jnp.float32)
    for name in ("steepest", "adam", "lion"):
        optimizer = optax.with_extra_args_support(ascents.rule(name, 0.3, 36))
        step, _ = optimizer.update(g, optimizer.init(g), g, value=jnp.zeros(1))
        np.testing.assert_allclose(spaces.l2_norm(step), 0.3, rtol=1e-3)
        assert float(jnp.sum(step * g)) < 0  # optax descends


@AGAIN
def test_what_is_taken_off_an_objective(opened):
    config, prepared, (_, here), _, test = opened
    config = replaced(config, **{"ascent.total_variation": 0.5, "ascent.prior": 2.0})
    own, x, label = ensembles.take(prepared.ensemble, 0), jnp.asarray(test.x[:3]), jnp.array([1, 2, 3])
    objective, with_latent = ascents.objective_of(config, here, here.own)
    space = with_latent(here.space(here.own, own))
    z = space.encode(x)
    images, same = space.decode(z)
    np.testing.assert_array_equal(same, z)
    log_p = jax.nn.log_softmax(prepared.classifier.apply(own, images))[jnp.arange(3), label]
    expected = log_p - 0.5 * objectives.total_variation(images) + 2.0 * jax.scipy.stats.norm.logpdf(z).sum(axis=1)
    np.testing.assert_allclose(objective(own, (images, z), label), expected, rtol=1e-4)


def replaced(config, **changes):
    found = copy.deepcopy(config)
    with found.unlocked():
        found.update_from_flattened_dict(changes)
    return found


@AGAIN
def test_blocks_are_disjoint_and_held_out_classifiers_guide_nothing(opened):
    config, prepared, *_ = opened
    config = replaced(config, **{"guided.sizes": (1, 2), "guided.num_blocks": 9})
    numbers = {"w": jnp.arange(config.num_members)}
    fake = prepared._replace(ensemble=numbers)
    guides, others = (of(config, fake)["w"].tolist() for of in (ascent_spaces.guides_of, ascent_spaces.held_out_of))
    assert guides == [0, 1] and others == [2, 3]
    assert ascents.blocks_of(config, ascent_spaces.guides_of(config, fake), 1)["w"].tolist() == [[0], [1]]
    assert ascents.blocks_of(config, ascent_spaces.guides_of(config, fake), 2)["w"].tolist() == [[0, 1]]


@AGAIN
def test_two_guides_raise_their_mean(finished, opened):
    """Where "mean" ends and what guides and others say there, by another search with the formula written out."""
    arrays, (config, prepared, (here, _), _, test) = finished[2].sel(space="pixels"), opened
    pair = ensembles.take(prepared.ensemble, slice(2))
    target = int(arrays["guided_target"].values[0])

    def total(variables, x, label):
        logits = [prepared.classifier.apply(ensembles.take(variables, m), x) for m in (0, 1)]
        return sum(objectives.log_probability(one, label) for one in logits) / 2

    x, label = jnp.asarray(test.x[:1]), jnp.array([target])
    found = plain(total, spaces.pixels("l2"), pair, x, label, config.guided, here.size)
    saved = arrays.isel(guides=1, start=0, guided_example=0).sel(objective="mean")
    shown = arrays.guided_shown.values.tolist().index(int(arrays.guided_example[0]))
    np.testing.assert_allclose(found.z[0], saved.picture_guided.isel(guided_shown=shown), atol=1e-4)
    by_each, last = probabilities(prepared, range(4), found.z, label), saved.isel(guided_step=-1)
    np.testing.assert_allclose(by_each[2:], last.guided_held_out, rtol=1e-3)
    np.testing.assert_allclose(by_each[:2].mean(), last.guided_probability, rtol=1e-3)
    moved = np.linalg.norm((np.asarray(found.frames[:, 0]) - test.x[0]).reshape(len(found.frames), -1), axis=1)
    first = 1 + np.flatnonzero(moved >= config.guided.distance * here.size)[:1]
    assert saved.guided_reached == len(first)
    there = saved.guided_held_out.isel(guided_step=first[0]) if len(first) else np.zeros(2)
    np.testing.assert_allclose(saved.guided_held_out_there, there, rtol=1e-6)
    logits = prepared.classifier.apply(ensembles.take(prepared.ensemble, 3), found.z)
    np.testing.assert_allclose(objectives.margin(logits, logits.argmax(-1))[0], saved.guided_margin[1], rtol=1e-3)


def test_what_is_shown():
    assert stages.shown_classes(25, np.array([20, 3])).tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 20]
    assert stages.shown_classes(4, np.array([1])).tolist() == [0, 1, 2, 3]
    assert ascents.pictured_starts(np.array([7, 7, 1, 7, 7])).tolist() == [0, 2, 1, 3]
    dataset = types.SimpleNamespace(class_names=list("abcd"))
    prepared = Setting(dataset, None, {}, [], np.ones(1, bool), ensembles.Mapping("map"))
    start = lambda *labels: Examples(None, np.array(labels), None)  # noqa: E731
    assert (
        ascents.course_class(prepared, start(0, 2, 1)) == 3 and ascents.course_class(prepared, start(0, 1, 2, 3)) == 0
    )


@AGAIN
def test_a_run_on_images_moved_toward_their_runner_up(finished, tmp_path, shared):
    changes = {"model.name": "mlp", "ascent.layers": ("last",), "population": "augmented"}
    config = smoke_config("gradients", tmp_path, **changes, **shared)
    arrays, _ = done(config, tmp_path / "run", audited=False)
    shown = moved_of(config, arrays.isel(training=0).picture.sel(space="pixels").values)
    assert 0.01 < shown.min() <= shown.max() <= 1.001 * config.augmented.epsilon
    assert moved_of(config, finished[2].picture.sel(space="pixels").values).max() < 1e-6
    assert "Not drawn" not in (tmp_path / "run/report.html").read_text()


@AGAIN
def test_codes_and_hidden_layers_are_spaces_as_well(tmp_path):
    """Codes do not move with a small step, straight through; distances in a layer have the layer's unit."""
    config = smoke_config("gradients", tmp_path, families=("fsq", "sphere"), **{"ascent.layers": ("conv1", "conv3")})
    arrays, summary = done(config, tmp_path / "run")
    arrays = arrays.isel(training=0)
    steps = arrays.pushed_to_step.isel(step_length=0)
    assert (steps.sel(space="fsq") == 0).mean() > 0.5 and steps.sel(space="sphere").mean() > 0.98
    rising = arrays.ascent_value.sel(space=["conv1", "conv3"]).mean(["member", "start", "ascent_example", "class"])
    assert (rising.diff("step") > 0).all()
    table = read_csv((tmp_path / "run/estimates.csv").read_text())
    rows = table.select(["distance.ascended", "distance.ascended_to_training"], space=["conv1", "conv3"])
    assert len(rows) == 12 and {row["unit"] for row in rows} == {"unit of the layer"}
    assert {check["name"] for check in summary["checks"]} >= {"ascent.conv1", "push_forward.sphere"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"guided.sizes": (1, 2, 4)}, "num_members=4 with guided.sizes"),
        ({"num_alone": 3}, "num_alone=3: expected at most 2"),
        ({"ascent.num_frames": 3}, "expected a multiple of ascent.num_frames=3"),
        ({"ascent.rule": "adan"}, "did you mean adam?"),
        ({"guided.num_starts": 51}, "guided.num_starts=51"),
    ],
)
def test_values_that_do_not_fit_are_refused_in_one_line(tmp_path, changes, message):
    with pytest.raises(UserError) as error:
        smoke_config("gradients", tmp_path, **changes)
    assert message in str(error.value) and "\n" not in str(error.value)
