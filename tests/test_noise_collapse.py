"""Whether flatness is a function of eta / M: grids whose answer is known, and what fits and slopes are by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

from landscape.experiments import noise_collapse, noise_grid
from landscape.stats.intervals import interval

OF = {"eta/M": lambda a, m: a / m, "eta": lambda a, m: a, "M": lambda a, m: 1 / m}


def made_up(flatness_of, *, still_of=None, spread=1e-3, sources=4, images=40, seed=0):
    """Arrays of a grid whose scale-free drop is flatness_of(eta, draws), all margins 2, with a little noise.

    still_of: the same of a second radius, 0.
    """
    rng = np.random.default_rng(seed)
    eta, draws = (v.ravel() for v in np.meshgrid([0.1, 0.2, 0.4], [1, 2, 4]))
    flat, radius = [flatness_of(eta, draws)], [np.full(9, 0.2)]
    if still_of is not None:
        flat, radius = [still_of(eta, draws), *flat], [np.zeros(9), *radius]
    flat, radius = np.concatenate(flat), np.concatenate(radius)
    times = len(flat) // 9
    drop = 2 * flat[:, None, None] + spread * rng.normal(size=(len(flat), sources, images))
    cells = ("grid_cell", "member", "example")
    return {
        "grid_right": (cells[1:], np.ones((sources, images), bool)),
        "grid_drop": (cells, drop),
        "grid_margin": (cells, np.full(drop.shape, 2.0)),
        "grid_boundary": (cells, np.full(drop.shape, 0.25)),
        "grid_eta": (cells[:1], np.tile(eta, times)),
        "grid_draws": (cells[:1], np.tile(draws, times)),
        "grid_radius": (cells[:1], radius),
    }


def told(found, name, **about):
    about = {"reference": None, **about}
    (one,) = (e for e in found if e["name"] == name and all(e.get(k) == v for k, v in about.items()))
    return one


def log_of(by):
    return lambda eta, draws: np.log(OF[by](eta, draws)) / 10


@pytest.mark.parametrize("by", OF)
def test_a_collapse_is_found_where_there_is_one(by):
    found, curves = noise_collapse.estimates(0, made_up(log_of(by)))
    shares = {e["by"]: e for e in found if e["name"] == "agreement.collapse"}
    assert shares[by]["value"] > 0.99 and shares["both"]["value"] > 0.99
    assert shares[by]["low"] > 0.9 and shares[by]["high"] <= 1
    others = {"eta/M", "eta", "M"} - {by}
    assert all(shares[other]["value"] < 0.6 for other in others)
    for other in ("eta", "both"):
        difference = shares["eta/M"]["value"] - shares[other]["value"]
        assert shares[f"eta/M - {other}"]["value"] == pytest.approx(difference)
    assert curves["collapse"][1].shape == (1, len(noise_collapse.BY))


def test_the_adjusted_share_counts_parameters():
    """Three parameters of nine values: what noise alone is fitted by is taken back, by the formula."""
    rng = np.random.default_rng(0)
    columns = noise_collapse.features("eta", *(np.exp(rng.normal(size=(2, 9)))))
    values = rng.normal(size=9)
    plain, adjusted = noise_collapse.explained(values, columns)
    residual = values - columns @ np.linalg.pinv(columns) @ values
    assert plain == pytest.approx(1 - residual.var() / values.var())
    assert adjusted == pytest.approx(1 - (residual @ residual / 6) / values.var(ddof=1))
    many = np.array([noise_collapse.explained(rng.normal(size=9), columns) for _ in range(400)])
    assert many[:, 0].mean() > 0.15 and abs(many[:, 1].mean()) < 4 * many[:, 1].std() / 20
    assert np.isnan(noise_collapse.explained(rng.normal(size=3), columns[:3])[1])  # nothing is left


@pytest.mark.parametrize(
    ("by", "still", "words"),
    [
        ("eta/M", "M", "Flatness is a function of eta / M, more than without noise"),
        ("eta/M", "eta/M", "Flatness is a function of eta / M no more than without noise"),
        ("eta", "M", "Flatness is no function of eta / M alone"),
        ("eta/M", None, "Whether flatness is a function of eta / M is left open"),
    ],
)
def test_the_answer_is_that_of_the_grid(by, still, words):
    arrays = made_up(log_of(by), still_of=None if still is None else log_of(still))
    found, _ = noise_collapse.estimates(0, arrays)
    assert noise_collapse.sentence(found) == f" {words}."
    shown = [e for e in found if e.get("headline")]  # what the answer rests on
    assert {e["radius"] for e in shown} == {max(e["radius"] for e in found)} and len(shown) == (
        2 if still is None else 3
    )


def test_an_answer_that_noise_hides_is_left_open():
    found, _ = noise_collapse.estimates(0, made_up(log_of("eta/M"), still_of=log_of("M"), spread=2.0))
    assert noise_collapse.sentence(found) == " Whether flatness is a function of eta / M is left open."


def test_a_share_that_its_resamples_all_exceed_lies_inside_its_interval():
    share = np.array([0.07, -0.3])
    told = interval(np.eye(4))._replace(value=share, low=share + 0.02, high=share + 0.9, sem=np.array([0.1, 0.1]))
    first, second = (noise_collapse._part(told, (b,), share=share) for b, share in ((0, True), (1, False)))
    assert (first.value, first.low, first.high) == pytest.approx((0.07, 0.07, 0.97))
    assert (second.value, second.low, second.high) == pytest.approx((-0.3, -0.3, 0.6))


def test_slopes_are_changes_for_a_doubling():
    """A drop of a log2(eta / M) + b log2 M: b along M at equal eta / M, a along eta at equal M; less those at 0."""
    plane = lambda a, b: lambda eta, draws: a * np.log2(eta / draws) + b * np.log2(draws)  # noqa: E731
    found, _ = noise_collapse.estimates(0, made_up(plane(0.03, -0.01), still_of=plane(0.01, 0.02), spread=1e-6))
    name = "input_flatness.scale_free_per_doubling"
    for along, noisy, still in ((noise_collapse.ALONG[0], -0.01, 0.02), (noise_collapse.ALONG[1], 0.03, 0.01)):
        assert told(found, name, along=along, radius=0.2)["value"] == pytest.approx(noisy, abs=1e-6)
        assert told(found, name, along=along, radius=0.0)["value"] == pytest.approx(still, abs=1e-6)
        less = told(found, name, along=along, radius=0.2, reference=noise_collapse.CONTROL)
        assert less["value"] == pytest.approx(noisy - still, abs=1e-6) and less["high"] - less["low"] < 1e-5


def test_slopes_cover_their_truth():
    """Of cells that share members' and images' effects: the interval over both, nominal 95 %."""
    rng, covered, repeats = np.random.default_rng(1), 0, 200
    for _ in range(repeats):
        arrays = made_up(lambda eta, draws: 0.01 * np.log2(draws))
        member, image = 0.05 * rng.normal(size=(9, 4, 1)), 0.1 * rng.normal(size=(9, 1, 40))
        arrays["grid_drop"] = (arrays["grid_drop"][0], arrays["grid_drop"][1] + member + image)
        one = noise_collapse.slopes(noise_collapse.grid_of(arrays), [0.2])[0]
        covered += one["low"] <= 0.01 <= one["high"]
    assert covered / repeats > 0.89  # 0.95 less 4 standard errors


def test_a_grid_without_differences_says_nothing():
    arrays = made_up(lambda eta, draws: np.zeros(9))
    arrays["grid_drop"] = (arrays["grid_drop"][0], np.full((9, 4, 40), 0.5))
    found, curves = noise_collapse.estimates(0, arrays)
    assert not any(e["name"].startswith("agreement") for e in found)
    assert np.isnan(curves["collapse"][1]).all() and noise_collapse.sentence(found) == ""


def test_images_are_those_that_all_sources_classify_rightly_in_pixels():
    arrays = made_up(log_of("eta/M"))
    arrays["grid_right"][1][1, :10] = False
    arrays["grid_drop"][1][..., :10] = np.nan
    arrays["right"] = (("search", "member", "example"), np.zeros((1, 4, 40), bool))  # reconstructions: of no concern
    assert noise_collapse.grid_of(arrays).drop.shape == (9, 4, 30)
    assert np.isfinite(noise_collapse.estimates(0, arrays)[1]["grid_flatness"][1]).all()


def test_walks_that_are_stuck_are_told():
    arrays = made_up(log_of("eta/M"))
    found, curves = noise_collapse.estimates(0, arrays)
    assert told(found, "attack.at_boundary", eta=0.4, draws=2)["value"] == 0.25
    assert not curves["grid_stuck"][1].any()
    assert noise_collapse.check(noise_collapse.grid_of(arrays))["passed"]
    arrays["grid_boundary"][1][:5] = 0.75
    assert noise_collapse.estimates(0, arrays)[1]["grid_stuck"][1].tolist() == [True] * 5 + [False] * 4
    check = noise_collapse.check(noise_collapse.grid_of(arrays))
    assert not check["passed"] and "25 to 75 %" in check["detail"] and "in 56 % of the cells" in check["detail"]


def test_coordinates_at_the_boundary_are_counted():
    x = jnp.array([[0.5, 0.5, 0.05, 0.0]]).reshape(1, 2, 2, 1)
    z = x + jnp.array([[0.2, -0.1, -0.05, 0.0]]).reshape(1, 2, 2, 1)
    share = lambda norm, radius: float(noise_grid.at_boundary(z, x, radius, norm=norm)[0])  # noqa: E731
    assert share("linf", 0.2) == 0.5  # one is as far as allowed, one moved to 0; one at 0 never moved
    assert share("linf", 0.3) == 0.25
    assert share("l2", float(jnp.linalg.norm(z - x))) == 1.0 and share("l2", 0.3) == 0.25
