"""The experiment `gradients` through the same door as `main` (slow), and its numbers by another road."""

import copy

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from whole_runs import done, smoke_config

from landscape import ensembles, objectives, runs, spaces
from landscape.experiments import gradient_ascents as ascents
from landscape.experiments import gradient_estimates as estimates
from landscape.experiments import gradient_guided as guided
from landscape.experiments import gradient_places as places
from landscape.experiments import setting
from landscape.files import UserError
from landscape.samplers import fixed
from landscape.search import normalized_steps, search


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished smoke run: (config, directory, arrays, summary)."""
    folder = tmp_path_factory.mktemp("gradients")
    config = smoke_config("gradients", folder, **{"ascent.layers": ()})
    return config, folder / "run", *done(config, folder / "run")


@pytest.fixture(scope="module")
def opened(finished):
    """Members and places again, restored: (config, prepared, image layer, families, test images)."""
    config, directory = finished[:2]
    with runs.open_run(config, directory.parent / "again") as run:
        prepared = setting.prepare(config, run)
        test = setting.examples(prepared.dataset, "test", config.num_examples, config.seed)
        order = np.random.default_rng(config.seed).permutation(len(test.label))
        test = setting.Examples(*(part[order] for part in test))
        layer, families = places.manifolds(config, run, prepared, test)
        yield config, prepared, layer, families, test


@pytest.mark.slow
def test_it_writes_what_is_promised(finished):
    _, directory, arrays, summary = finished
    assert all(v.attrs["units"] and v.attrs["long_name"] for v in arrays.variables.values())
    assert (directory / "report.html").stat().st_size > 10_000
    names = {e["name"] for e in summary["estimates"]}
    wanted = (
        "gradient.norm gradient.smooth_error agreement.gradient agreement.smooth_gradient agreement.pushed_with_step "
    )
    wanted += (
        "agreement.smooth_with_plain agreement.pushed_with_pixels confidence.ascended confidence.ascended_held_out "
    )
    wanted += "distance.ascended distance.ascended_to_training confidence.guided confidence.guided_held_out "
    wanted += "distance.guided distance.guided_to_training mse.guided_under_another input_flatness.scale_free"
    assert set(wanted.split()) <= names
    assert "With 2 guides instead of 1" in summary["headline"]
    stages = {"maps.pixels", "maps.vae", "ascent.pixels", "ascent.vae"}
    assert stages | {"guided.pixels", "guided.vae"} <= set(summary["stages"])


@pytest.mark.slow
def test_gradients_of_pixels_are_those_of_autodiff(finished, opened):
    """One class, value and member at a time, by jax.grad of one image."""
    arrays, (_, prepared, _, _, test) = finished[2], opened
    flat = {}
    for member in range(2):
        variables = ensembles.take(prepared.ensemble, member)
        for v, value_fn in enumerate(objectives.VALUES.values()):
            for label, i in ((3, 0), (7, 2)):
                one = lambda x, label=label: value_fn(prepared.classifier.apply(variables, x), jnp.array([label]))[0]  # noqa: E731
                g = np.asarray(jax.grad(one)(jnp.asarray(test.x[i : i + 1]))).ravel()
                told = arrays["gradient_norm.pixels"].values[v, member, label, i]
                np.testing.assert_allclose(np.linalg.norm(g), told, rtol=1e-4)
                flat[member, v, label] = g / np.linalg.norm(g)
    for v in range(len(objectives.VALUES)):
        cosine = arrays["gradient_cosine.pixels"].values[v, 0, 3, 0]
        np.testing.assert_allclose(flat[0, v, 3] @ flat[1, v, 3], cosine, atol=1e-4)


@pytest.mark.slow
def test_smoothing_that_is_none_keeps_the_gradient(finished):
    """More noise leaves less of the plain gradient; the picture of no noise would be the plain one."""
    kept = finished[2]["smooth_kept"].values
    assert (kept <= 1 + 1e-5).all() and kept[0].mean() > kept[1].mean() > 0


@pytest.mark.slow
def test_push_forwards_are_what_small_steps_do(finished):
    """Of a smooth decoder; the cosine falls as the step grows."""
    arrays = finished[2]
    smooth = arrays["pushed_to_step.vae"].values.mean(axis=(1, 2, 3))
    assert smooth[0] > 0.98 and smooth[0] >= smooth[-1]


@pytest.mark.slow
def test_an_ascent_is_a_search_with_the_guide(finished, opened):
    """Row (image, start 1, class 4) of the second classifier, in pixels and in the latent, on its own."""
    arrays, (config, prepared, layer, families, test) = finished[2], opened
    own = ensembles.take(prepared.ensemble, 1)
    objective = objectives.ascend(prepared.classifier.apply, objectives.log_probability)
    for place in (places.pixels(config, prepared, layer), places.manifold(config, prepared, families[0])):
        space = place.space(place.own, own)
        found = search(
            jax.random.key(0),
            space.encode(jnp.asarray(test.x[1:2])),
            jnp.array([4]),
            objective=objective,
            space=space,
            sampler=fixed(own),
            optimizer=normalized_steps(config.ascent.step * place.size),
            epsilon=jnp.inf,
            num_steps=config.ascent.num_steps,
        )
        end = space.decode(found.z)
        at = {"member": 1, "kind": 0, "start": 1, "class": 4}
        value, norm = (arrays[f"ascent_{n}.{place.name}"].isel(at).values for n in ("value", "grad_norm"))
        np.testing.assert_allclose(found.value[:, 0], value, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(found.grad_norm[:, 0], norm, rtol=1e-3)
        told = arrays[f"ascent_probability.{place.name}"].isel(at).values
        np.testing.assert_allclose(
            objectives.probability(prepared.classifier.apply(own, end), jnp.array([4]))[0], told, rtol=1e-3
        )
        each = [prepared.classifier.apply(ensembles.take(prepared.ensemble, j), end) for j in (2, 3)]
        each = [float(objectives.probability(logits, jnp.array([4]))[0]) for logits in each]
        np.testing.assert_allclose(np.mean(each), arrays[f"ascent_held_out.{place.name}"].isel(at).values, rtol=1e-3)
        bank = np.square(layer.bank.x - np.asarray(end)).sum(axis=(1, 2, 3))
        np.testing.assert_allclose(bank.min() ** 0.5, arrays[f"ascent_nearest.{place.name}"].isel(at).values, rtol=1e-3)


@pytest.mark.slow
def test_zeros_and_noise_are_starts_of_their_own(opened):
    config, prepared, layer, families, test = opened
    x = jnp.asarray(test.x[:3])
    for place in (places.pixels(config, prepared, layer), places.manifold(config, prepared, families[0])):
        eps = places.normal(config, place, "ascent", test.ids[:3])
        guide = ensembles.take(prepared.ensemble, 0)
        begun = places.starts(config, place, place.own, guide, x, eps)
        np.testing.assert_allclose(begun[:3], place.space(place.own, guide).encode(x), atol=1e-6)
        assert (begun[6:] == 0).all() and begun.shape[0] == 9
        other = places.starts(
            config, place, place.own, guide, x[:1], places.normal(config, place, "ascent", test.ids[1:2])
        )
        # Depends on the image's id alone; sums of a batch of another size may differ in their last bit.
        np.testing.assert_allclose(other[1], begun[4], rtol=1e-6)


def test_steps_have_the_length_that_was_asked_for():
    """Steepest: exactly; of adam, whose first step moves every coordinate by its rate, as far in sum of squares."""
    g = jnp.asarray(np.random.default_rng(0).normal(size=(1, 6, 6, 1)), jnp.float32)
    for name in ("steepest", "adam", "lion"):
        optimizer = optax.with_extra_args_support(ascents.rule(name, 0.3, 36))
        step, _ = optimizer.update(g, optimizer.init(g), g, value=jnp.zeros(1))
        np.testing.assert_allclose(spaces.l2_norm(step), 0.3, rtol=1e-3)
        assert float(jnp.sum(step * g)) < 0  # optax descends


@pytest.mark.slow
def test_what_is_taken_off_an_objective(opened):
    config, prepared, _, families, test = opened
    config = replaced(config, **{"ascent.total_variation": 0.5, "ascent.prior": 2.0})
    own, x, label = ensembles.take(prepared.ensemble, 0), jnp.asarray(test.x[:3]), jnp.array([1, 2, 3])
    place = places.manifold(config, prepared, families[0])
    objective, with_latent = ascents.climbed(config, place, place.own)
    space = with_latent(place.space(place.own, own))
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


@pytest.mark.slow
def test_blocks_are_disjoint_and_judges_guide_nothing(opened):
    config, prepared, *_ = opened
    config = replaced(config, **{"guided.sizes": (1, 2), "guided.num_blocks": 9})
    numbers = {"w": jnp.arange(config.num_members)}
    fake = prepared._replace(ensemble=numbers)
    guides, judges = places.guides_of(config, fake)["w"].tolist(), places.judges_of(config, fake)["w"].tolist()
    assert guides == [0, 1] and judges == [2, 3]
    assert guided.blocks_of(config, places.guides_of(config, fake), 1)["w"].tolist() == [[0], [1]]
    assert guided.blocks_of(config, places.guides_of(config, fake), 2)["w"].tolist() == [[0, 1]]


@pytest.mark.slow
def test_two_guides_raise_their_mean(finished, opened):
    """Where "mean" ends and what judges and guides say there, by another search with the formula written out."""
    arrays, (config, prepared, layer, _, test) = finished[2], opened
    pair = ensembles.take(prepared.ensemble, slice(2))
    place = places.pixels(config, prepared, layer)
    target = int(arrays["guided_target"].values[0])

    def total(variables, x, label):
        one = [
            objectives.log_probability(prepared.classifier.apply(ensembles.take(variables, m), x), label)
            for m in (0, 1)
        ]
        return 0.5 * (one[0] + one[1])

    found = search(
        jax.random.key(0),
        jnp.asarray(test.x[:1]),
        jnp.array([target]),
        objective=total,
        space=spaces.pixels("l2"),
        sampler=fixed(pair),
        optimizer=normalized_steps(config.guided.step * place.size),
        epsilon=jnp.inf,
        num_steps=config.guided.num_steps,
        frames=config.guided.num_steps,
    )
    at = {"size": 1, "guide": objectives.GUIDES.index("mean"), "kind": 0, "guided_start": 0}
    np.testing.assert_allclose(found.z[0], arrays["picture_guided.pixels"].isel(at).values, atol=1e-4)
    each = [prepared.classifier.apply(ensembles.take(prepared.ensemble, j), found.z) for j in (2, 3)]
    told = [float(objectives.probability(logits, jnp.array([target]))[0]) for logits in each]
    np.testing.assert_allclose(told, arrays["guided_held_out.pixels"].isel(at).values[:, -1], rtol=1e-3)
    own = [prepared.classifier.apply(ensembles.take(pair, m), found.z) for m in (0, 1)]
    own = [float(objectives.probability(logits, jnp.array([target]))[0]) for logits in own]
    np.testing.assert_allclose(np.mean(own), arrays["guided_own.pixels"].isel(at).values[-1], rtol=1e-3)
    moved = np.linalg.norm((np.asarray(found.frames[:, 0]) - test.x[0]).reshape(len(found.frames), -1), axis=1)
    first = 1 + np.flatnonzero(moved >= config.guided.distance * place.size)[:1]
    assert arrays["guided_far.pixels"].isel(at) == len(first)
    far = arrays["guided_held_out.pixels"].isel(at).values[:, first[0]] if len(first) else np.zeros(2)
    np.testing.assert_allclose(arrays["guided_held_out_far.pixels"].isel(at).values, far, rtol=1e-6)
    blocks = arrays["guided_by_block.pixels"].isel(at).values
    assert np.isnan(blocks[1:]).all()  # two guides make one block of two
    np.testing.assert_allclose(blocks[0], np.mean(told), rtol=1e-3)


def test_objectives_are_compared_at_one_distance_where_both_get_there():
    """Of two objectives one stays near for every other start: the comparison takes the starts left, and the share."""
    rng = np.random.default_rng(0)
    gone, held_out = np.ones((1, 5, 3, 12)), np.repeat(rng.uniform(0.2, 0.8, (1, 1, 2, 3, 12)), 5, axis=1)
    gone[0, 3, 0, ::2] = 0
    held_out[0, 3] += 0.1
    values = {
        "guided_distance": np.asarray(1.5),
        "guided_far.pixels": gone,
        "guided_held_out_far.pixels": held_out * gone[:, :, None],
    }
    share, there, less = estimates._far(values, "pixels", (0, 3, 0), np.arange(12), {"guide": "agreeing"})
    assert (share["name"], share["value"], share["distance"]) == ("path.gone_far", 0.5, 1.5)
    assert there["value"] == pytest.approx(held_out[0, 3, :, 0, 1::2].mean())
    assert less["value"] == pytest.approx(0.1) and less["reference"] == "mean guide"
    gone[0, 3, 0, :9] = 0
    assert [e["name"] for e in estimates._far(values, "pixels", (0, 3, 0), np.arange(12), {})] == ["path.gone_far"]


@pytest.mark.slow
def test_one_guide_has_one_objective(finished):
    """Of a single classifier all but "mean" would say nothing new: they are told as missing, and have no estimate."""
    arrays, summary = finished[2:]
    alone = arrays["guided_moved.pixels"].isel(size=0)
    known = np.isfinite(alone.values).all(axis=(1, 2))
    assert known.tolist() == [guide == "mean" for guide in arrays["guide"].values.astype(str)]
    told = {(e["guides"], e["guide"]) for e in summary["estimates"] if e["name"] == "distance.guided"}
    assert told == {(1, "mean"), *((2, guide) for guide in objectives.GUIDES)}


@pytest.mark.slow
def test_codes_and_hidden_layers_are_places_as_well(tmp_path):
    """Codes do not move with a small step, straight through; a layer's ascents have no image and no held-out judge."""
    config = smoke_config("gradients", tmp_path, families=("fsq", "sphere"), **{"ascent.layers": ("conv1", "conv3")})
    arrays, summary = done(config, tmp_path / "run")
    assert (arrays["pushed_to_step.fsq"].values[0] == 0).mean() > 0.5
    assert arrays["pushed_to_step.sphere"].values[0].mean() > 0.98
    for layer in ("conv1", "conv3"):
        assert f"ascent_held_out.{layer}" not in arrays
        assert (np.diff(arrays[f"ascent_value.{layer}"].mean(("member", "kind", "start", "class"))) > 0).all()
        told = {
            (e["start"], e["unit"]) for e in summary["estimates"] if e.get("place") == layer and "distance" in e["name"]
        }
        assert told == {(kind, "unit of the layer") for kind in places.KINDS}
    assert {check["name"] for check in summary["checks"]} >= {"ascent.conv1", "push_forward.fsq"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"guided.sizes": (1, 2, 4)}, "num_members=4 with guided.sizes"),
        ({"guided.sizes": (2, 1)}, "expected rising whole numbers"),
        ({"num_alone": 3}, "num_alone=3: expected at most 2"),
        ({"ascent.num_frames": 3}, "expected a multiple of ascent.num_frames=3"),
        ({"ascent.rule": "adan"}, "did you mean adam?"),
        ({"ascent.layers": ("conv9",)}, "ascent.layers='conv9'"),
        ({"maps.value": "logits"}, "did you mean logit?"),
        ({"maps.num_shown": 5}, "maps.num_shown=5"),
        ({"guided.num_starts": 51}, "guided.num_starts=51"),
    ],
)
def test_values_that_do_not_fit_are_refused_in_one_line(tmp_path, changes, message):
    with pytest.raises(UserError) as error:
        smoke_config("gradients", tmp_path, **changes)
    assert message in str(error.value) and "\n" not in str(error.value)
