"""Hidden units of a classifier can change places without changing what it computes: which axes move together.

A *group* is a set of units that one permutation moves: the outputs of a layer with their norm, and what reads them. The
residual stream of a ResNet's stage is one group, since its blocks add to it. With group norm, units stay with the
GROUP_CHANNELS that share their statistics: whole sets change places, and units within a set.

Source: Ainsworth et al. 2022, arXiv:2209.04836, for groups of a network's axes.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from landscape.models.classifiers import GROUP_CHANNELS
from landscape.types import Variables

Path = tuple[str, ...]
Permutations = dict[str, Int[np.ndarray, " U"]]


class Axis(NamedTuple):
    """An axis of one leaf whose index is (position, unit), the unit fastest; one position where it is units alone."""

    path: Path
    axis: int
    positions: int = 1


class Group(NamedTuple):
    """Units that move together.

    size: their number. axes: where they stand. together: how many of them share statistics and stay side by side, 1
    where each is free.
    """

    size: int
    axes: tuple[Axis, ...]
    together: int = 1


def groups_of(variables: Variables) -> dict[str, Group]:
    """The groups of a classifier of `landscape.models.classifiers`, by the layer that makes their units.

    Raises:
      ValueError: layers of another network.
    """
    params = variables["params"]
    made: dict[str, list[str]] = {}  # group: layers whose outputs are its units
    read: dict[str, list[str]] = {}  # group: layers whose inputs they are
    if "stem" in params:
        _residual(params, made, read)
    else:
        _chain(params, made, read)
    return {group: _group(variables, made[group], read[group]) for group in made}


def _chain(params: Mapping[str, Any], made: dict, read: dict) -> None:
    """One layer behind the other: dense1, dense2, .. or conv1, conv2, .. and the logits."""
    kind = next((kind for kind in ("dense", "conv") if f"{kind}1" in params), None)
    if kind is None or "logits" not in params:
        raise ValueError(f"layers {', '.join(params)}: expected those of an mlp, a cnn or a resnet")
    count = sum(name.startswith(kind) for name in params)
    names = [f"{kind}{i + 1}" for i in range(count)] + ["logits"]
    for own, following in pairwise(names):
        made[own], read[own] = [own], [following]


def _residual(params: Mapping[str, Any], made: dict, read: dict) -> None:
    """The stem's stream runs on until a block has a skip layer, which begins the next one."""
    stream = "stem"
    made[stream], read[stream] = ["stem"], []
    blocks = sorted({name.rsplit("_", 1)[0] for name in params if name.startswith("block") and "_conv1" in name})
    for block in blocks:
        inner, second = f"{block}_conv1", f"{block}_conv2"
        read[stream].append(inner)
        made[inner], read[inner] = [inner], [second]
        if f"{block}_skip" in params:
            read[stream].append(f"{block}_skip")
            stream = block
            made[stream], read[stream] = [f"{block}_skip"], []
        made[stream].append(second)
    read[stream].append("logits")


def norm_of(layer: str) -> str:
    """The name of the norm behind a layer: conv1 -> norm1, stem -> stem_norm, block1_1_conv2 -> block1_1_norm2."""
    if layer == "stem" or layer.endswith("_skip"):
        return f"{layer}_norm"
    for kind in ("dense", "conv"):
        if kind in layer:
            return layer.replace(kind, "norm")
    return ""


def _group(variables: Variables, made: Sequence[str], read: Sequence[str]) -> Group:
    params = variables["params"]
    size = params[made[0]]["kernel"].shape[-1]
    axes, normed = [], False
    for layer in made:
        axes.append(Axis(("params", layer, "kernel"), params[layer]["kernel"].ndim - 1))
        axes += [Axis(("params", layer, "bias"), 0)] if "bias" in params[layer] else []
        norm = norm_of(layer)
        for collection in ("params", "batch_stats"):
            leaves = variables.get(collection, {}).get(norm, {})
            axes += [Axis((collection, norm, name), 0) for name in leaves]
        normed |= norm in params
    for layer in read:
        kernel = params[layer]["kernel"]
        axis = kernel.ndim - 2
        axes.append(Axis(("params", layer, "kernel"), axis, kernel.shape[axis] // size))
    grouped = normed and "batch_stats" not in variables
    return Group(size, tuple(axes), GROUP_CHANNELS if grouped else 1)


def leaf_of(variables: Variables, path: Path) -> Any:
    """The leaf at a path."""
    for name in path:
        variables = variables[name]
    return variables


def readers_of(variables: Variables, group: Group) -> tuple[str, ...]:
    """The layers that read a group's units. A skip layer is none: the block's first layer reads the same place."""
    kernels = [axis for axis in group.axes if axis.path[-1] == "kernel"]
    inputs = [axis for axis in kernels if axis.axis == np.ndim(leaf_of(variables, axis.path)) - 2]
    return tuple(axis.path[1] for axis in inputs if not axis.path[1].endswith("_skip"))


def units_first(leaf: np.ndarray, axis: Axis, size: int) -> np.ndarray:
    """The leaf with its units as rows, [size, everything else]."""
    shape = leaf.shape
    split = leaf.reshape(*shape[: axis.axis], axis.positions, size, *shape[axis.axis + 1 :])
    return np.moveaxis(split, axis.axis + 1, 0).reshape(size, -1)


def permute(variables: Variables, groups: Mapping[str, Group], permutations: Permutations) -> Variables:
    """The same function with its units in another order: unit i of a group is what unit permutations[group][i] was."""
    found = _copied(variables)
    for name, order in permutations.items():
        group = groups[name]
        for axis in group.axes:
            parent = leaf_of(found, axis.path[:-1])
            leaf = np.asarray(parent[axis.path[-1]])
            shape = leaf.shape
            split = leaf.reshape(*shape[: axis.axis], axis.positions, group.size, *shape[axis.axis + 1 :])
            parent[axis.path[-1]] = np.take(split, order, axis=axis.axis + 1).reshape(shape)
    return found


def _copied(tree: Any) -> Any:
    return {name: _copied(value) for name, value in tree.items()} if isinstance(tree, Mapping) else np.asarray(tree)
