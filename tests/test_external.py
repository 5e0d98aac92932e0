"""Classifiers from outside: each framework trains, reads its weights back and is checked; every breach has its line."""

import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from whole_runs import done, smoke_config

from landscape import data, ensembles, presets, runs
from landscape.experiments import setting
from landscape.files import UserError, read_json, write_npz
from landscape.models import checkpoints, contract, external, pretrained, repair

SHAPE, CLASSES = (8, 8, 1), 10
X = jnp.asarray(np.random.default_rng(0).random((8, *SHAPE), np.float32))


class Linen(nn.Module):
    """Has a batch norm, whose mode `train` sets."""

    classes: int

    @nn.compact
    def __call__(self, x, train: bool = False):
        h = nn.Dense(24)(x.reshape(x.shape[0], -1))
        return nn.Dense(self.classes)(nn.relu(nn.BatchNorm(use_running_average=not train)(h)))


class Nnx(nnx.Module):
    def __init__(self, rngs):
        self.first = nnx.Linear(64, 24, rngs=rngs)
        self.norm = nnx.BatchNorm(24, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.last = nnx.Linear(24, CLASSES, rngs=rngs)

    def __call__(self, x):
        h = self.norm(self.first(x.reshape(x.shape[0], -1)))
        return self.last(self.dropout(nnx.relu(h)))


def hand_apply(weights, x):
    (k1, b1), (k2, b2) = weights
    h = jax.nn.relu((x.reshape(x.shape[0], -1) - 0.3) @ k1 + b1[None])
    return h @ k2 + b2[None]


def hand_init(key, x):
    one, two = jax.random.split(key)
    first = jax.random.normal(one, (x[0].size, 24)) / 8, jnp.zeros(24)
    return [first, (jax.random.normal(two, (24, CLASSES)) / 5, jnp.zeros(CLASSES))]


def equinox_classifier(num_classes, image_shape):
    import equinox as eqx

    def make(key):
        return eqx.nn.MLP(int(np.prod(image_shape)), num_classes, 24, 1, key=key)

    static = eqx.partition(make(jax.random.key(0)), eqx.is_array)[1]

    def apply(weights, x):
        return jax.vmap(eqx.combine(weights, static))(x.reshape(x.shape[0], -1))

    return external.of(apply, lambda key, x: eqx.filter(make(key), eqx.is_array))


def haiku_classifier(num_classes, image_shape):
    import haiku as hk

    net = hk.transform(lambda x: hk.nets.MLP([24, num_classes])(x.reshape(x.shape[0], -1)))
    net = hk.without_apply_rng(net)
    return external.of(net.apply, net.init)


MADE = {
    "linen": lambda num_classes, image_shape: Linen(num_classes),
    "nnx": lambda num_classes, image_shape: external.from_nnx(lambda rngs: Nnx(rngs)),
    "hand": lambda num_classes, image_shape: external.of(hand_apply, hand_init),
    "equinox": equinox_classifier,
    "haiku": haiku_classifier,
}
PEERS = ("equinox", "haiku")  # which come with the extra of that name
FRAMEWORKS = [pytest.param(name, marks=pytest.mark.peers) if name in PEERS else name for name in MADE]
linen, nnx_build, hand, equinox, haiku = MADE.values()  # what --config.model.name=test_external:NAME finds
hand_without_init = lambda num_classes, image_shape: external.of(hand_apply)  # noqa: E731


def load(name):
    return external.load(
        f"test_external:{'nnx_build' if name == 'nnx' else name}", num_classes=CLASSES, image_shape=SHAPE
    )


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_a_classifier_of_each_framework_keeps_the_contract_and_its_weights_come_back(tmp_path, name):
    made = load(name)
    variables = made.init(jax.random.key(1), X[:1])
    assert "params" in variables
    contract.check(name, made, variables, X, CLASSES)
    logits = made.apply(variables, X)
    path = checkpoints.write(tmp_path / "a.safetensors", variables)
    back = pretrained.load(str(path), jax.eval_shape(made.init, jax.random.key(0), X[:1])).variables
    np.testing.assert_array_equal(made.apply(back, X), logits)
    other = made.init(jax.random.key(2), X[:1])
    assert np.abs(made.apply(other, X) - logits).max() > 1e-3  # seeds differ


@pytest.mark.parametrize(("name", "kernel", "bias"), [
    ("linen", "params/Dense_0/kernel", "params/Dense_0/bias"), ("nnx", "params/first/kernel", "params/first/bias"),
])  # fmt: skip
def test_batch_norm_trains_on_the_batch_and_infers_with_its_statistics(name, kernel, bias):
    """They can be taken anew whatever the momentum is (Flax's own is 0.99, ours 0.9), and are the batch's own."""
    made = load(name)
    variables = made.init(jax.random.key(1), X[:1])
    logits, statistics = made.train_apply(variables, X)
    assert jax.tree.structure(statistics) == jax.tree.structure(variables["batch_stats"])
    np.testing.assert_array_equal(made.train_apply(variables, X)[0], logits)  # no dropout
    apart = [logits, made.apply({**variables, "batch_stats": statistics}, X)]
    assert all(np.abs(other - made.apply(variables, X)).max() > 1e-3 for other in apart)
    found = checkpoints.leaves_of(repair.statistics_of(made)(variables, X))
    h = X.reshape(8, -1) @ found[kernel] + found[bias][None]
    for end, wanted in (("mean", h.mean(axis=0)), ("var", h.var(axis=0))):
        (value,) = [leaf for path, leaf in found.items() if path.endswith(end)]
        np.testing.assert_allclose(value, wanted, rtol=1e-4, atol=1e-5)


def test_an_nnx_module_is_in_evaluation_mode():
    made, net = external.from_nnx(lambda rngs: Nnx(rngs)), Nnx(nnx.Rngs(jax.random.key(3)))
    net.eval()
    np.testing.assert_allclose(made.apply(made.init(jax.random.key(3), X), X), net(X), atol=1e-6)


def test_hidden_layers_are_optional_and_must_fit():
    def features(weights, x, layer):
        return jax.nn.relu((x.reshape(x.shape[0], -1) - 0.3) @ weights[0][0] + weights[0][1][None])

    def head(weights, h, layer):
        return h @ weights[1][0] + weights[1][1][None]

    variables = {"params": hand_init(jax.random.key(0), X)}
    made = external.of(hand_apply, hand_init, layers=("hidden",), features=features, head=head)
    assert made.layers == ("image", "hidden") and external.of(hand_apply).layers == ("image",)
    contract.check("mine", made, variables, X, CLASSES)
    np.testing.assert_array_equal(made.head(variables, X, "image"), made.apply(variables, X))
    with pytest.raises(UserError, match="layers hidden: expected features and head"):
        external.of(hand_apply, layers=("hidden",))
    for wrong in (lambda w, h, layer: 2 * head(w, h, layer), lambda w, h, layer: h[:, :3] @ w[1][0]):
        made = external.of(hand_apply, layers=("hidden",), features=features, head=wrong)
        with pytest.raises(UserError, match="layer 'hidden'"):
            contract.check("mine", made, variables, X, CLASSES)


def normalised(w, x):
    h = hand_apply(w, x)
    return (h - h.mean(axis=0, keepdims=True)) / h.std(axis=0, keepdims=True)


@pytest.mark.parametrize(
    ("apply", "message"),
    [
        (lambda w, x: (hand_apply(w, x), None), r"a tuple of 2; expected logits \[8, 10\]"),
        (lambda w, x: {"logits": hand_apply(w, x), "h": x}, "a dict of h, logits; expected"),
        (lambda w, x: hand_apply(w, x)[0], r"shape \[10\]; expected logits \[8, 10\]"),
        (lambda w, x: hand_apply(w, x).T, r"shape \[10, 8\]; expected"),
        (lambda w, x: hand_apply(w, x)[:, :7], "logits of 7 classes; expected 10, which the data has"),
        (lambda w, x: jnp.pad(hand_apply(w, x), ((0, 0), (0, 1))), "logits of 11 classes.*do labels begin at 1"),
        (lambda w, x: hand_apply(w, x).astype(jnp.bfloat16), "dtype bfloat16; expected float32"),
        (lambda w, x: jnp.argmax(hand_apply(w, x), -1, keepdims=True) + jnp.zeros((1, 10), int), "dtype int32"),
        (lambda w, x: jnp.log(hand_apply(w, x)), "images have logits that are not finite"),
        (lambda w, x: jax.nn.softmax(hand_apply(w, x)), "these are probabilities; expected logits"),
        (normalised, "depend on the rest of the batch"),
        (lambda w, x: hand_apply(w, x.transpose(0, 3, 1, 2)[:, :, 1:]), r"images \[8, 8, 8, 1\] with TypeError"),
        (lambda w, x: None, "gives NoneType; expected logits"),
    ],
)
def test_each_breach_of_the_contract_has_its_line(apply, message):
    made = external.of(apply, hand_init)
    with pytest.raises(UserError, match=message) as error:
        contract.check("mine.py:build", made, made.init(jax.random.key(0), X), X, CLASSES)
    assert str(error.value).startswith("mine.py:build: ") and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def build(num_classes, image_shape):\n    return 3", "gives int; expected a Classifier"),
        ("def other():\n    pass", "has no function 'build'"),
        ("def build(num_classes):\n    pass", "fails with TypeError"),
        ("def build(num_classes, image_shape):\n    raise RuntimeError('no\\n luck')", r"RuntimeError \(no luck\)"),
        ("import nowhere_to_be_found", "fails with ModuleNotFoundError"),
        ("def build(:", "fails with SyntaxError"),
    ],
)
def test_a_file_that_builds_no_classifier_is_refused(tmp_path, text, message):
    (tmp_path / "mine.py").write_text(text)
    with pytest.raises(UserError, match=message) as error:
        external.load(f"{tmp_path}/mine.py:build", num_classes=3, image_shape=(4, 4, 1))
    assert "\n" not in str(error.value)


class Dropping(nn.Module):
    """Training needs random numbers, which nobody gives it."""

    @nn.compact
    def __call__(self, x, train: bool = False):
        return nn.Dropout(0.5, deterministic=not train)(nn.Dense(CLASSES)(x.reshape(x.shape[0], -1)))


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (external.from_linen(Dropping()), "train_apply fails on images .* InvalidRngError"),
        (
            external.of(hand_apply, hand_init)._replace(train_apply=lambda v, x: hand_apply(v["params"], x)),
            r"gives \w+; expected \(log",
        ),
    ],
)
def test_breaches_in_training_have_their_line_where_members_are_trained(made, message):
    variables = made.init(jax.random.key(0), X)
    contract.check("mine", made, variables, X, CLASSES)
    with pytest.raises(UserError, match=message) as error:
        contract.check("mine", made, variables, X, CLASSES, trained=True)
    assert "\n" not in str(error.value)


def test_an_accuracy_of_chance_is_refused():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 200)
    assert contract.check_accuracy("a", np.where(rng.random(200) < 0.3, labels, 3), labels) > 0.25
    for predictions in (rng.integers(0, 10, 200), np.full(200, 4), (labels + 1) % 10):  # random, constant, shifted
        with pytest.raises(UserError, match=r"normalisation.*order of channels.*order of classes.*begin at 0"):
            contract.check_accuracy("a", predictions, labels)
    rare = np.where(rng.random(200) < 0.9, 0, 1)  # nine of ten images are of one class, which a constant says
    with pytest.raises(UserError, match="by chance"):
        contract.check_accuracy("a", np.zeros(200, int), rare)


def test_two_files_of_one_name_have_modules_of_their_own_beside_them(tmp_path):
    """As a held-out classifier has that is of another architecture."""
    text = "import layers_here\ndef build(num_classes, image_shape):\n    return layers_here.made()\n"
    inner = "from landscape.models import external\ndef made():\n    return external.of(lambda w, x: {} * w)\n"
    for folder, scale in (("a", 1), ("b", 2)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "net.py").write_text(text)
        (tmp_path / folder / "layers_here.py").write_text(inner.format(scale))
    before = list(sys.path)
    built = [external.load(f"{tmp_path}/{f}/net.py:build", num_classes=3, image_shape=(4, 4, 1)) for f in "ab"]
    assert [float(made.apply({"params": 1.0}, None)) for made in built] == [1.0, 2.0]
    assert sys.path == before and "layers_here" not in sys.modules


class Misfit(nn.Module):
    """Takes images of other sizes."""

    @nn.compact
    def __call__(self, x):
        return nn.Dense(CLASSES)(x.reshape(-1, 32 * 32 * 3))


misfit = lambda num_classes, image_shape: Misfit()  # noqa: E731


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("misfit", r"test_external:misfit: init fails on images \[1, 8, 8, 1\] with TypeError"),
        ("nearest_mean", r"no init.*checkpoints=FILES"),
    ],
)
def test_what_cannot_be_trained_says_so_in_a_line(tmp_path, name, message):
    config = smoke_config("train", tmp_path, **{"model.name": f"test_external:{name}"})
    with runs.open_run(config, tmp_path / "run") as run, pytest.raises(UserError, match=message) as error:
        setting.prepare(config, run)
    assert "\n" not in str(error.value)


# ---- whole runs ----


def weights_by_hand(seed: int) -> dict[str, np.ndarray]:
    """A classifier of digits under names of its own: the class means of some training images, and noise by seed."""
    dataset = data.load("digits")
    rng = np.random.default_rng(seed)
    chosen = rng.choice(dataset.splits["train"], 300, replace=False)
    x, labels = data.pixels(dataset.images[chosen]).reshape(300, -1), dataset.labels[chosen]
    means = np.stack([x[labels == k].mean(axis=0) for k in range(CLASSES)])
    return {"template": means.T.astype(np.float32)}


def nearest_mean(num_classes, image_shape):
    """No init: logits are minus the squared distance from the class's mean."""

    def apply(weights, x):
        flat = x.reshape(x.shape[0], -1)
        return 4 * (flat @ weights["template"] - 0.5 * jnp.sum(weights["template"] ** 2, axis=0, keepdims=True))

    return external.of(apply)


def files_of(folder, count):
    folder.mkdir(exist_ok=True)
    return tuple(str(write_npz(folder / f"{i}.npz", weights_by_hand(i))) for i in range(count))


@pytest.mark.parametrize(
    ("odd", "finetune", "message"),
    [
        ({"template": np.zeros((64, 9), np.float32)}, False, r"template has shape \(64, 9\), and \(64, 10\) in"),
        ({"template": np.zeros((64, 10), np.float32), "more": np.zeros(3, np.float32)}, False, "more has shape"),
        ({"template": np.zeros((64, 10), np.int64)}, True, "template holds whole numbers, which cannot be trained"),
    ],
)
def test_files_without_an_init_have_to_be_alike(tmp_path, odd, finetune, message):
    paths = (*files_of(tmp_path / "files", 1), str(write_npz(tmp_path / "files/odd.npz", odd)))
    changes = {"model.name": "test_external:nearest_mean", "model.checkpoints": paths, "model.finetune": finetune}
    config = smoke_config("train", tmp_path, **changes)
    with runs.open_run(config, tmp_path / "run") as run, pytest.raises(UserError, match=message) as error:
        setting.prepare(config, run)
    assert "odd.npz" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.slow
def test_flatness_of_files_of_a_classifier_by_hand(tmp_path):
    """No training at all: each file is a member, and its path stands with the arrays."""
    paths = files_of(tmp_path / "files", 3)
    changes = {"model.name": "test_external:nearest_mean", "model.checkpoints": paths, "measures": ("flatness",)}
    config = smoke_config("flatness", tmp_path, **changes)
    assert config.num_members == 3 and len(config.model.checksums) == 3
    arrays, summary = done(config, tmp_path / "run")
    assert list(arrays["file"].values) == list(paths) and set(arrays["control"].values) == {"trained"}
    assert next(e["value"] for e in summary["estimates"] if e["name"] == "accuracy.test") > 0.7
    assert not (tmp_path / "artifacts").exists()
    assert read_json(tmp_path / "run/config.json")["model"]["checksums"] == list(config.model.checksums)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.peers if name in PEERS else pytest.mark.slow) for name in MADE]
)
def test_flatness_runs_on_a_classifier_of_each_framework(tmp_path, name):
    model = {"model.name": f"test_external:{'nnx_build' if name == 'nnx' else name}", "train.num_epochs": 6}
    arrays, summary = done(smoke_config("flatness", tmp_path, **model), tmp_path / "run")
    assert next(e["value"] for e in summary["estimates"] if e["name"] == "accuracy.test") > 0.6
    assert np.isfinite(arrays["input_margin_drop"].values).any()


def test_files_of_a_classifier_by_hand_are_members(tmp_path):
    """The level below the run above."""
    changes = {"model.name": "test_external:nearest_mean", "model.checkpoints": files_of(tmp_path / "files", 2)}
    config = smoke_config("flatness", tmp_path, **changes)
    with runs.open_run(config, tmp_path / "run") as run:
        prepared = setting.prepare(config, run)
    assert prepared.trained.tolist() == [True, True] and not (tmp_path / "artifacts").exists()
    x = setting.examples(prepared.dataset, "test", 8, 0).x
    for i in range(2):
        w = weights_by_hand(i)["template"]
        logits = 4 * (x.reshape(8, -1) @ w - 0.5 * np.sum(w**2, axis=0))
        found = prepared.classifier.apply(ensembles.take(prepared.ensemble, i), x)
        np.testing.assert_allclose(found, logits, atol=1e-4)


SAID = {  # of a classifier by hand, whose layer `last` is none
    "gradients": r"ascent.layers='conv3': expected last, \(\) for none, since .* names none; .*ascent.layers='\(\)'",
    "autoencoders": r"hidden.layers='conv3': expected all, last, \(\) for none",
    "weight_connectivity": "the units of a classifier that is not built here cannot be matched",
    "augmentation": "training has to be cut at the layers of a classifier that is built here",
    "benchmark": "benchmark races the classifiers that are built here",
}
ASKED = {"gradients": {"ascent.layers": ("conv3",)}, "autoencoders": {"hidden.layers": ("conv3",)}}


@pytest.mark.parametrize("name", SAID)
def test_experiments_that_need_more_of_a_classifier_say_so_at_the_start(tmp_path, name):
    with pytest.raises(UserError, match=SAID[name]) as error:
        config = smoke_config(name, tmp_path, **{"model.name": "test_external:hand"}, **ASKED.get(name, {}))
        with runs.open_run(config, tmp_path / "run") as run:
            setting.prepare(config, run)
    assert "\n" not in str(error.value) and not (tmp_path / "artifacts").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["train", "gradients", "autoencoders", "latent", "noise", "transfer", "connectivity", "neighbors"]
)
def test_every_other_experiment_runs_on_a_classifier_by_hand(tmp_path, name):
    changes = {"model.name": "test_external:hand", "train.num_epochs": 6}
    _, summary = done(smoke_config(name, tmp_path, **changes), tmp_path / "run")
    assert summary["headline"] and summary["estimates"]


def test_trained_and_imported_members_stand_in_one_ensemble(tmp_path):
    trained = smoke_config("train", tmp_path, **{"model.name": "test_external:hand", "train.num_epochs": 6})
    with runs.open_run(trained, tmp_path / "trained") as run:
        prepared = setting.prepare(trained, run)
    paths = [tmp_path / f"{i}.safetensors" for i in range(2)]
    changes = {"model.name": "test_external:hand", "model.num_trained": 1, "control_members.untrained": 1}
    changes |= {"model.checkpoints": tuple(map(str, paths)), "train.num_epochs": 1}
    for i, path in enumerate(paths):
        checkpoints.write(path, load("hand").init(jax.random.key(i), X[:1]))
    config = smoke_config("train", tmp_path, **changes)
    assert config.num_members == 3
    with runs.open_run(config, tmp_path / "run") as run:
        with pytest.raises(UserError, match=r"\d.safetensors: right on .* of 200 validation images"):
            setting.prepare(config, run)  # these were never trained
    for i, path in enumerate(paths):
        checkpoints.write(path, ensembles.take(prepared.ensemble, i))
    config = presets.resolve(config)  # other files, another run
    with runs.open_run(config, tmp_path / "again") as run:
        both = setting.prepare(config, run)
    files = [*map(str, paths), "", ""]
    assert [(m["file"], m["seed"]) for m in both.members] == list(zip(files, (0, 1, 2, 0), strict=True))
    first = [jax.tree.map(lambda leaf: leaf[:2], e) for e in (both.ensemble, prepared.ensemble)]
    jax.tree.map(np.testing.assert_array_equal, *first)
