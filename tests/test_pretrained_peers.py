"""torchvision's and timm's ResNets: their logits from their files, whatever they were saved by."""

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from landscape.files import UserError
from landscape.models import checkpoints, classifiers, pretrained

pytestmark = pytest.mark.peers
CLASSES = 7


def network(name: str, library: str, stem: str):
    """A network with weights and running statistics random in every entry, in evaluation mode."""
    import timm
    import torch
    import torchvision

    make = {"torchvision": torchvision.models.get_model, "timm": timm.create_model}[library]
    made = make(name, num_classes=CLASSES)
    if stem == "small":
        made.conv1 = torch.nn.Conv2d(3, 64, 3, padding=1, bias=False)
        made.maxpool = torch.nn.Identity()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for key, value in made.state_dict().items():
            if key.endswith("running_var") or (value.ndim == 1 and key.endswith("weight")):
                value.copy_(0.5 + 0.5 * torch.rand(value.shape, generator=generator))
            elif value.ndim == 1:
                value.copy_(0.2 * torch.randn(value.shape, generator=generator))
        made.fc.weight.mul_(0.1)  # logits of at most some ten, as trained networks have, not of a hundred
    return made.eval()


@pytest.mark.parametrize("library", ["torchvision", "timm"])
@pytest.mark.parametrize("stem", classifiers.STEMS)
@pytest.mark.parametrize("name", ["resnet18", "resnet34"])
def test_logits_are_those_of_pytorch(tmp_path, name, stem, library):
    import torch
    from safetensors.torch import save_file

    theirs = network(name, library, stem)
    save_file(theirs.state_dict(), tmp_path / "a.safetensors")
    ours = classifiers.build(
        name, num_classes=CLASSES, norm="batch", stem=stem, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
    )
    like = jax.eval_shape(ours.init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)))
    variables = pretrained.load(str(tmp_path / "a.safetensors"), like).variables
    mean, std = (torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    for shape in ((64, 64), (65, 63), (224, 224)):
        x = np.random.default_rng(0).random((2, *shape, 3), np.float32)
        with torch.no_grad():
            expected = theirs((torch.from_numpy(x).permute(0, 3, 1, 2) - mean) / std).numpy()
        found = jax.jit(ours.apply)(variables, jnp.asarray(x))
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4, err_msg=str(shape))


def test_files_of_training_scripts_hold_the_same_weights(tmp_path):
    import torch
    from safetensors.torch import save_file

    state = network("resnet18", "torchvision", "imagenet").state_dict()
    save_file(state, tmp_path / "plain.safetensors")
    torch.save(state, tmp_path / "plain.pth")
    torch.save({"model": {f"module.{name}": v for name, v in state.items()}, "epoch": 3}, tmp_path / "parallel.pt")
    lightning = {f"model.{name}": value for name, value in state.items()}
    torch.save({"state_dict": lightning, "epoch": 3, "hyper_parameters": {"lr": 0.1}}, tmp_path / "lightning.ckpt")
    half = {name: value.bfloat16() if value.is_floating_point() else value for name, value in state.items()}
    torch.save(half, tmp_path / "half.pth")
    made = classifiers.build("resnet18", num_classes=CLASSES, norm="batch", stem="imagenet")
    like = jax.eval_shape(made.init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)))
    expected = pretrained.load(str(tmp_path / "plain.safetensors"), like).variables
    for name in ("plain.pth", "parallel.pt", "lightning.ckpt"):
        jax.tree.map(np.testing.assert_array_equal, pretrained.load(str(tmp_path / name), like).variables, expected)
    rounded = pretrained.load(str(tmp_path / "half.pth"), like).variables
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2**-8), rounded, expected)


class Malicious:
    def __reduce__(self):
        return os.system, ("touch pwned",)


def test_a_torch_file_cannot_run_code(tmp_path, monkeypatch):
    import torch

    monkeypatch.chdir(tmp_path)
    for name, content in (("bare", Malicious()), ("hidden", {"state_dict": {}, "callbacks": Malicious()})):
        torch.save(content, f"{name}.pth")
        with pytest.raises(UserError, match=f"{name}.pth: not read, it holds Python objects, which could run") as error:
            checkpoints.read(f"{name}.pth")
        assert "\n" not in str(error.value)
    torch.save(torch.nn.Linear(2, 2), "module.pth")
    with pytest.raises(UserError, match="expected tensors alone"):
        checkpoints.read("module.pth")
    torch.save({"epoch": 3}, "none.pth")
    with pytest.raises(UserError, match="a dict of epoch"):
        checkpoints.read("none.pth")
    assert not os.path.exists("pwned")
