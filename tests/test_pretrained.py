"""Weights from files: names, layouts and dtypes, against a network written in NumPy; and what is refused."""

import builtins
import os
import pickle
import sys
import types

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from landscape.files import UserError, write_npz
from landscape.models import checkpoints, classifiers, pretrained
from landscape.training import artifacts

BLOCKS, WIDTHS, CLASSES = (3, 3, 3), (16, 32, 64), 5
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)


def network(stem="small", **changes):
    fields = dict(num_classes=CLASSES, norm="batch", stem=stem, mean=MEAN, std=STD) | changes
    return classifiers.build("resnet20", **fields)


def structure(classifier, channels=3):
    return jax.eval_shape(classifier.init, jax.random.key(0), jnp.zeros((1, 16, 16, channels)))


def torch_file(size=3, seed=0, num_classes=CLASSES) -> dict[str, np.ndarray]:
    """A state dict as PyTorch would name and lay out this network's, random in every entry."""
    rng = np.random.default_rng(seed)
    found = {}

    def conv(name, out, inner, size):
        scale = np.sqrt(2 / (inner * size * size))
        found[f"{name}.weight"] = (scale * rng.standard_normal((out, inner, size, size))).astype(np.float32)

    def norm(name, width):
        for leaf, low in (("weight", 0.5), ("bias", -0.3), ("running_mean", -0.3), ("running_var", 0.5)):
            found[f"{name}.{leaf}"] = (low + rng.random(width)).astype(np.float32)
        found[f"{name}.num_batches_tracked"] = np.asarray(7)

    conv("conv1", WIDTHS[0], 3, size)
    norm("bn1", WIDTHS[0])
    inner = WIDTHS[0]
    for g, (count, width) in enumerate(zip(BLOCKS, WIDTHS, strict=True)):
        for b in range(count):
            name = f"layer{g + 1}.{b}"
            conv(f"{name}.conv1", width, inner, 3)
            norm(f"{name}.bn1", width)
            conv(f"{name}.conv2", width, width, 3)
            norm(f"{name}.bn2", width)
            if inner != width:
                conv(f"{name}.downsample.0", width, inner, 1)
                norm(f"{name}.downsample.1", width)
            inner = width
    found["fc.weight"] = rng.standard_normal((num_classes, inner)).astype(np.float32)
    found["fc.bias"] = rng.standard_normal(num_classes).astype(np.float32)
    return found


def reference(state, x):
    """The network's logits in NumPy, from PyTorch's names: x [N, 3, H, W]."""
    state = {name: value.astype(np.float64) for name, value in state.items()}

    def windows(x, size, stride, fill):
        pad = size // 2
        x = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)), constant_values=fill)
        return np.lib.stride_tricks.sliding_window_view(x, (size, size), (2, 3))[:, :, ::stride, ::stride]

    def conv(x, name, stride=1):
        w = state[f"{name}.weight"]
        return np.einsum("nihwab,oiab->nohw", windows(x, w.shape[-1], stride, 0.0), w)

    def norm(x, name):
        scale, bias, mean, var = (
            state[f"{name}.{leaf}"][:, None, None] for leaf in ("weight", "bias", "running_mean", "running_var")
        )
        return (x - mean) / np.sqrt(var + 1e-5) * scale + bias

    imagenet = state["conv1.weight"].shape[-1] == 7
    x = (x - np.asarray(MEAN)[:, None, None]) / np.asarray(STD)[:, None, None]
    h = np.maximum(norm(conv(x, "conv1", 2 if imagenet else 1), "bn1"), 0)
    h = windows(h, 3, 2, -np.inf).max(axis=(4, 5)) if imagenet else h
    for g, count in enumerate(BLOCKS):
        for b in range(count):
            name, stride = f"layer{g + 1}.{b}", 2 if g and not b else 1
            y = np.maximum(norm(conv(h, f"{name}.conv1", stride), f"{name}.bn1"), 0)
            y = norm(conv(y, f"{name}.conv2"), f"{name}.bn2")
            if f"{name}.downsample.0.weight" in state:
                h = norm(conv(h, f"{name}.downsample.0", stride), f"{name}.downsample.1")
            h = np.maximum(h + y, 0)
    return h.mean(axis=(2, 3)) @ state["fc.weight"].T + state["fc.bias"]


@pytest.mark.parametrize(("stem", "size"), [("small", 3), ("imagenet", 7)])
@pytest.mark.parametrize("shape", [(16, 16), (17, 14)])
def test_torch_names_give_the_logits_of_the_same_network_in_numpy(tmp_path, stem, size, shape):
    state, made = torch_file(size), network(stem)
    save_file({f"model.{name}": value for name, value in state.items()}, tmp_path / "a.safetensors")
    found = pretrained.load(str(tmp_path / "a.safetensors"), structure(made))
    x = np.random.default_rng(1).random((3, *shape, 3), np.float32)
    expected = reference(state, x.transpose(0, 3, 1, 2).astype(np.float64))
    assert np.abs(expected).max() > 1
    np.testing.assert_allclose(jax.jit(made.apply)(found.variables, x), expected, atol=1e-4 * np.abs(expected).max())
    assert found.missing == ()


def in_dtype(dtype):
    return lambda state: {n: v.astype(dtype) if v.dtype == np.float32 else v for n, v in state.items()}


@pytest.mark.parametrize(
    ("change", "rounding"),
    [  # scripts for small images have names of their own
        (lambda s: {n.replace("downsample", "shortcut").replace("fc.", "linear."): v for n, v in s.items()}, 0),
        (in_dtype(np.float64), 0),
        (in_dtype(np.float16), 2**-11),
        (in_dtype(ml_dtypes.bfloat16), 2**-8),
    ],
)
def test_other_names_and_floats_mean_the_same(tmp_path, change, rounding):
    for name, state in (("a", torch_file()), ("b", change(torch_file()))):
        save_file(state, tmp_path / f"{name}.safetensors")
    a, b = (pretrained.load(str(tmp_path / f"{name}.safetensors"), structure(network())).variables for name in "ab")
    assert {leaf.dtype for leaf in jax.tree.leaves(b)} == {np.dtype(np.float32)}
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rounding, atol=1e-7 * bool(rounding)), a, b)


@pytest.mark.parametrize("kind", ["safetensors", "npz", "npz.dotted", "npz.bare", "orbax", "artifact"])
def test_own_weights_come_back_bit_for_bit(tmp_path, kind):
    like, rng = structure(network()), np.random.default_rng(0)
    variables = jax.tree.map(lambda leaf: rng.random(leaf.shape, np.float32), like)
    path = tmp_path / f"a.{kind.split('.')[0]}"
    if kind == "safetensors":
        checkpoints.write(path, variables)
    elif kind.startswith("npz"):
        old, new = {"npz.dotted": ("/", "."), "npz.bare": ("params/", "")}.get(kind, ("", ""))
        write_npz(path, {name.replace(old, new): leaf for name, leaf in checkpoints.leaves_of(variables).items()})
    elif kind == "artifact":
        path = artifacts.save(tmp_path / "classifier", {"kind": "classifier"}, variables, {})
    else:
        import orbax.checkpoint as ocp

        with ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save(path, variables)
    found = pretrained.load(str(path), like).variables
    assert jax.tree.structure(found) == jax.tree.structure(variables)
    jax.tree.map(np.testing.assert_array_equal, found, variables)


def test_without_a_structure_names_are_the_files_own(tmp_path):
    write_npz(tmp_path / "a.npz", {"w": np.ones(2), "inner/b.c": np.zeros(3)})
    found = pretrained.load(str(tmp_path / "a.npz"), None).variables
    assert set(found) == {"params"} and found["params"]["inner"]["b.c"].shape == (3,)
    write_npz(tmp_path / "b.npz", {"params/w": np.ones(2), "batch_stats/m": np.zeros(3)})
    assert set(pretrained.load(str(tmp_path / "b.npz"), None).variables) == {"params", "batch_stats"}


def without(state, name):
    return {n: v for n, v in state.items() if n != name}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: without(s, "layer2.1.bn2.running_var"), "batch_stats/block2_2_norm2/var missing; expected"),
        (lambda s: s | {"criterion.weight": np.ones(2)}, "criterion.weight left over"),
        (lambda s: s | {"layer1.0.extra.weight": np.ones((2, 2))}, "layer1.0.extra.weight left over"),
        (lambda s: {n: v for n, v in s.items() if "bn" not in n}, "missing"),
        (lambda s: torch_file(7), r"stem=imagenet \(not small\).*add --config.model.stem=imagenet"),
        (lambda s: s | {"conv1.weight": s["conv1.weight"][:, :1]}, "images of 1 channels; expected 3"),
        (
            lambda s: s | {"fc.weight": np.ones((9, 64)), "fc.bias": np.ones(9)},
            "head of 9 classes; expected 5.*finetune",
        ),
        (lambda s: s | {"layer1.0.conv1.weight": np.ones((16, 16, 5, 5))}, r"\[5, 5, 16, 16\]; expected \[3, 3, 16"),
        (lambda s: s | {"conv1.0.weight": np.ones((8, 3, 3, 3))}, "deep stem"),
        (lambda s: s | {"layer1.0.conv3.weight": np.ones((8, 3, 1, 1))}, "bottleneck"),
        (lambda s: s | {"bn1.bias": np.full(16, np.nan, np.float32)}, "bn1.bias has entries that are not finite"),
        (lambda s: {f"{p}{n}": v for n, v in s.items() for p in ("a.", "b.")}, "left over"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, change, message):
    state = {name: np.ascontiguousarray(value) for name, value in change(torch_file()).items()}
    save_file(state, tmp_path / "a.safetensors")
    with pytest.raises(UserError, match=message) as error:
        pretrained.load(str(tmp_path / "a.safetensors"), structure(network()))
    assert "\n" not in str(error.value) and "a.safetensors" in str(error.value)


def test_norm_layers_of_unknown_groups_are_refused(tmp_path):
    """A GroupNorm has names and shapes of a batch norm without running statistics; its groups stand nowhere."""
    state = {name: array for name, array in torch_file().items() if "running" not in name}
    save_file(state, tmp_path / "a.safetensors")
    for norm in ("group", "batch"):
        with pytest.raises(UserError, match="norm layers without running statistics"):
            pretrained.load(str(tmp_path / "a.safetensors"), structure(network(norm=norm)))


def test_the_norm_and_the_depth_that_a_file_needs_are_said(tmp_path):
    state = torch_file(7)
    save_file({n: v for n, v in state.items() if not n.startswith("layer3.2.")}, tmp_path / "a.safetensors")
    with pytest.raises(UserError, match=r"model.name=resnet18 --config.model.norm=batch --config.model.stem=imagenet"):
        pretrained.load(str(tmp_path / "a.safetensors"), structure(network(norm="none")))


def test_a_head_of_other_classes_is_left_out_where_a_fresh_one_is_wanted(tmp_path):
    for classes, missing in ((9, {"params/logits/kernel", "params/logits/bias"}), (CLASSES, set())):
        save_file(torch_file(num_classes=classes), tmp_path / "a.safetensors")
        found = pretrained.load(str(tmp_path / "a.safetensors"), structure(network()), fresh_head=True)
        assert set(found.missing) == missing
        assert found.variables["params"]["logits"]["kernel"].shape == (64, CLASSES)


class Malicious:
    def __reduce__(self):
        return os.system, ("touch pwned",)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.pkl", pickle.dumps(Malicious()), r"expected .safetensors, .npz"),
        ("a.safetensors", pickle.dumps(Malicious()), "not readable"),
        ("a.npz", {"w": np.array([Malicious()], object)}, r"a.npz: not readable \(Object arrays"),
        # What NumPy's own format makes of bfloat16, and of records.
        ("a.npz", {"w": np.ones(3, ml_dtypes.bfloat16)}, r"w has dtype .* expected numbers"),
        ("a.npz", {"w": np.ones(3, [("x", np.float32)])}, r"w has dtype .* expected numbers"),
        ("a.safetensors", b"", "not readable"),
        ("a.npz", b"PK\x03\x04", "not readable"),
        ("a.h5", b"", "expected .safetensors"),
        (".", None, "not readable"),  # an empty folder
    ],
)
def test_other_and_damaged_files_are_refused_and_none_runs_code(tmp_path, monkeypatch, name, content, message):
    monkeypatch.chdir(tmp_path)
    if isinstance(content, dict):
        np.savez(name, **content)
    elif content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        checkpoints.read(name)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(("version", "refused"), [("2.5.1+cu124", True), ("1.13.0", True), ("2.6.0", False)])
def test_torch_files_are_not_opened_by_versions_that_let_code_run(tmp_path, monkeypatch, version, refused):
    opened = []

    def load(path, **how):
        opened.append(how)
        raise RuntimeError("stopped here")

    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(__version__=version, load=load))
    (tmp_path / "a.pth").write_bytes(b"")
    with pytest.raises(UserError, match="can run code .* expected 2.6 or later" if refused else "stopped here"):
        checkpoints.read(tmp_path / "a.pth")
    assert opened == ([] if refused else [{"map_location": "cpu", "weights_only": True}])


def test_torch_files_without_torch_say_what_to_do(tmp_path, monkeypatch):
    real = builtins.__import__

    def without_torch(name, *args, **kwargs):
        if name == "torch":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_torch)
    (tmp_path / "a.pth").write_bytes(b"")
    with pytest.raises(UserError, match=r"pip install torch, or save the state dict as .safetensors"):
        checkpoints.read(tmp_path / "a.pth")
