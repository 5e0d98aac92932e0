"""The experiment `noise` through the same door as `main`, and its parts by another road."""

import importlib.util
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from landscape import ensembles, objectives, presets, runs, samplers, spaces
from landscape.experiments import (
    noise_arms,
    noise_collapse,
    noise_estimates,
    noise_grid,
    noise_measures,
    noise_search,
    noise_setting,
    setting,
)
from landscape.files import UserError
from landscape.main import execute
from landscape.models import classifiers
from landscape.search import search, steepest

ROOT = Path(__file__).parent.parent


def smoke_config(**changes):
    spec = importlib.util.spec_from_file_location("noise_config", ROOT / "configs" / "noise.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = module.get_config("digits,smoke")
    config.update_from_flattened_dict(changes)
    return config


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A finished smoke run: (config, arrays, summary, run again, what its searches are made of)."""
    folder = tmp_path_factory.mktemp("noise")
    config = smoke_config()
    config.artifacts, config.data.cache = str(folder / "artifacts"), str(folder / "data")
    config.noise.searches, config.noise.arms, config.noise.radii = ("pixels",), ("member", "annealed"), (0.3,)
    presets.validate(config)
    with runs.open_run(config, folder / "run") as run:
        execute(run, plan=False)
    summary = json.loads((folder / "run" / "summary.json").read_text())
    arrays = xr.load_dataset(folder / "run" / "arrays.nc", engine="h5netcdf")
    with runs.open_run(config, folder / "again") as run:
        noisy = noise_setting.prepare(run.config, run, setting.prepare(run.config, run))
        yield run.config, arrays, summary, noisy


def test_it_writes_what_is_promised(done):
    _, arrays, summary, _ = done
    assert all(v.attrs["units"] and v.attrs["long_name"] for v in arrays.variables.values())
    kinds = arrays["kind"].values.astype(str).tolist()
    assert kinds == ["none", "fresh", "frozen", "member", "annealed"]
    wanted = "accuracy.kept attack.success attack.reached_margin input_flatness.scale_free linearity.scale_free "
    wanted += "curvature.gradient_norm curvature.hessian_top transfer.success distance.manifold distance.l2 "
    wanted += "agreement.collapse"
    assert set(wanted.split()) <= {e["name"] for e in summary["estimates"]}
    for e in summary["estimates"]:
        assert e["low"] is not None and e["low"] <= e["value"] <= e["high"], e
    assert {c["name"] for c in summary["claims"]} == {"noise_transfers", "noise_is_flatter"}
    assert {"kept", "tune.pixels", "search.pixels", "grid", "trajectory"} <= set(summary["stages"])


def test_lengths_are_equal_and_pictures_are_what_was_judged(done):
    """Success, transfer and distance of the first source again from its pictures, by hand."""
    _, arrays, _, noisy = done
    d = arrays.sel(search="pixels", matching="norm").isel(member=0)
    start = d["picture_start"].transpose("shown", "height", "width", "channel").values
    found = d["picture"].transpose("arm", "shown", "height", "width", "channel").values
    length = np.sqrt(np.square(found - start[None]).sum(axis=(2, 3, 4)))
    np.testing.assert_allclose(length, np.broadcast_to(length[:1], length.shape), rtol=1e-4)
    count = len(start)
    label = noisy.test.label[:count]
    np.testing.assert_allclose(d["distance"].values[:, :count], length, rtol=1e-4)
    says = [
        np.stack(
            [
                np.argmax(noisy.classifier.apply(ensembles.take(noisy.sources, s), jnp.asarray(x)), axis=-1)
                for x in found
            ]
        )
        for s in range(len(noisy.seeds))
    ]
    np.testing.assert_array_equal(d["success"].values[:, :count], says[0] != label)
    np.testing.assert_allclose(
        d["transfer"].values[:, :count], np.mean([s != label for s in says[1:]], axis=0), rtol=1e-6
    )


def test_no_noise_is_the_plain_search_and_reached_margins_are_reached(done):
    """The arm without noise ends where the search against the source itself does: by a fixed sampler, without arms."""
    config, arrays, _, noisy = done
    d = arrays.sel(search="pixels")
    x, label = jnp.asarray(noisy.test.x), jnp.asarray(noisy.test.label)
    own = ensembles.take(noisy.sources, 0)
    plain = search(
        jax.random.key(99),
        x,
        label,
        objective=objectives.descend(noisy.classifier.apply, objectives.gap),
        space=spaces.pixels("linf"),
        sampler=samplers.fixed(own),
        optimizer=steepest("linf", float(d["chosen"].values[0]) * config.pixels.epsilon),
        epsilon=config.pixels.epsilon,
        num_steps=config.noise.num_evaluations,
    ).z
    goal = -objectives.margin(noisy.classifier.apply(own, plain), label)
    np.testing.assert_allclose(d["goal"].values[0, 0], goal, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(d["moved"].values[0, 0], spaces.l2_norm(plain - x), rtol=1e-4)
    reached = d["goal"].values >= config.noise.equal_margin
    assert (d["reached"].values >= reached).all()  # it may have been passed on the way


def opened(noisy, config, s=0):
    """Bases of one source, and the arms by name."""
    own, walked = ensembles.take(noisy.sources, s), ensembles.take(noisy.trajectory, s)
    bases = noise_arms.bases_of(own, walked, noisy.frozen[s], noisy.guides, noisy.bank)
    told, arms = noise_arms.arms_of(config)
    return bases, {t["arm"]: jax.tree.map(lambda leaf, i=i: leaf[i], arms) for i, t in enumerate(told)}


@pytest.fixture(scope="module")
def drawn(done):
    """drawn(bases, arm, step, key=0): the classifier of a step of a search of five; compiled once for all arms."""
    config, _, _, noisy = done

    @jax.jit
    def draw(bases, arm, step, key):
        return samplers.drawn_at(noise_arms.sampler_of(config, noisy.classifier, bases, arm, 5), key, step)

    return lambda bases, arm, step, key=0: draw(bases, arm, jnp.int32(step), jax.random.key(key))


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def test_arms_draw_what_their_names_say(done, drawn):
    _, _, _, noisy = done
    config = smoke_config(**{"noise.arms": presets.NOISE_ARMS})
    bases, arms = opened(noisy, config, 1)
    own = ensembles.take(noisy.sources, 1)
    assert same(drawn(bases, arms["none"], 0), own)  # bit for bit
    assert same(drawn(bases, arms["none"]._replace(last=0.0), 3, key=5), own)
    middle = config.noise.radii[len(config.noise.radii) // 2]
    fresh = [drawn(bases, arms[f"fresh.{middle:g}"], step) for step in (0, 1)]
    assert not same(*fresh)
    frozen = [drawn(bases, arms[f"frozen.{middle:g}"], step, key) for step, key in ((0, 0), (3, 8))]
    assert same(*frozen)
    moved = jax.tree.map(lambda a, b: float(jnp.linalg.norm(a - b) / jnp.linalg.norm(b)), frozen[0], own)
    moved = jax.tree.leaves(moved)
    assert max(moved) <= middle * (1 + 1e-5) and max(moved) > 0.5 * middle
    annealed = arms["annealed"]
    last = drawn(bases, annealed, 4)
    assert same(last, own) and not same(drawn(bases, annealed, 0), own)
    walked = ensembles.take(noisy.trajectory, 1)
    points = [ensembles.take(walked, k) for k in range(config.trajectory.num_models)]
    assert all(any(same(drawn(bases, arms["trajectory"], t), p) for p in points) for t in range(4))


def test_judges_never_guide(done, drawn):
    """What any arm may draw from are the source, the guides and the source's own trajectory: no other source."""
    config, _, _, noisy = done
    for s in range(len(noisy.seeds)):
        bases, arms = opened(noisy, config, s)
        rows = jax.tree.leaves(bases.points)[0].shape[0]
        assert rows == 1 + ensembles.size(noisy.guides) + config.trajectory.num_models
        for j in set(range(len(noisy.seeds))) - {s}:
            judge = ensembles.take(noisy.sources, j)
            assert not any(same(judge, ensembles.take(bases.points, row)) for row in range(rows))
        assert all(int(arm.low + arm.count) <= rows for arm in arms.values())
        member = arms["member"]
        seen = {
            next(r for r in range(rows) if same(ensembles.take(bases.points, r), drawn(bases, member, t)))
            for t in range(16)
        }
        assert seen == set(range(1 + ensembles.size(noisy.guides)))


@pytest.mark.parametrize(("num_draws", "average"), [(1, "loss"), (2, "logits")])
def test_every_search_spends_the_same_gradients(done, monkeypatch, num_draws, average):
    config, _, _, noisy = done
    changed = smoke_config(**{"noise.num_draws": num_draws, "noise.average": average})
    spent = []

    def counted(key, z0, label, *, sampler, num_steps, **rest):
        variables = jax.eval_shape(lambda: samplers.drawn_at(sampler, key, jnp.int32(0)))
        own = jax.tree.leaves(noisy.sources)[0].ndim - 1
        stacked = jax.tree.leaves(variables)[0].ndim - own
        spent.append(num_steps * (jax.tree.leaves(variables)[0].shape[0] if stacked else 1))
        return search(key, z0, label, sampler=sampler, num_steps=num_steps, **rest)

    monkeypatch.setattr(noise_search, "climb", counted)
    told, arms = noise_arms.arms_of(changed)
    program = noise_search.searcher(changed, noisy, noise_setting.search_of(changed, noisy, "pixels"), arms)
    x, label = jnp.asarray(noisy.test.x), jnp.asarray(noisy.test.label)
    found = jax.eval_shape(program, x, label, np.full(len(told), 0.2))
    assert spent == [config.noise.num_evaluations] and found.goal.shape == (len(noisy.seeds), len(told), len(label))


# ---- comparing at one length, and at one margin ----


def test_displacements_are_shortened_to_the_shortest_arms():
    z0 = jnp.zeros((2, 3))
    z = jnp.array([[[3.0, 0, 0], [0, 2.0, 0]], [[0, 1.0, 0], [0, 0, 4.0]], [[0, 0, -2.0], [0, -2.0, 0]]])
    found = noise_search.equal_length(z, z0)
    np.testing.assert_allclose(found[:, 0], [[1, 0, 0], [0, 1, 0], [0, 0, -1]])
    np.testing.assert_allclose(found[:, 1], [[0, 2, 0], [0, 0, 2], [0, -2, 0]])
    still = noise_search.equal_length(jnp.stack([z[0], z0]), z0)
    np.testing.assert_array_equal(still, np.zeros((2, 2, 3)))  # an arm that never moved


def test_the_first_place_of_a_value_is_found():
    """Values 10 t: reached at t = 0.37 of the way; a hump that falls again counts where it is first reached."""
    z0, z = jnp.zeros((3, 2)), jnp.ones((3, 2))
    hump = lambda p: jnp.where(jnp.arange(3) == 1, 10 - 40 * jnp.square(p[:, 0] - 0.5), 10 * p[:, 0])  # noqa: E731
    wanted = jnp.array([3.7, 8.0, 11.0])
    found, reached = noise_search.at_value(lambda p: hump(p) - wanted, z0, z, 0.0)
    exact = 1 / (noise_search.POINTS * 2**noise_search.HALVINGS)
    np.testing.assert_allclose(found[0], 0.37, atol=exact)
    np.testing.assert_allclose(found[1], 0.5 - np.sqrt(2 / 40), atol=exact)
    assert reached.tolist() == [True, True, False] and found[2].tolist() == [1, 1]


def test_statistics_are_those_of_the_images():
    made = classifiers.build("cnn", num_classes=3, norm="batch")
    variables = made.init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
    x = jax.random.uniform(jax.random.key(1), (40, 8, 8, 1))
    found = noise_arms.statistics_of(made)(variables, x)
    np.testing.assert_allclose(made.apply(found, x), made.train_apply(variables, x)[0], rtol=1e-3, atol=1e-4)
    plain = classifiers.build("cnn", num_classes=3).init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
    assert noise_arms.statistics_of(made)(plain, x) is plain


# ---- numbers ----


def made_up(flatness_of, *, sources=4, images=40, seed=0):
    """Arrays of a grid whose scale-free drop is flatness_of(eta, draws), all margins 2, with a little noise."""
    rng = np.random.default_rng(seed)
    eta, draws = (v.ravel() for v in np.meshgrid([0.1, 0.2, 0.4], [1, 2, 4]))
    drop = 2 * flatness_of(eta, draws)[:, None, None] + 1e-3 * rng.normal(size=(9, sources, images))
    return {
        "right": (("search", "member", "example"), np.ones((1, sources, images), bool)),
        "grid_drop": (("grid_cell", "member", "example"), drop),
        "grid_margin": (("grid_cell", "member", "example"), np.full(drop.shape, 2.0)),
        "grid_eta": (("grid_cell",), eta),
        "grid_draws": (("grid_cell",), draws),
        "grid_radius": (("grid_cell",), np.full(9, 0.2)),
    }


@pytest.mark.parametrize(
    ("by", "of"), [("eta/M", lambda a, m: a / m), ("eta", lambda a, m: a), ("M", lambda a, m: 1 / m)]
)
def test_a_collapse_is_found_where_there_is_one(by, of):
    found, curves = noise_collapse.estimates(smoke_config(), made_up(lambda eta, draws: np.log(of(eta, draws)) / 10))
    shares = {e["by"]: e for e in found}
    assert shares[by]["value"] > 0.99 and shares["both"]["value"] > 0.99
    assert shares[by]["low"] > 0.9 and shares[by]["high"] <= 1
    others = {"eta/M", "eta", "M"} - {by}
    assert all(shares[other]["value"] < 0.6 for other in others)
    assert shares["eta/M - eta"]["value"] == pytest.approx(shares["eta/M"]["value"] - shares["eta"]["value"])
    assert curves["collapse"][1].shape == (1, len(noise_collapse.BY))
    assert "eta / M explains" in noise_collapse.sentence(found)


def test_a_grid_without_differences_says_nothing():
    arrays = made_up(lambda eta, draws: np.zeros(9))
    arrays["grid_drop"] = (arrays["grid_drop"][0], np.full((9, 4, 40), 0.5))
    found, curves = noise_collapse.estimates(smoke_config(), arrays)
    assert found == [] and np.isnan(curves["collapse"][1]).all() and noise_collapse.sentence(found) == ""


def test_the_grid_costs_the_same_and_has_its_control():
    config = smoke_config()
    cells = noise_grid.cells_of(config, 64)
    assert len(cells.eta) == 8 and 0.0 in cells.radius
    np.testing.assert_allclose(cells.eta.max(), 0.4 * config.pixels.epsilon * 8, rtol=1e-6)
    assert all(config.grid.num_evaluations % m == 0 for m in cells.draws)


def test_differences_are_paired_and_need_both():
    """Two arms that differ by 0.25 on every image, with images that differ far more: the interval is a point."""
    rng = np.random.default_rng(0)
    base = rng.normal(size=(4, 30))
    transfer = np.stack([base, base + 0.25])[None].repeat(2, axis=0)
    reached = np.ones((2, 4, 30), bool)
    reached[1, :, :20], reached[0, :, 27:] = False, False
    values = noise_estimates.Values({"transfer": transfer}, {}, reached, np.zeros((2, 4, 30)))
    found, count = noise_estimates.told(values, "transfer", 0, 1, 0)
    assert found.value == pytest.approx(0.25) and found.high - found.low < 1e-9 and count == 30
    assert noise_estimates.told(values, "transfer", 1, 1, 0)[1] == 7  # of equal margin, what both reached
    reached[1] = False
    assert noise_estimates.told(values, "transfer", 1, 1, 0) is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_members": 4}, "num_members=4: expected more than noise.num_sources=4"),
        ({"noise.radii": (0.0, 0.1)}, "noise.radii=.*numbers above 0"),
        ({"noise.radii": (0.3, 0.1)}, "noise.radii=.*growing"),
        ({"noise.num_draws": 3}, "noise.num_draws=3: expected a divisor of noise.num_evaluations=4"),
        ({"grid.num_draws": (1, 3)}, "grid.num_draws=.*divisors of grid.num_evaluations=4"),
        ({"grid.radii": (0.2,)}, "grid.radii=.*0 among them"),
        ({"noise.num_examples": 13}, "noise.num_examples=13: expected a multiple of noise.num_validation=12"),
        ({"noise.arms": ("swagg",)}, "noise.arms='swagg'.*did you mean swag"),
        ({"noise.kind": "layer"}, "noise.kind='layer': expected one of multiplicative"),
        ({"noise.average": "sum"}, "noise.average='sum': expected one of logits"),
        ({"pixels.epsilon": 8.0}, "pixels.epsilon=8.0: expected at most 1 in linf"),
        ({"noise.equal_margin": 0.0}, "noise.equal_margin=0.0: expected a number above 0"),
        ({"trajectory.num_models": 1}, "trajectory.num_models=1: expected at least 2"),
        ({"claims.noise_transfers.r": 0.2}, "claims.noise_transfers.r=0.2: expected one of noise.radii"),
        ({"claims.noise_transfers.measure": "curvature.trace"}, "expected one of transfer.success"),
        ({"manifold.family": "gan"}, "manifold.family='gan'"),
    ],
)
def test_what_is_refused(changes, message):
    with pytest.raises(UserError, match=message):
        presets.validate(smoke_config(**changes))


def test_a_dead_trajectory_and_ways_cut_short_are_told():
    """The second source's SWAG arm no longer classifies; a fifth of the images do not move at equal norm."""
    arms = [{"kind": kind} for kind in ("none", "fresh", "trajectory", "swag")]
    kept = np.ones((4, 2, 10))
    (check,) = noise_estimates.walks(arms, kept)
    assert check["passed"]
    kept[3, 1, 2:] = 0.0
    (check,) = noise_estimates.walks(arms, kept)
    assert not check["passed"] and "at least 20 %" in check["detail"]
    assert noise_estimates.walks(arms[:2], kept[:2]) == []
    moved = np.full((2, 10), 2.0)
    distance = 0.9 * moved
    assert noise_estimates.lengths("pixels", distance, moved)["passed"]
    distance[:, :2] = 0.0
    found = noise_estimates.lengths("pixels", distance, moved)
    assert not found["passed"] and "keep 90 % of the way" in found["detail"] and "20 % of them" in found["detail"]


def test_names_are_those_of_the_rooms():
    assert presets.names.AVERAGES == objectives.AVERAGES
    assert presets.names.MATCHINGS == noise_search.MATCHINGS
    assert set(presets.NOISE_ARMS) == {*noise_arms.SPECIAL, "annealed"}
    assert set(presets.names.NOISE_CLAIMED) == set(noise_estimates.CLAIMED)
    assert set(presets.names.NOISE_SEARCHES) == set(noise_estimates.POPULATIONS)
    assert set(noise_measures.MEASURES) >= {array for _, _, array, _ in noise_estimates.QUANTITIES.values()}
