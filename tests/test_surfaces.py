"""The experiment `surfaces`: areas that are planted, planes point by point, planes in weight space, a whole run."""

from itertools import combinations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import whole_runs
import xarray as xr
from ml_collections import ConfigDict
from whole_runs import load, smoke_config

from landscape import ensembles, experiments, tree
from landscape.experiments.base import described
from landscape.experiments.setting import Examples
from landscape.experiments.surfaces import EXPERIMENT, stages, weights
from landscape.experiments.surfaces import estimates as se
from landscape.experiments.surfaces.figures import FIGURES
from landscape.files import UserError
from landscape.measures import surface
from landscape.models import classifiers
from landscape.reporting import figures

S, N, SIDE = 4, 12, 9
RING = surface.rings(SIDE)
INSIDE = RING[RING >= 0]


def planted(kinds=("adversarial", "gradient", "random"), user=False):
    """A dataset in which all members err on the outer half of a ring, and each on points of its own; (wrong, dataset).

    In gradient planes they err on a few points, in random ones nowhere.
    """
    rng = np.random.default_rng(0)
    planes = stages.planes_of(kinds, S, N)
    size = {"adversarial": 0.3, "gradient": 0.02, "random": 0.0}
    size = np.array([size[kind] for kind in planes.kind.values])[:, None]
    shared = rng.random((len(size), len(INSIDE))) < size
    wrong = (shared | (rng.random((S, *shared.shape)) < size / 2)) & (INSIDE > 0)
    rows, (i, j) = np.arange(len(size)), (planes[name].values for name in ("first", "second"))
    both = wrong[i, rows] & wrong[j, rows] & (j >= 0)[:, None]
    arrays = {"wrong": (("plane", "ring", "member", "count"), np.asarray(surface.counts(jnp.asarray(wrong), INSIDE)))}
    arrays |= {"both": (("plane", "ring"), np.stack([both[:, INSIDE == r].sum(1) for r in range(SIDE // 2 + 1)], 1))}
    arrays |= {name: planes[name] for name in ("kind", "image", "first", "second")}
    arrays |= {"points": ("ring", np.bincount(INSIDE)), "num_candidates": ((), 50)}
    t = np.linspace(-1, 2, 7)
    clean = 3 + rng.random((S, N))
    slope = np.array([4.5, 3.0, 0.5])[:, None, None, None, None] * np.where(np.eye(S), 1.0, 0.5)[..., None]
    line = clean[:, None] - t[:, None, None, None] * slope
    arrays["line_log_odds"] = (("direction", "t", "target", "member", "example"), line)
    arrays["clean_log_odds"] = (("member", "example"), clean)
    shown = [*kinds, *["user"] * user]
    odds = np.broadcast_to(np.linspace(-1, 1, 17) - 0.03 * np.arange(S)[:, None, None], (len(shown), S, 17, 17))
    about = ("map", "member", "row", "column")
    arrays |= {"log_odds": (about, odds), "decision": (about, np.where(odds > 0, 1, rng.integers(2, 10, odds.shape)))}
    arrays["margin"] = (about, 1.2 * odds)
    mark = np.broadcast_to(np.array([[0.0, 0.0], [1.0, 0.0], [0.3, 0.8]]), (len(shown), S, 3, 2))
    arrays |= {"mark": (("map", "member", "input", "axis"), mark), "reach": (about[:2], np.full((len(shown), S), 1.15))}
    arrays |= {"map_class": ("map", np.ones(len(shown), int)), "map_example": ("map", np.zeros(len(shown), int))}
    coords = {"direction": list(stages.DIRECTIONS), "t": t, "ring": np.arange(SIDE // 2 + 1), "example": np.arange(N)}
    coords |= {"class": list("abcdefghij"), "control": ("member", ["trained"] * S), "count": np.arange(1, S + 1)}
    data = xr.Dataset(arrays | {"map_kind": ("map", shown)}, coords)
    return wrong, described(data, EXPERIMENT.schema)


def test_common_shares_are_those_of_the_planted_areas():
    wrong, data = planted()
    table, adversarial = se.estimate(data, None), data.kind.values == "adversarial"
    own = wrong[:, adversarial]
    for size in range(2, S + 1):
        some = [own[list(members)] for members in combinations(range(S), size)]
        every, either = (np.mean([how(one, axis=0).sum() for one in some]) for how in (np.all, np.any))
        row = table.one("shared.area", population="adversarial", count=size)
        assert row["value"] == pytest.approx(every / either) and row["low"] < row["value"] < row["high"]
        chance = table.one("shared.area_if_independent", population="adversarial", count=size)["value"]
        beyond = table.one("shared.area_beyond_chance", population="adversarial", count=size)
        assert beyond["value"] == pytest.approx(row["value"] - chance) and beyond["low"] > 0
        assert row["generalises_to"] == se.GIVEN
    rows, (i, j) = np.arange(adversarial.sum()), (data[name].values[adversarial] for name in ("first", "second"))
    one, other = own[i, rows], own[j, rows]
    pair = table.one("shared.area_of_pair", population="adversarial")
    assert pair["value"] == pytest.approx((one & other).sum() / (one | other).sum()) and pair["headline"]
    assert table.one("shared.area_of_pair_beyond_chance", population="adversarial")["low"] > 0
    # Members in order of their own planes, and the others; in random planes, where nobody errs, nothing is common.
    mine = np.mean([one, other])
    assert table.one("attack.area", population="adversarial", classifier="own")["value"] == pytest.approx(mine)
    theirs = (own.mean(axis=(1, 2)).sum() - 2 * mine) / (S - 2)
    assert table.one("attack.area", population="adversarial", classifier="other")["value"] == pytest.approx(theirs)
    assert table.one("attack.area", population="random", classifier="own")["value"] == 0
    assert not table.select("shared.area", population="random")


def test_areas_that_are_independent_have_no_more_than_chance_in_common():
    """Rings in which all areas are alike are not taken for more than that."""
    rng = np.random.default_rng(1)
    _, data = planted(("adversarial",))
    chance = np.array([0, 0.1, 0.3, 0.6, 0.9])[INSIDE]
    wrong = rng.random((S, data.sizes["plane"], len(INSIDE))) < chance
    counts = np.asarray(surface.counts(jnp.asarray(wrong), INSIDE))
    row = se.estimate(data.assign(wrong=(data.wrong.dims, counts)), None).one(
        "shared.area_beyond_chance", population="adversarial", count=S
    )
    assert abs(row["value"]) < 4 * row["sem"] < 0.1, row


def test_what_is_said_and_checked():
    _, data = planted(user=True)
    table = se.estimate(data, None)
    text = se.headline(table, None)
    common = table.one("shared.area", population="adversarial", count=S)
    assert text.startswith(f"{common.text(100.0, 1)} % of the adversarial area is common to all {S} classifiers, in")
    assert table.one("attack.area", population="user")["low"] is None
    assert [check.name for check in se.checks(data, table, None) if not check.passed] == []
    errors = data.wrong.copy()
    errors[0, 0, 1, 0] = 1
    line = data.line_log_odds - 0.1
    striped = data.decision.copy()
    striped[:, :, 1::2] = 5  # right on no other row
    changes = {"middle": data.assign(wrong=errors), "lines": data.assign(line_log_odds=line)}
    changes |= {"images": data.isel(example=slice(9)), "resolution": data.assign(decision=striped)}
    for name, changed in changes.items():
        assert [one.name for one in se.checks(changed, table, None) if not one.passed] == [f"surfaces.{name}"]


def test_figures_are_drawn(tmp_path, unsaved):
    _, data = planted(user=True)
    rng, found = np.random.default_rng(0), (("weight_map", "weight_row", "weight_column"), (3, 5, 5))
    data = data.assign(weight_loss=(found[0], rng.random(found[1])), weight_error=(found[0], rng.random(found[1])))
    data = data.assign(weight_mark=(("weight_map", "weight_mark_number", "axis"), rng.normal(size=(3, 5, 2))))
    data = data.assign(weight_reach=("weight_map", [1.0, 2.0, 3.0]), weight_member=("weight_map", [0, -1, 1]))
    data = data.assign(weight_kind=("weight_map", ["random", "members", "trajectory"]))
    drawn, absent = figures.draw(FIGURES, (se.derive(data), se.estimate(data, None)), tmp_path)
    assert not absent and [one.spec.name for one in drawn] == [spec.name for spec in FIGURES]
    assert (tmp_path / "decisions.csv").read_text().startswith("member,s,t,decision,log_odds\n0,-1.15,-1.15,")


# ---- stages ----


def test_counts_of_a_plane_are_those_of_its_points():
    rng = np.random.default_rng(0)
    ensemble = jnp.asarray(rng.normal(size=(3, 6, 4)), jnp.float32)
    x, points = (jnp.asarray(rng.normal(size=(*lead, 2, 2, 3, 1)), jnp.float32) for lead in ((), (8,)))
    label = jnp.asarray([1, 2])

    def apply(w, x):
        return x.reshape(len(x), -1) @ w

    planes = stages.planes_of(("adversarial", "gradient", "random"), 3, 2)
    assert planes.sizes["plane"] == 2 * (3 + 3 + 1)
    chunk = {name: jnp.asarray(planes[name].values) for name in ("image", "b", "c", "first", "second")}
    work = stages.count_errors(apply, ensembles.Mapping(), SIDE)
    found = jax.jit(work)(chunk, ensemble, x, label, points)
    at = surface.grid(SIDE)[RING >= 0]
    for p in range(planes.sizes["plane"]):
        n, b, c, first, second = (int(planes[name][p]) for name in ("image", "b", "c", "first", "second"))
        plane = surface.through(x[n], points[b, n], points[c, n])
        radius = max(float(jnp.linalg.norm((one - x[n]).ravel())) for one in (points[b, n], points[c, n]))
        assert found["radius"][p] == pytest.approx(radius, rel=1e-5)
        seen = jnp.stack([plane.origin + radius * (s * plane.first + t * plane.second) for s, t in at])
        wrong = np.asarray(jax.vmap(apply, (0, None))(ensemble, seen)).argmax(-1) != label[n]
        for r in range(SIDE // 2 + 1):
            own = wrong[:, INSIDE == r]
            assert found["wrong"][p, r].sum(-1).tolist() == own.sum(axis=1).tolist()
            assert found["wrong"][p, r].sum(0).tolist() == [k * (own.sum(0) == k).sum() for k in range(1, 4)]
            assert found["both"][p, r] == ((own[first] & own[second]).sum() if second >= 0 else 0)


def test_neighbours_in_the_latent_are_of_other_classes_where_there_are_some():
    x = np.arange(5, dtype=np.float32)[:, None, None, None]
    chosen = Examples(x, np.array([0, 0, 1, 1, 2]), np.arange(5))
    first, second = stages.neighbours_of(chosen, 3)
    assert first.ravel().tolist() == [2, 2, 1] and second.ravel().tolist() == [4, 4, 4]
    alike = stages.neighbours_of(chosen._replace(label=np.zeros(5, int)), 1)
    assert all(part.shape == (1, 1, 1, 1) for part in alike)


def test_planes_in_weight_space_hold_their_classifiers_and_keep_the_length_of_filters():
    made = classifiers.build("mlp", num_classes=3, mean=(0.4,), std=(0.3,))
    members = [made.init(jax.random.key(i), jnp.zeros((1, 2, 2, 1))) for i in range(3)]
    plane = weights.between(members)
    for at, member in zip(plane.marks, members, strict=True):
        found = tree.blend(jnp.asarray([1.0, *at]), jax.tree.map(jnp.asarray, plane.span))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), found, member)
    assert plane.reach == pytest.approx(weights.WINDOW * np.linalg.norm(plane.marks, axis=1).max())
    random = weights.around(0, members[0], 0)
    own = [one["params"]["dense1"]["kernel"] for one in (members[0], *(ensembles.take(random.span, i) for i in (1, 2)))]
    lengths = [np.linalg.norm(kernel, axis=0) for kernel in own]
    np.testing.assert_allclose(lengths[1:], [lengths[0]] * 2, rtol=1e-5)
    assert random.reach == 1.0 and np.abs(own[1] - own[2]).max() > 0.01


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("surfaces.planes", ("gradient",), "adversarial among them"),
        ("surfaces.planes", ("adversarial", "hiden"), "did you mean hidden"),
        ("surfaces.grid", 24, "surfaces.grid=24: expected an odd number"),
        ("num_members", 2, "at least 3"),
        ("manifold.family", "vq", "whose latents are numbers"),
        ("sweep.ema", (0.5, 0.9), "sweep.ema=.*: expected no sweep"),
        ("search.epsilon", 0.0, "a radius above 0"),
    ],
)
def test_configs_that_would_fail_late_are_refused(name, value, message):
    config = ConfigDict(load("surfaces").to_dict())
    experiments.validate(config)
    config.update_from_flattened_dict({name: value})
    with pytest.raises(UserError, match=message):
        experiments.validate(config)
    config = load("surfaces", "digits,full")
    config.model.norm = "batch"
    with pytest.raises(UserError, match=r"weights.planes=.*running statistics"):
        experiments.validate(config)


# ---- whole runs ----


@pytest.fixture
def mine(tmp_path):
    """A file of three images."""
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "mine.npz", x=rng.random((3, 8, 8, 1)), label=np.array([3, 4, 5]))
    return {"inputs": str(tmp_path / "mine.npz")}


def test_a_run_from_its_config_to_its_report(tmp_path, shared, mine):
    config = smoke_config("surfaces", tmp_path, **{"model.name": "mlp"}, **shared, **mine)
    arrays, summary = whole_runs.done(config, tmp_path / "run", audited=False)
    checks = {check["name"]: check["passed"] for check in summary["checks"]}
    assert all(checks[name] for name in ("audit.falls_with_radius", "members.distinct"))
    assert checks["surfaces.middle"] and checks["surfaces.lines"]
    assert arrays.map_kind.values.tolist()[-1] == "user" and arrays.sizes["input"] == 3
    assert "% of the adversarial area is common to all 4 classifiers, in planes" in summary["headline"]
    # What a map says in its middle is what the member says of the image, and so it is at the marks, nearly.
    middle = arrays.log_odds.isel(map=0, row=4, column=4)
    np.testing.assert_allclose(middle, arrays.clean_log_odds[:, 0], rtol=2e-3, atol=2e-3)
    # The margin is above the log-odds, by the logarithm of the number of other classes at most; float16 rounds both.
    apart = (arrays.margin - arrays.log_odds).values
    assert -0.02 < apart.min() and apart.max() < np.log(9) + 0.02
    assert "Not drawn" not in (tmp_path / "run/report.html").read_text()


@pytest.mark.slow
def test_a_run_with_planes_of_every_kind(tmp_path, shared):
    full = load("surfaces", "digits,full")
    changes = {"surfaces.planes": full.surfaces.planes, "weights.planes": full.weights.planes}
    arrays, _ = whole_runs.done(smoke_config("surfaces", tmp_path, **changes, **shared), tmp_path / "run")
    assert set(arrays.map_kind.values) == set(full.surfaces.planes)
    assert arrays.weight_kind.values.tolist() == ["random", "random", "members", "trajectory", "trajectory"]
    # In the middle of its planes is the member itself, and so it is in those of its trajectory.
    middle = arrays.weight_loss[:, 2, 2].values
    np.testing.assert_allclose(middle[[0, 1]], middle[[3, 4]], rtol=1e-3)
    assert middle[1] != pytest.approx(middle[0], rel=1e-3)
    assert "Not drawn" not in (tmp_path / "run/report.html").read_text()
