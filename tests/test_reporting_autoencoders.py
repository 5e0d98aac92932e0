"""Figures and tables of `autoencoders` are made from saved arrays alone, whatever is missing."""

import csv
import json
import re

import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr

from landscape.presets.names import CODED, YARDSTICKS
from landscape.reporting import autoencoder_cells, autoencoder_depth, autoencoders, figures, report, style, tables

FAMILIES = ("ae", "denoising", "contractive", "sparse", "sphere", "vae")
PIXEL = ("height", "width", "channel")


def cells_of(hidden, dims, families=FAMILIES):
    """(layer, family, size) as the experiment orders them."""
    found = [("image", family, 8) for family in families]
    found += [("image", family, dim) for family in ("ae", "vae") for dim in dims if dim != 8]
    found += [("image", "vq", 64), ("image", "fsq", 125), *(("image", "pca", dim) for dim in (*dims, 8))]
    for layer in hidden:
        found += [(layer, family, dim) for family in ("ae", "pca") for dim in dims]
        found += [(layer, "class_mean", 0), (layer, "kmeans", 12)]
    return list(dict.fromkeys(found))


def arrays(*, members=3, beta=(), hidden=("conv1", "conv3"), dims=(4, 8), examples=6, epochs=3, channels=1, classes=10):
    """A Dataset as `autoencoders` saves it, with every gap the format allows; the members once for each beta."""
    rng = np.random.default_rng(0)
    cells = cells_of(hidden, dims)
    names = [f"{layer}.{family}" + (f".{size}" if size else "") for layer, family, size in cells]
    images = [name for name in names if name.startswith("image.")]
    family = np.asarray([family for _, family, _ in cells])
    trained = ~np.isin(family, YARDSTICKS)
    total, side = members * max(1, len(beta)), 4
    base = np.asarray([0.2 / (size or 2) ** 0.5 for *_, size in cells])

    def where(keep, values):
        return np.where(np.reshape(keep, (-1, *(1,) * (values.ndim - 1))), values, np.nan).astype(np.float32)

    def of(rows, *shape):
        return base[rows].reshape(-1, *(1,) * len(shape)) * rng.uniform(0.9, 1.1, (np.size(base[rows]), *shape))

    every, image = np.arange(len(cells)), np.arange(len(images))
    real = ~np.isin(family[image], ("vae", "vq", "fsq"))
    coded, prior = np.isin(family[image], ("vq", "fsq")), np.isin(family[image], ("vae", "sphere"))
    layers = ["image", *hidden]
    curve = np.exp(-np.arange(1, epochs + 1)) + 0.1
    loss = of(every, total, epochs) * curve * np.where(family == "vae", 1e3, 1)[:, None, None]
    shown, start, steps = 3, 4, np.array([0.25, 0.5, 1.0, 2.0])
    uses = [name for name in images if ".8" in name and "pca" not in name] + ["image.vq.64", "pixels"]
    mex, row = ("member", "example"), ("image_cell", "member")
    variables = {
        "label": (("example",), rng.integers(0, classes, examples)),
        "mse": (("cell", *mex), of(every, total, examples)),
        "kl": (("cell", *mex), of(every, total, examples) ** 2),
        "from_class_mean": (("layer", *mex), rng.uniform(0.2, 0.3, (len(layers), total, examples))),
        "active_units": (("cell", "member"), np.where(trained, 4, -1)[:, None] * np.ones((1, total), int)),
        "rate_bits": ((*row, "step", "example"), where(real, of(image, total, 4, examples) * 30 / steps[:, None])),
        "rate_mse": ((*row, "step", "example"), where(real, of(image, total, 4, examples) * (1 + steps[:, None]))),
        "latent_kl": ((*row, "example"), where(family[image] == "vae", of(image, total, examples) * 100)),
        "draw_mse": ((*row, "example"), where(family[image] == "vae", of(image, total, examples))),
        "code_bits": ((*row, "example"), where(coded, of(image, total, examples) * 100)),
        "code_bound": (("image_cell",), where(coded, of(image) * 120)),
        "train_loss": (("cell", "member", "epoch"), where(trained, loss)),
        "validation_mse": (("cell", "member", "epoch"), where(trained, of(every, total, epochs) * curve)),
        "frechet_floor": (("member",), rng.normal(-1, 0.1, total)),
        "frechet_reconstruction": (row, where(family[image] != "pca", of(image, total) - 1)),
        "frechet_samples": (row, where(prior, of(image, total) * 50)),
        "target": (("start",), rng.integers(0, classes, start)),
        "picture": (("shown", *PIXEL), rng.random((shown, side, side, channels))),
        "picture_cell": (("image_cell", "shown", *PIXEL), rng.random((len(images), shown, side, side, channels))),
        "picture_samples": (("sample_cell", "draw", *PIXEL), rng.random((2, 5, side, side, channels))),
        "picture_start": (("start", *PIXEL), rng.random((start, side, side, channels))),
        "picture_use": (("use_cell", "start", *PIXEL), rng.random((len(uses), start, side, side, channels))),
    }
    for name in ("guide_confidence", "held_out_confidence", "moved", "error_under_another", "nearest_training"):
        variables[name] = (("use_cell", "member", "start"), rng.random((len(uses), total, start)))
    for name in ("held_out_along", "moved_along"):
        variables[name] = (("use_cell", "member", "ascent_step", "start"), rng.random((len(uses), total, 5, start)))
    won = rng.integers(0, 2, (len(uses), total, start)).astype(float)
    variables["held_out_success"] = (("use_cell", "member", "start"), won)
    coords = {
        "cell": names,
        "cell_layer": ("cell", [layer for layer, *_ in cells]),
        "cell_family": ("cell", family),
        "cell_size": ("cell", [size for *_, size in cells]),
        "image_cell": images,
        "use_cell": uses,
        "sample_cell": ["image.vae.8", "image.sphere.8"],
        "layer": layers,
        "class": [f"a long name {i}" for i in range(classes)],
        "step": steps,
        "epoch": np.arange(1, epochs + 1),
        "seed": ("member", np.tile(np.arange(members), max(1, len(beta)))),
        "beta": ("member", np.repeat(beta or (0.5,), members)),
    }
    if hidden:
        own = [name for name in names if name not in images and ".ae." in name]
        coords |= {"hidden_cell": own, "hidden_layer": list(hidden)}
        nearest = rng.random((len(hidden), shown, side, side, channels))
        variables["picture_neighbour"] = (("hidden_layer", "shown", *PIXEL), nearest)
        back = np.stack([nearest[hidden.index(name.split(".")[0])] for name in own])
        variables["picture_neighbour_cell"] = (("hidden_cell", "shown", *PIXEL), back)
    config = json.dumps({"autoencoder": {"dim": 8, "beta": 0.5}})
    return xr.Dataset(variables, coords, {"experiment": "autoencoders", "dataset": "digits", "config": config})


def summary(*, bounded=True, beta=()):
    """What the experiment says of the same cells."""

    def told(name, value, **about):
        low, high = (0.9 * value, 1.123456789 * value) if bounded else (None, None)
        about |= {"sem": 0.1, "var_member": 0.123456789, "level": 0.95, "members": 3, "examples": 6, "unit": "1"}
        return {"name": name, "population": "clean", "value": value, "low": low, "high": high, **about}

    estimates = [told("frechet.floor", -1.0), told("accuracy.test", 0.91, headline=True)]
    for layer, family, size in cells_of(("conv1",), (4, 8)):
        about = {"layer": layer, "family": family, ("codes" if family in ("vq", "fsq", "kmeans") else "dim"): size}
        for b in beta or (None,):
            own = about | ({} if b is None else {"beta": b})
            estimates.append(told("mse.reconstruction", 0.0123456789, **own, headline=True))
            estimates.append(told("fvu.in_class", 0.312345678, **own))
            estimates.append(told("usage.active_units", 8.0 if "dim" in about else -1.0, **own))
        if layer == "image":
            estimates.append(told("psnr.reconstruction", 19.123456, **about))
        if family == "ae":
            estimates += [told("rate.quantised", 10.0 / step, **about, step=step) for step in (1.0, 0.25)]
        if family == "vq":
            estimates += [told("usage.perplexity", 1234.5678, **about), told("usage.codes", 0.987654, **about)]
    about = {"schema": 1, "experiment": "autoencoders", "dataset": "digits", "config_hash": "3f9a" * 16}
    return about | {"headline": "ae.", "stages": {"train": 1.0}, "claims": [], "estimates": estimates, "checks": []}


def save_run(directory, data, summary):
    data.to_netcdf(directory / "arrays.nc", engine="h5netcdf")
    for name, value in (("summary", summary), ("config", {"seed": 0}), ("environment", {"devices": ["cpu:0"]})):
        (directory / f"{name}.json").write_text(json.dumps(value))
    return directory


def absent_of(data, directory):
    _, absent = figures.draw(figures.FIGURES["autoencoders"], (data,), directory)
    return {figure.plate.name: figure.reason for figure in absent}


def test_a_report_has_all_figures_two_tables_of_images_and_one_of_hidden_layers(tmp_path):
    page = report.write(save_run(tmp_path, arrays(), summary())).read_text(encoding="utf-8")
    plates = figures.FIGURES["autoencoders"]
    assert "Not drawn" not in page and page.count("data:image/") == len(plates) + 1
    for plate in plates:
        assert (tmp_path / "figures" / f"{plate.name}.{plate.kind}").stat().st_size > 3000, plate.name
    tables_of_page = re.findall(r'<table class="headline cells">.*?</table>', page, re.S)
    assert [text.count("<tr") for text in tables_of_page] == [1 + 12, 1 + 12, 1 + 1 + 6]
    assert ">accuracy: test<" in page  # what has no family stays in the generic table, and what has leaves it
    assert ">mse: reconstruction</th>" not in page
    assert not re.search(r"\d\.\d{5}", re.sub(r'data:[^"]*', "", page)), "a number with five decimals"


def test_the_csv_of_the_main_figure_equals_the_arrays(tmp_path):
    data = arrays()
    figures.draw(
        figures.FIGURES["autoencoders"], (data[["mse", "kl", "from_class_mean"]],), tmp_path
    )  # what it needs: no pictures
    with (tmp_path / "depth.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == data.sizes["cell"] * data.sizes["member"]
    for row in rows[:: len(rows) // 7]:
        name = f"{row['layer']}.{row['family']}" + (f".{row['size']}" if row["size"] != "0" else "")
        here = data.isel(member=int(row["member"])).sel(cell=name)
        share = (
            here["mse"].mean() / data["from_class_mean"].sel(layer=row["layer"]).isel(member=int(row["member"])).mean()
        )
        assert float(row["fvu_in_class"]) == pytest.approx(float(share))
        assert float(row["kl"]) == pytest.approx(float(here["kl"].mean()))


@pytest.mark.parametrize(
    "options",
    [
        dict(members=1, examples=1, epochs=1, channels=3, classes=2, hidden=("conv1",), dims=(8,)),
        pytest.param(dict(hidden=(), epochs=2), marks=pytest.mark.slow),
        dict(members=2, hidden=("conv1", "conv2", "conv3", "conv4"), dims=(4, 8, 16, 32, 512), epochs=1),
        pytest.param(dict(members=2, beta=(0.5, 4.0), epochs=2), marks=pytest.mark.slow),
    ],
    ids=["one of everything", "images alone", "many cells", "a sweep"],
)
def test_all_figures_are_drawn(tmp_path, options):
    data = arrays(**options)
    drawn, absent = figures.draw(figures.FIGURES["autoencoders"], (data,), tmp_path)
    assert absent == []
    wanted = [plate for plate in autoencoders.PLATES if plate.name != "neighbours" or options.get("hidden") != ()]
    assert [figure.plate for figure in drawn] == wanted


def test_hidden_layers_may_have_other_families_than_images(tmp_path):
    data = arrays(members=2, epochs=1)
    deeper = (data["cell_layer"].values != "image") & (data["cell_family"].values == "ae")
    assert deeper.any()
    data["cell_family"] = ("cell", np.where(deeper, "vq", data["cell_family"].values))
    assert absent_of(data, tmp_path) == {}


def test_what_is_missing_is_named_or_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(style, "save", lambda figure, path: path)  # other tests write the files
    data = arrays(members=2, epochs=1)
    some = data.drop_vars(["kl", "picture_samples", "picture_neighbour", "rate_bits", "code_bits", "frechet_floor"])
    some = some.drop_vars(["latent_kl", "moved", "guide_confidence", "target"])
    assert absent_of(some, tmp_path) == {"depth": "arrays.nc has no kl"}
    empty = data.copy(deep=True)
    for name in (*data.data_vars,):
        if data[name].dtype.kind == "f":
            empty[name][:] = np.nan
    reasons = absent_of(empty, tmp_path)
    assert set(reasons.values()) == {"its values are missing, or too few to draw"}
    assert set(reasons) == {plate.name for plate in autoencoders.PLATES}


def test_one_cell_without_values_changes_nothing_for_the_others(tmp_path):
    data = arrays(members=2, epochs=2)
    lost = data["cell"].values.tolist().index("image.contractive.8")
    for name in ("mse", "kl", "train_loss", "validation_mse"):
        data[name][lost] = np.nan
    for name in ("rate_bits", "rate_mse", "frechet_reconstruction", "picture_cell"):
        data[name][lost] = np.nan
    assert absent_of(data, tmp_path) == {}


def test_figures_show_the_point_of_a_sweep_that_is_the_configs_own(tmp_path):
    """Members with other values may hold anything: the main figure does not change."""
    data = arrays(members=2, beta=(4.0, 0.5), epochs=1)
    other = data.copy(deep=True)
    for name in ("mse", "kl"):
        other[name][:, :2] = 1e3
    with mpl.rc_context(style.RC):
        first, second = (style.save(autoencoder_depth.depth(d), tmp_path / "x.svg").read_bytes() for d in (data, other))
    assert first == second
    assert autoencoder_cells.one_setting(data)[1] == "beta 0.5"


def test_every_family_has_a_look_of_its_own():
    looks = [autoencoder_cells.LOOKS[name] for name in (*FAMILIES, *CODED)]
    assert len({look.color for look in looks}) == len({look.marker for look in looks}) == len(looks)


def test_tables_hold_what_a_cell_has_and_the_sweep_as_rows():
    images, judged, hidden = tables.cell_tables(summary(beta=(0.5, 1.0)))
    assert [name for name, _ in images["columns"]] == ["MSE", "PSNR", "FVU"]
    assert [name for name, _ in judged["columns"]] == ["rate", "in use"]
    assert [name for name, _ in hidden["columns"]] == ["FVU", "rate", "in use"]  # errors there have the layer's unit
    ((_, rows),) = images["groups"]
    assert [row["name"] for row in rows if row["yardstick"]][:2] == ["PCA 4", "PCA 4"]
    assert {row["swept"] for row in rows} >= {"beta = 0.5", "beta = 1"}
    ((layer, _),) = hidden["groups"]
    assert layer == "conv1"


def test_the_finest_rounding_and_the_use_of_codes_are_told():
    _, judged, _ = tables.cell_tables(summary())
    cells = {row["name"]: row["entries"] for row in judged["groups"][0][1]}
    assert cells["ae 8"][0] == ["40", "[36, 45]", "at 0.25 σ"]
    assert cells["vq 64"][0] == ["–"]
    assert cells["vq 64"][1] == ["1230", "[1110, 1390]", "perplexity, 99 %"]
    assert cells["fsq 125"][1] == ["–"]  # -1 active units are none


@pytest.mark.parametrize(
    ("value", "low", "high", "factor", "shown"),
    [
        (0.0123456, 0.0111, 0.0137, 1e3, ("12.3", "[11.1, 13.7]")),
        (0.972839, 0.97283, 0.97285, 100.0, ("97.3", "")),
        (-1.234, -1.9, -0.6, 1.0, ("−1.2", "[−1.9, −0.6]")),
        (0.5, 0.2, 0.8, 100.0, ("50", "[20, 80]")),
        (2e-7, 1e-7, 3e-7, 1.0, ("2.00e−7", "[1.00e−7, 3.00e−7]")),
        (8.0, 8.0, 8.0, 1.0, ("8", "")),
        (0.123456, None, None, 1.0, ("0.123", "")),
        (0.0, 0.0, 0.01, 1.0, ("0.000", "[0.000, 0.010]")),
    ],
)
def test_short_intervals(value, low, high, factor, shown):
    assert tables.short_interval({"value": value, "low": low, "high": high}, factor) == shown
