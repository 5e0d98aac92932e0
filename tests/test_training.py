"""Training: a member depends on its own entry only; interruptions leave no trace; artefacts are what they say."""

import contextlib
import json
import signal
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_compilation import counted

from landscape import ensembles, files, presets, runs
from landscape.data import Dataset
from landscape.ensembles import Mapping
from landscape.models import classifiers
from landscape.models.classifiers import Classifier
from landscape.training import artifacts, classifier_members, loop, step
from landscape.training.adversarial import Attack
from landscape.training.classifier_members import Hyper, members_of, task_of
from landscape.training.members import CONTROLS, Member

HYPER = Hyper(learning_rate=0.1, weight_decay=1e-3, label_smoothing=0.0, input_noise=0.0, weight_noise=0.0)
TWO = Mapping(devices=2)


def dataset_of(num_train=48, num_classes=3):
    """Images whose class is the column that is bright, with noise."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, num_classes, num_train + 20).astype(np.int32)
    images = rng.integers(0, 120, (len(labels), 4, 4, 1))
    images[np.arange(len(labels)), :, labels] += 60
    order = np.arange(len(labels))
    splits = {"train": order[:num_train], "validation": order[num_train:-10], "test": order[-10:]}
    names = tuple("abc"[:num_classes])
    return Dataset("columns", images.astype(np.uint8), labels, order, names, splits, checksum="0" * 64)


DATASET = dataset_of()


def linear():
    """A classifier that compiles fast: logits = x w + b; running mean of the logits in place of batch norm."""

    def apply(variables, x):
        return x.reshape(x.shape[0], -1) @ variables["params"]["kernel"] + variables["params"]["bias"][None, :]

    def init(key, x):
        params = {"kernel": 0.1 * jax.random.normal(key, (x[0].size, 3)), "bias": jnp.zeros(3)}
        return {"params": params, "batch_stats": {"mean": jnp.zeros(3)}}

    def train_apply(variables, x):
        logits = apply(variables, x)
        return logits, {"mean": 0.9 * variables["batch_stats"]["mean"] + 0.1 * logits.mean(axis=0)}

    cut = (lambda v, x, layer: x, lambda v, h, layer: apply(v, h), ("image",))
    return Classifier(init, apply, train_apply, *cut, lambda v, x, visit: apply(v, x))


LINEAR = linear()


def config_of(tmp_path, **changes):
    config = presets.base("digits", smoke=True)
    config.experiment = "train"
    config.artifacts = str(tmp_path / "artifacts")
    config.num_members, config.control_members.untrained = 2, 1
    config.train.num_epochs, config.train.batch_size = 2, 16
    config.update_from_flattened_dict(changes)
    return config


@pytest.fixture
def run(tmp_path):
    with runs.open_run(config_of(tmp_path), tmp_path / "run") as opened:
        yield opened


ONE = Mapping()


def train(run, members, *, task=None, how=ONE, dataset=DATASET, num_epochs=3, batch_size=10, name="x", **fields):
    return loop.train(
        run,
        members,
        dataset,
        task or task_of(LINEAR),
        seed=0,
        num_epochs=num_epochs,
        batch_size=batch_size,
        how=how,
        checkpoint=run.directory / "state.npz",
        name=name,
        stage="training",
        **fields,
    )


def trained(seed, **changes):
    return Member(seed, "trained", HYPER._replace(**changes))


def same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


# ---- which members ----


def test_members_are_seeds_for_each_swept_value_then_controls(tmp_path):
    config = config_of(tmp_path, **{"sweep.learning_rate": (0.1, 0.2), "control_members.shuffled": 1})
    members = members_of(config)
    assert [(m.seed, m.control) for m in members] == [
        *((seed, "trained") for _ in range(2) for seed in range(2)),
        (0, "untrained"),
        (0, "shuffled"),
    ]
    assert [m.hyper.learning_rate for m in members[:4]] == [0.1, 0.1, 0.2, 0.2]
    assert members[4].hyper.learning_rate == config.train.learning_rate
    assert {m.control for m in members} == set(CONTROLS)


# ---- one step ----


@pytest.mark.parametrize("warmup", [0.0, 2.0])
@pytest.mark.parametrize("optimizer", step.OPTIMIZERS)
def test_optimizer_is_the_published_one_with_a_half_cosine_behind_the_warm_up(optimizer, warmup):
    """Against AdamW, and SGD with Nesterov momentum, written out in NumPy; biases do not decay."""
    num_steps, lr, decay, momentum = 6, 0.2, 0.3, 0.8
    params = {"kernel": np.array([[1.0, -2.0]], np.float32), "bias": np.array([0.5], np.float32)}
    plan = step.Plan(num_steps, 1, 1, optimizer, ("warmup_epochs",) if warmup else ())
    hyper = HYPER._replace(learning_rate=lr, weight_decay=decay, momentum=momentum, warmup_epochs=warmup)
    tx = step.optimizer(hyper, plan)
    ours, state = jax.tree.map(jnp.asarray, params), tx.init(params)
    mine = {name: value.astype(np.float64) for name, value in params.items()}
    m, v = ({name: np.zeros_like(value) for name, value in mine.items()} for _ in range(2))
    for t in range(num_steps):
        grads = {name: np.cos(value + t) for name, value in mine.items()}
        updates, state = tx.update({name: jnp.asarray(g, jnp.float32) for name, g in grads.items()}, state, ours)
        ours = jax.tree.map(jnp.add, ours, updates)
        rate = lr * (1 + np.cos(np.pi * (t - warmup) / (num_steps - warmup))) / 2
        rate = lr * (t + 1) / warmup if t < warmup else rate
        for name, g in grads.items():
            shrink = decay * mine[name] * (name == "kernel")
            if optimizer == "sgd":
                m[name] = momentum * m[name] + g + shrink
                mine[name] = mine[name] - rate * (g + shrink + momentum * m[name])
                continue
            m[name] = 0.9 * m[name] + 0.1 * g
            v[name] = 0.999 * v[name] + 0.001 * g * g
            ratio = (m[name] / (1 - 0.9 ** (t + 1))) / (np.sqrt(v[name] / (1 - 0.999 ** (t + 1))) + 1e-8)
            mine[name] = mine[name] - rate * (ratio + shrink)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4), ours, mine)


def test_label_smoothing_mixes_in_the_uniform_distribution():
    logits = np.array([[2.0, 0.0, -1.0], [0.5, 0.5, 3.0]], np.float32)
    label = np.array([0, 1])
    log_probs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    target = 0.8 * np.eye(3)[label] + 0.2 / 3
    ours = classifier_members.cross_entropy(jnp.asarray(logits), jnp.asarray(label), jnp.float32(0.2))
    np.testing.assert_allclose(ours, -(target * log_probs).sum(axis=1).mean(), rtol=1e-6)


def watch(images, *, epoch, seed=0, hyper=HYPER, used=()):
    """What a member that learns nothing is shown in an epoch of batches of 10: how often each pixel value comes, and
    the squares of all around 128."""

    def train_apply(variables, x):
        stats = variables["batch_stats"]
        seen = stats["seen"].at[jnp.round(x[:, 0, 0, 0] * 255).astype(jnp.int32)].add(1, mode="drop")
        squares = stats["squares"] + jnp.sum(jnp.square(x - 128 / 255))
        return jnp.zeros((x.shape[0], 3)) * variables["params"]["w"], {"seen": seen, "squares": squares}

    plan, task = step.Plan(2, 10, len(images)), task_of(LINEAR._replace(train_apply=train_apply), used)
    variables = {"params": {"w": jnp.zeros(())}, "batch_stats": {"seen": jnp.zeros(256), "squares": jnp.zeros(())}}
    hyper, labels = jax.tree.map(jnp.float32, hyper), jnp.zeros(len(images), jnp.int32)
    bounds = (jnp.int32(n) for n in (epoch, 0, plan.epoch_steps))
    key = step.member_keys(0, jnp.asarray([seed]))[0]
    state = step.begin(variables, hyper, plan=plan)
    return step.advance(state, (), key, hyper, labels, images, *bounds, task=task, plan=plan).rest["batch_stats"]


def test_an_epoch_shows_each_example_at_most_once_in_an_order_of_its_own_with_the_noise_asked_for():
    """48 examples, 4 batches of 10: 8 sit out, others in another epoch and for another member."""
    images = jnp.broadcast_to(jnp.arange(48, dtype=jnp.uint8)[:, None, None, None], (48, 4, 4, 1))
    shown = [np.asarray(watch(images, epoch=e, seed=s)["seen"][:48]) for e, s in ((0, 0), (1, 0), (0, 1))]
    for seen in shown:
        assert set(seen) == {0.0, 1.0} and seen.sum() == 40
    assert len({seen.tobytes() for seen in shown}) == 3
    grey, noisy = jnp.full((40, 4, 4, 1), 128, jnp.uint8), HYPER._replace(input_noise=0.2)
    squares, count = watch(grey, epoch=0, hyper=noisy, used=("input_noise",))["squares"], 40 * 16
    assert abs(squares / count / 0.2**2 - 1) < 4 * np.sqrt(2 / count)


# ---- the loop ----


AUGMENTED = {"ema": 0.5, "crop": 1.0, "flip": 0.5}


@pytest.mark.parametrize(
    ("classifier", "changes"),
    [
        (LINEAR, [{}, {"learning_rate": 0.3}, {"weight_decay": 0.1}]),
        (LINEAR, [AUGMENTED, AUGMENTED | {"crop": 2.0}, AUGMENTED | {"flip": 0.9}, AUGMENTED | {"ema": 0.9}]),
        pytest.param(
            *(classifiers.build("cnn", num_classes=3, norm="batch"), [{"learning_rate": 0.01}] * 2),
            marks=pytest.mark.slow,
        ),
    ],
    ids=["plain", "augmented", "convolutional"],
)
def test_a_member_does_not_depend_on_the_others(run, classifier, changes):
    """Each alone = among the others, on one device or on two, bit for bit; whatever differs makes another member."""
    used = tuple(name for name in AUGMENTED if name in changes[0])
    members = [trained(i % 2 if len(changes) < 4 else 0, **own) for i, own in enumerate(changes)]
    options = {"task": task_of(classifier, used), "used": used}
    all_of_them, curves = train(run, members, how=TWO, **options)
    some, few = train(run, members[:1], **options)
    same(ensembles.take(all_of_them, slice(1)), some)
    np.testing.assert_array_equal(curves.train_loss[:1], few.train_loss)
    kernels = jax.tree.leaves(all_of_them["params"])[-1]
    assert len({np.asarray(kernel).tobytes() for kernel in kernels}) == len(members)
    if classifier is LINEAR and not used:
        assert curves.validation[:, -1].min() > 0.8  # they learn
        assert float(jnp.abs(all_of_them["batch_stats"]["mean"]).min()) > 0  # running statistics are carried


def test_a_loss_that_is_not_finite_names_member_and_step_and_a_batch_is_no_larger_than_the_split(run, capsys):
    message = r"member 7 \(trained, learning_rate 1e\+38\) is not finite at step [12];"
    with pytest.raises(files.UserError, match=message):
        train(run, [trained(0), trained(7, learning_rate=1e38)])
    small = dataset_of(num_train=8)
    few, whole = (train(run, [trained(0)], dataset=small, batch_size=n, name=str(n))[0] for n in (10, 8))
    jax.tree.map(np.testing.assert_array_equal, few, whole)
    assert capsys.readouterr().out.count("batch_size=10 is more than all 8 images; they are a batch") == 1


def test_a_member_trained_in_bfloat16_keeps_float32_weights_near_the_others(run):
    """8 significant bits: the same course, other bits."""
    member = [trained(0, learning_rate=0.01)]
    (plain, curves), (low, low_curves) = (
        train(run, member, task=task_of(LINEAR, precision=precision), name=precision)
        for precision in classifiers.PRECISIONS
    )
    assert {leaf.dtype for leaf in jax.tree.leaves(low)} == {jnp.dtype("float32")}
    kernels = [np.asarray(v["params"]["kernel"]) for v in (low, plain)]
    assert 0 < np.linalg.norm(kernels[0] - kernels[1]) < 0.1 * np.linalg.norm(kernels[1])
    np.testing.assert_allclose(low_curves.train_loss, curves.train_loss, rtol=0.02)


def test_shuffled_labels_are_one_permutation_of_the_labels(run):
    labels = DATASET.labels[DATASET.splits["train"]]
    shuffled = [loop.labels_of(Member(i, "shuffled", HYPER), labels, 0) for i in (0, 0, 1)]
    np.testing.assert_array_equal(shuffled[0], shuffled[1])
    for other in (shuffled[2], labels):
        assert np.mean(shuffled[0] != other) > 0.3
        np.testing.assert_array_equal(np.bincount(shuffled[0]), np.bincount(other))
    assert loop.labels_of(trained(0), labels, 0) is labels
    both, curves = train(run, [trained(0), Member(0, "shuffled", HYPER)])
    assert curves.train_loss[1, -1] > 1.4 * curves.train_loss[0, -1]
    one, _ = train(run, [trained(0)])
    same(ensembles.take(both, slice(1)), one)


def test_what_is_kept_are_averaged_weights_with_the_statistics_of_their_own(run):
    """Against the last weights of each step by themselves, averaged here; 4 steps, every batch counts once."""
    seen, used = [], ("ema",)
    plan = step.Plan(1, 10, 48, used=used)
    hyper = jax.tree.map(jnp.float32, HYPER._replace(ema=0.6))
    variables, curves = train(
        run, [trained(0, ema=0.6)], task=task_of(LINEAR, used), used=used, num_epochs=1, name="averaged"
    )
    images, labels = jnp.asarray(DATASET.images[:48]), jnp.asarray(DATASET.labels[:48])
    key = step.member_keys(0, jnp.asarray([0]))[0]
    state = step.begin(step.init(key, images[0], task=task_of(LINEAR)), hyper, plan=plan)
    advance = jax.jit(partial(step.advance, task=task_of(LINEAR, used), plan=plan))
    for i in range(4):
        state = advance(state, (), key, hyper, labels, images, *(jnp.int32(n) for n in (0, i, i + 1)))
        seen.append(state.params["kernel"])
    weights = 0.6 ** np.arange(3, -1, -1)
    kernel = np.tensordot(weights / weights.sum(), np.stack(seen), 1)
    np.testing.assert_allclose(variables["params"]["kernel"][0], kernel, rtol=1e-5, atol=1e-6)
    batches = step.order(key, 0, plan)[:40]
    logits = LINEAR.apply(ensembles.take(variables, 0), step.pixels(images[batches]))
    np.testing.assert_allclose(variables["batch_stats"]["mean"][0], logits.mean(axis=0), rtol=1e-4, atol=1e-5)
    right = jnp.argmax(
        LINEAR.apply(ensembles.take(variables, 0), step.pixels(jnp.asarray(DATASET.images[48:58]))), axis=-1
    )
    np.testing.assert_allclose(curves.validation[0, 0], np.mean(right == DATASET.labels[48:58]))  # of the same weights


RECIPES = {
    "noise": (dict(weight_noise=0.1), {}),
    "sgd": (
        dict(momentum=0.8, warmup_epochs=1.0, ema=0.5, crop=1.0, flip=0.5, adversarial_epsilon=0.05),
        dict(optimizer="sgd"),
    ),
}


@pytest.mark.parametrize("recipe", RECIPES)
def test_an_interrupted_training_ends_with_the_same_bits(run, monkeypatch, recipe):
    """Stopped twice, in the middle of the first epoch and of the second; steps go one at a time."""
    hyper, fields = RECIPES[recipe]
    members = [trained(0, **hyper), trained(1, **hyper)]
    used = classifier_members.used_by(members[0])
    task, fields = task_of(LINEAR, used, attack=Attack("linf", 2, 0.5)), {"used": used, **fields}
    whole, curves = train(run, members, name="whole", task=task, **fields)
    monkeypatch.setattr(loop, "FIRST_STEPS", 1)
    monkeypatch.setattr(loop, "SEGMENT_SECONDS", 0.0)
    for stops in (1, 4):
        countdown = iter(range(stops))

        def check(countdown=countdown):
            if next(countdown, None) is None:
                raise runs.Interrupted(signal.SIGTERM)

        with monkeypatch.context() as patched:
            patched.setattr(runs, "check", check)
            with pytest.raises(runs.Interrupted):
                train(run, members, name="parts", task=task, **fields)
    parts, curves_parts = train(run, members, name="parts", task=task, **fields)
    same(whole, parts)
    same(curves, curves_parts)
    other, _ = train(run, members, name="other", task=task, **fields)  # a checkpoint of another name is not used
    same(whole, other)


@pytest.mark.parametrize("how", [ONE, TWO], ids=["one device", "two devices"])
def test_training_compiles_its_step_once_also_where_it_goes_on(run, monkeypatch, how):
    """The programs outlive a call, so that a training which goes on in this process compiles no step at all."""
    loop.programs_of.cache_clear()
    monkeypatch.setattr(loop, "FIRST_STEPS", 1)
    monkeypatch.setattr(loop, "SEGMENT_SECONDS", 0.0)
    members, task = [trained(0), trained(1)], task_of(LINEAR)
    countdown = iter(range(2))

    def check():
        if next(countdown, None) is None:
            raise runs.Interrupted(signal.SIGTERM)

    with counted() as programs:
        with monkeypatch.context() as patched:
            patched.setattr(runs, "check", check)
            with pytest.raises(runs.Interrupted):
                train(run, members, task=task, how=how)
        assert programs.count("jit(advanced)") == 1
        train(run, members, task=task, how=how)
        assert programs.count("jit(advanced)") == 1, "a state that was read is laid out as one that was computed"


# ---- artefacts ----


def hash_of(config, member=None, dataset=DATASET):
    return artifacts.identity_hash(classifier_members.identity(config, dataset, member or trained(0)))


def test_hash_is_of_everything_the_weights_depend_on_and_nothing_else(tmp_path):
    base = hash_of(config_of(tmp_path))
    irrelevant = {"num_members": 9, "mapping": "vmap", "artifacts": "elsewhere", "data.dir": "x", "data.cache": "y"}
    for name, value in irrelevant.items():
        assert hash_of(config_of(tmp_path, **{name: value})) == base, name
    relevant = {"seed": 1, "model.norm": "batch", "train.num_epochs": 3, "train.batch_size": 8}
    relevant |= {"train.optimizer": "sgd", "train.precision": "bfloat16"}
    others = [hash_of(config_of(tmp_path, **{name: value})) for name, value in relevant.items()]
    others += [hash_of(config_of(tmp_path), trained(0, **{name: 0.5})) for name in Hyper._fields]
    attacks = {"train.adversarial.norm": "l2", "train.adversarial.num_steps": 3, "train.adversarial.step_size": 0.5}
    assert all(hash_of(config_of(tmp_path, **{name: value})) == base for name, value in attacks.items())
    robust = trained(0, adversarial_epsilon=0.1)
    others += [hash_of(config_of(tmp_path, **{name: value}), robust) for name, value in attacks.items()]
    others += [hash_of(config_of(tmp_path), Member(0, control, HYPER)) for control in CONTROLS[1:]]
    others += [hash_of(config_of(tmp_path), trained(1))]
    others += [hash_of(config_of(tmp_path), dataset=DATASET._replace(checksum="1" * 64))]
    assert len({base, *others}) == 1 + len(others)
    untrained = Member(0, "untrained", HYPER)
    assert hash_of(config_of(tmp_path, **{"train.num_epochs": 9}), untrained) == hash_of(
        config_of(tmp_path), untrained._replace(hyper=HYPER._replace(learning_rate=9.0))
    )


def test_hash_of_canonical_json_does_not_change():
    """Saved models are found again by later versions: this literal must stay."""
    about = {"kind": "classifier", "training": {"b": 0.003, "a": 1}, "mean": (0.5,)}
    assert artifacts.identity_hash(about) == "98dd2e355c0f34f5d9b4d8b37deba612f91cffa99e312497b8dacc4ec39b39a6"


def prepare(config, run):
    return classifier_members.ensemble(run, config, DATASET, LINEAR)


def test_members_are_trained_once_and_shared(tmp_path, monkeypatch, capsys):
    config = config_of(tmp_path, **{"control_members.shuffled": 1})
    with runs.open_run(config, tmp_path / "a") as run:
        ensemble, members = prepare(config, run)
        curves = classifier_members.curves(run, config, DATASET)
        assert runs.stage_seconds(run)["training"] > 0
        assert not list(run.directory.glob("stages/**/checkpoint.npz"))
    assert [m["control"] for m in members] == ["trained", "trained", "untrained", "shuffled"]
    assert members[0]["learning_rate"] == config.train.learning_rate
    assert np.isfinite(curves["train_loss"][[0, 1, 3]]).all() and np.isnan(curves["train_loss"][2]).all()
    key = jax.random.fold_in(step.member_keys(0, jnp.asarray([0]))[0], step.INIT)
    initial = LINEAR.init(key, jnp.asarray(DATASET.images[:1], jnp.float32))
    np.testing.assert_allclose(ensemble["params"]["kernel"][2], initial["params"]["kernel"], atol=1e-7)
    larger = config_of(tmp_path, **{"control_members.shuffled": 1, "num_members": 3})
    seen, original = [], loop.train
    monkeypatch.setattr(
        loop, "train", lambda run, members, *a, **k: seen.append(members) or original(run, members, *a, **k)
    )
    with runs.open_run(larger, tmp_path / "b") as run:
        more, _ = prepare(larger, run)
    assert [[m.seed for m in group] for group in seen] == [[2]]  # the others are found
    same(ensembles.take(more, np.array([0, 1, 3, 4])), ensemble)
    assert "4 of 5 found trained" in capsys.readouterr().out
    # Two runs may save the same member: the later one replaces the earlier one whole.
    about, one = {"kind": "classifier"}, ensembles.take(ensemble, 0)
    folders = [artifacts.save(tmp_path / "saved", about, one, {}) for _ in range(2)]
    assert folders[0] == folders[1] and [*(tmp_path / "saved").iterdir()] == folders[:1]


def test_a_run_killed_while_saving_its_members_does_not_train_again(tmp_path, monkeypatch, capsys):
    config = config_of(tmp_path)
    saves = []

    def dies_at_the_second(*arguments):
        saves.append(arguments)
        if len(saves) == 2:
            raise KeyboardInterrupt
        return original(*arguments)

    original = artifacts.save
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(loop, "CHECKPOINT_SHARE", 1e9)  # a checkpoint after every segment
    with monkeypatch.context() as patched, runs.open_run(config, tmp_path / "run") as run:
        patched.setattr(artifacts, "save", dies_at_the_second)
        with pytest.raises(KeyboardInterrupt):
            prepare(config, run)
    with runs.open_run(config, tmp_path / "run") as run:
        capsys.readouterr()
        resumed, _ = prepare(config, run)
        said = capsys.readouterr().out
    assert "1 of 3 found trained" in said and "(6 found done)" in said
    whole = config_of(tmp_path / "whole")
    with runs.open_run(whole, tmp_path / "other") as run:
        same(prepare(whole, run)[0], resumed)


@pytest.mark.parametrize("field", ["train.crop", "sweep.crop"])
def test_crops_that_would_hold_zeros_alone_are_refused(tmp_path, field):
    side = min(DATASET.images.shape[1:3])
    for crop, refused in ((side - 1, False), (side, True)):
        values = {field: (0, crop) if field.startswith("sweep") else crop, "num_members": 1, "train.num_epochs": 1}
        config = config_of(tmp_path, **values)
        expected = pytest.raises(files.UserError, match=f"train.crop={side}: expected less than {side} pixels")
        with runs.open_run(config, tmp_path / str(crop)) as run, expected if refused else contextlib.nullcontext():
            prepare(config, run)


def test_a_damaged_artefact_is_named_and_trained_again_and_one_of_another_jax_is_named_and_taken(tmp_path, capsys):
    config = config_of(tmp_path, **{"control_members.untrained": 2, "num_members": 1})
    with runs.open_run(config, tmp_path / "a") as run:
        before, _ = prepare(config, run)
        folders = sorted((run.artifacts / "classifier").iterdir())
        assert len(folders) == 3 and not [f for f in folders if f.name.startswith(".")]
        metadata = json.loads((folders[0] / "metadata.json").read_text())
        files.write_json(folders[0] / "metadata.json", metadata | {"checksum": "0" * 64})
        for path in folders[1].rglob("*"):
            if path.is_file() and path.name != "metadata.json":
                path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        files.write_json(folders[2] / "metadata.json", metadata | {"identity": {"kind": "cat"}})
        capsys.readouterr()
        after, _ = prepare(config, run)
        said = capsys.readouterr().out
        assert said.count("this member is trained again") == 3
        assert "another checksum" in said and "another member" in said
        same(before, after)
        metadata = json.loads((folders[0] / "metadata.json").read_text())
        files.write_json(folders[0] / "metadata.json", metadata | {"jax": "0.1.75"})
        again, _ = prepare(config, run)
        said = capsys.readouterr().out
        assert "3 of 3 found trained" in said and said.count("trained with JAX") == 1
        assert f"{folders[0].name[:8]}: trained with JAX 0.1.75, this is {jax.__version__}" in said
        same(again, after)
