"""Distributions of barriers: against closed forms of planted ones."""

import numpy as np
import pytest
import xarray as xr
from landscape.experiments.connectivity_distributions import HEIGHTS, distributions
from landscape.experiments.connectivity_told import Told
from matplotlib import pyplot
from ml_collections import ConfigDict

from landscape.measures.bypass import halvings
from landscape.reporting import connectivity_barriers

MEMBERS, PAIRS = 6, 200
CONFIG = ConfigDict({"bypass": {"num_steps": 100, "tolerance": 0.01}})
STEPS = (1, 3, 6, 12, 25, 50, 100)
FRAMES = len(STEPS)


def planted(line, bypass, after=None, counted=None):
    """Told of genuine pairs alone whose barriers are given, [S, Q]."""
    barrier = np.stack([line, bypass])[None]
    valid = np.ones_like(barrier) if counted is None else np.broadcast_to(counted, barrier.shape).astype(float)
    frames = np.repeat(bypass[:, None], FRAMES, axis=1) if after is None else after
    arrays = {name: ((), value) for name, value in {"barrier": barrier, "valid": valid, "after": frames[None]}.items()}
    return Told(arrays, ("genuine",), ("line", "bypass"))


def chosen(found, name, **about):
    return [e for e in found.estimates if e["name"] == name and about.items() <= e.items()]


def test_distribution_functions_and_quantiles_are_those_of_exponential_barriers():
    scale = 0.5
    rng = np.random.default_rng(0)
    line = rng.exponential(scale, size=(MEMBERS, PAIRS))
    found = distributions(CONFIG, planted(line, np.zeros_like(line)))
    below = found.curves["below"][1][0]
    truth = 1 - np.exp(-HEIGHTS / scale)
    inside = (below[0, :, 1] <= truth) & (truth <= below[0, :, 2])
    assert inside.mean() >= 0.9 and np.abs(below[0, :, 0] - truth).max() < 0.03
    np.testing.assert_array_equal(below[1, :, 0], 1.0)  # no barrier: all are at most 0
    room = 0.025 ** (1 / PAIRS)
    np.testing.assert_allclose(below[1, :, 1], room)
    for share in (0.5, 0.9):
        one, *more = chosen(found, "barrier.quantile", path="line", quantile=share)
        assert not more and one["low"] <= -scale * np.log(1 - share) <= one["high"]
        # An eighth of the quantile is four standard errors of 1200 independent pairs.
        assert one["value"] == pytest.approx(-scale * np.log(1 - share), rel=0.125)


def test_members_count_alike_however_many_pairs_they_have():
    """Five members without barriers, one whose barriers are 1 and whose pairs are few: its share is a sixth."""
    line = np.zeros((MEMBERS, PAIRS))
    line[0] = 1.0
    counted = np.ones((MEMBERS, PAIRS), bool)
    counted[0, 20:] = False
    below = distributions(CONFIG, planted(line, line, counted=counted)).curves["below"][1][0, 0]
    np.testing.assert_allclose(below[HEIGHTS < 1, 0], 5 / 6)
    np.testing.assert_allclose(below[HEIGHTS >= 1, 0], 1.0)


def test_what_a_bypass_takes_away_is_counted_among_pairs_that_have_a_barrier():
    """Half of the pairs have a barrier; of it 96 % is gone for three quarters of them, 94 % for the others."""
    line = np.where(np.arange(PAIRS) < PAIRS // 2, 1.0, 0.001) * np.ones((MEMBERS, 1))
    left = np.where(np.arange(PAIRS) % 4 < 3, 0.04, 0.06)
    bypass = line * left
    # The first bend needs half of its steps.
    after = np.stack([line if f < FRAMES // 2 else bypass for f in range(FRAMES)], axis=1)
    found = distributions(CONFIG, planted(line, bypass, after))
    (share,) = chosen(found, "barrier.share")
    assert share["value"] == 0.5
    whole = [e for e in chosen(found, "path.gone") if "steps" not in e]
    assert len(whole) == 1 and whole[0]["value"] == pytest.approx(0.75) and whole[0]["examples"] == PAIRS // 2
    np.testing.assert_allclose(found.curves["gone"][1][0], np.where(np.arange(FRAMES) < FRAMES // 2, 0.0, 0.75))
    steps = [e["steps"] for e in chosen(found, "path.gone") if "steps" in e]
    assert steps == list(STEPS)
    assert halvings(16) == (1, 2, 4, 8, 16) and halvings(1) == (1,)
    needed = found.curves["steps_needed"][1][0]
    expected = np.where(np.arange(PAIRS) % 4 < 3, STEPS[FRAMES // 2], np.inf)
    expected[PAIRS // 2 :] = np.nan  # no barrier
    np.testing.assert_array_equal(needed, np.broadcast_to(expected, needed.shape))


@pytest.mark.parametrize("kind", ["genuine", "same_member"])
def test_estimates_tell_how_many_pairs_and_members_carry_them(kind):
    """A third of the pairs are not of this kind; where members trade examples these are taken as given."""
    line = np.ones((MEMBERS, PAIRS))
    counted = np.broadcast_to(np.arange(PAIRS) % 3 > 0, line.shape)
    told = planted(line, 0 * line, counted=counted)._replace(kinds=(kind,))
    for name in ("barrier.share", "path.gone"):
        for e in chosen(distributions(CONFIG, told), name):
            assert e["members"] == MEMBERS and e["examples"] == counted[0].sum()
            assert e["generalises_to"] == ("both" if kind == "genuine" else "new images")


@pytest.mark.parametrize("height", [0.0, 0.3, 100.0])
def test_barriers_of_any_height_are_drawn(height):
    """None at all, some, and all beyond the last place of the distribution functions."""
    line = np.full((MEMBERS, PAIRS), height)
    curves = distributions(CONFIG, planted(line, line)).curves
    roc = ("roc_path", "roc_reading", "roc_end", "rate")
    data = xr.Dataset(
        {"below": curves["below"], "roc": (roc, np.zeros((2, 0, 3, 5)))},
        coords={
            **{name: curves[name] for name in ("below_path", "barrier_height")},
            **{"kind": ["genuine"], "roc_reading": np.zeros(0, str), "rate": np.linspace(0, 1, 5)},
        },
    )
    figure = connectivity_barriers.main(data)
    low, top = figure.axes[0].get_xlim()
    assert low == 0 and top >= min(max(height, 0.01), HEIGHTS[-1])
    pyplot.close(figure)
