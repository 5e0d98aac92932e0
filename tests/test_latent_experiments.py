"""The experiment `autoencoders` through the same door as `main`, and its numbers by another road."""

import copy

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from whole_runs import done, smoke_config

from landscape import ensembles, runs
from landscape.experiments import autoencoder_cells as cells
from landscape.experiments import (
    autoencoder_estimates,
    autoencoder_measures,
    autoencoder_use,
    setting,
)
from landscape.experiments.latent import families
from landscape.latent import coordinates
from landscape.measures import reconstruction
from landscape.models import yardsticks
from landscape.models.autoencoders import Penalties
from landscape.reporting import tables
from landscape.stats import frechet

pytestmark = pytest.mark.slow  # two whole runs, with programs of every family to compile


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One place for the trained members of both experiments."""
    return tmp_path_factory.mktemp("latent_experiments")


@pytest.fixture(scope="module")
def described(folder):
    """A finished smoke run of `autoencoders`: (config, directory, arrays, summary)."""
    config = smoke_config("autoencoders", folder)
    return config, folder / "autoencoders", *done(config, folder / "autoencoders")


@pytest.fixture(scope="module")
def opened(described, folder):
    """Layers and cells again, from the members that the run trained: (config, run, prepared, test images)."""
    config = described[0]
    with runs.open_run(config, folder / "again") as run:
        prepared = setting.prepare(config, run)
        test = setting.examples(prepared.dataset, "test", config.num_examples, config.seed)
        yield config, run, prepared, test


ALONG = ("moved_along", "held_out_along")


def row(arrays, cell):
    return arrays["cell"].values.astype(str).tolist().index(cell)


# ---- autoencoders ----


def test_it_writes_what_is_promised_images_first(described):
    _, directory, arrays, summary = described
    part = xr.load_dataset(directory / "parts" / "images" / "arrays.nc", engine="h5netcdf")
    assert (directory / "parts" / "images" / "report.html").stat().st_size > 10_000
    assert set(part["cell_layer"].values.astype(str)) == {"image"} and "hidden_cell" not in part.sizes
    assert set(arrays["cell_layer"].values.astype(str)) == {"image", "conv3"}
    for name, values in part.data_vars.items():  # the same numbers, told earlier
        if values.dims[0] == "image_cell":
            np.testing.assert_array_equal(values.values, arrays[name].values)
    assert all(v.attrs["units"] and v.attrs["long_name"] for v in arrays.variables.values())
    names = {e["name"] for e in summary["estimates"]}
    wanted = "mse.reconstruction mse.draw mse.under_another psnr.reconstruction ssim.reconstruction fvu.total "
    wanted += (
        "fvu.in_class fvu.of_pca accuracy.substituted agreement.substituted agreement.held_out distance.kl rate.kl "
    )
    wanted += "rate.codes rate.quantised usage.codes usage.perplexity usage.active_units frechet.floor frechet.samples "
    wanted += "frechet.reconstruction transfer.ascended_held_out distance.nearest_training distance.of_norm"
    assert set(wanted.split()) <= names
    assert {"train.image.ae.8", "measure.conv3.pca.8", "frechet", "use"} <= set(summary["stages"])


def test_no_rate_is_told_where_none_is_defined(described):
    """An autoencoder's dimensions are no bits; codes have no dimension to stand beside PCA's."""
    for entry in described[3]["estimates"]:
        if entry["name"] == "rate.kl":
            assert entry["family"] == "vae" and entry["prior"] == "standard normal"
        if entry["name"] == "rate.codes":
            assert entry["family"] in ("vq", "fsq")
        if entry["name"] == "fvu.of_pca":
            assert "dim" in entry and entry["family"] not in ("vq", "fsq", "kmeans", "pca")


def test_image_errors_are_those_of_the_models(described, opened):
    """By the models' own functions, from the saved members: the second seed of `ae`, PCA, and VAE's posterior mean."""
    arrays = described[2]
    config, run, prepared, test = opened
    layer = cells.image_layer(config, prepared)
    for family in ("ae", "vae", "fsq"):
        size = 125 if family == "fsq" else 8
        cell = cells.train(config, run, prepared, layer, family, size)
        variables = ensembles.take(cell.ensemble, 1)
        back = np.asarray(cell.autoencoder.decode(variables, cell.autoencoder.encode(variables, jnp.asarray(test.x))))
        expected = np.square(back - test.x).mean(axis=(1, 2, 3))
        c = row(arrays, f"image.{family}.{size}")
        np.testing.assert_allclose(arrays["mse"].values[c, 1], expected, rtol=1e-4)
        logits = prepared.classifier.apply(ensembles.take(prepared.ensemble, 1), jnp.asarray(back))
        np.testing.assert_array_equal(arrays["prediction"].values[c, 1], np.argmax(logits, axis=-1))
    bank = layer.bank.x.reshape(len(layer.bank.x), -1).astype(np.float64)
    centre = bank.mean(axis=0)
    axes = np.linalg.svd(bank - centre, full_matrices=False)[2][:8]
    centred = test.x.reshape(len(test.x), -1) - centre
    error = np.square(centred - centred @ axes.T @ axes).mean(axis=1)
    np.testing.assert_allclose(arrays["mse"].values[row(arrays, "image.pca.8"), 3], error, rtol=1e-3)
    np.testing.assert_allclose(arrays["from_mean"].values[0, 0], np.square(centred).mean(axis=1), rtol=1e-4)


def test_the_class_mean_is_its_own_yardstick(described):
    _, _, arrays, summary = described
    c, layer = row(arrays, "conv3.class_mean"), arrays["layer"].values.astype(str).tolist().index("conv3")
    np.testing.assert_allclose(arrays["mse"].values[c], arrays["from_class_mean"].values[layer], rtol=1e-4)
    told = [e for e in summary["estimates"] if e["name"] == "fvu.in_class" and e["family"] == "class_mean"]
    assert len(told) == 1 and told[0]["value"] == pytest.approx(1, abs=1e-4)
    assert any(check["name"] == "class_mean.conv3" and check["passed"] for check in summary["checks"])


def test_a_perfect_description_of_a_layer_changes_nothing(opened):
    """Points to activations and back is the identity, and putting h in the place of h leaves all outputs alone."""
    config, run, prepared, test = opened
    layer = cells.hidden_layer(config, prepared, "conv3")
    context = ensembles.take(layer.context, 2)
    variables = ensembles.take(prepared.ensemble, 2)
    h = prepared.classifier.features(variables, jnp.asarray(test.x), "conv3")
    np.testing.assert_allclose(layer.restore(context, layer.observe(context, jnp.asarray(test.x))), h, atol=1e-4)
    spread = layer.bank_points.reshape(*layer.bank_points.shape[:2], -1)
    np.testing.assert_allclose(spread.mean(axis=1), 0, atol=1e-4)
    np.testing.assert_allclose(np.square(spread).mean(axis=(1, 2)), 1, rtol=1e-3)
    same = cells.Cell("conv3", "same", 1, lambda variables, points, label: points, {"w": jnp.zeros(4)})
    found = autoencoder_measures.reconstructions(config, run, prepared, layer, same, test)
    original = autoencoder_measures.originals(config, run, prepared, test)
    np.testing.assert_array_equal(found["prediction"][1], original)
    np.testing.assert_allclose(found["kl"][1], 0, atol=1e-5)
    np.testing.assert_allclose(found["mse"][1], 0, atol=1e-9)
    # And the class means are those of activations, in their own unit.
    expected = yardsticks.class_means(
        np.asarray(prepared.classifier.features(variables, jnp.asarray(layer.bank.x), "conv3")), layer.bank.label, 10
    )
    np.testing.assert_allclose(layer.class_means[2], expected, rtol=1e-3, atol=1e-4)


def test_the_error_of_a_draw_is_in_the_unit_of_the_layer(opened):
    """A posterior without spread: its draws are its mean, so both errors are one number, whatever the layer's scale."""
    config, run, prepared, test = opened
    layer = cells.hidden_layer(config, prepared, "conv3")
    autoencoder, _ = cells.build(config, layer, "vae", 3)
    variables = autoencoder.init(jax.random.key(0), jnp.zeros((1, *layer.shape)))
    encoder = variables["params"]["encoder"]
    encoder["straight"]["kernel"] = encoder["straight"]["kernel"].at[:, 3:].set(0.0)
    encoder["out"]["kernel"] = encoder["out"]["kernel"].at[:, 3:].set(0.0)
    encoder["out"]["bias"] = encoder["out"]["bias"].at[3:].set(-60.0)  # log variances
    ensemble = ensembles.stack([variables] * config.num_members)
    cell = cells.Cell("conv3", "vae", 3, cells.reconstruction(autoencoder), ensemble, autoencoder)
    found = autoencoder_measures.reconstructions(config, run, prepared, layer, cell, test)
    np.testing.assert_allclose(found["draw_mse"][1], found["mse"][1], rtol=1e-4)
    assert np.asarray(layer.context["scale"]).min() > 1.1 or np.asarray(layer.context["scale"]).max() < 0.9


def test_pictures_and_judges_belong_to_the_right_cell(described, opened):
    _, _, arrays, _ = described
    names = arrays["image_cell"].values.astype(str).tolist()
    for name in ("image.ae.8", "image.pca.8"):
        i, c = names.index(name), row(arrays, name)
        shown = [np.flatnonzero(arrays["example"].values == k)[0] for k in arrays["shown"].values]
        error = np.square(arrays["picture_cell"].values[i] - arrays["picture"].values).mean(axis=(1, 2, 3))
        np.testing.assert_allclose(error, arrays["mse"].values[c, 0, shown], rtol=1e-3)
        judged = arrays["judged"].transpose("image_cell", "member", "judge", "example").values[i]
        for member in range(4):  # what the own classifier says is among the judges
            np.testing.assert_array_equal(judged[member, member], arrays["prediction"].values[c, member])
    ssim = reconstruction.ssim(jnp.asarray(arrays["picture"].values), jnp.asarray(arrays["picture_cell"].values[0]))
    np.testing.assert_allclose(arrays["ssim"].values[0, 0, shown], ssim, atol=1e-4)


def test_rates_and_draws_are_dearer_than_the_reconstruction(described):
    """A VAE's draw errs more than its mean; coarser latents take fewer bits and err more, fine ones hardly."""
    _, _, arrays, _ = described
    c = row(arrays, "image.vae.8")
    assert (arrays["draw_mse"].values[c].mean(axis=1) > 1.02 * arrays["mse"].values[c].mean(axis=1)).all()
    assert np.isnan(arrays["draw_mse"].values[row(arrays, "image.ae.8")]).all()
    c, i = row(arrays, "image.ae.8"), arrays["image_cell"].values.astype(str).tolist().index("image.ae.8")
    error = arrays["rate_mse"].transpose("image_cell", "member", "step", "example").values[i].mean(axis=-1)
    bits = arrays["rate_bits"].transpose("image_cell", "member", "step", "example").values[i].mean(axis=-1)
    assert (np.diff(error, axis=1) > 0).all() and (np.diff(bits, axis=1) < 0).all()
    np.testing.assert_allclose(error[:, 0], arrays["mse"].values[c].mean(axis=1), rtol=0.1)


def test_a_vaes_bits_are_those_of_its_evidence_bound(described, opened):
    """The mean of many draws' likelihoods, and the KL, over pixels and log 2; near the one draw that is told."""
    _, _, arrays, summary = described
    config, run, prepared, test = opened
    cell = cells.train(config, run, prepared, cells.image_layer(config, prepared), "vae", 8)
    variables, x = ensembles.take(cell.ensemble, 0), jnp.asarray(test.x)
    keys = jax.random.split(jax.random.key(9), 20)
    nll = np.mean([cell.autoencoder.losses(variables, key, x, Penalties())[0]["nll"] for key in keys])
    c = row(arrays, "image.vae.8")
    kl = arrays["latent_kl"].values[c, 0].mean()
    assert arrays["nll"].values[c, 0].mean() == pytest.approx(nll, rel=0.02)
    (told,) = (e for e in summary["estimates"] if e["name"] == "rate.bits_per_dim")
    every = (arrays["nll"].values[c] + arrays["latent_kl"].values[c]).mean() / (np.log(2) * x[0].size)
    assert told["value"] == pytest.approx(every, rel=1e-5) and kl > 0
    assert np.isnan(arrays["nll"].values[row(arrays, "image.ae.8")]).all()


def test_coordinates_of_a_prior_are_the_latents_own_where_it_has_one(opened):
    config, run, prepared, test = opened
    layer = cells.image_layer(config, prepared)
    for name in ("ae", "vae"):
        family = families.prepare(replaced(config, num_fit=100), run, prepared, layer, name, test)
        standard = families.with_standard_prior(family).whitening
        z = jnp.asarray(family.z_test[1])
        u = coordinates.to_white(ensembles.take(standard, 1), z)
        if name == "vae":
            np.testing.assert_allclose(u, z, atol=1e-6)
        else:
            assert standard is family.whitening


def replaced(config, **changes):
    found = copy.deepcopy(config)
    with found.unlocked():
        found.update(changes)
    return found


def test_the_held_out_classifier_is_the_next_seeds(described, opened):
    _, _, arrays, _ = described
    prepared = opened[2]
    uses = arrays["use_cell"].values.astype(str).tolist()
    for name in ("image.vae.8", "pixels"):
        u = uses.index(name)
        found = jnp.asarray(arrays["picture_use"].values[u])
        for which, classifier in (("guide_confidence", 0), ("held_out_confidence", 1)):
            logits = prepared.classifier.apply(ensembles.take(prepared.ensemble, classifier), found)
            expected = jax.nn.softmax(logits)[jnp.arange(len(found)), arrays["target"].values]
            np.testing.assert_allclose(arrays[which].values[u, 0], expected, rtol=1e-3, atol=1e-5)


def test_ascent_on_a_manifold_stays_in_its_ball_and_climbs(described):
    _, _, arrays, _ = described
    targets = arrays["target"].values
    starts = arrays["picture_start"].values
    assert targets.shape == (len(starts),)
    uses = arrays["use_cell"].values.astype(str).tolist()
    assert uses[-1] == "pixels" and {"image.ae.8", "image.vae.8", "image.fsq.125"} == set(uses[:-1])
    moved = np.sqrt(np.square(arrays["picture_use"].values - starts).sum(axis=(2, 3, 4)))
    np.testing.assert_allclose(arrays["moved"].transpose("use_cell", "member", "start").values[:, 0], moved, rtol=1e-3)
    went = np.median(arrays["moved"].values[uses.index("image.ae.8")], axis=1)
    assert (arrays["moved"].values[-1] <= went[:, None] * (1 + 1e-4)).all()
    other = autoencoder_use.targets_of(np.arange(10).repeat(50), 10, 0)
    assert (other != np.arange(10).repeat(50)).all() and len(set(other)) == 10


def test_ascents_are_compared_at_equal_distance(described):
    _, _, arrays, summary = described
    along = {name: arrays[name].transpose("use_cell", "member", "ascent_step", "start").values for name in ALONG}
    np.testing.assert_array_equal(along["moved_along"][:, :, -1], arrays["moved"].values)
    np.testing.assert_array_equal(along["held_out_along"][:, :, -1], arrays["held_out_confidence"].values)
    assert (along["moved_along"][-1, :, 0] == 0).all()  # in pixels the start is the image
    equal, _ = autoencoder_estimates.at_equal_distance(along["moved_along"], *along.values())
    moved = along["moved_along"]
    common = moved[:, :, 0].max(axis=0) <= moved.max(axis=2).min(axis=0)
    told = [e for e in summary["estimates"] if e["name"] == "distance.ascended" and e["matching"] == "distance"]
    assert bool(told) == bool(common.any(axis=1).all())  # four steps in pixels may end short of all reconstructions
    expected = np.where(common, equal, 0).sum(axis=2) / np.maximum(common.sum(axis=1), 1)
    np.testing.assert_allclose([e["value"] for e in told], expected.mean(axis=1)[: len(told)], rtol=1e-5)
    index, used = np.arange(4), autoencoder_estimates._use
    values = {name: arrays[name].transpose("use_cell", "member", ...).values for name in (*autoencoder_estimates.USE,)}
    values |= {"held_out_along": np.ones((2, 4, 3, 4)), "use_cell": np.asarray(["a", "b"])}
    for begins, count in ((0.5, 2), (9.0, 0)):  # the second manifold begins within the first one's reach, or beyond it
        values["moved_along"] = np.stack([np.tile([0.0, 1.0, 2.0], (4, 4, 1)), np.tile([begins] * 3, (4, 4, 1))])
        values["moved_along"] = values["moved_along"].transpose(0, 1, 3, 2)
        found = [e for e in used(values, {}, index) if e["name"] == "distance.ascended" and e["matching"] == "distance"]
        assert len(found) == count
    # By hand: the second cell goes to 2 at most; the first is nearest to 2 at its second step.
    moved = np.array([[0.0, 1.9, 4.0], [0.5, 2.0, 1.0]])[:, None, :, None]
    value = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])[:, None, :, None]
    assert autoencoder_estimates.at_equal_distance(moved, value)[0].ravel().tolist() == [2.0, 5.0]


@pytest.mark.slow  # half a minute, most of it to compile
def test_a_sweep_doubles_the_members_and_is_told_apart(folder, described):
    changes = {"autoencoder.families": ("vae",), "autoencoder.ladder": ("vae",), "autoencoder.dims": (8,)}
    changes |= {"hidden.layers": (), "autoencoder.sweep.beta": (0.5, 20.0), "num_examples": 60}
    arrays, summary = done(smoke_config("autoencoders", folder, **changes), folder / "swept")
    assert arrays.sizes["member"] == 8 and arrays["seed"].values.tolist() == [0, 1, 2, 3] * 2
    assert "With 8 dimensions vae" in summary["headline"] and "(At beta = 0.5;" in summary["headline"]
    table, judged = tables.cell_tables(summary)
    rows = [(cell["name"], cell["swept"]) for _, group in table["groups"] for cell in group]
    assert len(rows) == len(set(rows)) == 3 and [name for name, _ in rows] == ["vae 8", "vae 8", "PCA 8"]
    trained = [cell for part in (table, judged) for cell in part["groups"][0][1][:2]]
    assert all(entry != ["–"] for cell in trained for entry in cell["entries"])
    told = {e["beta"]: e["value"] for e in summary["estimates"] if e["name"] == "rate.kl"}
    assert set(told) == {0.5, 20.0} and told[20.0] < told[0.5]
    # The members of the first value are those that were trained without a sweep.
    c = row(described[2], "image.vae.8")
    np.testing.assert_allclose(
        arrays["validation_mse"].values[0, :4, :2], described[2]["validation_mse"].values[c, :, :2], rtol=1e-6
    )


@pytest.mark.parametrize(
    ("family", "swept", "text"),
    [
        ("ae", {"learning_rate": (1e-3, 3e-3)}, "8 dimensions, 0.01, 50 % of PCA's. (At learning_rate = 0.001;"),
        ("sparse", {}, "8 dimensions, 0.01."),
        ("vq", {"commitment": (0.1, 0.5)}, "8 codes, 0.01 at 24 bits. (At commitment = 0.1;"),
    ],
)
def test_the_headline_is_of_the_swept_point_nearest_to_the_configs(folder, family, swept, text):
    config = smoke_config("autoencoders", folder, **{f"autoencoder.sweep.{name}": v for name, v in swept.items()})
    config.autoencoder.families = (family,)
    alone = {"low": None, "high": None, "layer": "image", "family": family}
    alone |= {"codes" if family == "vq" else "dim": 8}
    told = {"mse.reconstruction": 0.01} | ({"fvu.of_pca": 0.5} if family == "ae" else {})
    told |= {"rate.codes": 24} if family == "vq" else {}
    points = [dict(zip(swept, (value,), strict=True)) for values in swept.values() for value in values] or [{}]
    estimates = [{"name": n, "value": v * (1 + i), **alone, **p} for i, p in enumerate(points) for n, v in told.items()]
    found = autoencoder_estimates.headline(config, estimates)
    size, rest = text.split(", ", 1)
    said = f"With {size} {family} gives test images back with a mean squared error of {rest}"
    assert found.startswith(said), found


def test_distances_of_distributions_are_those_of_the_features(described, opened):
    """The floor of the second seed by hand: its own last layer, along the axes of training images there."""
    config, _, prepared, test = opened
    layer = cells.image_layer(config, prepared)
    rows = autoencoder_measures._like(test.label, layer.bank.label, config.seed)
    assert (np.bincount(layer.bank.label[rows]) == np.bincount(test.label)).all()
    variables = ensembles.take(prepared.ensemble, 1)

    def last(x):
        h = prepared.classifier.features(variables, jnp.asarray(x), prepared.classifier.layers[-1])
        return np.asarray(h, np.float64).reshape(len(x), -1)

    trained, seen = last(layer.bank.x[rows]), last(test.x)
    axes = np.linalg.svd(trained - trained.mean(axis=0), full_matrices=False)[2]
    axes = axes[: max(2, len(rows) // autoencoder_measures.IMAGES_A_FEATURE)].T
    trained, seen = ((h - trained.mean(axis=0)) @ axes for h in (trained, seen))
    far = frechet.extrapolated(trained, seen, strata_a=layer.bank.label[rows], strata_b=test.label, seed=config.seed)
    expected = far / trained.var(axis=0, ddof=1).sum()
    np.testing.assert_allclose(described[2]["frechet_floor"].values[1], expected, rtol=0.02, atol=1e-3)


def test_agreement_of_others_and_use_of_codes_are_counted_by_hand(described, opened):
    _, _, arrays, summary = described
    config, run, prepared, test = opened
    names = arrays["image_cell"].values.astype(str).tolist()
    judged = arrays["judged"].transpose("image_cell", "member", "judge", "example").values[names.index("image.ae.8")]
    same = judged == arrays["original"].values[None]
    others = np.mean([same[m, j].mean() for m in range(4) for j in range(4) if m != j])
    told = [e for e in summary["estimates"] if e["name"] == "agreement.held_out" and e["family"] == "ae"]
    np.testing.assert_allclose(next(e["value"] for e in told if e["dim"] == 8), others, rtol=1e-6)
    layer = cells.image_layer(config, prepared)
    cell = cells.train(config, run, prepared, layer, "fsq", 125)
    z = autoencoder_measures.encoded(config, layer, cell, test.x)[2].reshape(-1, 3)
    c = row(arrays, "image.fsq.125")
    usage = len(np.unique(np.round(2 * z), axis=0)) / 125
    np.testing.assert_allclose(arrays["code_usage"].values[c, 2], usage, rtol=1e-6)
