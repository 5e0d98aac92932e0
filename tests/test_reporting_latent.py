"""Figures of `latent` are drawn from its arrays alone, whatever is missing, and say what the arrays hold."""

import csv

import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr

from landscape.reporting import (
    figures,
    latent_chains,
    latent_global,
    latent_paths,
    latent_statistics,
    sheet,
    style,
)

FAMILIES = ("ae", "vae", "fsq")
KERNELS = {"fsq": ("gibbs",), "vq": ("gibbs",)}


def latent_arrays(
    *,
    families=FAMILIES,
    members=3,
    examples=40,
    radii=(0.1, 0.3, 1.0),
    starts=3,
    couples=4,
    classes=10,
    side=(6, 6),
    channels=1,
    dim=4,
    kernels=("mala", "hmc"),
    seed=0,
):
    """A Dataset as `latent` saves it, with made-up numbers of the right kind and every gap the format allows."""
    rng = np.random.default_rng(seed)
    pixel, image = (*side, channels), ("height", "width", "channel")
    label = rng.integers(0, classes, examples)
    label[: 2 * couples] = np.arange(2 * couples) % classes
    variables = {
        "label": (("example",), label),
        "picture": (("end", *image), rng.random((2 * couples, *pixel))),
    }
    chain = (members, len(radii), starts, 2)
    names = []
    for family in families:
        size = 3 * dim if family in ("vq", "fsq") else dim
        along = f"latent_{family}"
        z = rng.normal(size=(members, examples, size))
        skewness = rng.normal(0, 0.2, (members, size))
        if family in ("vq", "fsq"):
            skewness[:, 0] = np.nan  # a constant dimension
        one = {
            "skewness": (("member", along), skewness),
            "excess_kurtosis": (("member", along), 5 * skewness),
            "norms": (("member", "example"), np.sqrt((z**2).mean(axis=-1))),
            "spectrum": (("member", along), np.sort(rng.random((members, size)))[:, ::-1]),
            "correlation": (("member", along, f"other_{along}"), np.stack([np.corrcoef(m.T) for m in z])),
            "active_units": (("member",), np.full(members, float(size))),
            "effective_dimension": (("member",), rng.uniform(2, 3, members)),
            "intrinsic_dimension": (("member",), np.full(members, np.nan if family == "fsq" else 2.5)),
            "mmd": (("member",), rng.normal(0, 1e-3, members)),
            "mmd_low": (("member",), np.full(members, -4e-3)),
            "mmd_high": (("member",), np.full(members, 4e-3)),
            "gaussian_accuracy": (("member",), rng.uniform(0.5, 0.7, members)),
            "probe": (("member", "example"), rng.random((members, examples)) < 0.9),
            "knn": (("member", "example"), rng.random((members, examples)) < 0.9),
            "cka": (("pair",), rng.uniform(0.5, 1, members * (members - 1) // 2)),
            "linear_r2": (("pair",), rng.uniform(0.5, 1, members * (members - 1) // 2)),
            "projection": (("example", "axis"), z[0, :, :2]),
            "prior_confidence": (("member", "draw"), rng.random((members, 8))),
            "picture_around": (("around", "radius", "start", *image), rng.random((2, *chain[1:3], *pixel))),
            "picture_prior": (("shown_draw", *image), rng.random((8, *pixel))),
            "path_probability": (
                ("member", "judge", "path", "t", "couple", "class"),
                rng.dirichlet(np.full(classes, 0.2), (members, members, 2, 5, couples)),
            ),
            "picture_path": (("path", "t", "couple", *image), rng.random((2, 5, couples, *pixel))),
        }
        for name in ("probability", "held_out", "kept", "moved"):
            one[f"around_{name}"] = (
                ("member", "around", "radius", "start"),
                rng.random((members, 2, *chain[1:3])),
            )
        variables |= {f"{name}.{family}": value for name, value in one.items()}
        for kernel in KERNELS.get(family, kernels):
            names.append(f"{family}.{kernel}")
            goals = (members, 2, classes)
            rhat = rng.uniform(0.99, 1.5, chain[:3])
            ess = rng.uniform(5, 100, chain[:3])
            if kernel == "gibbs":
                rhat[:, 0], ess[:, 0] = np.nan, np.nan  # chains of codes that did not move
            two = {
                "local_rhat": (("member", "radius", "start"), rhat),
                "local_ess": (("member", "radius", "start"), ess),
                "picture_local": (("shown_frame", "radius", "start", *image), rng.random((6, *chain[1:3], *pixel))),
                "global_rhat": (("member", "guided", "class"), rng.uniform(1, 3, goals)),
                "global_ess": (("member", "guided", "class"), rng.uniform(5, 50, goals)),
                "mixing": (("member", "guided", "class", "next_class"), rng.integers(0, 9, (*goals, classes))),
                "picture_global": (("guided", "class", *image), rng.random((2, classes, *pixel))),
            }
            two["mixing"][1][:, 1, 0] = 0  # a class that no unguided chain was ever in
            for name in ("probability", "held_out", "drift", "moved", "acceptance"):
                two[f"local_{name}"] = (("member", "radius", "start", "chain"), rng.random(chain))
            if kernel == "gibbs":
                two["local_drift"][1][:, 0] = 1e-9
            for name in ("probability", "held_out", "acceptance"):
                two[f"global_{name}"] = (("member", "guided", "class", "chain"), rng.random((*goals, 2)))
            variables |= {f"{name}.{family}.{kernel}": value for name, value in two.items()}
    ids = 100 + np.arange(examples)
    coords = {
        "example": ids,
        "start": ids[:starts],
        "end": ids[: 2 * couples],
        "class": [str(i) for i in range(classes)],
        "radius": np.asarray(radii),
        "around": ["gaussian", "shell"],
        "path": ["linear", "spherical"],
        "family": list(families),
        "guided": ["guided", "unguided"],
        "seed": ("member", np.arange(members)),
        "sampler": names,
    }
    variables = {k: (d, v.astype(np.float32) if v.dtype == np.float64 else v) for k, (d, v) in variables.items()}
    config = '{"mcmc": {"num_chains": 2, "num_frames": 50}}'
    return xr.Dataset(variables, coords, {"experiment": "latent", "dataset": "digits", "config": config})


def absent_of(data, directory):
    """Names of the figures that could not be drawn; the others are not empty."""
    drawn, absent = figures.draw(figures.FIGURES["latent"], (data,), directory)
    assert all(path.stat().st_size > 2000 for figure in drawn for path in figure.paths)
    return {figure.plate.name: figure.reason for figure in absent}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """(arrays, folder, drawn, absent) of a run with everything; tests only read it."""
    data, directory = latent_arrays(), tmp_path_factory.mktemp("figures")
    return data, directory, *figures.draw(figures.FIGURES["latent"], (data,), directory)


def test_all_figures_are_drawn(whole):
    _, directory, drawn, absent = whole
    assert absent == []
    assert [figure.plate.name for figure in drawn] == [plate.name for plate in figures.FIGURES["latent"]]
    assert all(path.stat().st_size > 2000 for figure in drawn for path in figure.paths)
    assert len(drawn[0].paths) == 2 and (directory / "chains.pdf").read_bytes().startswith(b"%PDF")
    assert sum(path.suffix == ".csv" for path in directory.iterdir()) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"members": 1, "families": ("ae",), "radii": (0.5,), "starts": 1, "couples": 1, "kernels": ("mala",)},
        pytest.param(
            {"members": 1, "families": ("fsq",), "classes": 2, "couples": 1, "starts": 1}, marks=pytest.mark.slow
        ),
        pytest.param(
            {
                "families": ("vq", "sphere", "unheard_of"),
                "side": (4, 14),
                "channels": 3,
                "radii": (1.0, 0.1, 0.3, 3, 9),
            },
            marks=pytest.mark.slow,
        ),
        {"classes": 25, "couples": 2, "side": (14, 4), "members": 2, "families": ("ae", "vq")},
    ],
    ids=["one of everything", "codes alone", "wide colour images", "tall images of many classes"],
)
def test_other_shapes_are_drawn(tmp_path, changes):
    absent = absent_of(latent_arrays(**changes), tmp_path)
    # Of one family there are no others; two embeddings of one class have no path between classes.
    assert set(absent) <= ({"chain_pictures"} if len(changes.get("families", FAMILIES)) == 1 else set())


def test_what_is_missing_is_left_out_family_by_family(tmp_path):
    data = latent_arrays()
    gone = [
        n for n in data.data_vars if n.split(".")[0] in ("picture_path", "knn", "cka", "picture") and "vae" not in n
    ]
    data = data.drop_vars([*gone, "spectrum.ae", "around_kept.ae", "local_ess.vae.hmc", "mixing.ae.mala"])
    for name in ("local_rhat.vae.mala", "norms.ae", "global_rhat.fsq.gibbs", "path_probability.ae", "picture_prior.ae"):
        data[name] = data[name].where(False)
    assert absent_of(data, tmp_path) == {}


def test_figures_without_arrays_are_named(tmp_path):
    data = latent_arrays()
    gone = [n for n in data.data_vars if n.split(".")[0] not in ("around_probability", "label")]
    absent = absent_of(data.drop_vars([*gone, "path"]), tmp_path)
    assert "noise" not in absent
    assert absent["chains"] == "its values are missing, or too few to draw"
    assert absent["paths"] == "arrays.nc has no path"
    assert set(absent) >= {"guided", "samplers", "reached", "mixing", "measures", "spread", "projection"}


def test_the_csv_of_the_main_figure_equals_the_arrays(whole):
    data, directory, *_ = whole
    with (directory / "chains.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == data.sizes["sampler"] * data.sizes["radius"] * data.sizes["member"]
    for row in rows:
        here = {"member": int(row["member"]), "radius": data["radius"].values.tolist().index(float(row["s"]))}
        name = f"{row['family']}.{row['sampler']}"
        for column, array in (("probability", "local_probability"), ("drift", "local_drift")):
            wanted = data[f"{array}.{name}"].isel(here).values.astype(np.float64).mean()
            assert float(row[column]) == pytest.approx(wanted, rel=1e-6)
        noise = data[f"around_held_out.{row['family']}"].sel(around="gaussian").isel(here).values.mean()
        assert float(row["noise_held_out"]) == pytest.approx(noise, rel=1e-6)
        worst = data[f"local_rhat.{name}"].isel(here).values
        # Chains that never moved are the worst there are.
        assert float(row["rhat_worst"]) == pytest.approx(np.inf if np.isnan(worst).any() else worst.max())


@pytest.mark.parametrize(
    ("families", "main"),
    [(("ae", "vae"), "vae"), (("vq", "sphere"), "sphere"), (("sphere", "ae"), "ae"), (("fsq",), "fsq")],
)
def test_the_main_figure_shows_the_vae_else_the_first_family_with_real_latents(families, main):
    assert latent_chains.main_family(latent_arrays(families=families, starts=1)) == main


def test_rows_of_the_mixing_matrix_sum_to_one_or_were_never_visited():
    shares = latent_global._shares(latent_arrays(), "mixing.ae.mala", "unguided")
    assert np.isnan(shares[0]).all()
    np.testing.assert_allclose(shares[1:].sum(axis=1), 1)


def test_paths_count_only_couples_of_two_classes_and_sum_to_one():
    data = latent_arrays(families=("ae",))
    found = latent_paths.shares(data, "ae")
    np.testing.assert_allclose(sum(found.values()), 1, atol=1e-6)
    values = data["path_probability.ae"]
    values[..., :] = np.eye(10)[3]  # all couples within one class
    assert latent_paths.shares(data, "ae") is None
    own = np.arange(data.sizes["member"])
    values.values[own, own, :, :, 0] = np.linspace(np.eye(10)[0], np.eye(10)[1], 5)[:, None].swapaxes(0, 1)
    found = latent_paths.shares(data, "ae")
    np.testing.assert_allclose(found["start"], np.tile([1, 0.75, 0.5, 0.25, 0], (2, 1)), atol=1e-6)
    np.testing.assert_allclose(found["other"], 0, atol=1e-6)
    judged = latent_paths.shares(data, "ae", held_out=True)  # all others say class 3 all along
    np.testing.assert_allclose(judged["other"], 1, atol=1e-6)


def test_reconstructions_belong_to_their_test_images():
    """Columns: the image, what it decodes to, then chains; found by id, whatever the order along paths."""
    data = latent_arrays(families=("ae",))
    told, heads, _, groups = latent_chains.strips(data, "ae", [0, 2], (2, 5), True)
    assert heads == ["test", "decoded", *["guided", "guided", "noise"] * 2]
    assert [text for *_, text in groups] == ["s = 0.1", "s = 1"]
    for row, strip in enumerate(told):
        np.testing.assert_array_equal(strip.images[0], data["picture"].values[row])
        np.testing.assert_array_equal(strip.images[1], data["picture_path.ae"].values[0, 0, row])
        np.testing.assert_array_equal(strip.images[3], data["picture_local.ae.mala"].values[5, 0, row])
        np.testing.assert_array_equal(strip.images[7], data["picture_around.ae"].values[0, 2, row])


def test_pictures_are_where_the_sheet_says():
    images = [np.full((2, 2, 1), value) for value in (0.0, 0.5, 1.0)]
    with mpl.rc_context(style.RC):
        figure = sheet.sheet([sheet.Strip("row", "#222222", [images[0], None, images[1]])], width=2.0)
    canvas = figure.axes[0].get_images()[0].get_array()
    assert canvas[0, 0, 0] == 0 and canvas[-1, -1, 0] == 0.5 and canvas[0, canvas.shape[1] // 2, 0] == 1
    assert sheet.sheet([sheet.Strip("row", "#222222", [None])]) is None


def test_the_same_arrays_give_the_same_bytes_and_any_order_of_radii_the_same_curves(tmp_path):
    data = latent_arrays()
    turned = data.isel(radius=[2, 0, 1])
    plates = [p for p in figures.FIGURES["latent"] if p.name in ("chains", "noise")]
    with mpl.rc_context(style.RC):
        for plate in plates:
            first, again, other = (
                style.save(plate.draw(d), tmp_path / "x.svg").read_bytes() for d in (data, data, turned)
            )
            assert first == again, plate.name
            assert first == other, plate.name


def test_comparisons_with_the_own_prior_are_filled_and_with_a_fitted_gaussian_hollow():
    with mpl.rc_context(style.RC):
        figure = latent_statistics.measures(latent_arrays())
    axes = next(one for one in figure.axes if one.get_title(loc="left").startswith("b"))
    faces = [line.get_markerfacecolor() for line in axes.lines if line.get_marker() == "o"]
    assert [face == "white" for face in faces] == [True, False, True]  # ae, vae, fsq
