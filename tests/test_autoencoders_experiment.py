"""The experiment `autoencoders`: planted numbers, figures, and a run through the same door as `main`."""

import csv
import re
import types

import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
import pytest
import whole_runs
import xarray as xr
from whole_runs import smoke_config

from landscape import ensembles, runs
from landscape.experiments import descriptions, page, setting
from landscape.experiments.autoencoders import EXPERIMENT, ascents, distributions, estimates, figures, stages
from landscape.experiments.autoencoders.config import HYPER
from landscape.experiments.base import TRAINED, described
from landscape.experiments.descriptions import Description, Layer
from landscape.experiments.setting import Examples, Setting, targets_of
from landscape.files import UserError
from landscape.measures import reconstruction
from landscape.models import baselines
from landscape.models.autoencoders import Autoencoder
from landscape.presets.names import BASELINES, CODED
from landscape.reporting import figures as drawing
from landscape.reporting import style
from landscape.runs import Run
from landscape.stats import frechet
from landscape.stats.table import Row, Table

PIXEL = ("height", "width", "channel")
FAMILIES = ("ae", "denoising", "contractive", "sparse", "sphere", "vae")

AGAIN = pytest.mark.slow  # what a run found, computed again


def descriptions_of(hidden, dims, families):
    """(layer, family, size) as the experiment orders them."""
    found = [("image", family, 8) for family in families]
    found += [("image", family, dim) for family in ("ae", "vae") for dim in dims if dim != 8]
    found += [("image", "vq", 64), ("image", "fsq", 125), *(("image", "pca", dim) for dim in (*dims, 8))]
    for layer in hidden:
        found += [(layer, family, dim) for family in ("ae", "pca") for dim in dims]
        found += [(layer, "class_mean", 0), (layer, "kmeans", 12)]
    return list(dict.fromkeys(found))


def made_up(
    *, members=4, beta=(), hidden=("conv1", "conv3"), dims=(4, 8), examples=8, epochs=3, channels=1, families=FAMILIES
):
    """A dataset as `autoencoders` saves it, errors larger for smaller sizes; the members once for each beta."""
    rng, layers = np.random.default_rng(0), ["image", *hidden]
    layer, family, size = (np.asarray(c) for c in zip(*descriptions_of(hidden, dims, families), strict=True))
    names = [".".join(map(str, filter(None, one))) for one in zip(layer, family, size.tolist(), strict=True)]
    spaces = [name for name in names if name.startswith("image.") and name.endswith((".8", ".64", ".125"))]
    spaces = [*(name for name in spaces if "pca" not in name), "pixels"]
    total = members * max(1, len(beta))
    coords = {"description": names, "described_layer": ("description", layer), "family": ("description", family)}
    coords |= {"size": ("description", size), "layer": layers, "manifold": spaces, "step": [0.25, 0.5, 1.0, 2.0]}
    coords |= {"class": [f"a long name {i}" for i in range(3)], "epoch": np.arange(1, epochs + 1)}
    coords |= {"seed": ("member", np.tile(np.arange(members), max(1, len(beta))))}
    sizes = {"description": len(names), "layer": len(layers), "manifold": len(spaces), "member": total, "step": 4}
    sizes |= {"example": examples, "epoch": epochs, "ascent_step": 5, "start": 6, "classifier": members, "shown": 3}
    sizes |= {"draw": 5, "height": 4, "width": 4, "channel": channels}
    schema = {n: one.dims for n, one in EXPERIMENT.schema.items() if one.dims and n not in (*coords, *sizes, *HYPER)}
    known = {name: of for name, of in schema.items() if set(of) <= set(sizes)}
    arrays = {n: (of, rng.uniform(0.9, 1.1, [sizes[dim] for dim in of])) for n, of in known.items()}
    data = xr.Dataset(arrays, coords).drop_vars([*TRAINED, "control", "file"], errors="ignore")
    base = 0.2 / np.sqrt(np.maximum(data["size"], 2))
    for name in ("mse", "kl", "draw_mse", "rate_mse", "train_loss", "validation_mse"):
        data[name] = (data[name] * base).transpose(*schema[name])
    data["rate_bits"] = (30 * data.rate_bits * base / data.step).transpose(*schema["rate_bits"])
    data["unseen_levels"] = "example", np.zeros(examples)
    data["label"] = "example", rng.integers(0, 3, examples)
    data["original"] = data.label.broadcast_like(data.original).transpose("classifier", "example")
    wrong = xr.DataArray(rng.random(data.prediction.shape) < 0.2, dims=data.prediction.dims)
    data["prediction"] = ((data.label + wrong) % 3).transpose(*schema["prediction"])
    data["others_agree"] = schema["others_agree"], rng.integers(0, members, data.others_agree.shape)
    data["success"] = schema["success"], rng.integers(0, 2, data.success.shape) * 1.0
    data["target"] = "start", rng.integers(0, 3, 6)
    data["confidence"] = data.confidence / 2
    data["moved"] = (data.moved * (0.1 + np.arange(5))[:, None]).transpose(*schema["moved"])
    for name in hidden:
        data.mse.loc[{"description": f"{name}.class_mean"}] = data.from_class_mean.sel(layer=name)
    data["beta"] = ("description", "member"), np.broadcast_to(np.repeat(beta or (0.5,), members), (len(names), total))
    data["learning_rate"] = ("description", "member"), np.full((len(names), total), 1e-3)
    return described(masked(data).assign_attrs(compared_size=8), EXPERIMENT.schema)


def masked(data):
    """With NaN where a description has no such quantity."""
    images, family = data.described_layer == "image", data.family
    trained, coded, vae = ~family.isin(BASELINES), family.isin(CODED), family == "vae"
    having = (
        (images, ("others_agree", "ssim", "frechet_reconstruction", "picture_back")),
        (images & ~coded & ~vae, ("rate_bits", "rate_mse")),
        (images & family.isin(("vae", "sphere")), ("frechet_samples", "picture_sample")),
        (coded, ("code_bits", "code_usage", "code_perplexity", "code_bound")),
        (vae, ("draw_mse", "latent_kl", "active_units", "beta")),
        (vae & images, ("nll",)),
        (trained & ~coded, ("effective_dimension",)),
        (trained, ("train_loss", "validation_mse", "learning_rate")),
    )
    return data.assign({name: data[name].where(some) for some, names in having for name in names})


@pytest.fixture
def config(tmp_path):
    """What goes with `made_up`."""
    return smoke_config("autoencoders", tmp_path)


# ---- numbers ----


def test_errors_of_a_layer_are_shares_and_distances(config):
    """Members of one description: mean squared error 0.04 and 0.12 of a layer of mean square 4 and variance 0.5."""
    data, at = made_up(), {"description": "conv1.pca.8"}
    data.mse.loc[at] = np.array([0.04, 0.12, 0.04, 0.12])[:, None]
    data.kl.loc[at] = 0.3
    data.prediction.loc[at] = data.label + (np.arange(8) % 4 == 0)
    for name, size in (("from_mean", 0.5), ("from_class_mean", 0.1), ("from_zero", 4.0)):
        data[name].loc[{"layer": "conv1"}] = size
    table = estimates.estimate(data, config)
    expected = {"fvu.total": 0.08 / 0.5, "fvu.in_class": 0.08 / 0.1, "distance.kl": 0.3}
    expected |= {
        "distance.of_norm": np.sqrt([0.01, 0.03]).mean(),
        "distance.of_typical_pair": np.sqrt([0.04, 0.12]).mean(),
    }
    expected |= {"accuracy.substituted": 0.75, "accuracy.change": -0.25, "agreement.substituted": 0.75}
    for name, value in expected.items():
        row = table.one(name, layer="conv1", family="pca", dim=8)
        assert row["value"] == pytest.approx(value), name
    assert row["members"] == 4 and row["examples"] == 8


def test_the_root_of_a_ratio_has_the_influence_of_the_delta_method():
    u = np.abs(np.random.default_rng(0).normal(4, 0.5, (3, 1000)))
    ours = estimates.root(u)
    np.testing.assert_allclose(ours.mean(axis=1), np.sqrt(u.mean(axis=1)))
    np.testing.assert_allclose(ours.std(axis=1), u.std(axis=1) / (2 * np.sqrt(u.mean(axis=1))))


def test_a_share_of_pcas_error_is_paired_by_image(config):
    """Half of PCA's error on every image, however much images differ: no interval is left."""
    data = made_up(examples=30)
    data.mse.loc[{"description": "image.ae.8"}] = data.mse.sel(description="image.pca.8") / 2
    row = estimates.estimate(data, config).one("fvu.of_pca", layer="image", family="ae", dim=8)
    assert row["value"] == pytest.approx(0.5) and row["high"] - row["low"] < 1e-9 and row["headline"]


def test_no_number_is_given_where_none_is_defined(config):
    """An autoencoder's dimensions are no bits; codes have no dimension to stand beside PCA's."""
    data = made_up()
    data.nll.loc[{"description": "image.vae.4"}] = np.nan
    table = estimates.estimate(data, config)
    assert {row["family"] for row in table.select("rate.kl")} == {"vae"}
    assert {row["family"] for row in table.select("rate.codes")} == {"vq", "fsq"}
    assert {row["family"] for row in table.select("fvu.of_pca")} == {*FAMILIES} - {"sparse"}
    assert all("dim" in row for row in table.select("fvu.of_pca"))
    assert [row["dim"] for row in table.select("rate.bits_per_dim", family="vae")] == [8]
    assert not table.select("psnr.reconstruction", layer="conv1") and not table.select("usage.codes", family="ae")


def test_pixel_histograms_stand_beside_a_vaes_bits(config):
    data = made_up()  # images of 4 x 4 pixels
    data["pixel_bits"] = "example", 16 * (2 + np.arange(8) / 7)
    row = estimates.estimate(data, config).one("rate.bits_per_dim", family="histogram", layer="image")
    assert row["value"] == pytest.approx(2.5) and row["examples"] == 8 and row["generalises_to"] == "new images"
    data["unseen_levels"] = "example", np.where(np.arange(8) == 3, 1 / 16, 0.0)
    for share, passes in ((data.unseen_levels, False), (0 * data.unseen_levels, True)):
        found = estimates.checks(data.assign(unseen_levels=share), Table(), config)
        assert next(check for check in found if check.name == "pixels.levels").passed == passes


def test_agreement_of_other_classifiers_speaks_of_new_images_alone(config):
    data = made_up()
    data.others_agree.loc[{"description": "image.ae.8"}] = np.array([3, 3, 3, 0])[:, None]
    row = estimates.estimate(data, config).one("agreement.held_out", family="ae", dim=8, layer="image")
    assert row["value"] == pytest.approx(0.75) and row["generalises_to"] == "new images" and row["members"] == 1


def test_a_sweep_is_estimated_by_its_values_and_only_where_training_has_them(config):
    data = made_up(beta=(0.5, 4.0))
    data.mse.loc[{"description": "image.vae.8"}][:4] = 0.01
    data.mse.loc[{"description": "image.vae.8"}][4:] = 0.02
    table = estimates.estimate(data, config)
    rows = table.select("mse.reconstruction", family="vae", dim=8)
    assert {row["beta"]: row["value"] for row in rows} == pytest.approx({0.5: 0.01, 4.0: 0.02})
    assert all(row["members"] == 4 for row in rows)
    (alone,) = table.select("mse.reconstruction", family="ae", dim=8, layer="image")
    assert "beta" not in alone and alone["members"] == 8
    assert {row["beta"] for row in table.select("distance.ascended")} == {0.5, 4.0}
    assert table.one("frechet.floor")["members"] == 4
    config.autoencoder.families = ("vae",)
    said = estimates.headline(table, config)
    assert said.startswith("Squeezed into 8 numbers by vae") and "error of 0.01 " in said
    assert said.endswith("(At beta 0.5; the table has all.)")


def test_ascents_are_compared_at_equal_distance(config):
    """The second manifold goes to 2 at most; the first is nearest to 2 at its second step. Far starts are left out."""
    data = made_up(families=("ae",))
    data = data.sel(manifold=["image.ae.8", "pixels"]).isel(ascent_step=slice(3))
    for name, of in (("image.ae.8", [0.0, 1.9, 4.0]), ("pixels", [0.5, 2.0, 1.0])):
        data.moved.loc[{"manifold": name}] = np.array(of)[:, None]
    for name, of in (("image.ae.8", [0.1, 0.2, 0.3]), ("pixels", [0.4, 0.5, 0.6])):
        data.confidence.loc[{"manifold": name}] = np.array(of)[:, None]
    table = estimates.estimate(data, config)

    def reached(name, matching):
        return {row["manifold"]: row["value"] for row in table.select(name, matching=matching)}

    assert reached("confidence.ascended_held_out", "raw") == pytest.approx({"image.ae.8": 0.3, "pixels": 0.6})
    assert reached("confidence.ascended_held_out", "distance") == pytest.approx({"image.ae.8": 0.2, "pixels": 0.5})
    assert reached("distance.ascended", "distance") == pytest.approx({"image.ae.8": 1.9, "pixels": 2.0})
    data.moved.loc[{"manifold": "pixels"}][:, 0, :1] = 9.0  # one start begins beyond the other's reach
    level = estimates.estimate(data, config).select("distance.ascended", matching="distance")
    assert {row["examples"] for row in level} == {5}
    data.moved.loc[{"manifold": "pixels"}][:, 0] = 9.0
    assert not estimates.estimate(data, config).select("distance.ascended", matching="distance")


def test_checks_find_what_they_are_for(config):
    config.smoke = False

    def failed(change=lambda data: None):
        data = made_up()
        data.mse.loc[{"description": "image.pca.8"}] = 1.0
        change(data)
        return {check.name for check in estimates.checks(data, Table(), config) if not check.passed}

    def copied(data):
        data.mse.loc[{"description": "image.ae.4"}][2] = data.mse.sel(description="image.ae.4")[1]

    def fill(name, value, **at):
        return lambda data: data[name].loc.__setitem__(at, value)

    assert failed() == set()
    assert failed(copied) == {"seeds.distinct"}
    assert failed(fill("mse", 2.0, description="image.vae.8", member=2)) == {"beats_pca.image.vae.8"}
    assert failed(fill("mse", 0.5, description="conv1.class_mean")) == {"class_mean.conv1"}
    assert failed(fill("mse", np.nan, description="conv1.kmeans.12")) == {"errors.finite"}


@pytest.mark.parametrize(
    ("family", "found", "text"),
    [
        ("ae", {"fvu.of_pca": (0.5, None)}, "Squeezed into 8 numbers by ae, .* error of 0.01, 50.0 % of PCA's."),
        ("sparse", {}, "Squeezed into 8 numbers by sparse, .* error of 0.01."),
        ("vq", {"rate.codes": (24.0, 23.0)}, r"Coded by vq with 64 codes, .* 0.01 at 24 \[23, 25\] bits an image."),
    ],
)
def test_the_headline_says_what_a_family_has(config, family, found, text):
    config.autoencoder.families = (family,)
    about = {"layer": "image", "family": family, **({"codes": 64} if family == "vq" else {"dim": 8})}
    found = {"mse.reconstruction": (0.01, None)} | found
    rows = [Row(about, name=n, value=v, low=low, high=low and 2 * v - low) for n, (v, low) in found.items()]
    said = estimates.headline(Table(tuple(rows)), config)
    assert re.fullmatch(text, said), said


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_members": 1}, "num_members=1: expected at least 2"),
        ({"hidden.families": ("aee",)}, "hidden.families='aee'.*did you mean ae"),
        ({"autoencoder.families_at_dims": ("gan",)}, "autoencoder.families_at_dims='gan'"),
        ({"hidden.dims": (8, 0)}, "hidden.dims=.*at least 1"),
    ],
)
def test_what_is_refused(tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        smoke_config("autoencoders", tmp_path, **changes)


# ---- figures ----


def content(data, config):
    return estimates.derive(data), estimates.estimate(data, config)


SHAPES = {
    "one of everything": dict(members=1, examples=1, epochs=1, channels=3, hidden=("conv1",), dims=(8,)),
    "images alone": dict(hidden=(), epochs=2),
    "many": dict(members=2, hidden=("conv1", "conv2", "conv3"), dims=(4, 8, 16, 512), families=("ae",), epochs=1),
    "a sweep": dict(members=2, beta=(0.5, 4.0), families=("ae", "vae"), hidden=("conv1",), epochs=2),
}


def drawn_as_wanted(config, tmp_path, options):
    found, absent = drawing.draw(figures.FIGURES, content(made_up(**options), config), tmp_path)
    assert absent == []
    wanted = [one.name for one in figures.FIGURES if one.name != "sweep" or "beta" in options]
    assert [one.spec.name for one in found] == wanted


@pytest.mark.slow
@pytest.mark.parametrize("options", SHAPES.values(), ids=SHAPES)
def test_all_figures_are_written(config, tmp_path, options):
    drawn_as_wanted(config, tmp_path, options)


def test_all_figures_of_a_sweep_are_drawn(config, tmp_path, unsaved):
    drawn_as_wanted(config, tmp_path, SHAPES["a sweep"])


def test_the_csv_of_the_main_figure_is_the_table(config, tmp_path, unsaved):
    found = content(made_up(), config)
    drawing.draw([one for one in figures.FIGURES if one.name == "depth"], found, tmp_path)
    with (tmp_path / "depth.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    at = {"layer": "conv1", "family": "ae", "size": "8", "estimate": "fvu.in_class"}
    (one,) = (row for row in rows if row | at == row)
    assert float(one["low"]) == pytest.approx(found[1].one("fvu.in_class", layer="conv1", family="ae", dim=8)["low"])
    assert len(rows) == 2 * found[0].sizes["description"]


def test_what_is_missing_is_named_or_left_out(config, tmp_path, unsaved):
    data = made_up(members=2, epochs=1)
    some = data.drop_vars(["kl", "picture_sample", "rate_bits", "code_bits", "latent_kl", "guide_confidence", "nll"])
    _, absent = drawing.draw(figures.FIGURES, content(some, config), tmp_path)
    assert {one.spec.name: one.reason for one in absent} == {"depth": "arrays.nc has no kl"}
    lost = data.copy(deep=True)
    for name in ("mse", "kl", "train_loss", "validation_mse", "rate_bits", "frechet_reconstruction", "picture_back"):
        lost[name].loc[{"description": "image.contractive.8"}] = np.nan
    assert drawing.draw(figures.FIGURES, content(lost, config), tmp_path)[1] == []
    for name in (name for name, one in data.data_vars.items() if one.dtype.kind == "f"):
        data[name][:] = np.nan
    _, absent = drawing.draw(figures.FIGURES, content(data, config), tmp_path)
    assert {one.spec.name for one in absent} == {one.name for one in figures.FIGURES} - {"sweep"}
    assert {one.reason for one in absent} == {"its values are missing, or too few to draw"}


def test_hidden_layers_may_have_other_families_than_images(config):
    data = made_up(members=2, epochs=1)
    deeper = (data.described_layer.values != "image") & (data.family.values == "ae")
    data["family"] = "description", np.where(deeper, "vq", data.family.values)
    assert figures.depth(*content(data, config)) is not None


@pytest.mark.slow
def test_figures_show_the_first_point_of_a_sweep(config, tmp_path):
    """Members with other values may hold anything: the figures of one point do not change."""
    data = made_up(members=2, beta=(4.0, 0.5), epochs=1)
    other = data.copy(deep=True)
    for name in ("mse", "kl", "train_loss"):
        other[name].loc[{"description": "image.vae.8"}][2:] = 1e3
    with mpl.rc_context(style.RC):
        for draw in (one.draw for one in figures.FIGURES if one.name in ("rates", "training")):
            first, second = (
                style.save(draw(*content(d, config)), tmp_path / "x.svg").read_bytes() for d in (data, other)
            )
            assert first == second


# ---- tables of the report ----


def test_tables_hold_what_a_description_has_and_the_sweep_as_rows(config):
    found, _ = page.tables(estimates.estimate(made_up(beta=(0.5, 1.0)), config), [])
    images, rest, hidden = found
    assert {"MSE", "PSNR", "SSIM", "FVU"} == {name for name, _ in images.columns}
    assert {"accuracy", "agrees", "KL", "rate", "in use", "Fréchet"} == {name for name, _ in rest.columns}
    assert "MSE" in {name for name, _ in hidden.columns}  # of PCA's, in %: errors there have the layer's unit
    (lines,) = images.groups.values()
    names = [line.name for line in lines]
    assert names.count("vae 8") == 2 and names.count("ae 8") == 1 and names[-2:] == ["PCA 4", "PCA 8"]
    assert {line.beneath for line in lines} == {"", "beta = 0.5", "beta = 1"}
    assert [*hidden.groups] == ["conv1", "conv3"]


# ---- ascents ----

SHAPE, S = (2, 2, 1), 4


def linear(variables, x):
    return x.reshape(len(x), -1) @ variables["w"]


def test_ends_are_reconstructed_by_the_next_seed_of_the_same_swept_value(tmp_path, monkeypatch):
    """Member s gives back keep_s x: under another the error is (1 - keep)^2 of the mean square, keep the next seed's.

    Of two swept values four seeds each: the next of the last seed is the first one of the same value.
    """
    monkeypatch.setattr(runs, "once", lambda run, name, work: work())
    config = smoke_config("autoencoders", tmp_path, **{"autoencoder.sweep.beta": (0.5, 2.0), "use.num_steps": 5})
    keep = jnp.asarray([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2])
    encode, decode = lambda v, x: x.reshape(len(x), -1), lambda v, z: z.reshape(-1, *SHAPE)
    identity = Autoencoder(None, encode, decode, None, None, None, lambda v, z: z, (4,))
    description = Description("image", "ae", 8, lambda v, x, label: v["keep"] * x, {"keep": keep}, identity)
    rng = np.random.default_rng(0)
    known = Examples(rng.random((20, *SHAPE), np.float32), np.zeros(20, np.int32), np.arange(20))
    layer = Layer("image", SHAPE, None, None, None, {}, np.zeros(1), known, known.x[None], ("",) * S)
    ensemble = {"w": jnp.asarray(rng.normal(size=(S, 4, 3)), jnp.float32)}
    classifier = types.SimpleNamespace(apply=linear)
    dataset = types.SimpleNamespace(class_names=("a", "b", "c"))
    prepared = Setting(dataset, classifier, ensemble, [], np.ones(S, bool), ensembles.Mapping("map"))
    test = Examples(rng.random((3, *SHAPE), np.float32), np.array([0, 1, 2], np.int32), np.arange(3))
    monkeypatch.setattr(setting, "examples", lambda *a: test)
    monkeypatch.setattr(ascents, "radius_of", lambda *a: np.full(8, 0.4))
    found = ascents.ascents(config, object.__new__(Run), prepared, layer, [description])
    own, pixels = found.sel(manifold=description.name), found.sel(manifold="pixels")
    ends = own.picture_end.values.astype(np.float64)  # of the first member
    square = np.square(ends).mean(axis=(1, 2, 3))
    errors = own.error_under_another.values  # [member, start]
    np.testing.assert_allclose(errors[0], (1 - 0.8) ** 2 * square, rtol=1e-4)
    # The guide's ascent does not depend on the swept value here, so that members 0 and 4 end in one place.
    np.testing.assert_allclose(errors[4] / errors[0], (1 - 0.4) ** 2 / (1 - 0.8) ** 2, rtol=1e-4)
    np.testing.assert_allclose(errors[3] / errors[7], (1 - 0.9) ** 2 / (1 - 0.5) ** 2, rtol=1e-4)
    gaps = np.sqrt(np.square(ends[:, None] - known.x[None]).sum(axis=(2, 3, 4))).min(axis=1)
    np.testing.assert_allclose(own.nearest_training.values[0], gaps, rtol=1e-4)
    for values, who in ((own.guide_confidence.values, 0), (own.confidence.values[:, -1], 1)):
        logits = np.asarray(linear(ensembles.take(ensemble, who), ends))
        probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        np.testing.assert_allclose(values[0], probs[np.arange(3), found.target.values], rtol=1e-4)
    # In pixels ascents go no further than the middle one of the manifold's own, each member for itself.
    went = np.median(own.moved.values[:, -1], axis=1)
    assert (pixels.moved.values[:, -1] <= went[:, None] + 1e-5).all()
    np.testing.assert_allclose(own.moved.values[:, -1], 5 * ascents.STEP * 0.4, rtol=1e-2)  # steps in one direction


def test_classes_aimed_at_are_others():
    label = np.arange(10).repeat(50)
    other = targets_of(label, 10, 0)
    assert (other != label).all() and len(set(other)) == 10


# ---- a run ----


@pytest.fixture(scope="module")
def done(tmp_path_factory, shared):
    """A finished smoke run: (config, arrays, summary, directory)."""
    folder = tmp_path_factory.mktemp("autoencoders")
    config = smoke_config("autoencoders", folder, **{"model.name": "mlp", "hidden.layers": ("dense2",)}, **shared)
    return config, *whole_runs.done(config, folder / "run"), folder


@pytest.fixture(scope="module")
def opened(done):
    """Classifiers, the layer of images and the test images again: (config, run, prepared, layer, test)."""
    config, _, _, folder = done
    with runs.open_run(config, folder / "again") as run:
        prepared = setting.prepare(config, run)
        test = setting.examples(prepared.dataset, "test", config.num_examples, config.seed)
        yield config, run, prepared, descriptions.image_layer(config, prepared), test


def test_it_writes_what_is_promised(done):
    _, arrays, summary, folder = done
    described(arrays, EXPERIMENT.schema)
    assert set(arrays.described_layer.values.astype(str)) == {"image", "dense2"} == set(arrays.layer.values.astype(str))
    order = arrays.description.values.astype(str).tolist()
    assert order[0] == "image.ae.8" and order[-1] == "dense2.kmeans.12"  # as they were trained
    assert arrays.manifold.values.tolist() == ["image.ae.8", "image.vae.8", "image.fsq.125", "pixels"]
    text = (folder / "run" / "estimates.csv").read_text()
    wanted = "mse.reconstruction mse.draw mse.under_another psnr.reconstruction ssim.reconstruction fvu.total "
    wanted += "fvu.in_class fvu.of_pca accuracy.substituted agreement.substituted agreement.held_out distance.kl "
    wanted += "rate.kl rate.codes rate.quantised usage.codes usage.perplexity usage.active_units frechet.floor "
    wanted += "frechet.samples frechet.reconstruction transfer.ascended_held_out distance.nearest_training"
    assert all(f'"{name}"' in text for name in wanted.split())
    assert {"measure.dense2.pca.8", "frechet", "ascent.pixels"} <= set(summary["stages"])
    assert all(check["passed"] for check in summary["checks"] if check["name"] != "seeds.distinct")


@AGAIN
def test_image_errors_are_those_of_the_models(done, opened):
    """By the models' own functions, from the saved members: the second seed of `ae`, PCA, and VAE's posterior mean."""
    arrays = done[1]
    config, run, prepared, layer, test = opened
    for family, size in (("ae", 8), ("vae", 8), ("fsq", 125)):
        description = descriptions.train(config, run, prepared, layer, family, size)
        variables = ensembles.take(description.ensemble, 1)
        back = np.asarray(
            description.autoencoder.decode(variables, description.autoencoder.encode(variables, jnp.asarray(test.x)))
        )
        own = arrays.sel(description=f"image.{family}.{size}").isel(member=1)
        np.testing.assert_allclose(own.mse, np.square(back - test.x).mean(axis=(1, 2, 3)), rtol=1e-4)
        members, x = (ensembles.take(prepared.ensemble, s) for s in range(4)), jnp.asarray(back)
        says = [np.argmax(prepared.classifier.apply(one, x), axis=-1) for one in members]
        np.testing.assert_array_equal(own.prediction, says[1])
        same = np.asarray(says) == arrays.original.values
        np.testing.assert_array_equal(own.others_agree, same[[0, 2, 3]].sum(axis=0))
        shown = [np.flatnonzero(arrays.example.values == k)[0] for k in arrays.shown.values]
        ssim = reconstruction.ssim(jnp.asarray(test.x[shown]), jnp.asarray(back[shown]))
        np.testing.assert_allclose(own.ssim.values[shown], ssim, atol=1e-4)
    known = layer.training.x.reshape(len(layer.training.x), -1).astype(np.float64)
    centre = known.mean(axis=0)
    axes = np.linalg.svd(known - centre, full_matrices=False)[2][:8]
    centred = test.x.reshape(len(test.x), -1) - centre
    error = np.square(centred - centred @ axes.T @ axes).mean(axis=1)
    np.testing.assert_allclose(arrays.mse.sel(description="image.pca.8")[3], error, rtol=1e-3)
    np.testing.assert_allclose(arrays.from_mean.sel(layer="image")[0], np.square(centred).mean(axis=1), rtol=1e-4)


def test_pictures_belong_to_their_description(done):
    _, arrays, _, _ = done
    shown = [np.flatnonzero(arrays.example.values == k)[0] for k in arrays.shown.values]
    for name in ("image.ae.8", "image.pca.8"):
        back = arrays.picture_back.sel(description=name)
        error = np.square(back - arrays.picture).mean(PIXEL)
        np.testing.assert_allclose(error, arrays.mse.sel(description=name)[0, shown], rtol=1e-3)
    start, moved = arrays.picture_start, arrays.moved.isel(member=0, ascent_step=-1)
    ends = np.sqrt(np.square(arrays.picture_end - start).sum(PIXEL))
    np.testing.assert_allclose(ends.transpose(*moved.dims), moved, rtol=1e-3)
    assert (arrays.moved.sel(manifold="pixels").isel(ascent_step=0) == 0).all()  # in pixels the start is the image


def test_rates_and_draws_are_dearer_than_the_reconstruction(done):
    """A VAE's draw errs more than its mean; coarser latents take fewer bits and err more, fine ones hardly."""
    _, arrays, _, _ = done
    vae, plain = (arrays.sel(description=f"image.{family}.8") for family in ("vae", "ae"))
    assert (vae.draw_mse.mean("example") > 1.02 * vae.mse.mean("example")).all()
    assert np.isnan(plain.draw_mse).all() and np.isnan(vae.rate_bits).all() and np.isnan(plain.nll).all()
    bits, error = (plain[name].mean("example").transpose("member", "step") for name in ("rate_bits", "rate_mse"))
    assert (np.diff(error, axis=1) > 0).all() and (np.diff(bits, axis=1) < 0).all()
    np.testing.assert_allclose(error[:, 0], plain.mse.mean("example"), rtol=0.1)


@AGAIN
def test_a_vaes_bits_are_those_of_its_evidence_bound(done):
    config, arrays, _, _ = done
    own = arrays.sel(description="image.vae.8")
    row = estimates.estimate(arrays, config).one("rate.bits_per_dim", family="vae")
    every = float((own.nll + own.latent_kl).mean()) / (np.log(2) * own.picture.isel(shown=0).size)
    assert row["value"] == pytest.approx(every, rel=1e-5)


@AGAIN
def test_distances_of_distributions_are_those_of_the_features(done, opened):
    """The floor of the second seed by hand: its own last layer, along the axes of training images there."""
    config, _, prepared, layer, test = opened
    rows = distributions.like(test.label, layer.training.label, config.seed)
    assert (np.bincount(layer.training.label[rows]) == np.bincount(test.label)).all()
    variables = ensembles.take(prepared.ensemble, 1)

    def last(x):
        h = prepared.classifier.features(variables, jnp.asarray(x), prepared.classifier.layers[-1])
        return np.asarray(h, np.float64).reshape(len(x), -1)

    trained, seen = last(layer.training.x[rows]), last(test.x)
    axes = np.linalg.svd(trained - trained.mean(axis=0), full_matrices=False)[2]
    axes = axes[: max(2, len(rows) // distributions.IMAGES_A_FEATURE)].T
    trained, seen = ((h - trained.mean(axis=0)) @ axes for h in (trained, seen))
    far = frechet.extrapolated(
        trained, seen, strata_a=layer.training.label[rows], strata_b=test.label, seed=config.seed
    )
    expected = far / trained.var(axis=0, ddof=1).sum()
    np.testing.assert_allclose(done[1].frechet_floor[1], expected, rtol=0.02, atol=1e-3)


@AGAIN
def test_a_perfect_description_of_a_layer_changes_nothing(done, opened):
    """Points to activations and back is the identity, and putting h in the place of h leaves all outputs alone."""
    config, run, prepared, _, test = opened
    layer = descriptions.hidden_layer(config, prepared, "dense2")
    context, variables = (ensembles.take(of, 2) for of in (layer.context, prepared.ensemble))
    h = prepared.classifier.features(variables, jnp.asarray(test.x), "dense2")
    np.testing.assert_allclose(layer.restore(context, layer.observe(context, jnp.asarray(test.x))), h, atol=1e-4)
    same = Description("dense2", "same", 1, lambda variables, points, label: points, {"w": jnp.zeros(4)})
    images = setting.as_dataset(test).assign(original=done[1].original.drop_vars("example"))
    found = stages.reconstructions(config, run, prepared, layer, same, images)
    np.testing.assert_array_equal(found.prediction, done[1].original)
    np.testing.assert_allclose(found.kl, 0, atol=1e-5)
    np.testing.assert_allclose(found.mse, 0, atol=1e-9)
    points = np.asarray(prepared.classifier.features(variables, jnp.asarray(layer.training.x), "dense2"))
    means = baselines.class_means(points, layer.training.label, 10)
    np.testing.assert_allclose(layer.class_means[2], means, rtol=1e-3, atol=1e-4)


@AGAIN
def test_the_error_of_a_draw_is_in_the_unit_of_the_layer(done, opened):
    """A posterior without spread: its draws are its mean, so both errors are one number, whatever the layer's scale."""
    config, run, prepared, _, test = opened
    layer = descriptions.hidden_layer(config, prepared, "dense2")
    autoencoder, _ = descriptions.build(config, layer, "vae", 3)
    variables = autoencoder.init(jax.random.key(0), jnp.zeros((1, *layer.shape)))
    encoder = variables["params"]["encoder"]
    encoder["straight"]["kernel"] = encoder["straight"]["kernel"].at[:, 3:].set(0.0)
    encoder["out"]["kernel"] = encoder["out"]["kernel"].at[:, 3:].set(0.0)
    encoder["out"]["bias"] = encoder["out"]["bias"].at[3:].set(-60.0)  # log variances
    ensemble = ensembles.stack([variables] * config.num_members)
    description = Description("dense2", "vae", 3, descriptions.reconstruction(autoencoder), ensemble, autoencoder)
    images = setting.as_dataset(test).assign(original=done[1].original.drop_vars("example"))
    found = stages.reconstructions(config, run, prepared, layer, description, images)
    np.testing.assert_allclose(found.draw_mse, found.mse, rtol=1e-4)
    assert np.abs(np.log(np.asarray(layer.context["scale"]))).max() > 0.1


@pytest.mark.slow  # half a minute, most of it to compile
def test_members_of_a_sweep_are_those_trained_without_it(done):
    config, arrays, _, folder = done
    changes = {"autoencoder.families": ("vae",), "autoencoder.families_at_dims": ("vae",), "autoencoder.dims": (8,)}
    changes |= {"hidden.layers": (), "autoencoder.sweep.beta": (0.5, 20.0), "num_examples": 60, "model.name": "mlp"}
    swept, summary = whole_runs.done(smoke_config("autoencoders", folder, **changes), folder / "swept")
    assert swept.sizes["member"] == 8 and swept.seed.values.tolist() == [0, 1, 2, 3] * 2
    assert "8 numbers by vae" in summary["headline"] and "(At beta 0.5;" in summary["headline"]
    rows = estimates.estimate(swept, config).select("rate.kl")
    rate = {row["beta"]: row["value"] for row in rows}
    assert rate[20.0] < rate[0.5]
    own, first = (one.validation_mse.sel(description="image.vae.8") for one in (arrays, swept))
    np.testing.assert_allclose(first[:4], own, rtol=1e-6)
