"""Whether flatness is a function of eta / M: grids whose answer is known, and what fits and slopes are by hand."""

import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from landscape.experiments.noise import POINT, collapse, grid
from landscape.stats.intervals import interval

OF = {"eta/M": lambda a, m: a / m, "eta": lambda a, m: a, "M": lambda a, m: 1 / m}
RADIUS = 0.2


def made_up(flatness_of, *, still_of=None, spread=1e-3, sources=4, images=40, seed=0):
    """A grid whose scale-free drop is flatness_of(eta, draws), all margins 2, with a little noise.

    still_of: the same of a second radius, 0.
    """
    rng, of = np.random.default_rng(seed), [flatness_of] if still_of is None else [still_of, flatness_of]
    eta, draws = np.array([0.1, 0.2, 0.4]), np.array([1, 2, 4])
    flat = np.stack([each(*np.meshgrid(eta, draws)) for each in of])
    drop = 2 * flat[..., None, None] + spread * rng.normal(size=(*flat.shape, sources, images))
    dims = (*POINT, "member", "example")
    arrays = {
        "grid_right": (dims[3:], np.ones((sources, images), bool)),
        "grid_margin_drop": (dims, drop),
        "grid_margin": (dims, np.full(drop.shape, 2.0)),
        "grid_at_boundary": (dims, np.full(drop.shape, 0.25)),
    }
    coords = {"grid_radius": [0.0, RADIUS][-len(of) :], "draws": draws, "eta": eta}
    return xr.Dataset(arrays, coords)


def log_of(by):
    return lambda eta, draws: np.log(OF[by](eta, draws)) / 10


@pytest.mark.parametrize("by", OF)
def test_a_collapse_is_found_where_there_is_one(by):
    found = collapse.estimates(made_up(log_of(by)), 0)
    shares = {row["by"]: row for row in found.select(collapse.SHARE)}
    assert shares[by]["value"] > 0.99 and shares["both"]["value"] > 0.99
    assert shares[by]["low"] > 0.9 and shares[by]["high"] <= 1
    others = {"eta/M", "eta", "M"} - {by}
    assert all(shares[other]["value"] < 0.6 for other in others)
    for other in ("eta", "both"):
        difference = shares["eta/M"]["value"] - shares[other]["value"]
        assert shares[f"eta/M - {other}"]["value"] == pytest.approx(difference)


def test_the_adjusted_share_counts_parameters():
    """Three parameters of nine values: what noise alone is fitted by is taken back, by the formula."""
    rng = np.random.default_rng(0)
    columns = collapse.features("eta", *(np.exp(rng.normal(size=(2, 9)))))
    values = rng.normal(size=9)
    plain, adjusted = collapse.explained(values, columns)
    residual = values - columns @ np.linalg.pinv(columns) @ values
    assert plain == pytest.approx(1 - residual.var() / values.var())
    assert adjusted == pytest.approx(1 - (residual @ residual / 6) / values.var(ddof=1))
    many = np.array([collapse.explained(rng.normal(size=9), columns) for _ in range(400)])
    assert many[:, 0].mean() > 0.15 and abs(many[:, 1].mean()) < 4 * many[:, 1].std() / 20
    assert np.isnan(collapse.explained(rng.normal(size=3), columns[:3])[1])  # nothing is left


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
    found = collapse.estimates(arrays, 0)
    assert collapse.sentence(found) == f" {words}."
    shown = [row for row in found.headline_rows(*collapse.shown(found)) if row.get("headline")]
    assert {row["grid_radius"] for row in shown} == {RADIUS}  # what the answer rests on
    assert len(shown) == (2 if still is None else 3)


def test_an_answer_that_noise_hides_is_left_open():
    found = collapse.estimates(made_up(log_of("eta/M"), still_of=log_of("M"), spread=2.0), 0)
    assert collapse.sentence(found) == " Whether flatness is a function of eta / M is left open."


def test_a_share_that_its_resamples_all_exceed_lies_inside_its_interval():
    share = np.array([0.07, -0.3])
    told = interval(np.eye(4))._replace(value=share, low=share + 0.02, high=share + 0.9, sem=np.array([0.1, 0.1]))
    first, second = (collapse._part(told, (b,), share=share) for b, share in ((0, True), (1, False)))
    assert (first.value, first.low, first.high) == pytest.approx((0.07, 0.07, 0.97))
    assert (second.value, second.low, second.high) == pytest.approx((-0.3, -0.3, 0.6))


def test_slopes_are_changes_for_a_doubling():
    """A drop of a log2(eta / M) + b log2 M: b along M at equal eta / M, a along eta at equal M; less those at 0."""
    plane = lambda a, b: lambda eta, draws: a * np.log2(eta / draws) + b * np.log2(draws)  # noqa: E731
    found = collapse.estimates(made_up(plane(0.03, -0.01), still_of=plane(0.01, 0.02), spread=1e-6), 0)
    name = "input_flatness.scale_free_per_doubling"
    for along, noisy, still in ((collapse.ALONG[0], -0.01, 0.02), (collapse.ALONG[1], 0.03, 0.01)):
        at = {"along": along, "reference": None}
        assert found.one(name, grid_radius=RADIUS, **at)["value"] == pytest.approx(noisy, abs=1e-6)
        assert found.one(name, grid_radius=0.0, **at)["value"] == pytest.approx(still, abs=1e-6)
        less = found.one(name, grid_radius=RADIUS, along=along, reference="no_noise")
        assert less["value"] == pytest.approx(noisy - still, abs=1e-6) and less["high"] - less["low"] < 1e-5


def test_slopes_cover_their_truth():
    """Of cells that share members' and images' effects: the interval over both, nominal 95 %."""
    rng, covered, repeats = np.random.default_rng(1), 0, 200
    for _ in range(repeats):
        arrays = made_up(lambda eta, draws: 0.01 * np.log2(draws))
        member, image = 0.05 * rng.normal(size=(9, 4, 1)), 0.1 * rng.normal(size=(9, 1, 40))
        effects = (member + image).reshape(1, 3, 3, 4, 40)
        arrays["grid_margin_drop"] = arrays.grid_margin_drop + effects
        one = next(collapse.slopes(collapse.grids_of(arrays)))
        covered += one["low"] <= 0.01 <= one["high"]
    assert covered / repeats > 0.89  # 0.95 less 4 standard errors


def test_a_grid_without_differences_says_nothing():
    arrays = made_up(lambda eta, draws: np.zeros((3, 3)))
    arrays["grid_margin_drop"] = xr.full_like(arrays.grid_margin_drop, 0.5)
    found = collapse.estimates(arrays, 0)
    assert not any(row["name"].startswith("agreement") for row in found) and collapse.sentence(found) == ""


def test_images_are_those_that_all_sources_classify_rightly_in_pixels():
    arrays = made_up(log_of("eta/M"))
    arrays.grid_right[1, :10] = False
    arrays.grid_margin_drop[..., :10] = np.nan
    assert collapse.grids_of(arrays)[RADIUS].drop.shape == (9, 4, 30)
    assert all(np.isfinite(row["value"]) for row in collapse.estimates(arrays, 0))
    arrays.grid_right[0, 14:] = False
    assert not len(collapse.estimates(arrays, 0))  # four are too few


def test_searches_that_are_stuck_are_reported():
    arrays = made_up(log_of("eta/M"))
    assert collapse.check(arrays).passed
    arrays.grid_at_boundary[0, :2] = 0.75
    check = collapse.check(arrays)
    assert not check.passed and "25 to 75 %" in check.detail and "at 67 % of the points" in check.detail


def test_coordinates_at_the_boundary_are_counted():
    x = jnp.array([[0.5, 0.5, 0.05, 0.0]]).reshape(1, 2, 2, 1)
    z = x + jnp.array([[0.2, -0.1, -0.05, 0.0]]).reshape(1, 2, 2, 1)
    share = lambda norm, radius: float(grid.at_boundary(z, x, radius, norm=norm)[0])  # noqa: E731
    assert share("linf", 0.2) == 0.5  # one is as far as allowed, one moved to 0; one at 0 never moved
    assert share("linf", 0.3) == 0.25
    assert share("l2", float(jnp.linalg.norm(z - x))) == 1.0 and share("l2", 0.3) == 0.25
