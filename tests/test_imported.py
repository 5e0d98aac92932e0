"""Members from files: what a config means, what is refused at the door, and finetuning."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict
from whole_runs import load, smoke_config

from landscape import data, ensembles, experiments, presets, runs
from landscape.data import Dataset
from landscape.experiments import setting
from landscape.experiments.transfer import members as transfer_members
from landscape.files import UserError, write_npz
from landscape.models import checkpoints
from landscape.training import artifacts, classifier_members

MLP = {"model.name": "mlp", "train.num_epochs": 3}


def files_of(folder: Path, count: int, changes=MLP) -> list[str]:
    """Members of digits as files, trained for this."""
    folder.mkdir(exist_ok=True, parents=True)
    config = smoke_config("train", folder, **changes, num_members=count)
    with runs.open_run(config, folder / "run") as run:
        prepared = setting.prepare(config, run)
    one = [ensembles.take(prepared.ensemble, i) for i in range(count)]
    return [str(checkpoints.write(folder / f"member{i}.safetensors", v)) for i, v in enumerate(one)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return files_of(tmp_path_factory.mktemp("files"), 3)


def config_of(**changes) -> ConfigDict:
    config = load(changes.pop("experiment", "flatness"), "digits,smoke")
    config.update_from_flattened_dict(changes)
    return config


def dummies(folder: Path, count: int) -> tuple[str, ...]:
    return tuple(str(write_npz(folder / f"{name}.npz", {"w": np.full(1, i)})) for i, name in enumerate("dbac"[:count]))


# ---- at the door ----


def test_globs_are_files_in_order_and_count_as_members(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    paths = dummies(tmp_path, 4)
    found = presets.resolve(config_of(**{"model.checkpoints": ("~/*.npz",)}))
    assert found.model.checkpoints == tuple(sorted(paths)) and found.num_members == 4
    found = presets.resolve(config_of(**{"model.checkpoints": paths[:2], "model.num_trained": 3}))
    assert found.model.checkpoints == paths[:2] and found.num_members == 5  # in the order that they are given
    found = presets.resolve(config_of(**{"model.checkpoints": paths, "model.finetune": True, "num_members": 6}))
    assert found.num_members == 6
    experiments.validate(found)


def test_another_content_is_another_run(tmp_path):
    (path,) = dummies(tmp_path, 1)
    first = presets.resolve(config_of(**{"model.checkpoints": (path,)}))
    write_npz(path, {"w": np.full(1, 9)})
    second = presets.resolve(config_of(**{"model.checkpoints": (path,)}))
    assert first.model.checkpoints == second.model.checkpoints and first.model.checksums != second.model.checksums
    (tmp_path / "mine.py").write_text("a = 1")
    own = [config_of(**{"model.name": f"{tmp_path}/mine.py:build"})] * 2
    codes = [presets.resolve(own[0]).model.code]
    (tmp_path / "mine.py").write_text("a = 2")
    assert presets.resolve(own[1]).model.code not in codes


def test_the_last_hidden_layer_is_that_of_the_model_chosen():
    for name, last in (("cnn", "conv3"), ("resnet18", "pool")):
        config = config_of(**{"experiment": "gradients", "model.name": name, "ascent.layers": ("last",)})
        assert presets.resolve(config).ascent.layers == (last,)
        config.ascent.layers = (*presets.LAYERS[name][:2], "last")
        found = presets.resolve(config)
        experiments.validate(found)
        assert found.ascent.layers == (*presets.LAYERS[name][:2], last)
    own = config_of(**{"experiment": "gradients", "model.name": "json:dumps", "ascent.layers": ("last",)})
    assert presets.resolve(own).ascent.layers == ()


def test_held_out_members_may_come_of_files_of_another_architecture(tmp_path):
    paths = dummies(tmp_path, 4)
    fields = {"experiment": "transfer", "held_out_model.name": "mlp"}
    found = presets.resolve(config_of(**fields, **{"held_out_model.checkpoints": paths[:3]}))
    assert found.num_members == found.num_attackers + 3 and found.model.checkpoints == ()
    found = presets.resolve(config_of(**fields, **{"model.checkpoints": paths}))
    assert found.held_out_model.checkpoints == () and found.num_members == 6  # the others are trained
    with pytest.raises(UserError, match="num_attackers=4: expected at most 2"):
        presets.resolve(config_of(**fields, **{"model.checkpoints": paths[:2]}))
    same = presets.resolve(config_of(experiment="transfer", **{"model.checkpoints": paths, "model.num_trained": 2}))
    assert same.held_out_model.to_dict() == same.model.to_dict() and same.num_members == 6


def test_published_statistics_go_by_name_and_must_fit_the_channels():
    for changes in ({"model.mean": ("imagenet",)}, {"model.mean": ("imagenet",), "model.std": ("imagenet",)}):
        config = presets.resolve(config_of(**changes))
        assert config.model.mean == (0.485, 0.456, 0.406) and config.model.std == (0.229, 0.224, 0.225)
    with pytest.raises(UserError, match=r"model.mean=\(0.485, 0.456, 0.406\): expected 1 numbers"):
        setting.load(config)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model.checkpoints": ("nowhere/*.npz",)}, r"checkpoints='nowhere/\*.npz': no such file"),
        ({"model.checkpoints": ("d.npz", "d.npz")}, r"d.npz: the same weights as d.npz"),
        ({"model.finetune": True}, r"finetune=True: expected with model.checkpoints"),
        ({"model.num_trained": 2}, r"num_trained=2: expected with model.checkpoints"),
        ({"model.checkpoints": ("d.npz",), "model.finetune": True, "model.num_trained": 1}, "expected 0 with finetune"),
        ({"model.checkpoints": ("d.npz",), "sweep.learning_rate": (0.1,)}, "sweep.learning_rate=.*expected none with"),
        ({"model.mean": (0.5, 0.5)}, "expected as many numbers"),
        ({"model.mean": ("imagenet",), "model.std": (0.5,)}, "expected imagenet for both, or numbers"),
        ({"model.mean": (0.5,), "model.std": (0.0,)}, "expected numbers above 0"),
        ({"model.mean": ("half",), "model.std": (0.5,)}, "expected finite numbers"),
        ({"model.name": "nowhere.py:build"}, r"no file nowhere.py"),
        ({"model.name": "nowhere.inner:build"}, "no module 'nowhere.inner'"),
        ({"model.name": "nowhere.py:"}, "name the function"),
        (
            {"model.name": "landscape.models.classifiers:build", "model.mean": (0.5,), "model.std": (1.0,)},
            "normalise in",
        ),
        ({"experiment": "benchmark", "model.checkpoints": ("d.npz",)}, "benchmark races the classifiers"),
    ],
)
def test_what_does_not_go_together_is_refused_in_one_line(tmp_path, monkeypatch, changes, message):
    monkeypatch.chdir(tmp_path)
    dummies(Path("."), 1)
    with pytest.raises(UserError, match=message) as error:
        experiments.validate(presets.resolve(config_of(**dict(changes))))
    assert "\n" not in str(error.value)


# ---- members ----


def test_files_come_first_then_trained_seeds_then_controls(trained):
    changes = {"model.checkpoints": tuple(trained[:2]), "model.num_trained": 2, "sweep.weight_decay": (0.1, 0.2)}
    config = presets.resolve(config_of(**changes))
    members = classifier_members.members_of(config)
    assert [(m.seed, m.file, m.control) for m in members] == [
        (0, 0, "trained"),
        (1, 1, "trained"),
        *[(seed, None, "trained") for _ in range(2) for seed in (2, 3)],
        (0, None, "untrained"),
    ]
    fewer = setting.with_members(config, 1)  # as for the autoencoders of some members
    assert [m.file for m in classifier_members.members_of(fewer)] == [0, None]
    config = presets.resolve(config_of(**changes | {"model.num_trained": 0, "model.finetune": True, "num_members": 3}))
    assert [m.file for m in classifier_members.members_of(config)] == [0, 1, 0] * 2 + [None]


def test_identities_hold_the_files_content(trained):
    dataset = data.load("digits")

    def hashes(**changes):
        config = presets.resolve(config_of(**MLP, **changes))
        members = classifier_members.members_of(config)
        return [artifacts.identity_hash(classifier_members.identity(config, dataset, m)) for m in members]

    plain = hashes(num_members=3)
    files = {"model.checkpoints": tuple(trained)}
    imported, tuned = hashes(**files), hashes(**files, **{"model.finetune": True, "num_members": 3})
    assert plain[-1] == imported[-1] == tuned[-1]  # the untrained control
    assert len({*plain, *imported, *tuned}) == 10
    assert imported == hashes(**files, **{"train.learning_rate": 0.5})[:3] + imported[3:]  # nothing is trained
    assert hashes(**files, **{"model.mean": (0.1,), "model.std": (1.0,)})[0] != imported[0]


def test_imported_members_say_what_they_said_before(trained, tmp_path, capsys):
    config = smoke_config("train", tmp_path, **MLP, **{"model.checkpoints": tuple(trained)})
    with runs.open_run(config, tmp_path / "run") as run:
        prepared = setting.prepare(config, run)
        said = capsys.readouterr().out
        curves = classifier_members.curves(run, config, prepared.dataset, prepared.classifier)
    for i, path in enumerate(trained):
        index = prepared.dataset.splits["validation"]
        x, label = data.pixels(prepared.dataset.images[index]), prepared.dataset.labels[index]
        logits = prepared.classifier.apply(ensembles.take(prepared.ensemble, i), jnp.asarray(x))
        assert f"{path}: validation accuracy {np.mean(np.argmax(logits, -1) == label):.1%}" in said
    assert prepared.trained.tolist() == [True] * 3 + [False]
    assert [m["file"] for m in prepared.members] == [*trained, ""]
    assert np.isnan(curves["train_loss"]).all()


@pytest.mark.slow
def test_held_out_members_of_files(trained, tmp_path):
    changes = {"held_out_model.name": "mlp", "held_out_model.checkpoints": tuple(trained), "train.num_epochs": 1}
    config = smoke_config("transfer", tmp_path, **changes, **{"control_members.untrained": 0})
    config.control_members.shuffled = 0
    with runs.open_run(config, tmp_path / "run") as run:
        (found,) = transfer_members.prepare(config, run)
    assert found.roles.tolist() == ["attacker"] * 4 + ["held_out"] * 3 and found.seeds.tolist() == list(range(7))
    variables = ensembles.take(found.targets.groups[1], 1)
    jax.tree.map(np.testing.assert_array_equal, checkpoints.leaves_of(variables), checkpoints.read(trained[1]))


# ---- finetuning ----


def fewer_classes(dataset: Dataset, count: int) -> Dataset:
    """The images of the first classes."""
    splits = {name: index[dataset.labels[index] < count] for name, index in dataset.splits.items()}
    names = dataset.class_names[:count]
    return dataset._replace(class_names=names, splits=splits, checksum=f"{dataset.checksum}{count}")


def test_finetuning_starts_from_the_file_and_a_head_of_other_classes_from_the_seed(trained, tmp_path):
    dataset = data.load("digits")
    fields = {"model.checkpoints": tuple(trained[:2]), "model.finetune": True, "num_members": 3}
    changes = {**MLP, **fields, "train.learning_rate": 0.0, "train.num_epochs": 1, "control_members.untrained": 0}
    config = smoke_config("train", tmp_path, **changes)
    files = [checkpoints.read(path) for path in trained[:2]]
    for classes in (10, 6):
        own = dataset if classes == 10 else fewer_classes(dataset, classes)
        with runs.open_run(config, tmp_path / f"run{classes}") as run:
            made = setting.classifier_of(config, own)
            ensemble, about = classifier_members.ensemble(run, config, own, made)
        assert [m["file"] for m in about] == [trained[0], trained[1], trained[0]]
        for i in range(3):
            for name, leaf in checkpoints.leaves_of(ensembles.take(ensemble, i)).items():
                if classes == 10 or "logits" not in name:
                    np.testing.assert_array_equal(leaf, files[i % 2][name], err_msg=name)
        heads = ensemble["params"]["logits"]["kernel"]
        assert heads.shape == (3, 256, classes)
        assert np.array_equal(heads[0], heads[2]) == (classes == 10)  # fresh ones differ by seed
    as_they_are = smoke_config("train", tmp_path, **MLP, **{"model.checkpoints": tuple(trained)})
    with (
        runs.open_run(as_they_are, tmp_path / "run") as run,
        pytest.raises(UserError, match=r"10 classes; .*finetune=True"),
    ):
        classifier_members.ensemble(run, as_they_are, own, made)
