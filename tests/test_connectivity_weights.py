"""Ways between classifiers: the whole stage on a few images, and barriers, intervals and figures by hand."""

import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr
from landscape.experiments.connectivity_weights import Way

from landscape import ensembles, objectives, presets, runs
from landscape.data import Dataset
from landscape.experiments import connectivity_weight_estimates as told
from landscape.experiments import connectivity_weights as stage
from landscape.experiments.setting import Setting
from landscape.files import UserError
from landscape.models import classifiers
from landscape.reporting import connectivity_weights as looks
from landscape.reporting import style
from landscape.stats.intervals import interval, of_pairs

S, T, N = 4, 3, 20


def dataset(count=70):
    rng = np.random.default_rng(0)
    label = rng.integers(0, 3, count)
    images = np.clip(rng.normal(40 + 60 * label[:, None, None, None], 30, (count, 4, 4, 1)), 0, 255).astype(np.uint8)
    index = np.arange(count)
    splits = {"train": index[:40], "validation": index[40:50], "test": index[50:]}
    return Dataset("made", images, label, index, ("a", "b", "c"), splits, "0")


def unused(*_):
    raise AssertionError("a stage that is found done runs nothing")


def config_of(tmp_path, norm="none", **changes):
    config = presets.base("digits", True)
    config.experiment, config.artifacts = "noise", str(tmp_path / "artifacts")
    config.control_members = {"untrained": 1, "shuffled": 0}
    config.num_members, config.chunk, config.mapping = S, 16, "map"
    config.model.norm = norm
    config.train.batch_size = 16
    config.search = presets.search("digits", True)
    config.weights = presets.weights("digits", True) | {"num_points": T, "num_images": 24} | changes
    return config


def prepared_of(config, count=S + 1):
    """Members as they are drawn, all of them called trained but the second one."""
    made = classifiers.build(config.model.name, norm=config.model.norm, num_classes=3, mean=(0.4,), std=(0.3,))
    keys = jax.random.split(jax.random.key(1), count)
    ensemble = jax.jit(jax.vmap(lambda key: made.init(key, jnp.zeros((1, 4, 4, 1)))))(keys)
    trained = np.arange(count) != 1
    members = [{"seed": i, "control": "trained" if kept else "untrained"} for i, kept in enumerate(trained)]
    return Setting(dataset(), made, ensemble, members, trained, ensembles.parse("map", count))


@pytest.fixture(scope="module")
def followed(tmp_path_factory):
    """(config, prepared, arrays of the stage, the same again from its chunks)."""
    tmp_path = tmp_path_factory.mktemp("weights")
    config = config_of(tmp_path, curves=("chain",))
    prepared = prepared_of(config)
    with runs.open_run(config, tmp_path / "run") as run:
        arrays = stage.weights(config, run, prepared)
        again = stage.weights(config, run, prepared._replace(classifier=prepared.classifier._replace(apply=unused)))
    return config, prepared, arrays, again


def test_the_stage_keeps_what_it_promises(followed):
    config, prepared, arrays, again = followed
    ways, pairs = stage.ways_of(config), 6
    assert len(ways) == 7 and ways[-1] == Way("chain", "none", "plain")
    assert arrays["weight_loss"][1].shape == (7, pairs, T, N) and arrays["weight_wrong"][1].shape == (7, pairs, 3, T, N)
    np.testing.assert_array_equal(np.unique(arrays["weight_pair_member"][1]), [0, 2, 3, 4])  # the trained ones
    for name, (dims, value) in arrays.items():
        assert len(dims) == value.ndim and value.dtype.kind in "biufU", name
        np.testing.assert_array_equal(value, again[name][1], err_msg=name)
    # The ends of every plain way are the members, in whatever order the units of one are.
    x = jnp.asarray(prepared.dataset.images[50:].astype(np.float32) / 255)
    label = jnp.asarray(prepared.dataset.labels[50:])
    said = jax.jit(jax.vmap(prepared.classifier.apply, (0, None)))(prepared.ensemble, x)
    for q, ends in enumerate(arrays["weight_pair_member"][1]):
        for at, member in zip((0, -1), ends, strict=True):
            logits = said[int(member)]
            for w, way in enumerate(ways):
                own = arrays["weight_loss"][1][w, q, at]
                tolerance = 1e-4 if way.statistics == "plain" else 1e-3
                np.testing.assert_allclose(own, objectives.loss(logits, label), rtol=tolerance, atol=tolerance)
    assert arrays["weight_planted"][1][0] > 0.01 and np.all(arrays["weight_planted"][1][1:] < 1e-4)


def test_arrays_are_written_estimated_and_drawn(followed, tmp_path):
    _, _, arrays, _ = followed
    results = told.estimates(arrays)
    assert {check["name"]: check["passed"] for check in results.checks} == {
        "weights.planted": True,
        "weights.same_ends": True,
    }
    names = {e["name"] for e in results.estimates}
    assert {"barrier.weight_loss", "barrier.weight_error"} <= names
    assert all(e["members"] == S for e in results.estimates)
    data = xr.Dataset(arrays | results.curves)
    assert set(stage.ABOUT) <= set(data.variables)
    data.to_netcdf(tmp_path / "arrays.nc", engine="h5netcdf")
    needed = {name for plate in looks.PLATES for name in plate.needs}
    assert needed <= set(data.variables)
    with mpl.rc_context(style.RC):
        for plate in looks.PLATES:
            figure = plate.draw(data)
            if figure is not None:
                assert style.save(figure, tmp_path / f"{plate.name}.svg").stat().st_size > 1000
        assert looks.profiles(data) is not None


@pytest.mark.parametrize(
    ("name", "norm"), [("mlp", "none"), ("cnn", "group"), ("cnn", "batch"), ("resnet_small", "group")]
)
def test_permuted_copies_of_every_network_align_exactly(name, norm, tmp_path, monkeypatch):
    monkeypatch.setitem(
        classifiers.FAMILIES, "resnet_small", (classifiers.ResNet, {"widths": (8, 16), "blocks": (1, 1)})
    )
    config = config_of(tmp_path, norm, restarts=1)
    config.model.name = name
    prepared = prepared_of(config, 2)
    data = prepared.dataset
    test, bank = (stage.setting.examples(data, split, 20, 0) for split in ("test", "train"))
    bank = bank._replace(x=np.concatenate([bank.x, test.x]))  # units that no image at hand moves are all alike
    member = jax.tree.map(lambda leaf: 1.5 * leaf[0], prepared.ensemble)
    said = jax.jit(prepared.classifier.apply)(member, test.x)  # what it is sure of is lost between its copies
    test = test._replace(label=np.asarray(jnp.argmax(said, axis=-1), np.int32))
    with runs.open_run(config, tmp_path / "run") as run:
        left = stage._planted(config, run, prepared.classifier, member, test, bank)["weight_planted"][1]
    assert left[0] > 1e-3 and np.all(left[1:] < 1e-4)


def test_with_batch_norm_curves_are_reset_and_others_refused(tmp_path):
    config = config_of(tmp_path, norm="batch")
    assert [way.statistics for way in stage.ways_of(config)[-2:]] == ["reset", "reset"]
    prepared = prepared_of(config)
    with runs.open_run(config, tmp_path / "run") as run:
        with pytest.raises(ValueError, match="1 trained members: expected at least 2"):
            stage.weights(config, run, prepared._replace(trained=np.arange(5) == 1))
        config.weights.matchings = ("none", "weights")
        with pytest.raises(ValueError, match="expected some of none, weight, activation"):
            stage.weights(config, run, prepared)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("num_members", 9, "2 to num_members=4"),
        ("matchings", ("weight",), "none among them"),
        ("matchings", ("none", "scale"), "some of none, weight, activation"),
        ("curves", ("spline",), "some of bezier, chain"),
        ("num_points", 24, "an odd number from 3"),
        ("restarts", 0, "at least 1"),
        ("learning_rate", 0.0, "above 0"),
    ],
)
def test_sections_that_would_fail_late_are_refused(name, value, expected):
    for smoke in (False, True):
        fields = {f"weights.{n}": v for n, v in presets.weights("digits", smoke).items()} | {"num_members": 8}
        presets.check_weights(fields)
    with pytest.raises(UserError, match=expected):
        presets.check_weights(fields | {"num_members": 4, f"weights.{name}": value})


@pytest.mark.slow
@pytest.mark.parametrize(("name", "norm"), [("resnet_small", "batch"), ("mlp", "group")])
def test_other_networks_and_norms_go_every_way(name, norm, tmp_path, monkeypatch):
    monkeypatch.setitem(
        classifiers.FAMILIES, "resnet_small", (classifiers.ResNet, {"widths": (8, 16), "blocks": (1, 1)})
    )
    config = config_of(tmp_path, norm, num_members=2)
    config.model.name = name
    prepared = prepared_of(config)
    with runs.open_run(config, tmp_path / "run") as run:
        arrays = stage.weights(config, run, prepared)
    assert np.isfinite(arrays["weight_loss"][1]).all() and arrays["weight_loss"][1].shape[:2] == (7, 1)
    results = told.estimates(arrays)
    assert {e["generalises_to"] for e in results.estimates} == {"new images"}
    assert all(check["passed"] for check in results.checks)


# ---- barriers and intervals by hand ----


def test_barriers_are_those_of_the_mean():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(5, 9, 40))
    mean = values.mean(axis=2)
    plain = told.barrier_values(values, "barrier").mean(axis=1)
    np.testing.assert_allclose(plain, mean.max(axis=1) - np.maximum(mean[:, 0], mean[:, -1]), atol=1e-12)
    line = np.linspace(1, 0, 9) * mean[:, :1] + np.linspace(0, 1, 9) * mean[:, -1:]
    above = told.barrier_values(values, "above_line").mean(axis=1)
    np.testing.assert_allclose(above, (mean - line).max(axis=1), atol=1e-12)
    assert np.all(told.barrier_values(np.broadcast_to(np.linspace(0, 1, 9)[None, :, None], (1, 9, 4)), "barrier") == 0)
    wrong = values > 0
    np.testing.assert_allclose(
        told.barrier_values(wrong, "barrier"), told.barrier_values(wrong.astype(float), "barrier")
    )


def test_members_of_pairs_are_told_as_by_the_jackknife():
    pairs = stage.pairs_of(6)
    rng = np.random.default_rng(1)
    value = rng.normal(size=len(pairs))
    # As good as no spread between images: the interval is the one over members.
    found = interval(told.per_member(np.repeat(value[:, None], 200, axis=1), pairs))
    known = of_pairs(value, pairs, 200)
    assert found.value == pytest.approx(known.value) and found.sem == pytest.approx(known.sem, rel=1e-6)
    assert found.members == 6 and found.generalises_to == "both"
    for count in (2, 3):
        few = stage.pairs_of(count)
        spread = rng.normal(size=(len(few), 50))
        found = interval(told.per_member(spread, few))
        assert found.generalises_to == "new images" and found.value == pytest.approx(spread.mean())
        assert found.sem == pytest.approx(spread.mean(axis=0).std(ddof=1) / np.sqrt(50))


def test_the_interval_of_a_barrier_covers_it():
    """Members, pairs and images vary; the truth is the barrier of the mean over all of them, 1 nat."""
    rng = np.random.default_rng(2)
    pairs, t = stage.pairs_of(6), np.linspace(0, 1, 7)
    hump = 4 * t * (1 - t)
    covered, count = 0, 200
    for _ in range(count):
        own, image = 0.1 * rng.normal(size=6), 0.5 * rng.normal(size=60)
        height = 1 + own[pairs].sum(axis=1)[:, None] + image[None] + 0.1 * rng.normal(size=(len(pairs), 60))
        values = 0.3 * rng.normal(size=60) + hump[:, None] * height[:, None]
        found = interval(told.per_member(told.barrier_values(values, "barrier"), pairs))
        covered += found.low <= 1 <= found.high
    assert 0.9 <= covered / count <= 0.995


def planted(height=1.0):
    """Arrays of 4 members in which a matched line is `height` lower than the other, pair by pair."""
    rng = np.random.default_rng(3)
    ways = [Way("line", "none", "plain"), Way("line", "weight", "plain"), Way("chain", "none", "plain")]
    pairs, t = stage.pairs_of(S), np.linspace(0, 1, 5)
    hump = 4 * t * (1 - t)
    own = 2 + rng.random((len(pairs), 1, 40))
    base = rng.random((1, 1, 40))
    loss = np.stack([base + hump[:, None] * part for part in (own, own - height, 0.05 * own)])
    wrong = np.zeros((3, len(pairs), 3, 5, 40), bool)
    wrong[:, :, 1] = t[:, None] < 0.6  # examples of the first end are wrong up to the middle and a bit beyond
    wrong[:, :, 2] = t[:, None] > 0.4  # those of the second one from the other side
    wrong[0, :, 0, 2] = True  # the unmatched line errs on everything in the middle
    wrong[:, 0, 0, 0, 7] = True  # one member errs on one image
    wrong[:, 2, 2, -1, 8] = False  # one image is not turned by one member
    arrays = {f"way_{field}": np.asarray([way[i] for way in ways]) for i, field in enumerate(Way._fields)}
    arrays |= {"weight_loss": loss, "weight_wrong": wrong, "weight_pair_member": 2 * pairs, "weight_t": t}
    arrays |= {"weight_matching": np.asarray(["none", "weight"]), "weight_planted": np.asarray([1.0, 1e-5])}
    return {name: ((), value) for name, value in arrays.items()}


def one(estimates, name, **coords):
    found = [e for e in estimates if e["name"] == name and all(e.get(key) == value for key, value in coords.items())]
    assert len(found) == 1, found
    return found[0]


def test_differences_are_paired_and_ratios_are_of_means():
    results = told.estimates(planted())
    line = {"variant": "barrier", "curve": "line"}
    less = one(results.estimates, "barrier.weight_loss", matching="weight", reference="line, none, plain", **line)
    assert less["value"] == pytest.approx(-1) and less["high"] - less["low"] < 1e-9
    plain = one(results.estimates, "barrier.weight_loss", matching="none", reference=None, **line)
    assert 2.4 < plain["value"] < 2.6 and plain["low"] < plain["value"] < plain["high"]
    ratio = one(results.estimates, "barrier.weight_loss_over_line", curve="chain", variant="barrier")
    assert ratio["value"] == pytest.approx(0.05) and ratio["high"] - ratio["low"] < 1e-9
    errors = one(results.estimates, "barrier.weight_error", matching="none", reference=None, **line)
    assert errors["value"] == pytest.approx(1.0, abs=0.01) and errors["unit"] == "1"
    assert all(check["passed"] for check in results.checks)
    failed = told.estimates(planted() | {"weight_planted": ((), np.asarray([1.0, 2e-4]))})
    assert [check["passed"] for check in failed.checks] == [False, True]


def test_what_stays_adversarial_is_read_from_the_attacked_end():
    arrays = planted()
    mask = told.common(told.ways_in(arrays))
    assert mask.sum() == 38 and not mask[7] and not mask[8]
    results = told.estimates(arrays)
    by = {"curve": "line", "matching": "none"}
    for name, at, wanted in (
        ("adversarial", "middle", 1.0),
        ("adversarial", "end", 0.0),
        ("adversarial", "everywhere", 0.0),
        ("clean", "middle", 1.0),
    ):
        found = one(results.estimates, "path.weight_wrong", population=name, at=at, reference=None, **by)
        assert found["value"] == wanted and found["examples"] == 38
    more = one(results.estimates, "path.weight_wrong", reference="clean", curve="line", matching="weight")
    assert more["value"] == 1.0
    kept = results.curves["weight_kept"][1]
    np.testing.assert_allclose(kept[1, 0], [1, 1, 1, 0, 0])
    np.testing.assert_allclose(kept[0, 1], [0, 0, 1, 0, 0])
    arrays["weight_wrong"][1][:, :, 1:] = False  # nothing is fooled: nothing is told
    found = told.estimates(arrays)
    assert not [e for e in found.estimates if e["name"] == "path.weight_wrong"]
    data = xr.Dataset(found.curves | {f: (("weight_way",), arrays[f][1]) for f in arrays if f.startswith("way_")})
    assert looks.kept(data) is None
