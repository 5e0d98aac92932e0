"""The experiment `noise` through the same door as `main`, and its parts by another road."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import whole_runs
from whole_runs import smoke_config

from landscape import ensembles, objectives, presets, runs, samplers, spaces
from landscape.experiments import (
    noise_arms,
    noise_checks,
    noise_estimates,
    noise_grid,
    noise_measures,
    noise_search,
    noise_setting,
    noise_values,
    noise_words,
    setting,
)
from landscape.files import UserError
from landscape.models import classifiers
from landscape.search import search, steepest

WHOLE = pytest.mark.slow  # a whole run takes a minute or more, most of it to compile


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A finished smoke run: (config, arrays, summary, run again, what its searches are made of)."""
    folder = tmp_path_factory.mktemp("noise")
    few = {"noise.searches": ("pixels",), "noise.arms": ("member", "annealed"), "noise.radii": (0.3,)}
    few["model.name"] = "mlp"  # no stage knows what a classifier is made of, and convolutions take longer to compile
    config = smoke_config("noise", folder, **few)
    arrays, summary = whole_runs.done(config, folder / "run")
    with runs.open_run(config, folder / "again") as run:
        noisy = noise_setting.prepare(run.config, run, setting.prepare(run.config, run))
        yield run.config, arrays, summary, noisy


@WHOLE
def test_it_writes_what_is_promised(done):
    _, arrays, summary, _ = done
    assert all(v.attrs["units"] and v.attrs["long_name"] for v in arrays.variables.values())
    kinds = arrays["kind"].values.astype(str).tolist()
    assert kinds == ["none", "fresh", "frozen", "member", "annealed"]
    wanted = "accuracy.kept attack.success attack.reached_norm attack.reached_margin attack.at_boundary "
    wanted += "input_flatness.scale_free input_flatness.scale_free_per_doubling linearity.scale_free "
    wanted += "curvature.gradient_norm curvature.hessian_top transfer.success distance.manifold distance.l2 "
    wanted += "agreement.collapse agreement.collapse_adjusted"
    assert set(wanted.split()) <= {e["name"] for e in summary["estimates"]}
    for e in summary["estimates"]:
        assert e["low"] is not None and e["low"] <= e["value"] <= e["high"], e
    claims = {"noise_transfers", "noise_is_flatter", "noise_is_flatter_at_equal_margin"}
    assert {c["name"] for c in summary["claims"]} == claims
    assert {"kept", "tune.pixels", "search.pixels", "audit", "grid", "trajectory"} <= set(summary["stages"])
    assert sum(check["name"].startswith("audit.") for check in summary["checks"]) > 10
    assert arrays["audit_attack"].values.astype(str).tolist()[-1] == "audited"


@WHOLE
def test_lengths_are_equal_and_pictures_are_what_was_judged(done):
    """Success, transfer and both distances of the first source again from its pictures, by hand."""
    _, arrays, _, noisy = done
    d = arrays.sel(search="pixels", matching="norm").isel(member=0, source=0)
    start = d["picture_start"].transpose("shown", "height", "width", "channel").values
    found = d["picture"].transpose("arm", "shown", "height", "width", "channel").values
    length = np.sqrt(np.square(found - start[None]).sum(axis=(2, 3, 4)))
    count = len(start)
    wanted = np.where(d["reached"].values[:, :count], float(d["length"]), d["way"].values[:, :count])
    np.testing.assert_allclose(length, wanted, rtol=1e-4)
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
    np.testing.assert_array_equal(d["transfer"].values[..., :count], np.stack([s != label for s in says], axis=1))
    second = ensembles.take(noisy.cell.ensemble, 1)  # of another seed than the source's own
    reconstruct = jax.jit(noisy.cell.reconstruct)
    again = np.stack([reconstruct(second, jnp.asarray(x), jnp.asarray(label)) for x in found])
    away = np.sqrt(np.square(again - found).sum(axis=(2, 3, 4)))
    np.testing.assert_allclose(d["manifold"].values[:, :count], away, rtol=1e-3)


@WHOLE
def test_the_length_is_a_share_of_the_way_on_validation_images(done):
    """And the noise of flatness a share of that length: by the plain search of every source, by hand."""
    config, arrays, _, noisy = done
    d = arrays.sel(search="pixels")
    x, label = jnp.asarray(noisy.validation.x), jnp.asarray(noisy.validation.label)
    way = np.stack([spaces.l2_norm(plain_search(config, noisy, s, d, x, label) - x) for s in range(len(noisy.seeds))])
    length = d["length"].values  # of every source the same, since all balls are of one radius
    np.testing.assert_allclose(length, config.noise.equal_norm * way.mean(), rtol=1e-4)
    reached = d["tuned_reached"].sel(matching="norm").isel(arm=0).values
    np.testing.assert_allclose(reached, (way >= length[:, None]).mean(axis=1), atol=1e-6)
    np.testing.assert_allclose(float(d["length_pixels"]), length[0], rtol=1e-4)  # the space is that of pixels
    sigma = config.measure.level * length[0] / 8  # of 64 pixels
    np.testing.assert_allclose(float(d["sigma"]), sigma, rtol=1e-4)


def plain_search(config, noisy, s, d, x, label):
    """Where the search against source s itself ends: by a fixed sampler, without arms."""
    return search(
        jax.random.key(99),
        x,
        label,
        objective=objectives.descend(noisy.classifier.apply, objectives.gap),
        space=spaces.pixels("linf"),
        sampler=samplers.fixed(ensembles.take(noisy.sources, s)),
        optimizer=steepest("linf", float(d["chosen"].values[0]) * config.pixels.epsilon),
        epsilon=config.pixels.epsilon,
        num_steps=config.noise.num_evaluations,
    ).z


@WHOLE
def test_no_noise_is_the_plain_search_and_reached_margins_are_reached(done):
    """The arm without noise ends where the search against the source itself does."""
    config, arrays, _, noisy = done
    d = arrays.sel(search="pixels")
    x, label = jnp.asarray(noisy.test.x), jnp.asarray(noisy.test.label)
    own = ensembles.take(noisy.sources, 0)
    plain = plain_search(config, noisy, 0, d, x, label)
    goal = -objectives.margin(noisy.classifier.apply(own, plain), label)
    np.testing.assert_allclose(d["goal"].values[0, 0], goal, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(d["way"].values[0, 0], spaces.l2_norm(plain - x), rtol=1e-4)
    reached = d["goal"].values >= config.noise.equal_margin
    assert (d["reached"].sel(matching="margin").values >= reached).all()  # it may have been passed on the way
    np.testing.assert_array_equal(
        d["reached"].sel(matching="norm").values, d["way"].values >= d["length"].values[:, None]
    )


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


@WHOLE
def test_arms_draw_what_their_names_say(done, drawn, tmp_path):
    _, _, _, noisy = done
    config = smoke_config("noise", tmp_path, **{"noise.arms": presets.NOISE_ARMS})
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


@WHOLE
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


@WHOLE
@pytest.mark.parametrize(("num_draws", "average"), [(1, "loss"), (2, "logits")])
def test_every_search_spends_the_same_gradients(done, tmp_path, monkeypatch, num_draws, average):
    config, _, _, noisy = done
    changed = smoke_config("noise", tmp_path, **{"noise.num_draws": num_draws, "noise.average": average})
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
    found = jax.eval_shape(program, x, label, np.full(len(told), 0.2), np.full(len(noisy.seeds), 0.1))
    assert spent == [config.noise.num_evaluations] and found.goal.shape == (len(noisy.seeds), len(told), len(label))


# ---- comparing at one length, and at one margin ----


def test_displacements_are_shortened_to_one_length_and_never_made_longer():
    z0 = jnp.ones((4, 3))
    z = z0 + jnp.array([[3.0, 0, 0], [0, -0.5, 0], [0, 0, 0], [0.6, 0, 0.8]])
    found, reached = noise_search.at_length(z0, z, 1.0)
    np.testing.assert_allclose(found - z0, [[1, 0, 0], [0, -0.5, 0], [0, 0, 0], [0.6, 0, 0.8]], atol=1e-6)
    assert reached.tolist()[:3] == [True, False, False]
    whole, reached = noise_search.at_length(z0, z, 0.0)
    np.testing.assert_array_equal(whole, z0)
    assert reached.all()


def test_a_latent_that_is_larger_is_walked_as_much_farther():
    """One source's latent is stretched threefold, its ball with it: nothing else may change, of no source."""
    way, radius = np.array([[1.0, 3.0], [2.0, 4.0]]), np.array([2.0, 4.0])
    plain = noise_search.lengths_of(way, radius, 0.5)
    np.testing.assert_allclose(plain, 0.5 * np.mean([0.5, 1.5, 0.5, 1.0]) * radius)
    stretch = np.array([3.0, 1.0])
    np.testing.assert_allclose(noise_search.lengths_of(way * stretch[:, None], radius * stretch, 0.5), plain * stretch)


@WHOLE
def test_every_source_has_its_own_length(done):
    config, _, _, noisy = done
    told, arms = noise_arms.arms_of(config)
    program = noise_search.searcher(config, noisy, noise_setting.search_of(config, noisy, "pixels"), arms)
    x, label = jnp.asarray(noisy.test.x[:12]), jnp.asarray(noisy.test.label[:12])
    length = np.array([0.1, 0.2, 0.3, 0.05], np.float32)
    found = program(x, label, np.full(len(told), 0.4), length)
    norm = noise_search.MATCHINGS.index("norm")
    for s in range(4):
        away = np.asarray(spaces.l2_norm((found.images[s, 0, norm] - found.start[s]).reshape(12, -1)))
        np.testing.assert_allclose(away, np.minimum(length[s], found.way[s, 0]), rtol=1e-4)
    np.testing.assert_array_equal(found.reached[:, :, norm], found.way >= length[:, None, None])


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
    made = classifiers.build("mlp", num_classes=3, norm="batch")
    variables = made.init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
    x = jax.random.uniform(jax.random.key(1), (40, 8, 8, 1))
    found = noise_arms.statistics_of(made)(variables, x)
    np.testing.assert_allclose(made.apply(found, x), made.train_apply(variables, x)[0], rtol=1e-3, atol=1e-4)
    plain = classifiers.build("mlp", num_classes=3).init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
    assert noise_arms.statistics_of(made)(plain, x) is plain


# ---- numbers ----


def test_the_grid_costs_the_same_and_has_its_control(tmp_path):
    config = smoke_config("noise", tmp_path)
    cells = noise_grid.cells_of(config, 64)
    assert len(cells.eta) == 18 and set(cells.radius) == set(config.grid.radii)  # to the last bit: they are coordinates
    np.testing.assert_allclose(cells.eta.max(), 0.4 * config.pixels.epsilon * 8, rtol=1e-6)
    assert all(config.grid.num_evaluations % m == 0 for m in cells.draws)


def made_values(transfer, reached):
    """Values [matching, arm, ...] of which transfer alone is known."""
    return noise_values.Values({"transfer": transfer}, {}, reached)


def test_differences_are_paired_and_need_both():
    """Two arms that differ by 0.25 on every image, with images that differ far more: the interval is a point."""
    rng = np.random.default_rng(0)
    base = rng.normal(size=(4, 4, 30))
    transfer = np.stack([base, base + 0.25])[None].repeat(2, axis=0)
    reached = np.ones((2, 2, 4, 30), bool)
    reached[1, 1, :, :20], reached[1, 0, :, 27:] = False, False
    values = made_values(transfer, reached)
    found, count = noise_values.told(values, "transfer", 0, 1, 0)
    assert found.value == pytest.approx(0.25) and found.high - found.low < 1e-9 and count == 30
    assert noise_values.told(values, "transfer", 1, 1, 0)[1] == 7  # what both reached
    assert noise_values.told(values, "transfer", 1, 1)[1] == 10  # what it reached itself
    reached[1, 1] = False
    assert noise_values.told(values, "transfer", 1, 1, 0) is None


def test_what_an_arm_has_not_reached_is_left_out_of_equal_norm_too():
    """One arm falls short on ten images of one source, which say the opposite."""
    hits = np.zeros((4, 4, 30))
    hits[0, :, :10] = 1.0
    reached = np.ones((2, 1, 4, 30), bool)
    reached[0, 0, 0, :10] = False
    values = made_values(np.stack([hits, hits])[:, None], reached)
    assert noise_values.told(values, "transfer", 0, 0)[0].value == 0.0
    assert noise_values.told(values, "transfer", 1, 0)[0].value == pytest.approx(1 / 12)


def test_two_sources_that_judge_one_another_have_no_interval():
    hits = np.random.default_rng(0).random((1, 1, 2, 2, 30))
    found, _ = noise_values.told(made_values(hits, np.ones((1, 1, 2, 30), bool)), "transfer", 0, 0)
    assert found.value == pytest.approx(hits[0, 0][[0, 1], [1, 0]].mean())
    assert np.isnan(found.low) and np.isnan(found.high)


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
        ({"noise.equal_norm": 0.0}, "noise.equal_norm=0.0: expected a number above 0"),
        ({"grid.num_draws": (1, 2)}, "grid.num_draws=.*at least 3 step sizes and 3 numbers of draws"),
        ({"claims.noise_transfers.radius": 0.2}, "claims.noise_transfers.radius=0.2: expected one of noise.radii"),
        ({"claims.noise_transfers.measure": "curvature.trace"}, "expected one of transfer.success"),
        ({"manifold.family": "gan"}, "manifold.family='gan'"),
    ],
)
def test_what_is_refused(tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        smoke_config("noise", tmp_path, **changes)


def test_fresh_and_frozen_draws_are_compared_without_other_arms(tmp_path):
    told, arms = noise_arms.arms_of(smoke_config("noise", tmp_path, **{"noise.arms": (), "noise.radii": (0.1, 0.3)}))
    assert [arm["kind"] for arm in told] == ["none", "fresh", "fresh", "frozen", "frozen"] and len(arms.first) == 5


def test_a_dead_trajectory_and_arms_that_fall_short_are_told():
    """The second source's SWAG arm no longer classifies; some arms do not come as far as equal norm."""
    arms = [{"kind": kind, "arm": kind} for kind in ("none", "fresh", "trajectory", "swag")]
    kept = np.ones((4, 2, 10))
    (check,) = noise_checks.walks(arms, kept)
    assert check["passed"]
    kept[3, 1, 2:] = 0.0
    (check,) = noise_checks.walks(arms, kept)
    assert not check["passed"] and check["detail"].startswith("arms along trajectories keep at least 20 %")
    assert check["detail"].endswith("; 90 % are expected")
    assert noise_checks.walks(arms[:2], kept[:2]) == []
    found = noise_checks.reaches("pixels", arms, np.array([1.0, 0.95, 0.9, 0.4]))
    assert found["passed"] and found["detail"].startswith("3 of 4 arms") and "swag 40 %" in found["detail"]
    assert not noise_checks.reaches("pixels", arms, np.array([1.0, 0.95, 0.8, 0.4]))["passed"]
    passed = [noise_checks.ball("pixels", share)["passed"] for share in (0.2, 0.3, 0.95, 0.97)]
    assert passed == [False, True, True, False]


def entry(name, matching, reference, value):
    about = {"search": "pixels", "matching": matching, "arm": "fresh", "radius": 0.3, "reference": reference}
    return {"name": name, "value": value, "low": value - 0.01, "high": value + 0.01, **about}


def test_the_headline_tells_equal_norm_and_equal_margin_beside_no_noise_and_beside_one_draw(tmp_path):
    config = smoke_config("noise", tmp_path)
    config.noise.radii = (0.3,)
    estimates = [{"name": "accuracy.kept", "radius": 0.3, "value": 0.9}]
    numbers = {"transfer.success": {"norm": 0.1}, "input_flatness.scale_free": {"norm": 0.2, "margin": 0.3}}
    for name, by in numbers.items():
        for matching, value in by.items():
            estimates += [entry(name, matching, "adversarial", value), entry(name, matching, "frozen draw", -value)]
    assert noise_words.headline(config, estimates) == (
        "In pixels, redrawing the classifier at every gradient (radius 0.3 keeps 90 % accuracy) changes transfer by "
        "+10.0 [+9.0, +11.0] points at equal norm, and the share of the margin that noise takes by +20.0 "
        "[+19.0, +21.0] there and +30.0 [+29.0, +31.0] at equal margin; beside one frozen draw by -10.0 [-11.0, -9.0], "
        "-20.0 [-21.0, -19.0] and -30.0 [-31.0, -29.0]."
    )
    lacking = [e for e in estimates if e.get("matching") != "margin"]
    assert "and an unknown number (too few images) at equal margin" in noise_words.headline(config, lacking)
    lacking.append(entry("input_flatness.scale_free", "margin", "adversarial", -1e-5))
    assert "and +0.0 [-1.0, +1.0] at equal margin" in noise_words.headline(config, lacking)  # no zero with a minus


def test_names_are_those_of_the_rooms():
    assert presets.names.AVERAGES == objectives.AVERAGES
    assert presets.names.MATCHINGS == noise_search.MATCHINGS
    assert set(presets.NOISE_ARMS) == {*noise_arms.SPECIAL, "annealed"}
    assert set(presets.names.NOISE_CLAIMED) == set(noise_estimates.CLAIMED)
    assert set(presets.names.NOISE_SEARCHES) == set(noise_values.POPULATIONS) == set(noise_words.WHERE)
    assert set(noise_measures.MEASURES) >= {array for _, _, array, _ in noise_values.QUANTITIES.values()}
