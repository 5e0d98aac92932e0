"""Image classifiers that can be cut at any named layer into features and head.

A module lists its layers as stages `(name, function)`; a call runs the stages after layer `start` up to layer `stop`.
The pixels are layer "image"; the normalisation (x - mean) / std belongs to the first stage, so every input of a
classifier, and every radius around it, is in pixel units of [0, 1].
"""

import itertools
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from landscape.models.conv import convolution
from landscape.types import Images, Logits, Variables

ACTIVATIONS = {"relu": nn.relu, "gelu": nn.gelu, "softplus": nn.softplus, "tanh": jnp.tanh, "silu": nn.silu}
NORMS = ("none", "group", "batch")
PRECISIONS = ("float32", "bfloat16")
BATCH_MOMENTUM = 0.9  # share of the running statistics that a step keeps, with norm="batch"
GROUP_CHANNELS = 8  # channels that share their statistics with norm="group"

Stage = tuple[str, Callable[[Array], Array]]


class Classifier(NamedTuple):
    """Pure functions of one architecture; `variables` is the Flax dict {"params", "batch_stats" with norm="batch"}.

    Attributes:
      init: init(key, x [N,H,W,C]) -> variables.
      apply: apply(variables, x) -> logits [N,K]; inference mode (batch norm uses its running statistics).
      train_apply: train_apply(variables, x) -> (logits, new batch_stats, {} without batch norm). With start=LAYER or
        stop=LAYER it begins behind that layer, whose activations x then is, or ends with it, in training mode.
      features: features(variables, x, layer) -> h, the activations of that layer; of the architectures built here also
        features(variables, h, layer, start), from those h of the layer `start` on.
      head: head(variables, h, layer) -> logits; head(features(x, layer), layer) = apply(x).
      layers: names in order, "image" (the pixels) first, the input of the last dense layer last.
      through: through(variables, x, visit) -> logits of inference mode; visit(name, h, out) -> out is called for every
        Flax submodule (dense1, block1_1_norm2, logits, ..) in the order they run, with what it is given and what it
        puts out, and returns what goes on.
      piecewise_linear: whether logits are known to be piecewise linear in x, as with relu, max pooling and fixed
        statistics of batch norm, but not with group norm. False where nobody knows.
    """

    init: Callable
    apply: Callable
    train_apply: Callable
    features: Callable
    head: Callable
    layers: tuple[str, ...]
    through: Callable
    piecewise_linear: bool = False


class _Network(nn.Module):
    """What all families share: normalisation of pixels, the choice of norm and activation, cutting into stages."""

    num_classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    norm: str
    activation: str
    conv: Callable

    def stages(self, train: bool) -> Sequence[Stage]:
        """The hidden layers, in order; called inside `__call__`, so stages make their submodules when they run."""
        raise NotImplementedError

    @nn.compact
    def __call__(self, h: Array, *, train: bool = False, start: str = "image", stop: str = "logits") -> Array:
        names = ("image", *(name for name, _ in self.stages(train)), "logits")
        functions = (*(function for _, function in self.stages(train)), self._logits)
        for function in functions[names.index(start) : names.index(stop)]:
            h = function(h)
        return h

    def _pixels(self, x: Images) -> Images:
        mean, std = (jnp.asarray(v, x.dtype)[None, None, None, :] for v in (self.mean, self.std))
        return (x - mean) / std

    def _logits(self, h: Array) -> Logits:
        return nn.Dense(self.num_classes, kernel_init=nn.initializers.zeros, name="logits")(h.reshape(h.shape[0], -1))

    def _act(self, h: Array) -> Array:
        return ACTIVATIONS[self.activation](h)

    def _conv(self, h: Array, name: str, width: int, *, size: int = 3, stride: int = 1, padding="SAME") -> Array:
        return nn.Conv(
            width,
            (size, size),
            (stride, stride),
            padding,
            use_bias=self.norm == "none",
            kernel_init=nn.initializers.zeros,
            conv_general_dilated=self.conv,
            name=name,
        )(h)

    def _norm(self, h: Array, name: str, train: bool) -> Array:
        if self.norm == "batch":
            return nn.BatchNorm(use_running_average=not train, momentum=BATCH_MOMENTUM, name=name)(h)
        if self.norm == "group":
            return nn.GroupNorm(num_groups=None, group_size=GROUP_CHANNELS, name=name)(h)
        return h


class Mlp(_Network):
    """Dense layers on the flattened pixels."""

    widths: tuple[int, ...] = (256, 256)

    def stages(self, train):
        return [(f"dense{i}", lambda h, i=i: self._layer(h, i, train)) for i in range(1, len(self.widths) + 1)]

    def _layer(self, h, i, train):
        h = self._pixels(h).reshape(h.shape[0], -1) if i == 1 else h
        dense = nn.Dense(
            self.widths[i - 1], use_bias=self.norm == "none", kernel_init=nn.initializers.zeros, name=f"dense{i}"
        )
        return self._act(self._norm(dense(h), f"norm{i}", train))


class Cnn(_Network):
    """3 x 3 convolutions, then a dense layer on the flattened map, or on its mean over positions (`pool`)."""

    widths: tuple[int, ...] = (16, 32, 32)
    strides: tuple[int, ...] = (2, 2, 1)
    pool: bool = False

    def stages(self, train):
        convs = [(f"conv{i}", lambda h, i=i: self._layer(h, i, train)) for i in range(1, len(self.widths) + 1)]
        return [*convs, ("pool", _mean_over_positions)] if self.pool else convs

    def _layer(self, h, i, train):
        h = self._pixels(h) if i == 1 else h
        h = self._conv(h, f"conv{i}", self.widths[i - 1], stride=self.strides[i - 1])
        return self._act(self._norm(h, f"norm{i}", train))


class ResNet(_Network):
    """Basic residual blocks behind one of two stems.

    "small": a 3 x 3 convolution without stride, for images of 8 to 64 pixels. "imagenet": 7 x 7 with stride 2, then the
    largest of 3 x 3 pixels with stride 2. Zeros are put around symmetrically, as PyTorch does, not as "SAME" would: so
    weights trained there give the same logits.

    Source: He et al. 2016, arXiv:1512.03385; the small stem is the one of its CIFAR experiments.
    """

    widths: tuple[int, ...] = (64, 128, 256, 512)
    blocks: tuple[int, ...] = (2, 2, 2, 2)
    stem: str = "small"

    def stages(self, train):
        names = [(f"block{g + 1}_{b + 1}", g, b) for g, count in enumerate(self.blocks) for b in range(count)]
        blocks = [(name, lambda h, n=name, g=g, b=b: self._block(h, n, g, b, train)) for name, g, b in names]
        return [("stem", lambda x: self._stem(x, train)), *blocks, ("pool", _mean_over_positions)]

    def _stem(self, x, train):
        size, stride = (7, 2) if self.stem == "imagenet" else (3, 1)
        h = self._conv(self._pixels(x), "stem", self.widths[0], size=size, stride=stride, padding=size // 2)
        h = self._act(self._norm(h, "stem_norm", train))
        return nn.max_pool(h, (3, 3), (2, 2), ((1, 1), (1, 1))) if self.stem == "imagenet" else h

    def _block(self, h, name, group, block, train):
        width, stride = self.widths[group], 2 if group > 0 and block == 0 else 1
        y = self._conv(h, f"{name}_conv1", width, stride=stride, padding=1)
        y = self._act(self._norm(y, f"{name}_norm1", train))
        y = self._norm(self._conv(y, f"{name}_conv2", width), f"{name}_norm2", train)
        if stride != 1 or h.shape[-1] != width:
            h = self._conv(h, f"{name}_skip", width, size=1, stride=stride)
            h = self._norm(h, f"{name}_skip_norm", train)
        return self._act(h + y)


def _mean_over_positions(h: Float[Array, "N H W C"]) -> Float[Array, "N C"]:
    return jnp.mean(h, axis=(1, 2))


def _draw_kernels(key: jax.Array, variables: Variables) -> Variables:
    """Fills the kernels, which modules leave at zero: N(0, 2 / fan_in), N(0, 1 / fan_in) for the logits.

    One flat draw for all of them, since XLA compiles each random draw for a second, and several where it has many axes.

    Source: He et al. 2015, arXiv:1502.01852.
    """
    leaves, structure = jax.tree_util.tree_flatten_with_path(variables)
    kernels = [(i, path[-2].key, leaf) for i, (path, leaf) in enumerate(leaves) if path[-1].key == "kernel"]
    sizes = [leaf.size for _, _, leaf in kernels]
    draws = jax.random.normal(key, (sum(sizes),))
    filled = [leaf for _, leaf in leaves]
    for (i, layer, leaf), stop, size in zip(kernels, itertools.accumulate(sizes), sizes, strict=True):
        gain = 1.0 if layer == "logits" else 2.0
        scale = (gain / math.prod(leaf.shape[:-1])) ** 0.5
        filled[i] = scale * draws[stop - size : stop].reshape(leaf.shape).astype(leaf.dtype)
    return jax.tree.unflatten(structure, filled)


def in_precision(classifier: Classifier, precision: str) -> tuple[Callable, Callable]:
    """`apply` and `train_apply` of a classifier, computed in one of PRECISIONS.

    "bfloat16": activations and matrix products are, with 8 significant bits; parameters, their gradients, statistics of
    batch norm and logits stay float32.
    """
    if precision == "float32":
        return classifier.apply, classifier.train_apply
    dtype = jnp.dtype(precision)

    def lowered(variables, x):
        return {**variables, "params": jax.tree.map(lambda leaf: leaf.astype(dtype), variables["params"])}, x.astype(
            dtype
        )

    def apply(variables: Variables, x: Images) -> Logits:
        return classifier.apply(*lowered(variables, x)).astype(jnp.float32)

    def train_apply(variables: Variables, x: Array, **cut: str) -> tuple[Array, Variables]:
        out, batch_stats = classifier.train_apply(*lowered(variables, x), **cut)
        return out.astype(jnp.float32), batch_stats

    return apply, train_apply


FAMILIES = {
    "mlp": (Mlp, {}),
    "cnn": (Cnn, {}),  # 1.4 MFLOP an image of 28 x 28 x 1
    "cnn_wide": (Cnn, {"widths": (32, 64, 64), "strides": (1, 2, 2), "pool": True}),  # 11.3 MFLOP
    "resnet18": (ResNet, {}),  # an image of 64 x 64 x 3: 4200 MFLOP, behind the stem "imagenet" 270
    "resnet34": (ResNet, {"blocks": (3, 4, 6, 3)}),  # 8600 and 510
    "resnet8": (ResNet, {"widths": (16, 32, 64), "blocks": (1, 1, 1)}),
    "resnet20": (ResNet, {"widths": (16, 32, 64), "blocks": (3, 3, 3)}),  # 62 MFLOP
}
STEMS = ("small", "imagenet")  # of residual networks


def build(
    name: str,
    *,
    num_classes: int,
    mean: Sequence[float] = (0.0,),
    std: Sequence[float] = (1.0,),
    norm: str = "none",
    activation: str = "relu",
    stem: str = "small",
    conv: Callable = convolution,
) -> Classifier:
    """The functions of one architecture.

    Args:
      name: one of FAMILIES; num_classes: K.
      mean, std: of the training pixels, one a channel (or one for all), in [0, 1] units.
      norm: "none", "group" (groups of 8 channels) or "batch"; activation: one of ACTIVATIONS.
      stem: of residual networks, one of STEMS; see `ResNet`. Others have none and take "small" only.
      conv: the convolution, with the arguments of `lax.conv_general_dilated`; any choice reads the same variables.

    With relu the logits are piecewise linear in x: their Hessian is zero almost everywhere and all curvature of the
    loss comes from the softmax. gelu, softplus, tanh and silu are smooth.
    """
    family, fields = _family(name, norm, activation, stem)
    if not all(s > 0 for s in std):
        raise ValueError(f"std={tuple(std)}: expected positive numbers; is one channel of the data constant?")
    statistics = {"mean": tuple(map(float, mean)), "std": tuple(map(float, std))}
    module = family(num_classes=num_classes, norm=norm, activation=activation, conv=conv, **statistics, **fields)
    layers = ("image", *(layer for layer, _ in module.stages(train=False)))

    def check(layer: str) -> str:
        if layer not in layers:
            raise ValueError(f"layer={layer!r}: {name} has {', '.join(layers)}")
        return layer

    def init(key: jax.Array, x: Images) -> Variables:
        return _draw_kernels(key, module.init(key, x))

    def train_apply(
        variables: Variables, x: Array, start: str = "image", stop: str = "logits"
    ) -> tuple[Array, Variables]:
        cut = {"start": check(start), "stop": stop if stop == "logits" else check(stop)}
        out, state = module.apply(variables, x, train=True, mutable=["batch_stats"], **cut)
        return out, state.get("batch_stats", {})

    def features(variables: Variables, h: Array, layer: str, start: str = "image") -> Array:
        if layers.index(check(start)) > layers.index(check(layer)):
            raise ValueError(f"layer={layer!r} from start={start!r}: expected one behind it, of {', '.join(layers)}")
        return module.apply(variables, h, start=start, stop=layer)

    def head(variables: Variables, h: Array, layer: str) -> Logits:
        return module.apply(variables, h, start=check(layer))

    linear = activation == "relu" and norm != "group"
    return Classifier(init, module.apply, train_apply, features, head, layers, partial(_through, module), linear)


def _family(name: str, norm: str, activation: str, stem: str) -> tuple[type[_Network], dict[str, Any]]:
    """The module class of an architecture and its own fields; a ValueError names the known words."""
    choices = (("model", name, FAMILIES), ("norm", norm, NORMS), ("activation", activation, ACTIVATIONS))
    for what, value, known in (*choices, ("stem", stem, STEMS)):
        if value not in known:
            raise ValueError(f"{what}={value!r}: expected one of {', '.join(known)}")
    family, fields = FAMILIES[name]
    if family is ResNet:
        return family, fields | {"stem": stem}
    if stem != "small":
        raise ValueError(f"stem={stem!r}: expected 'small' for {name}, which has no other; try resnet18")
    return family, fields


def _through(module: _Network, variables: Variables, x: Images, visit: Callable[[str, Array, Array], Array]) -> Logits:
    """See `Classifier.through`."""

    def intercept(function, args, kwargs, about):
        out = function(*args, **kwargs)
        inner = about.method_name == "__call__" and about.module.name is not None
        return visit(about.module.name, args[0], out) if inner else out

    with nn.intercept_methods(intercept):
        return module.apply(variables, x)
