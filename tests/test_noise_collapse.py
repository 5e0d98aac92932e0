"""Whether flatness is a function of eta / M: grids whose answer is known, and what fits and slopes are by hand."""

import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from landscape.experiments.noise import POINT, collapse, grid

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
    grid = collapse.grids_of(made_up(log_of(by)))[RADIUS]
    flat = grid.drop.mean(axis=(1, 2)) / 2
    own, both = (collapse.explained(flat, collapse.features(of, grid.eta, grid.draws))[1] for of in ("eta/M", "both"))
    assert found.one(collapse.ADJUSTED)["value"] == pytest.approx(own - both)


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
        ("eta/M", "M", "flatness is a function of eta / M, more than without noise"),
        ("eta/M", "eta/M", "flatness is a function of eta / M, but no more than without noise"),
        ("eta", "M", "flatness is no function of eta / M alone"),
        ("eta/M", None, "whether flatness is a function of eta / M is left open"),
    ],
)
def test_the_answer_is_that_of_the_grid(by, still, words):
    arrays = made_up(log_of(by), still_of=None if still is None else log_of(still))
    found = collapse.estimates(arrays, 0)
    assert collapse.clause(found) == f"; {words}"
    shown = [row for row in found.headline_rows(*collapse.shown(found)) if row.get("headline")]
    assert {row["grid_radius"] for row in shown} == {RADIUS}  # what the answer rests on
    assert len(shown) == (2 if still is None else 3)


def test_an_answer_that_noise_hides_is_left_open():
    found = collapse.estimates(made_up(log_of("eta/M"), still_of=log_of("M"), spread=2.0), 0)
    assert collapse.clause(found) == "; whether flatness is a function of eta / M is left open"


def test_a_grid_without_differences_says_nothing():
    arrays = made_up(lambda eta, draws: np.zeros((3, 3)))
    arrays["grid_margin_drop"] = xr.full_like(arrays.grid_margin_drop, 0.5)
    found = collapse.estimates(arrays, 0)
    assert not any(row["name"].startswith("agreement") for row in found) and collapse.clause(found) == ""


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
