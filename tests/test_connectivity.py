"""The experiment `connectivity` through the same door as `main`, and its parts by another road."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import whole_runs
from sklearn.metrics import roc_auc_score
from whole_runs import smoke_config

from landscape import ensembles, objectives, presets, runs
from landscape.experiments import connectivity_ends as ends
from landscape.experiments import connectivity_graph, connectivity_setting, connectivity_weights
from landscape.experiments.connectivity import wanted_margins
from landscape.files import UserError

WHOLE = pytest.mark.slow  # a whole run takes over a minute to compile
KINDS = ("genuine", "boosted", "adversarial", "natural_error", "carrier", "joint", "same_member", "adaptive")
FEW = {
    "model.name": "mlp",
    "train.num_epochs": 4,
    "pairs.kinds": KINDS,
    "paths.kinds": ("genuine",),
    "paths.more": ("bezier", "all"),
    "weights.curves": (),
    "weights.matchings": ("none",),
    "weights.num_points": 3,
    "adaptive.weights": (1.0, 10.0),
}


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A finished small run: (config, arrays, summary, what it is made of, its pairs, its steered margins)."""
    folder = tmp_path_factory.mktemp("connectivity")
    config = smoke_config("connectivity", folder, **FEW)
    arrays, summary = whole_runs.done(config, folder / "run")
    with runs.open_run(config, folder / "again") as run:
        connected = connectivity_setting.prepare(run.config, run)
        told = connectivity_setting.clean(run.config, run, connected, "test")
        pairs = connectivity_setting.pairs_of(
            connected.test.label,
            told["clean_prediction"][1].astype(int),
            told["probability"][1],
            num_pairs=config.pairs.num_pairs,
            num_errors=config.pairs.num_errors,
            seed=config.seed,
        )
        wanted = wanted_margins(told, pairs, connected.test.label, config.seed)
        nothing = np.zeros_like(wanted)
        yield run.config, arrays, summary, connected, pairs, ends.Wanted(wanted, nothing, 1.0)


def values(arrays, name, kind, path):
    return arrays[name].sel(kind=kind, path=path).transpose("member", "pair").values


@WHOLE
def test_it_writes_what_is_promised(done):
    config, arrays, summary, _, pairs, _ = done
    assert all(v.attrs["units"] and v.attrs["long_name"] for v in arrays.variables.values())
    assert arrays["kind"].values.astype(str).tolist() == list(KINDS)
    assert arrays["path"].values.astype(str).tolist() == ["line", "bypass", "bezier", "all"]
    assert arrays.sizes["pair"] == len(pairs.label) and pairs.regular == config.pairs.num_pairs
    wanted = "barrier.loss barrier.climb barrier.left_class barrier.probability barrier.quantile path.length "
    wanted += "path.deviation_l2 distance.manifold attack.predicted_as_class auroc.barrier auroc.barrier_tpr_at_5 "
    wanted += "barrier.weight_loss"  # graphs of classes with one node of a kind say nothing of climbs
    assert set(wanted.split()) <= {e["name"] for e in summary["estimates"]}
    for e in summary["estimates"]:
        assert e["low"] is None or e["low"] <= e["value"] <= e["high"], e
    assert {c["name"] for c in summary["claims"]} == {"adversarial_lie_behind_a_barrier", "a_barrier_tells_adversarial"}
    names = {check["name"] for check in summary["checks"]}
    assert {"line.points_are_enough", "bypass.in_its_plane", "line.beside_exact", "weights.same_ends"} <= names
    assert "AUROC" in summary["headline"] and "matched by" not in summary["headline"]  # nothing was
    shown = {e["name"] for e in summary["estimates"] if e.get("headline")}
    assert {"auroc.barrier", "barrier.loss", "barrier.weight_loss"} <= shown


@WHOLE
def test_profiles_of_lines_are_those_of_images_between(done):
    """Blends of the images themselves, judged one by one."""
    _, arrays, _, connected, pairs, _ = done
    t = arrays["t"].values
    rows = np.arange(pairs.regular)
    a, b = (connected.test.x[place[rows]] for place in (pairs.anchor, pairs.other))
    label = jnp.asarray(pairs.label[rows], jnp.int32)
    found = arrays["line_profile"].sel(kind="genuine").transpose("member", "t", "pair").values[..., rows]
    judge = jax.jit(lambda v, x: objectives.loss(connected.classifier.apply(v, x), label))
    for s in range(len(found)):
        variables = ensembles.take(connected.ensemble, s)
        expected = np.stack([judge(variables, jnp.asarray((1 - u) * a + u * b)) for u in t])
        np.testing.assert_allclose(found[s], expected, rtol=1e-3, atol=1e-5)
        barrier = expected.max(axis=0) - np.maximum(expected[0], expected[-1])
        # Looked at closely, the highest point is a little higher.
        found_barrier = values(arrays, "barrier", "genuine", "line")[s, rows]
        assert np.all(found_barrier >= barrier - 1e-4) and np.all(found_barrier <= 1.2 * barrier + 1e-3)
    errors = np.arange(pairs.regular, len(pairs.label))
    assert np.isnan(values(arrays, "barrier", "genuine", "line")[:, errors]).all()
    assert np.isnan(values(arrays, "barrier", "natural_error", "line")[:, rows]).all()


@WHOLE
def test_few_pairs_have_the_profiles_of_all_paths(done):
    """Those of lines are the same that all pairs have; a curve's ends are the line's."""
    _, arrays, _, _, pairs, _ = done
    rows = arrays["few_pair"].sel(kind="natural_error").values
    assert rows.tolist() == list(range(pairs.regular, pairs.regular + len(rows)))
    few = arrays["few_profile"].transpose("kind", "path", "t", "member", "few")
    line = arrays["line_profile"].transpose("kind", "t", "member", "pair")
    np.testing.assert_array_equal(few.sel(kind="natural_error", path="line"), line.sel(kind="natural_error")[..., rows])
    genuine = few.sel(kind="genuine")
    for path in ("bypass", "bezier", "all"):
        ends = [genuine.sel(path=one).values[[0, -1]] for one in ("line", path)]
        np.testing.assert_allclose(*ends, rtol=1e-4, atol=1e-6)
    assert np.isnan(few.sel(kind="boosted", path="bezier")).all()  # which this kind does not have
    for path in ("line", "bypass"):
        assert np.isfinite(arrays["climb"].sel(kind="carrier", path=path)[..., : pairs.regular]).all()


@WHOLE
def test_pairs_count_where_both_ends_are_of_the_class(done):
    _, arrays, _, connected, pairs, _ = done
    says = np.stack(
        [
            np.argmax(
                connected.classifier.apply(ensembles.take(connected.ensemble, s), jnp.asarray(connected.test.x)),
                axis=-1,
            )
            for s in range(ensembles.size(connected.ensemble))
        ]
    )
    errors = np.arange(pairs.regular, len(pairs.label))
    expected = (says[:, pairs.carrier[errors]] == pairs.label[errors]) & (
        says[:, pairs.anchor[errors]] == pairs.label[errors]
    )
    found = values(arrays, "valid", "natural_error", "line")[:, errors]
    np.testing.assert_array_equal(found == 1, expected)
    assert 0 < expected.mean() < 1
    carrier = values(arrays, "valid", "carrier", "line")[:, : pairs.regular]
    np.testing.assert_array_equal(carrier, np.ones_like(carrier))  # all members are right on anchor and carrier
    genuine = values(arrays, "valid", "genuine", "line")[:, : pairs.regular]
    np.testing.assert_array_equal(genuine, np.ones_like(genuine))


@WHOLE
def test_a_bypass_is_no_higher_than_its_line_and_stays_in_its_plane(done):
    _, arrays, _, _, pairs, _ = done
    for kind in ("genuine", "natural_error", "adversarial"):
        line, over = (values(arrays, "barrier", kind, path) for path in ("line", "bypass"))
        there = np.isfinite(line)
        # Of a few steps; a piece that is bent may cross another rise.
        assert np.mean(over[there] <= line[there] + 1e-3) > 0.95
    plane = arrays["plane"].sel(kind="genuine").transpose("member", "pair").values[:, : pairs.regular]
    assert np.nanmax(plane) < 1e-4  # after 16 steps little way was gone, of which rounding is a larger share
    length = values(arrays, "length", "genuine", "bypass")[:, : pairs.regular]
    assert length.min() >= 1 - 1e-6
    np.testing.assert_allclose(values(arrays, "length", "genuine", "line")[:, : pairs.regular], 1.0, rtol=1e-5)


@WHOLE
def test_steps_are_those_after_which_the_barrier_is_nearly_gone(done):
    _, arrays, *_ = done
    frames = arrays["frame"].values
    assert frames.tolist() == [1, 2, 4, 8, 16]
    count = 0
    for kind in ("genuine", "natural_error", "adversarial", "adaptive"):
        after = arrays["after"].sel(kind=kind).transpose("frame", "member", "pair").values.astype(np.float64)
        needed = arrays["steps_needed"].sel(kind=kind).transpose("member", "pair").values
        line = values(arrays, "barrier", kind, "line").astype(np.float64)
        there = (line > 0.01) & (values(arrays, "valid", kind, "bypass") == 1)
        np.testing.assert_array_equal(~np.isnan(needed), there)
        for s, q in np.argwhere(there):
            enough = frames[after[:, s, q] <= (1 - 0.95) * line[s, q]]
            assert needed[s, q] == (enough[0] if len(enough) else np.inf)
        count += there.sum()
    assert count > 10


@WHOLE
def test_pictures_are_of_distinct_pairs_the_highest_first_and_blank_where_there_are_fewer(done):
    _, arrays, *_ = done
    loss = arrays["picture_loss"].transpose("picture_kind", "shown", "place")
    for kind in loss["picture_kind"].values.astype(str):
        counted = values(arrays, "valid", kind, "line")[0] == 1
        told = loss.sel(picture_kind=kind).values
        there = np.isfinite(told).all(axis=1)
        assert there.sum() == min(len(there), counted.sum()) and len(np.unique(told[there], axis=0)) == there.sum()
        rise = told[there, 1] - told[there][:, [0, 3]].max(axis=1)
        assert np.all(np.diff(np.maximum(rise, 0)) <= 0.05)  # barriers look closer at the highest point than pictures
        shown = arrays["picture"].sel(picture_kind=kind).transpose("shown", ...).values
        assert np.isnan(shown[~there]).all() and np.isfinite(shown[there]).all()


@WHOLE
def test_attacked_ends_lie_in_the_ball_and_members_trade_places(done):
    config, _, _, connected, pairs, wanted = done
    rows = np.arange(6)
    chunk = ends.chunk_of(config, connected, pairs, rows, wanted)
    autoencoder = ensembles.take(connected.cell.ensemble, 0)
    made = {}
    for kind in ("adversarial", "boosted", "same_member", "same_attack", "both_noisy", "dreamed", "manifold"):
        program = jax.jit(ends.of(config, connected, kind))
        made[kind] = [np.asarray(end) for end in program(connected.ensemble, autoencoder, chunk)]
    epsilon = config.search.epsilon
    for kind, (a, b) in made.items():
        assert a.shape == b.shape == (4, 6, 8, 8, 1) and 0 <= b.min() and b.max() <= 1
        origin = np.asarray(chunk.other if kind == "boosted" else chunk.carrier)
        far = np.abs(b - origin[None]).max(axis=(2, 3, 4))
        if kind not in ("dreamed", "manifold"):
            assert far.max() <= epsilon + 1e-6
        if kind in ("adversarial", "boosted", "dreamed", "manifold"):
            np.testing.assert_array_equal(a, np.repeat(np.asarray(chunk.anchor)[None], 4, axis=0))
    adversarial = made["adversarial"][1]
    np.testing.assert_array_equal(made["same_member"][0], adversarial)
    np.testing.assert_array_equal(made["same_member"][1], np.roll(adversarial, 1, axis=0))
    assert np.abs(made["both_noisy"][0] - made["both_noisy"][1]).max() > 0.01
    # An attack that does not know the anchor makes the same of any.
    for kind, knows in (("adaptive", True), ("adaptive_unseen", False)):
        program = jax.jit(ends.of(config, connected, kind))
        told = [
            np.asarray(program(connected.ensemble, autoencoder, one)[1])
            for one in (chunk, chunk._replace(anchor=chunk.anchor[::-1]))
        ]
        assert np.abs(told[0] - np.asarray(chunk.carrier)[None]).max() <= epsilon + 1e-6
        assert (np.abs(told[0] - told[1]).max() > 1e-3) == knows
    judge = jax.jit(lambda v, x: objectives.margin(connected.classifier.apply(v, x), chunk.label))
    for s in range(4):
        variables = ensembles.take(connected.ensemble, s)
        before, after = (np.asarray(judge(variables, x)) for x in (chunk.carrier, adversarial[s]))
        assert np.all(after > before)
        more, much = (np.asarray(judge(variables, x)) for x in (chunk.other, made["boosted"][1][s]))
        assert np.all(much > more)


@WHOLE
def test_the_weight_of_the_attack_that_knows_is_the_one_told_worst_on_validation_images(done):
    """AUROC by scikit-learn, member by member."""
    config, arrays, *_ = done
    barrier = arrays["tuning_barrier"].transpose("weight", "member", "tuning_pair").values
    reached = arrays["tuning_reached"].transpose("weight", "member", "tuning_pair").values == 1
    genuine, right = (
        arrays[f"tuning_{name}"].transpose("member", "tuning_pair").values for name in ("genuine", "right")
    )
    told, share = [], reached.mean(axis=(1, 2))
    for values, kept in zip(barrier, reached, strict=True):
        scores = []
        for s in range(len(values)):
            both = np.concatenate([values[s][kept[s]], genuine[s][right[s] == 1]])
            scores.append(roc_auc_score(np.arange(len(both)) < kept[s].sum(), np.where(both < 1e-6, 0.0, both)))
        told.append(np.mean(scores))
    np.testing.assert_allclose(arrays["tuning_auroc"], told, rtol=1e-6)
    weights = arrays["weight"].values
    assert weights.tolist() == [0.0, *config.adaptive.weights]
    usable = (share >= config.adaptive.keep * share[0]) & (weights > 0)
    taken = weights[np.where(usable, np.abs(np.asarray(told) - 0.5), np.inf).argmin()] if usable.any() else 0.0
    assert float(arrays["adaptive_weight"]) == taken
    far = np.abs(arrays["tuning_barrier"].values[0] - arrays["tuning_barrier"].values[-1])
    assert far.max() > 1e-3  # the weight does something


@WHOLE
def test_edges_are_no_lower_than_their_nodes(done):
    config, arrays, _, _, pairs, _ = done
    nodes = connectivity_graph.nodes_of(pairs, config.graph.num_nodes, 10)
    assert nodes.count >= 1 and len(nodes.classes) == len(arrays["graph_class"])
    kinds = arrays["node_kind"].values.astype(str).tolist()
    assert len(kinds) == nodes.count * len(connectivity_graph.OWN)
    peak = arrays["graph_peak"].transpose("graph_class", "member", "edge").values
    loss = arrays["graph_loss"].transpose("graph_class", "member", "node").values
    first, last = np.triu_indices(len(kinds), 1)
    # A path is no lower than its ends.
    assert np.all(peak >= np.maximum(loss[..., first], loss[..., last]) - 1e-4)
    left = arrays["graph_left"].transpose("graph_class", "member", "node").values
    assert not left[..., np.asarray(kinds) == "genuine"].any()


@WHOLE
def test_too_few_images_are_refused(tmp_path):
    config = smoke_config("connectivity", tmp_path, **FEW | {"pairs.num_examples": 12, "train.num_epochs": 1})
    with pytest.raises(UserError, match="expected 5 or more"):
        whole_runs.done(config, tmp_path / "few")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"pairs.kinds": ("adversarial",)}, "genuine among them"),
        ({"pairs.num_pairs": 4}, "at least 5"),
        ({"bypass.num_points": 2}, "at least 3"),
        ({"adaptive.keep": 0.0}, "a share above 0"),
        ({"manifold.family": "vq"}, "latents are numbers"),
        ({"weights.num_points": 4}, "odd number"),
        ({"paths.more": ("beziers",)}, "did you mean bezier"),
    ],
)
def test_values_that_mean_something_else_are_refused(tmp_path, change, words):
    with pytest.raises(UserError, match=words):
        smoke_config("connectivity", tmp_path, **change)


@WHOLE
def test_the_weights_of_a_run_are_all_pairs_of_members(done):
    _, arrays, *_ = done
    pairs = arrays["weight_pair_member"].transpose("weight_pair", "weight_end").values
    np.testing.assert_array_equal(pairs, connectivity_weights.pairs_of(4))
    assert presets.weights("digits", True)["num_members"] == 4
