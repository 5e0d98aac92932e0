"""Figures of `noise` are drawn from its arrays alone, whatever is missing, and say what the arrays hold."""

import csv

import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr

from landscape.reporting import figures, noise_curves, noise_grid, noise_parts, style

KINDS = ("member", "trajectory", "swag", "member_ball", "trajectory_ball", "annealed")


def noise_arrays(*, radii=(0.1, 0.3, 0.6), searches=tuple(noise_parts.SEARCHES), special=KINDS, shown=6, seed=0):
    """A Dataset as `noise` saves it, with made-up numbers of the right kind."""
    rng = np.random.default_rng(seed)
    arms = [("none", "none", 0.0)] + [(f"{k}.{r:g}", k, r) for k in ("fresh", "frozen") for r in radii]
    arms += [(kind, kind, np.nan) for kind in special]
    quantities, matchings, steps = list(noise_parts.QUANTITIES), ["norm", "margin"], [0.05, 0.1, 0.2]
    shape = (len(searches), 2, len(quantities), len(arms))
    along = ("search", "matching", "quantity", "arm")
    variables = {}
    for name in ("told", "change"):
        value = rng.uniform(0.1, 0.6, shape) - (0.3 if name == "change" else 0)
        variables |= {name: (along, value), f"{name}_low": (along, value - 0.1), f"{name}_high": (along, value + 0.1)}
        variables[name][1][:, 1, 0] = np.nan  # success says nothing at equal margin
    kept = np.array([0.98] + [0.97 - r / 2 for r in radii] * 2 + [0.96] * len(special))
    variables |= {"kept_told": (("arm",), kept), "kept_low": (("arm",), kept), "kept_high": (("arm",), kept)}
    tuning = rng.normal(size=(len(searches), 3, len(arms), 4))
    variables["tuning"] = (("search", "step_size", "arm", "member"), tuning)
    variables["chosen"] = (("search", "arm"), np.asarray(steps)[tuning.mean(axis=-1).argmax(axis=1)])
    image = ("height", "width", "channel")
    variables["picture"] = (("search", "arm", "shown", *image), rng.random((*shape[::3], shown, 6, 6, 1)))
    variables["picture_start"] = (("search", "shown", *image), rng.random((len(searches), shown, 6, 6, 1)))
    radius, draws, eta = (v.ravel() for v in np.meshgrid([0.0, 0.3], [1, 2, 4], [0.1, 0.2, 0.4], indexing="ij"))
    cells = {"eta": eta, "draws": draws, "radius": radius, "flatness": np.log(eta / draws) / 20 + 0.3}
    cells["stuck"] = eta > 0.3
    variables |= {f"grid_{name}": (("grid_cell",), value) for name, value in cells.items()}
    share = np.tile([0.9, 0.4, 0.5, 0.95], (2, 1))
    for name, aside in (("collapse", 0), ("collapse_low", -0.1), ("collapse_high", 0.05)):
        variables[name] = (("grid_radius_level", "by"), share + aside)
    variables["grid_radius_value"] = (("grid_radius_level",), np.array([0.0, 0.3]))
    coords = {"search": list(searches), "matching": matchings, "quantity": quantities, "step_size": steps}
    coords |= {"by": ["eta/M", "eta", "M", "both"], "arm": [a for a, _, _ in arms]}
    coords |= {"kind": ("arm", [k for _, k, _ in arms]), "radius": ("arm", [r for *_, r in arms])}
    return xr.Dataset(variables, coords)


def drawn(fn, data):
    with mpl.rc_context(style.RC):
        return fn(data)


def test_every_figure_is_drawn(tmp_path):
    found, absent = figures.draw(figures.FIGURES["noise"], (noise_arrays(),), tmp_path)
    assert not absent and len(found) == len(figures.FIGURES["noise"])
    assert (tmp_path / "dose_column.svg").stat().st_size > 1000
    with open(tmp_path / "dose.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * 4 * 13
    one = next(
        r for r in rows if (r["search"], r["quantity"], r["arm"], r["radius"]) == ("pixels", "transfer", "fresh", "0.3")
    )
    data = noise_arrays()
    at = {"search": "pixels", "matching": "norm", "quantity": "transfer", "arm": "fresh.0.3"}
    assert float(one["value"]) == pytest.approx(100 * float(data["told"].sel(at)))
    assert float(one["accuracy_kept"]) == pytest.approx(82)


@pytest.mark.parametrize(
    "shape",
    [
        {"radii": (0.3,)},
        {"searches": ("manifold",)},
        {"special": ()},
        {"special": ("swag",), "shown": 1, "searches": ("ascent", "pixels")},
    ],
)
def test_figures_are_drawn_whatever_a_run_leaves_out(tmp_path, shape):
    _, absent = figures.draw(figures.FIGURES["noise"], (noise_arrays(**shape),), tmp_path)
    assert not absent


def test_open_symbols_are_frozen_and_stand_at_their_radius():
    data = noise_arrays()
    data["kept_told"][data["kind"].values == "frozen"] = 0.5  # a single draw, kept or not, stands beside its fresh ones
    figure = drawn(noise_curves.dose, data)
    lines = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 3]
    fresh, frozen = lines[0], lines[1]
    assert frozen.get_markerfacecolor() == "white" and fresh.get_markerfacecolor() != "white"
    np.testing.assert_allclose(fresh.get_xdata(), frozen.get_xdata(), atol=1.5)
    left, right = figure.axes[0].get_xlim()
    assert left > right  # noise grows to the right
    told = 100 * data["told"].sel(search="pixels", matching="norm", quantity="success").values
    np.testing.assert_allclose(fresh.get_ydata(), told[data["kind"].values == "fresh"])


def test_every_arm_of_the_dose_lies_inside_its_axis():
    """One whose classifiers keep less than the largest radius leaves stands right of it."""
    data = noise_arrays()
    data["kept_told"][data["kind"].values == "swag"] = 0.4
    left, right = drawn(noise_curves.dose, data).axes[0].get_xlim()
    assert left > 98 and right < 40


def test_a_search_without_images_says_so_and_nothing_finite_is_no_figure():
    data = noise_arrays()
    for name in ("told", "change"):
        data[name][{"search": 1}] = np.nan
    figure = drawn(noise_curves.at_margin, data)
    assert len(figure.axes) == 8  # the other two
    data["told"][...] = np.nan
    data["grid_flatness"][...] = np.nan
    assert drawn(noise_curves.dose, data) is None and drawn(noise_grid.collapse, data) is None


def test_the_grids_titles_say_what_each_axis_explains():
    figure = drawn(noise_grid.collapse, noise_arrays())
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles[0] == "ξ = 0: explains 90 % [80, 95]" and titles[4] == "explains 40 % [30, 45]"
    x = np.concatenate([line.get_xdata() for line in figure.axes[0].lines])
    assert set(np.round(x, 6)) == {round(e / m, 6) for e in (0.1, 0.2, 0.4) for m in (1, 2, 4)}


def test_open_symbols_of_the_grid_are_walks_that_are_stuck():
    figure = drawn(noise_grid.collapse, noise_arrays())
    eta = [line for line in figure.axes[1].lines if line.get_marker() not in ("", "None")]
    for line in eta:
        assert ((np.asarray(line.get_xdata()) > 0.3) == (line.get_markerfacecolor() == "white")).all()
    assert sum(line.get_markerfacecolor() == "white" for line in eta) == len(eta) / 2
