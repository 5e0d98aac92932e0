"""The experiment `neighbors`: its moves, its populations and its estimates by hand, and one whole run."""

import itertools
import re
from pathlib import Path

import numpy as np
import pytest
import whole_runs
import xarray as xr
from ml_collections import ConfigDict
from scipy.stats import spearmanr
from whole_runs import load, smoke_config

from landscape import data, experiments, runs
from landscape.experiments import setting
from landscape.experiments.neighbors import MOVED, estimates, moves, representations, searches
from landscape.experiments.neighbors.moves import Move
from landscape.files import UserError
from landscape.stats.claims import estimate_dict
from landscape.stats.intervals import interval
from landscape.stats.table import Row, Table

# ---- moves ----


def test_a_move_goes_straight_from_its_start_to_its_end():
    rng = np.random.default_rng(0)
    start, end = rng.normal(size=(2, 5, 3)).astype(np.float32)
    path = Move("any", "image", start, end).along(np.linspace(0, 1, 5))
    np.testing.assert_array_equal(path[[0, -1]], [start, end])
    np.testing.assert_allclose(path[2], (start + end) / 2, atol=1e-6)
    squared = Move("latent", "image", start, end, decode=lambda z: z**2).along(np.array([0.0, 0.5, 1.0]))
    np.testing.assert_allclose(squared[1], np.square((start + end) / 2), atol=1e-6)  # straight in the latent


def test_partners_are_of_the_wanted_class_where_there_is_one():
    label = np.array([0, 1, 1, 2, 2, 2])
    found = moves.partners(label, np.array([2, 1, 0, 9, 2]), seed=0)
    np.testing.assert_array_equal(label[found[[0, 1, 2, 4]]], [2, 1, 0, 2])
    assert 0 <= found[3] < 6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"start": None}, "missing start"),
        ({"layer": "conv9"}, "layer 'conv9'; expected one of image, conv1, conv2, conv3"),
        ({"end": np.zeros((3, 8, 8), np.float32)}, r"end is float32 of shape \[3, 8, 8\]; expected finite floats"),
        ({"start": np.full((3, 8, 8, 1), np.nan, np.float32)}, "expected finite floats of shape"),
        ({"label": np.array([0, 1, 10])}, r"runs from 0 to 10; expected \[N\] integers in 0..9 \(0 to 9"),
        ({"start": np.zeros((4, 3, 8, 8, 1), np.float32)}, "unlike shapes"),
        ({"layer": "conv1"}, r"start is float32 of shape \[3, 8, 8, 1\]; expected .* \[3, 4, 4, 16\], as conv1 holds"),
    ],
)
def test_moves_that_do_not_fit_are_refused(tmp_path, shared, changes, message):
    """By the same function that a run calls before it trains."""
    image = np.zeros((3, 8, 8, 1), np.float32)
    arrays = {"start": image, "end": image, "label": np.array([0, 1, 2])} | changes
    np.savez(tmp_path / "m.npz", **{name: value for name, value in arrays.items() if value is not None})
    for file, expected in (("m.npz", message), ("n.npz", "no such file")):
        config = smoke_config("neighbors", tmp_path, moves=str(tmp_path / file), **shared)
        with pytest.raises(UserError, match=expected):
            moves.read_moves(config)


def test_the_unit_of_distances_is_the_median_to_the_kth_neighbour_and_none_where_it_is_0():
    far = np.array([[0.0, 1.0], [0.0, 3.0], [0.5, 2.0]])
    assert representations.typical_distance(far) == 2.0
    assert np.isnan(representations.typical_distance(np.zeros((3, 2))))


def test_populations_are_those_that_the_prediction_says():
    names = ("clean", "boosted", "adversarial", "noise", "manifold", "adaptive", "augmented")
    label = np.array([0, 0, 0])
    # The first image is right and falls to every attack, the second is right and holds, the third is wrong.
    prediction = np.array([[[0, 0, 1], [0, 0, 1], [1, 0, 0], [1, 0, 0], [2, 0, 0], [1, 0, 0], [1, 0, 0]]])
    found = {"prediction": prediction, "decoded_right": np.array([[True, True, True]])}
    masks = {name: mask[0].tolist() for name, mask in searches.populations(names, found, label).items()}
    first, both, last = [True, False, False], [True, True, False], [False, False, True]
    assert masks == {
        "genuine": both, "natural_error": last, "boosted": both, "adversarial": first, "noise": both,
        "manifold": first, "adaptive": first, "augmented": both,
    }  # fmt: skip
    found["decoded_right"][:] = False  # a reconstruction that is wrong already is no adversarial one
    assert not searches.populations(names, found, label)["manifold"].any()


# ---- estimates ----


def test_the_flip_is_where_the_rest_agrees():
    said = np.array([[1, 0, 1, 1], [0, 0, 0, 0], [1, 1, 1, 1], [0, 1, 1, 0]], bool)
    expected = [[0, 0, 1, 0, 0], [0, 0, 0, 0, 1], [1, 0, 0, 0, 0], [0, 0, 0, 0, 1]]
    np.testing.assert_array_equal(estimates.first_of_rest(said), np.array(expected, bool))


def test_the_correlation_over_pairs_is_spearmans_and_weights_are_copies():
    rng = np.random.default_rng(0)
    one, other = np.round(rng.normal(size=(2, 6, 6)), 1)  # with ties
    pairs = list(itertools.combinations(range(6), 2))
    values = [[m[i, j] + m[j, i] for i, j in pairs] for m in (one, other)]
    found = estimates.pair_correlation(one, other, np.ones(6))
    assert found == pytest.approx(spearmanr(*values).statistic, abs=1e-9)
    # Member 0 twice, member 5 never: its pairs count twice, and it makes no pair with its copy.
    weight = np.array([2, 1, 1, 1, 1, 0])
    copies = [(i, j) for i, j in pairs for _ in range(weight[i] * weight[j])]
    values = [[m[i, j] + m[j, i] for i, j in copies] for m in (one, other)]
    found = estimates.pair_correlation(one, other, weight.astype(float))
    assert found == pytest.approx(spearmanr(*values).statistic, abs=1e-9)
    assert np.isnan(estimates.pair_correlation(np.ones((6, 6)), other, np.ones(6)))


def test_flips_and_agreement_along_a_move_are_those_counted_by_hand():
    """Of a move seen at the last two of three layers: from which of them on neighbours are of the class moved to, and
    how often those of another layer or member are of one class."""
    rng, S, N, T = np.random.default_rng(0), 4, 12, 2
    majority = rng.integers(0, 2, (S, 1, T, 3, N)).astype(float)
    majority[:, :, :, 0] = np.nan
    arrays = {name: (MOVED, np.where(np.isnan(majority), np.nan, 0.5)) for name in moves.FOLLOWED}
    counts = rng.random((S, 1, N)) < 0.9
    arrays |= {"move_majority": (MOVED, majority), "move_counts": (("member", "move", "moved"), counts)}
    arrays["aim"] = (("member", "move", "moved"), np.ones((S, 1, N)))
    coords = {"move": ["any"], "layer": ["image", "a", "b"], "step": [0.0, 1.0], "seed": ("member", np.arange(S))}
    table = estimates.along(xr.Dataset(arrays, coords))
    own, counts = majority[:, 0, :, 1:], counts[:, 0]
    of_all, pairs = counts.all(axis=0), [(i, j) for i, j in itertools.permutations(range(S), 2)]
    assert 0 < of_all.sum() < N

    def share(said):
        return np.mean([one[own_counts].mean() for one, own_counts in zip(said, counts, strict=True)])

    for t, step in enumerate((0.0, 1.0)):
        a, b = own[:, t, 0] == 1, own[:, t, 1] == 1
        for flip, expected in (("a", a & b), ("b", ~a & b), ("never", ~b)):
            assert table.one("path.flips_at", step=step, flip=flip)["value"] == pytest.approx(share(expected))
        assert table.one("path.layers_agree", step=step, layer="a")["value"] == pytest.approx(share(a == b))
        for number, layer in enumerate("ab"):
            same = [(own[i, t, number] == own[j, t, number])[of_all].mean() for i, j in pairs]
            assert table.one("path.members_agree", step=step, layer=layer)["value"] == pytest.approx(np.mean(same))
    assert not table.select("path.layers_agree", layer="b") and {row["move"] for row in table} == {"any"}


def inputs_seen(members=4, examples=60):
    """What checks ask for: all inputs in their ball, p-values of the true class uniform."""
    rng, names, layers = np.random.default_rng(0), ["genuine", "boosted", "adversarial", "noise", "manifold"], ["image"]
    shape, label = (members, len(names), examples), rng.integers(0, 3, examples)
    dims = ("member", "population", "example")
    arrays = {
        "label": ("example", label),
        "prediction": (dims, np.broadcast_to(label, shape)),
        "confidence": (dims, rng.random(shape)),
        "delta": (dims, 0.1 * rng.random(shape) * (1 + 9 * (np.array(names) == "manifold")[:, None])),
        "p_value": (("member", "over", *dims[1:], "class"), rng.random((members, 1, *shape[1:], 3))),
        "majority": (("member", "population", "layer", "example"), np.zeros((*shape[:2], 1, examples))),
        "seen": (("member", "target", "example"), np.zeros((members, members, examples))),
    }
    coords = {"population": names, "layer": layers, "over": ["all"], "control": ("member", ["trained"] * members)}
    return xr.Dataset(arrays, coords, {"epsilon": 0.1, "num_calibration": 100})


def test_checks_find_planted_faults():
    data = inputs_seen()

    def failed(data):
        return [check.name for check in estimates.checks(data, Table(), None) if not check.passed]

    assert failed(data) == []
    assert failed(data.assign(delta=data.delta + 0.01 * (data.population == "noise"))) == ["search.inside_ball"]
    assert failed(data.assign(p_value=data.p_value**3)) == ["credibility.calibrated"]
    copies = data.confidence.copy()
    copies[1] = copies[0]
    assert failed(data.assign(confidence=copies)) == ["members.distinct"]


def test_a_detector_counts_from_guessing():
    """An AUROC of 0.6 is a small effect, where a share of neighbours that is 0.6 larger is not."""
    config, rng = load("neighbors"), np.random.default_rng(0)
    near = interval(0.6 + 0.02 * rng.normal(size=(4, 30)))
    rows = [Row(estimate_dict(near, "purity.true_class", population="adversarial", reference="natural_error",
                              matching="raw", layer="conv3", unit="1"))]  # fmt: skip
    rows.append(Row(estimate_dict(near, "auroc.credibility.area", population="adversarial", reference="genuine",
                                  over="all", unit="1")))  # fmt: skip
    verdicts = {claim["name"]: claim["verdict"] for claim in estimates.claims(Table(tuple(rows)), config)}
    assert verdicts == {
        "credibility_detects_adversarial": "negligible",
        "adversarial_keep_neighbours_of_the_true_class": "supported",
    }


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("neighbors.metric", "l1", "expected one of euclidean, cosine"),
        ("neighbors.k", 0, "neighbors.k=0: expected at least 1"),
        ("neighbors.num_reference", 10, "expected more than neighbors.k=10"),
        ("along.num_examples", 5000, "expected at most neighbors.num_examples"),
        ("along.runner_up", 0.0, "a number above 0"),
        ("search.epsilon", 0.0, "a number above 0"),
        ("manifold.family", "vq", "expected one of ae"),
        ("hidden.layers", ("conv7",), "did you mean conv"),
        ("claims.credibility_detects_adversarial.measure", "auroc.x", "expected one of auroc.credibility.area"),
        ("claims.credibility_detects_adversarial.populations", ("adversarial", "user"), "expected two of genuine"),
    ],
)
def test_configs_that_would_fail_late_are_refused(name, value, expected):
    config = ConfigDict(load("neighbors").to_dict())
    experiments.validate(config)
    config.update_from_flattened_dict({name: value})
    with pytest.raises(UserError, match=expected):
        experiments.validate(config)


# ---- a whole run ----


@pytest.fixture(scope="module")
def done(tmp_path_factory, shared):
    """The arrays and the summary of a run of small members, with a user's moves in a hidden layer; its folder."""
    folder = tmp_path_factory.mktemp("neighbors")
    rng = np.random.default_rng(0)
    start, end = rng.uniform(0, 1, (2, 4, 3, 256)).astype(np.float32)  # of each of four members
    np.savez(folder / "mine.npz", start=start, end=end, label=np.array([1, 2, 3]), layer="dense2")
    few = {"model.name": "mlp", "moves": str(folder / "mine.npz"), "search.epsilon": 0.3}
    few["populations"] = ("augmented",)
    config = smoke_config("neighbors", folder, **few, **shared)
    assert len(config.moves_checksum) == 64
    return *whole_runs.done(config, folder / "run", audited=False), config, folder


def test_neighbours_of_clean_images_are_those_of_brute_force(done):
    arrays, _, config, _ = done
    dataset, _ = setting.load(config)
    known = setting.examples(dataset, "train", config.neighbors.num_reference, config.seed)
    ids = dict(zip(dataset.ids.tolist(), range(len(dataset.ids)), strict=True))
    rows = [ids[i] for i in arrays.example.values.tolist()]
    x, label = data.pixels(dataset.images[rows]), dataset.labels[rows]
    far = np.linalg.norm((x[:, None] - known.x[None]).reshape(len(x), len(known.x), -1).astype(float), axis=2)
    order = np.sort(far, axis=1)
    clear = order[:, 10] - order[:, 9] > 1e-6  # else either of two neighbours is right
    share = (known.label[np.argsort(far, axis=1)[:, :10]] == label[:, None]).mean(axis=1)
    found = arrays.share_true.sel(population="genuine", layer="image").values
    np.testing.assert_allclose(found[:, clear], np.broadcast_to(share, found.shape)[:, clear], atol=1e-6)
    assert clear.mean() > 0.9
    kth = order[:, 9] / arrays.typical.sel(layer="image").values[:, None]
    np.testing.assert_allclose(arrays.far.sel(population="genuine", layer="image"), kth, rtol=1e-5)


def test_arrays_hold_together(done):
    arrays = done[0]
    assert arrays.layer.values.tolist() == ["image", "dense1", "dense2"]
    assert arrays.over.values.tolist() == ["all", "image", "hidden"] and "adaptive" in arrays.population
    assert 0 < arrays.delta.sel(population="augmented").max() <= 0.1 * 8
    own = arrays.valid.sel(population="adversarial")
    assert own.any() and (arrays.prediction.sel(population="adversarial") != arrays.label).values[own.values].all()
    shares = arrays.share_true + arrays.share_predicted.where(arrays.prediction != arrays.label, 0)
    assert float(shares.max()) <= 1 + 1e-6 and float((arrays.purity - arrays.share_true).min()) >= -1e-6
    np.testing.assert_allclose(arrays.p_value.max(), 1.0, rtol=1e-6)
    at_image = arrays.sel(layer="image")
    np.testing.assert_allclose(at_image.cka, 1, rtol=1e-5)
    np.testing.assert_array_equal(at_image.mutual, 1)
    same = np.arange(4)
    np.testing.assert_array_equal(arrays.mutual.values[:, same, same], 1)
    prediction = arrays.prediction.sel(population="adversarial").values
    np.testing.assert_array_equal(arrays.seen.transpose("member", "target", "example").values[same, same], prediction)


def test_moves_begin_and_end_where_they_should(done):
    arrays, _, config, _ = done
    names = arrays.move.values.tolist()
    within = [f"runner_up.{layer}" for layer in arrays.layer.values]
    assert names == ["adversarial", "manifold", "interpolation", *within, "user"]
    count = config.along.num_examples
    for step, population in ((0, "genuine"), (-1, "adversarial")):
        along = arrays.move_true.sel(move="adversarial").isel(step=step).transpose("member", "layer", "moved")
        there = arrays.share_true.sel(population=population).transpose("member", "layer", "example")
        np.testing.assert_allclose(along, there.values[..., :count], atol=1e-6)
        along = arrays.move_majority.sel(move="adversarial").isel(step=step).transpose("member", "layer", "moved")
        there = arrays.majority.sel(population=population).transpose("member", "layer", "example")
        np.testing.assert_array_equal(along, there.values[..., :count])
    np.testing.assert_array_equal(arrays.move_rank.sel(move=names[:3]).isel(step=0), 0)
    assert np.allclose(arrays.move_length.sel(move=names[:3]).isel(step=0), 0, atol=1e-5)
    mine = arrays.sel(move="user")
    assert (
        np.isnan(mine.move_far.sel(layer=["image", "dense1"])).all()
        and np.isfinite(mine.move_far.sel(layer="dense2")).all()
    )
    assert not mine.move_counts.values[:, 3:].any()  # three were given
    assert np.isnan(arrays.move_far.sel(move="runner_up.dense2", layer="image")).all()


def test_a_run_reports_and_is_estimated_again(done):
    _, summary, config, folder = done
    names = {check["name"] for check in summary["checks"] if not check["passed"]}
    assert not names & {"members.distinct", "search.inside_ball", "credibility.calibrated"}
    assert {check["name"] for check in summary["checks"]} > {"search.inside_ball", "credibility.calibrated"}
    assert "AUROC" in summary["headline"] and len(summary["claims"]) == 2
    page = (folder / "run/report.html").read_text()
    assert re.findall(r"Not drawn: <b>(.*?)</b>", page) == []
    before = (folder / "run/estimates.csv").read_text()
    with runs.open_run(config, folder / "run") as run:
        experiments.execute(run, reestimate=True)
    assert (folder / "run/estimates.csv").read_text() == before
    sets = [path for path in (Path(config.artifacts) / "reference").iterdir() if path.is_dir()]
    assert len(sets) >= 8  # two hidden layers, four members; other runs share the folder
