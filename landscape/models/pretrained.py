"""Weights from files as the variables of a classifier: our own names, or those of torchvision's and timm's ResNets.

Every tensor of a file is used exactly once and every variable filled; what is left over or missing is named.
"""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from landscape.files import UserError
from landscape.models import checkpoints
from landscape.models.checkpoints import Tensors
from landscape.types import Variables

HEAD = "params/logits/"  # names of a residual network's last layer
SHOWN = 3  # names in an error

# PyTorch's layers of a residual network of basic blocks, and ours. `shortcut` and `linear` are what some scripts for
# small images call `downsample` and `fc`.
LAYERS = (
    (r"conv1", "stem"),
    (r"bn1", "stem_norm"),
    (r"layer(\d+)\.(\d+)\.conv([12])", "block{0}_{1}_conv{2}"),
    (r"layer(\d+)\.(\d+)\.bn([12])", "block{0}_{1}_norm{2}"),
    (r"layer(\d+)\.(\d+)\.(?:downsample|shortcut)\.0", "block{0}_{1}_skip"),
    (r"layer(\d+)\.(\d+)\.(?:downsample|shortcut)\.1", "block{0}_{1}_skip_norm"),
    (r"fc|linear", "logits"),
)
NORM_LEAVES = {
    "weight": "params/{}/scale",
    "bias": "params/{}/bias",
    "running_mean": "batch_stats/{}/mean",
    "running_var": "batch_stats/{}/var",
}
OTHER_LAYERS = (  # what other residual networks have: (pattern, what it is)
    (r"conv1\.\d+\.", "a deep stem of three convolutions (as resnet18d has)"),
    (r"layer\d+\.\d+\.(conv3|bn3)\.", "bottleneck blocks (as resnet50 has)"),
    (r"layer\d+\.\d+\.downsample\.2\.", "skips through a mean over pixels (as resnet18d has)"),
    (r"layer\d+\.\d+\.se\.", "squeeze-and-excitation (as seresnet18 has)"),
)


class Imported(NamedTuple):
    """Weights from a file.

    variables: a pytree of NumPy arrays in the structure asked for. missing: names of the variables of a head that the
    file has for another number of classes, which are zero.
    """

    variables: Variables
    missing: tuple[str, ...] = ()


def load(path: str, like: Variables | None, *, fresh_head: bool = False) -> Imported:
    """The weights in a file, in the structure of a classifier's variables.

    Args:
      path: see `checkpoints.read`.
      like: shapes and dtypes of the variables, whose names are paths joined by / or by . ("params/" may be left out);
        or of a ResNet here, and the file has PyTorch's names. None: the file's own names, those with / as nested dicts.
      fresh_head: leave out a ResNet's head of another number of classes.

    Raises:
      UserError: names or shapes that do not fit, and what to set where a config field can make them fit.
    """
    tensors = checkpoints.read(path)
    if like is None:
        return Imported(_nested(tensors))
    wanted = checkpoints.leaves_of(like)
    prefix = _prefix(tensors) if "params/stem/kernel" in wanted else None
    found = _own_names(tensors, list(wanted)) if prefix is None else _from_torch(path, tensors, prefix, wanted)
    head = [name for name in wanted if name.startswith(HEAD)]
    replaced = fresh_head and any(name in found and found[name].shape != wanted[name].shape for name in head)
    if replaced:
        found |= {name: np.zeros(wanted[name].shape, wanted[name].dtype) for name in head}
    _refuse_unlike(path, found, wanted)
    arrays = [found[name].astype(leaf.dtype) for name, leaf in wanted.items()]
    return Imported(jax.tree.unflatten(jax.tree.structure(like), arrays), tuple(head) if replaced else ())


def _nested(tensors: Tensors) -> Variables:
    """Names with / as nested dicts, below "params" if that is not among them."""
    found: dict[str, Any] = {}
    for name, array in tensors.items():
        *folders, last = name.split("/")
        inner = found
        for folder in folders:
            inner = inner.setdefault(folder, {})
        inner[last] = array
    return found if "params" in found else {"params": found}


def _own_names(tensors: Tensors, names: Sequence[str]) -> Tensors:
    """Tensors under our names; one that has none of them keeps its own."""
    ours = {name.replace("/", "."): name for name in names}
    ours |= {name.removeprefix("params."): ours[name] for name in list(ours) if name.startswith("params.")}
    return {ours.get(name.replace("/", "."), name): array for name, array in tensors.items()}


def _prefix(tensors: Tensors) -> str | None:
    """What PyTorch's names of a residual network begin with ("", "model.", "module."); None for other names."""
    stems = [re.fullmatch(r"((?:.+\.)?)conv1\.(?:0\.)?weight", name) for name in tensors]
    prefixes = [found[1] for found in stems if found and not re.search(r"layer\d+\.\d+\.$", found[1])]
    return min(prefixes, key=len, default=None)


def _from_torch(path: str, tensors: Tensors, prefix: str, wanted: dict[str, Any]) -> Tensors:
    """PyTorch's names and shapes as ours; names that no residual network has stay as they are, and will be named."""
    bare = {name.removeprefix(prefix): array for name, array in tensors.items()}
    if len(bare) < len(tensors):
        raise UserError(f"{path}: names with and without {prefix!r} are the same; expected one model; save one alone")
    for pattern, layer in OTHER_LAYERS:
        if any(re.match(pattern, name) for name in bare):
            raise UserError(
                f"{path}: has {layer}; expected a ResNet of basic blocks behind one convolution, as torchvision's "
                "resnet18 and resnet34; try an own classifier, --config.model.name=FILE.py:FUNCTION"
            )
    bare = {name: array for name, array in bare.items() if not name.endswith(".num_batches_tracked")}
    _refuse_other_network(path, bare, wanted)
    found = {}
    for name, array in bare.items():
        layer, _, leaf = name.rpartition(".")
        own = _own_layer(layer)
        if own is not None and own.endswith(("norm", "norm1", "norm2")) and leaf in NORM_LEAVES:
            found[NORM_LEAVES[leaf].format(own)] = array
        elif own == "logits" and leaf == "bias":
            found[f"{HEAD}bias"] = array
        elif own is not None and leaf == "weight":  # [out, in, height, width], or [out, in]
            found[f"params/{own}/kernel"] = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T
        else:
            found[name] = array
    return found


def _own_layer(layer: str) -> str | None:
    """layer1.0.conv1 -> block1_1_conv1; None for a layer that no residual network here has."""
    for pattern, own in LAYERS:
        if match := re.fullmatch(pattern, layer):
            numbers = [int(number) for number in match.groups()]
            return own.format(*numbers[:1], *(number + 1 for number in numbers[1:2]), *numbers[2:])
    return None


def _refuse_other_network(path: str, bare: Tensors, wanted: dict[str, Any]) -> None:
    """Refuses a network of other fields than the config's, and says which the file's are."""
    if "bn1.weight" in bare and "bn1.running_mean" not in bare:
        raise UserError(
            f"{path}: norm layers without running statistics, whose kind a file does not say; expected batch norm; try "
            "--config.model.name=FILE.py:build, a classifier of your own"
        )
    weight, kernel = bare["conv1.weight"], wanted["params/stem/kernel"]
    blocks = {match[0] for name in bare if (match := re.match(r"layer\d+\.\d+\.", name))}
    own_blocks = {name.split("/")[1][:9] for name in wanted if "/block" in name}
    found = _fields(len(blocks), "bn1.running_mean" in bare, weight.shape[-1])
    own = _fields(len(own_blocks), "batch_stats/stem_norm/mean" in wanted, kernel.shape[0])
    changed = [field for field, value in found.items() if value and value != own[field]]
    if changed:
        differences = ", ".join(f"{field}={found[field]} (not {own[field] or 'another'})" for field in changed)
        remedy = " ".join(f"--config.model.{field}={found[field]}" for field in changed)
        raise UserError(f"{path}: weights of a network with {differences}; expected those of the config; add {remedy}")
    if weight.shape[1] != kernel.shape[2]:
        raise UserError(
            f"{path}: weights for images of {weight.shape[1]} channels; expected {kernel.shape[2]}, which the data "
            "has; convert one or the other"
        )


def _fields(num_blocks: int, normed: bool, stem: int) -> dict[str, str]:
    """The config's fields of a network, "" for what is not known; `stem`: side of its kernel."""
    name = {3: "resnet8", 8: "resnet18", 9: "resnet20", 16: "resnet34"}.get(num_blocks, "")
    return {"name": name, "norm": "batch" * normed, "stem": {3: "small", 7: "imagenet"}.get(stem, "")}


def _refuse_unlike(path: str, found: Tensors, wanted: dict[str, Any]) -> None:
    """Refuses names that are left over or missing, and other shapes."""
    left, gaps = [n for n in found if n not in wanted], [n for n in wanted if n not in found]
    if left or gaps:
        unlike = [f"{_some(left)} left over"] * bool(left) + [f"{_some(gaps)} missing"] * bool(gaps)
        raise UserError(
            f"{path}: {', '.join(unlike)}; expected the weights of exactly this network; check --config.model (name, "
            "norm, stem)"
        )
    for name, leaf in wanted.items():
        if found[name].shape != leaf.shape and name.startswith(HEAD):
            raise UserError(
                f"{path}: a head of {found[name].shape[-1]} classes; expected {leaf.shape[-1]}, which the data has; "
                "--config.model.finetune=True trains a new head"
            )
        if found[name].shape != leaf.shape:
            raise UserError(
                f"{path}: {name} has shape {list(found[name].shape)}; expected {list(leaf.shape)}; check --config.model"
            )


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
