"""The experiment `latent`: its estimates and checks from arrays whose means are known, its figures, a whole run."""

import json

import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr
from ml_collections import ConfigDict
from whole_runs import done, moved_of, smoke_config

from landscape import ensembles, runs
from landscape.experiments import descriptions, setting
from landscape.experiments.base import described
from landscape.experiments.latent import DIAGNOSED, EXPERIMENT, estimates
from landscape.experiments.latent.figures import FIGURES
from landscape.experiments.latent.pictures import around
from landscape.reporting import figures, style
from landscape.stats.table import Table, read_csv

MEMBERS, STARTS, CHAINS, CLASSES, RADII = 4, 6, 3, 5, (0.1, 1.0)
SIZES = {"member": MEMBERS, "other": MEMBERS, "start": STARTS, "chain": CHAINS, "class": CLASSES, "next_class": CLASSES}
SIZES |= {"example": 40, "latent": 6, "first": 6, "second": 6, "axis": 2, "draw": 8, "shown": 3, "frame": 2, "t": 3}
SIZES |= {"pair": 5, "end": 10, "height": 6, "width": 5, "channel": 1}

AGAIN = pytest.mark.slow  # what a run found, computed again


def made_up(families=("ae", "vae", "fsq"), kernels=("mala", "hmc", "gibbs"), radii=RADII, guide="member", **changes):
    """A Dataset as `latent` saves it, random; fsq alone has codes, samplers that did not run hold nothing."""
    rng, sizes = np.random.default_rng(0), SIZES | changes
    names = {"family": list(families), "kernel": list(kernels), "radius": list(radii)}
    names |= {"noise": ["gaussian", "shell"], "classifier": ["own", "held_out"], "path": ["linear", "spherical"]}
    names |= {
        "diagnosed": list(DIAGNOSED),
        "guidance": ["guided", "unguided"],
        "t": np.linspace(0, 1, sizes["t"]),
        "example": np.arange(100, 140),
    }
    names |= {"start": 100 + np.arange(sizes["start"]), "end": 100 + np.arange(sizes["end"])}
    names |= {"class": [f"class {k}" for k in range(sizes["class"])]}
    sizes |= {dim: len(values) for dim, values in names.items()}
    ran = np.array([[(kernel == "gibbs") == (family == "fsq") for kernel in kernels] for family in families])
    known, found = xr.DataArray(ran, dims=("family", "kernel")), {}
    for name, quantity in EXPERIMENT.schema.items():
        if "family" in quantity.dims and len(quantity.dims) > 1:
            values = rng.random([sizes[dim] for dim in quantity.dims]).astype(np.float32)
            found[name] = xr.DataArray(values, dims=quantity.dims)
            found[name] = (
                found[name].where(known).transpose(*quantity.dims) if "kernel" in quantity.dims else found[name]
            )
    found["sampled"] = known
    found["mixing"] = (20 * found["mixing"].fillna(0)).astype(int)
    found["path_probability"] = found["path_probability"] / found["path_probability"].sum("class")
    for which in ("local", "global"):
        known = found[f"{which}_rhat"].notnull()
        good = {"rhat": 1.01, "bulk_ess": 200.0, "tail_ess": 150.0}
        found |= {f"{which}_{name}": known.astype(float).where(known) * value for name, value in good.items()}
    found["label"] = ("example", np.arange(sizes["example"]) % sizes["class"])
    found["picture"] = (
        ("end", "height", "width", "channel"),
        rng.random([sizes[d] for d in ("end", "height", "width", "channel")]),
    )
    names["seed"] = ("member", np.arange(sizes["member"]))
    return described(xr.Dataset(found, names, {"guide": guide}), EXPERIMENT.schema)


def config_of(data, smoke=False):
    mcmc = {"radii": tuple(data.radius.values.tolist())}
    return ConfigDict({"smoke": smoke, "families": tuple(data.family.values.tolist()), "mcmc": mcmc})


def table_of(data):
    return estimates.estimate(data, config_of(data))


# ---- estimates ----


def test_local_chains_are_means_over_chains_with_intervals_over_seeds_and_images():
    data = made_up()
    table = table_of(data)
    for radius in RADII:
        for who in ("own", "held_out"):
            row = table.one("confidence.local", family="vae", kernel="hmc", radius=radius, classifier=who)
            values = data.local_probability.sel(family="vae", kernel="hmc", radius=radius, classifier=who)
            assert row["value"] == pytest.approx(float(values.mean()), rel=1e-5)
            assert (row["members"], row["examples"], row["generalises_to"]) == (MEMBERS, STARTS, "both")
            assert row.get("headline", False) == (radius == max(RADII) and who == "own")
    assert not len(table.select(family="fsq", kernel="mala")) and not len(table.select(family="ae", kernel="gibbs"))


def test_the_gain_is_the_paired_difference_of_guided_chains_and_noise():
    data = made_up()
    noise = data.around_probability.sel(noise="gaussian", drop=True).expand_dims(kernel=data.kernel)
    data["local_probability"] = (noise + 0.25 + 0 * data.local_probability).transpose(*data.local_probability.dims)
    table = table_of(data)
    row = table.one("confidence.gain", family="ae", kernel="mala", radius=1.0, classifier="own")
    assert row["value"] == pytest.approx(0.25) and row["high"] - row["low"] < 1e-5
    changed = data.local_probability.where(data.classifier == "own", data.local_probability - 0.35)
    table = table_of(data.assign(local_probability=changed.transpose(*data.local_probability.dims)))
    said = "a classifier that guides nothing: -0.10 [-0.10, -0.10])"  # whatever the guide itself says
    assert said in estimates.headline(table, config_of(data))


def test_a_vote_leaves_intervals_over_images_alone():
    """Members share all guides but one: as rows of their own they would be one experiment counted four times."""
    data = made_up(guide="vote")
    table = table_of(data)
    row = table.one("confidence.local", family="ae", kernel="mala", radius=1.0, classifier="own")
    assert (row["members"], row["generalises_to"]) == (1, "new images")
    values = data.local_probability.sel(family="ae", kernel="mala", radius=1.0, classifier="own")
    assert row["value"] == pytest.approx(float(values.mean()), rel=1e-5)
    row = table.one("agreement.next_class", family="ae", kernel="mala", guidance="guided")
    assert row["low"] is None and row["members"] == 1


def test_groups_that_never_moved_or_differ_in_anything_have_not_converged():
    data = made_up()
    at = {"family": "ae", "kernel": "mala"}
    data.local_rhat.loc[at | {"diagnosed": ["class", "code"]}] = np.nan  # all states of one class: nothing to compare
    data.local_rhat.loc[at | {"radius": 0.1, "start": [100, 101]}] = np.nan
    data.local_rhat.loc[at | {"radius": 1.0, "start": 100, "member": 0, "diagnosed": "class"}] = np.inf
    data.local_tail_ess.loc[at | {"radius": 1.0, "start": 101, "member": 0, "diagnosed": "latent"}] = 99.0
    table = table_of(data)
    assert table.get("rhat.local", radius=0.1, **at) is None
    assert table.one("rhat.local_converged", radius=0.1, **at)["value"] == pytest.approx(1 - 2 / STARTS)
    assert table.one("rhat.local_converged", radius=1.0, **at)["value"] == pytest.approx(1 - 2 / (MEMBERS * STARTS))


def test_what_has_not_converged_has_bounds_from_its_starts_and_no_number():
    data = made_up()
    data.local_probability[:] = 0.5
    data.local_probability.loc[{"chain": 0}] = 0.2
    at = {"family": "vae", "kernel": "mala"}
    data.local_rhat.loc[at | {"radius": 1.0, "start": 100, "member": 1}] = 1.2
    table, about = table_of(data), at | {"classifier": "own"}
    assert table.get("confidence.local", radius=1.0, **about) is None
    assert table.one("confidence.local", radius=0.1, **about)["value"] == pytest.approx(0.4)
    assert table.get("confidence.local_least", radius=0.1, **about) is None
    one = 1 / (MEMBERS * STARTS)  # the group's chains have 0.2 and 0.5, those of the others 0.4 on average
    for end, value in (("least", 0.2), ("most", 0.5)):
        row = table.one(f"confidence.local_{end}", radius=1.0, **about)
        assert row["value"] == pytest.approx(0.4 + (value - 0.4) * one) and row["headline"]
        assert table.one(f"confidence.gain_{end}", radius=1.0, **about)["value"] == pytest.approx(
            row["value"]
            - float(data.around_probability.sel(noise="gaussian", radius=1.0, classifier="own", family="vae").mean())
        )
    said = estimates.headline(table, config_of(data))
    assert "of 0.39 to 0.40 [" in said and "only 96 % of groups of chains have converged" in said
    data.global_rhat.loc[at | {"guidance": "guided", "class": "class 0", "member": 1}] = 1.2
    assert table_of(data).get("confidence.global", classifier="own", **at) is None


def test_global_chains_are_means_over_all_classes():
    """Classes are no sample: intervals are over seeds. Unguided, the class aimed at is nobody's aim."""
    data = made_up()
    steps = np.ones((MEMBERS, CLASSES, CLASSES)) + np.eye(CLASSES) * np.arange(MEMBERS)[:, None, None]
    data["mixing"] = (0 * data.mixing + xr.DataArray(steps, dims=("member", "class", "next_class"))).transpose(
        *data.mixing.dims
    )
    table, at = table_of(data), {"family": "vae", "kernel": "mala"}
    row = table.one("confidence.global", classifier="own", **at)
    assert row["guidance"] == "guided" and row["generalises_to"] == "new seeds" and row["low"] < row["value"]
    values = data.global_probability.sel(guidance="guided", classifier="own", **at)
    assert row["value"] == pytest.approx(float(values.mean()), rel=1e-5)
    stays = [(1 + s) / (CLASSES + s) for s in range(MEMBERS)]  # of every row 1 + s of CLASSES + s steps stay
    assert table.one("agreement.next_class", guidance="unguided", **at)["value"] == pytest.approx(np.mean(stays))


def test_paths_are_of_pairs_of_two_classes():
    """Three points: classes 0, 1, 2 by the own classifier; the held-out one sees class 0 in the middle."""
    data = made_up(families=("ae",))
    for who, seen in (("own", (0, 1, 2)), ("held_out", (0, 0, 2))):
        for t, k in enumerate(seen):
            data.path_probability.loc[{"classifier": who, "t": t / 2}] = 0.05
            data.path_probability.loc[{"classifier": who, "t": t / 2, "class": f"class {k}"}] = 0.8
    table, middle = table_of(data), {"path": "spherical", "t": 0.5}
    for who, value in (("own", 0.05), ("held_out", 0.8)):
        assert table.one("path.first_class", classifier=who, **middle)["value"] == pytest.approx(value)
    data.path_probability.loc[{"t": 1.0, "pair": 0}] = data.path_probability.sel(t=0.0, pair=0)  # within one class
    assert table_of(data).one("path.first_class", classifier="own", **middle)["examples"] == SIZES["pair"] - 1
    data.path_probability.loc[{"t": 1.0}] = data.path_probability.sel(t=0.0)
    assert not len(table_of(data).select("path.first_class"))


def test_values_of_a_sweep_are_strata_and_latents_are_of_the_seeds(tmp_path):
    """Eight classifiers of four seeds: two values of weight decay, whose autoencoders are the same."""
    data = made_up()
    twice = data.isel(member=[0, 1, 2, 3] * 2).assign_coords(train_weight_decay=("member", [0.0] * 4 + [0.5] * 4))
    halved = twice.local_probability * xr.DataArray(np.float32([1.0] * 4 + [0.5] * 4), dims="member")
    twice["local_probability"] = halved.transpose(*data.local_probability.dims)
    table, alone = table_of(twice), table_of(data)
    about = {"family": "vae", "kernel": "mala", "radius": 1.0, "classifier": "own"}
    for value, factor in ((0.0, 1.0), (0.5, 0.5)):
        row = table.one("confidence.local", train_weight_decay=value, **about)
        assert row["members"] == MEMBERS
        assert row["value"] == pytest.approx(factor * alone.one("confidence.local", **about)["value"])
    for name in ("agreement.cka", "accuracy.linear_probe", "usage.effective_dimension"):
        assert table.one(name, family="vae") == alone.one(name, family="vae")
    said = estimates.headline(table, config_of(twice))
    assert said.count(" at weight decay 0 of ") == said.count(" at weight decay 0.5 of ") == 1
    swept, chains = (next(figure for figure in FIGURES if figure.name == name) for name in ("sweep", "chains"))
    assert swept.when(twice, table) and not swept.when(data, alone)
    with mpl.rc_context(style.RC):
        assert len(swept.draw(estimates.derive(twice), table).axes) == 3
        drawn = (chains.draw(estimates.derive(one), own) for one, own in ((twice, table), (data, alone)))
        first, second = (style.save(figure, tmp_path / "x.svg").read_bytes() for figure in drawn)
    assert first == second  # of the first value


def test_seeds_are_compared_in_pairs():
    data = made_up()
    values = np.random.default_rng(1).random((MEMBERS, MEMBERS))
    data.cka.loc[{"family": "ae"}] = values = (values + values.T) / 2
    row = table_of(data).one("agreement.cka", family="ae")
    upper = np.triu_indices(MEMBERS, 1)
    assert row["value"] == pytest.approx(values[upper].mean(), rel=1e-6)
    without = [np.mean([values[i, j] for i, j in zip(*upper, strict=True) if s not in (i, j)]) for s in range(MEMBERS)]
    sem = np.sqrt((MEMBERS - 1) / MEMBERS * np.sum(np.square(np.asarray(without) - np.mean(without))))
    assert row["sem"] == pytest.approx(sem, rel=1e-5) and row["generalises_to"] == "new seeds"


def test_latents_are_compared_with_the_familys_prior_or_with_its_gaussian():
    table = table_of(made_up(families=("ae", "vae", "sphere")))
    assert {row["family"] for row in table.select("distance.mmd_from_prior")} == {"vae", "sphere"}
    assert {row["family"] for row in table.select("distance.mmd_from_gaussian")} == {"ae"}


# ---- checks ----


def test_chains_that_are_broken_fail_their_checks():
    data = made_up(families=("ae",))
    data["local_drift"], data["local_acceptance"] = 0 * data.local_drift + 0.1, 0 * data.local_acceptance + 0.6
    data["local_divergent"], data["global_divergent"] = 0 * data.local_divergent, 0 * data.global_divergent
    at = {"kernel": "mala"}

    def failed(config):
        return {check.name for check in estimates.checks(data, Table(), config) if not check.passed}

    assert failed(config_of(data)) == set()
    data.local_drift.loc[at | {"radius": 0.1}] = 0.25
    data.local_acceptance.loc[at | {"start": 100}] = 0.05
    data.global_divergent.loc[at] = 0.02
    data.global_rhat.loc[at | {"guidance": "unguided", "class": "class 0"}] = np.nan
    data.path_probability.loc[{"pair": 0}] = np.nan
    broken = {f"{name}.ae.mala" for name in ("stays_near", "acceptance", "divergent", "unguided_converge")}
    assert failed(config_of(data)) == broken | {"chains.finite"}
    assert failed(config_of(data, smoke=True)) == {"chains.finite"}  # of a few steps nothing else is expected


# ---- figures ----


def absent(data, table, directory):
    """Names of the figures that could not be drawn."""
    _, missing = figures.draw(FIGURES, (data, table), directory)
    return {figure.spec.name: figure.reason for figure in missing}


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, marks=pytest.mark.slow),
        {"member": 1, "other": 1, "families": ("ae",), "radii": (0.5,), "start": 1, "pair": 1, "end": 2,
         "kernels": ("mala",)},
        pytest.param({"families": ("vq", "sphere", "unheard_of"), "height": 4, "width": 14, "channel": 3,
                      "radii": (1.0, 0.1, 3, 9), "class": 25, "next_class": 25}, marks=pytest.mark.slow),
    ],
    ids=["plain", "one of everything", "wide colour images of many classes"],
)  # fmt: skip
def test_all_figures_are_drawn(tmp_path, changes):
    data = made_up(**changes)
    assert absent(estimates.derive(data), read_csv(table_of(data).csv()), tmp_path) == {}
    assert (tmp_path / "chains.pdf").read_bytes().startswith(b"%PDF") and (tmp_path / "chains.csv").stat().st_size > 500
    assert all(path.stat().st_size > 2000 for path in tmp_path.iterdir() if path.suffix != ".csv")


def test_figures_without_arrays_or_rows_are_named(tmp_path, unsaved):
    data = estimates.derive(made_up()).drop_vars(["picture_path", "norms", "mixing"])
    nothing = "its values are missing, or too few to draw"
    reasons = dict.fromkeys(("chains", "samplers", "measures", "noise", "paths"), nothing)
    missing = {"embeddings": "picture_path", "pictures": "picture_path", "path_pictures": "picture_path"}
    missing |= {"spread": "norms", "mixing": "mixing", "reached": "mixing"}
    reasons |= {name: f"arrays.nc has no {array}" for name, array in missing.items()}
    assert absent(data, Table(), tmp_path) == reasons


def test_reconstructions_belong_to_their_test_images():
    """The image, what it decodes to, then chains and noise at each radius; found by id, whatever the order."""
    data = made_up(families=("ae",)).isel(start=[3, 1])
    for start in data.start.values.tolist():
        images, number = around(data, "ae", start, 2), start - 100
        np.testing.assert_array_equal(images[0], data.picture.values[number])
        np.testing.assert_array_equal(images[1], data.picture_path.values[0, 0, 0, number])
        np.testing.assert_array_equal(images[3], data.picture_local.sel(start=start, radius=0.1).values[0, 1])
        np.testing.assert_array_equal(images[7], data.picture_around.sel(start=start, radius=1.0).values[0])


# ---- a whole run ----


@pytest.fixture(scope="module")
def finished(tmp_path_factory, shared):
    """A finished smoke run: (config, directory, arrays, summary)."""
    folder = tmp_path_factory.mktemp("latent")
    config = smoke_config("latent", folder, **{"model.name": "mlp"}, **shared)
    return config, folder / "run", *done(config, folder / "run")


def test_it_writes_what_is_promised(finished):
    _, directory, arrays, summary = finished
    assert arrays.sampled.values.tolist() == [[True, False], [False, True]]
    assert set(arrays.data_vars) == {
        n for n, q in EXPERIMENT.schema.items() if "family" in q.dims[:1] and q.dims != ("family",)
    } | {"label", "picture"}
    assert all(v.attrs["units"] and v.attrs["long_name"] for v in arrays.variables.values())
    for family, kernel in (("ae", "mala"), ("fsq", "gibbs")):
        one = arrays.sel(family=family, kernel=kernel)
        for name in ("local_probability", "local_acceptance", "global_probability"):
            assert (one[name] >= 0).all() and (one[name] <= 1 + 1e-6).all()
        assert (one.mixing.sum(("class", "next_class")) == 7 * 80).all()  # 8 frames of 10 classes x 8 chains
    # Weakly guided, a chain of reach s is about s away from its embedding in every direction.
    drift = arrays.local_drift.sel(family="ae", kernel="mala").mean(("member", "start", "chain"))
    np.testing.assert_allclose(drift, [0.3, 1.0], rtol=0.35)
    codes = arrays.sel(family="fsq", kernel="gibbs")
    np.testing.assert_allclose(
        codes.global_acceptance.sel(guidance="unguided"), 1, atol=1e-6
    )  # proposals of the target
    assert ((codes.global_changed > 0) & (codes.global_changed <= 1)).all()
    assert not (np.diff(arrays.example) > 0).all()  # a folder's images come class by class: begin at random ones
    table = read_csv((directory / "estimates.csv").read_text())
    assert {row["family"] for row in table.select("rhat.local_converged")} == {"ae", "fsq"}
    assert not len(table.select("usage.active_units"))  # neither vae nor sparse was asked for
    page = (directory / "report.html").read_text()
    assert summary["headline"] in page.replace("&#39;", "'") and json.loads(arrays.attrs["config"])["families"] == [
        "ae",
        "fsq",
    ]


@AGAIN
def test_embeddings_and_paths_are_those_of_the_models(finished, tmp_path):
    """By the models' own functions from the saved members: paths begin and end at their images' reconstructions."""
    config, _, arrays, _ = finished
    pictures = arrays.picture_path.values  # [family, path, t, pair, ...]
    np.testing.assert_allclose(pictures[:, 0][:, [0, -1]], pictures[:, 1][:, [0, -1]], atol=1e-4)
    with runs.open_run(config, tmp_path / "again") as run:
        prepared = setting.prepare(config, run)
        own = descriptions.train(config, run, prepared, descriptions.image_layer(config, prepared), "ae", 8)
    x, ends = jnp.asarray(arrays.picture.values), arrays.picture_path.sel(family="ae", path="linear").values
    decoded = arrays.decoded_probability.sel(family="ae")
    for member in (0, 3):
        back = own.reconstruct(ensembles.take(own.ensemble, member), x, None)
        if member == 0:
            np.testing.assert_allclose(np.concatenate([ends[0], ends[-1]]), back, atol=1e-3)
        seen = np.argmax(prepared.classifier.apply(ensembles.take(prepared.ensemble, member), x), axis=-1)
        for who, number in (("own", member), ("held_out", (member + 1) % 4)):
            probs = jax.nn.softmax(prepared.classifier.apply(ensembles.take(prepared.ensemble, number), back))
            along = arrays.path_probability.sel(family="ae", path="linear", classifier=who).values[member]
            np.testing.assert_allclose(np.concatenate([along[0], along[-1]]), probs, atol=1e-3)
            wanted = probs[jnp.arange(2), seen[:2]]  # the first two images are those that chains start around
            np.testing.assert_allclose(decoded.sel(classifier=who).values[member], wanted, rtol=1e-2, atol=1e-4)


@AGAIN
def test_a_run_on_images_moved_toward_their_runner_up(finished, tmp_path, shared):
    config = smoke_config("latent", tmp_path, **{"model.name": "mlp", "population": "augmented"}, **shared)
    arrays, _ = done(config, tmp_path / "run")
    shown = moved_of(config, arrays.picture.values)
    assert 0.01 < shown.min() <= shown.max() <= 1.001 * config.augmented.epsilon
    assert moved_of(config, finished[2].picture.values).max() < 1e-6
    assert "Not drawn" not in (tmp_path / "run/report.html").read_text()


@pytest.mark.slow
def test_every_family_and_sampler_runs_with_a_vote(tmp_path):
    """Own priors, a codebook, HMC and NUTS, guides that vote: intervals over images alone, too short to pass."""
    changes = {"families": ("vae", "sphere", "vq"), "mcmc.kernels": ("hmc", "nuts", "gibbs"), "mcmc.guide": "vote"}
    config = smoke_config("latent", tmp_path, **changes, **{"mcmc.num_embeddings": 5})
    arrays, summary = done(config, tmp_path / "run")
    for name in ("local_probability", "local_drift", "global_probability"):
        assert (arrays[name].notnull() == arrays.sampled).all(), name
    table = read_csv((tmp_path / "run" / "estimates.csv").read_text())
    assert {row["generalises_to"] for row in table.select("confidence.local_least")} == {"new images"}
    assert all(check["passed"] for check in summary["checks"])
