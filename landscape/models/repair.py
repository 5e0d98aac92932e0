"""REPAIR: hidden units of an interpolated classifier get back the mean and the spread that its ends have.

Units of two ends are never quite alike, so that those between vary less over images than at either end, layer by layer
until all logits are alike. REPAIR moves and scales each unit, before its activation, until over given images

    mean_t = sum_i w_i mean_i        std_t = sum_i w_i std_i        (w_i: share of end i, for a line 1 - t and t)

What is moved, and where the change is kept:

- norm="none": what a dense layer or a convolution puts out, in its kernel and bias.
- norm="group": what the norm puts out, in its scale and bias. What comes before it, it would normalise away again.
- norm="batch": nothing but the running statistics, which are taken anew ("reset"): the norm then puts out exactly the
  interpolated bias and |scale|, which are mean and spread of the ends' units.

Layers are moved one after the other in a single pass: what a layer is measured on has come through all those before it
as they are now. Statistics of the unchanged interpolation would be of inputs that no layer sees any more.

Source: Jordan et al. 2022, arXiv:2211.08403.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from landscape.models.classifiers import Classifier
from landscape.models.permutations import norm_of
from landscape.types import Images, Variables

STILL = 1e-6  # a spread below this, in units of the unit's wanted one, is none: no scale brings it back


class Moments(NamedTuple):
    """Mean and standard deviation of units over images and positions, before the activation. [U] each."""

    mean: Float[Array, " U"]
    std: Float[Array, " U"]


def sites(variables: Variables) -> tuple[str, ...]:
    """Where units are measured: each hidden layer, or its norm where it has one."""
    params = variables["params"]
    layers = [name for name in params if "kernel" in params[name] and name != "logits"]
    return tuple(norm_of(name) if norm_of(name) in params else name for name in layers)


def moments(variables: Variables, x: Images, *, classifier: Classifier) -> dict[str, Moments]:
    """Mean and spread of every unit at each of `sites`, over images x."""
    found, wanted = {}, sites(variables)

    def visit(name, h, out):
        if name in wanted:
            found[name] = _moments(out)
        return out

    classifier.through(variables, x, visit)
    return found


def repaired(variables: Variables, target: Mapping[str, Moments], x: Images, *, classifier: Classifier) -> Variables:
    """The classifier whose units have the mean and spread of `target` over images x; see the module's head.

    A unit that no image moves, though its target moves, is shifted alone. With batch norm `target` is not read.
    """
    if "batch_stats" in variables:
        return statistics_of(classifier)(variables, x)
    params = dict(variables["params"])

    def visit(name, h, out):
        if name not in target:
            return out
        own, wanted = _moments(out), target[name]
        moves = own.std > STILL * wanted.std
        scale = jnp.where(moves, wanted.std / jnp.where(moves, own.std, 1.0), 1.0)
        shift = wanted.mean - scale * own.mean
        layer = params[name]
        gain = "kernel" if "kernel" in layer else "scale"
        params[name] = {gain: layer[gain] * _behind(scale, layer[gain]), "bias": scale * layer["bias"] + shift}
        return out * _behind(scale, out) + _behind(shift, out)

    classifier.through(variables, x, visit)
    return {**variables, "params": params}


def statistics_of(classifier: Classifier) -> Callable[[Variables, Images], Variables]:
    """statistics(variables, x) -> the variables with the running statistics of x alone; without any, as they are.

    One step leaves momentum times the running statistics and 1 - momentum times those of the batch. So from statistics
    of zero it leaves the latter, and the difference of two steps, from one and from zero, is the momentum: layers of
    somebody's network have their own. Those that a step does not move stay as they are.
    """

    def statistics(variables, x):
        if "batch_stats" not in variables:
            return variables

        def step(filled, x):
            start = jax.tree.map(filled, variables["batch_stats"])
            return classifier.train_apply({**variables, "batch_stats": start}, x)[1]

        def of_batch(own, zero, one, found):
            share = jnp.round(1 - jnp.mean(one - zero), 5)  # without the rounding errors of a difference
            return jnp.where(share > 0, found / jnp.where(share > 0, share, 1.0), own)

        few = x[:2]
        parts = (step(jnp.zeros_like, few), step(jnp.ones_like, few), step(jnp.zeros_like, x))
        return {**variables, "batch_stats": jax.tree.map(of_batch, variables["batch_stats"], *parts)}

    return statistics


def _moments(h: Float[Array, "N *P U"]) -> Moments:
    axes = tuple(range(h.ndim - 1))
    return Moments(jnp.mean(h, axis=axes), jnp.std(h, axis=axes))


def _behind(units: Float[Array, " U"], like: Float[Array, "*P U"]) -> Float[Array, "*Q U"]:
    """Units along the last of as many axes as `like` has; the others are 1 long."""
    return units.reshape(*(1,) * (like.ndim - 1), -1)
