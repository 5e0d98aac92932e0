"""Gradients of every class, in pixels and on manifolds: smoothed, compared between classifiers, and pushed forward.

All are of `config.maps.value` and of the first `config.num_alone` classifiers: one a classifier, or one a pair of them.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from landscape import objectives
from landscape.ensembles import map_members
from landscape.experiments.gradients.spaces import AscentSpace, alone
from landscape.experiments.setting import Examples, Setting, example_keys
from landscape.measures import gradients


def _options(config, prepared: Setting) -> dict[str, Any]:
    """What gradients are of, as `measures.gradients` takes it."""
    value_fn, num_classes = objectives.VALUES[config.maps.value], len(prepared.dataset.class_names)
    return {"apply": prepared.classifier.apply, "num_classes": num_classes, "value_fn": value_fn}


def _flat(g, lead: int):
    return g.reshape(*g.shape[:lead], -1)


def _paired(g):
    """Cosines of the pairs of members, [P, K, N] of gradients g [S, K, N, ...]."""
    one, other = (_flat(g, 3)[side] for side in np.triu_indices(len(g), 1))
    return gradients.cosine(one, other)


def _shown(config, g: jax.Array | np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Pictures [shown, class, ...] of gradients [class, example, ...]."""
    return np.moveaxis(np.asarray(g)[classes, : config.maps.num_shown], 0, 1)


def in_pixels(
    config, prepared: Setting, space: AscentSpace, mapped: Examples, classes: np.ndarray
) -> dict[str, np.ndarray]:
    """Gradients with respect to pixels; pictures of the members' mean."""
    members, how = alone(config, space.guides)
    options = _options(config, prepared)

    @jax.jit
    def measured(members, x):
        g = map_members(lambda v, x: gradients.class_gradients(v, x, **options), members, shared=(x,), how=how)
        return g.mean(axis=0), _paired(g)

    mean, cosine = jax.tree.map(np.asarray, measured(members, jnp.asarray(mapped.x)))
    return {
        "gradient_cosine": cosine,
        "picture": mapped.x[: config.maps.num_shown],
        "picture_gradient": _shown(config, mean, classes),
    }


def on_images(config, prepared: Setting, mapped: Examples, classes: np.ndarray) -> dict[str, np.ndarray]:
    """What classifiers predict, and SmoothGrad in pixels at every sigma; pictures of the members' mean."""
    members, how = alone(config, prepared.ensemble)
    options = _options(config, prepared) | {"num_trials": config.maps.num_trials}

    @jax.jit
    def predicted(members, x):
        return map_members(lambda v, x: jnp.argmax(options["apply"](v, x), -1), members, shared=(x,), how=how)

    @jax.jit
    def smooth(sigma, members, keys, x):
        def member(variables, keys, x):
            return gradients.smooth_gradients(keys, variables, x, sigma=sigma, **options)

        g = map_members(member, members, shared=(keys, x), how=how)
        return g.mean(axis=0), _paired(g)

    x, keys = jnp.asarray(mapped.x), example_keys(config.seed, "smooth", mapped.ids)
    mean, cosine = zip(*(smooth(sigma, members, keys, x) for sigma in config.maps.sigmas), strict=True)
    pictures = np.stack([_shown(config, one, classes) for one in mean])
    prediction = np.asarray(predicted(members, x), np.int32)
    return {"prediction": prediction, "smooth_cosine": np.stack(cosine), "picture_smooth": pictures}


def on_manifold(
    config, prepared: Setting, space: AscentSpace, mapped: Examples, classes: np.ndarray
) -> dict[str, np.ndarray]:
    """What a small step along the gradient with respect to a latent does to the image: the push-forward J J^T g.

    Cosines in pixels: of two members' push-forwards; of a push-forward with the gradient g of pixels, and with the
    finite difference of steps whose length is a share of the latent's typical size. Pictures of the members' mean.
    """
    members, how = alone(config, space.guides)
    options = _options(config, prepared)
    steps = jnp.asarray(config.maps.steps, jnp.float32) * space.size

    def member(variables, own, z):
        decode = space.space(own, None).decode
        g = gradients.class_gradients(variables, z, decode=decode, **options)
        forward = lax.map(lambda g: gradients.push_forward(decode, z, g), g)
        plain = gradients.class_gradients(variables, decode(z), **options)

        def finite(step):
            return lax.map(lambda g: gradients.difference(decode, z, g, step), gradients.unit(g))

        flat, far = _flat(forward, 2), _flat(lax.map(finite, steps), 3)
        return forward, gradients.cosine(flat, _flat(plain, 2)), gradients.cosine(flat[None], far)

    @jax.jit
    def measured(members, own, x):
        moves = space.space(own, None)
        z = moves.encode(x)
        forward, to_pixels, to_step = map_members(member, members, shared=(own, z), how=how)
        return forward.mean(axis=0), _paired(forward), to_pixels, to_step, moves.decode(z)

    found = jax.tree.map(np.asarray, measured(members, space.own, jnp.asarray(mapped.x)))
    mean, cosine, to_pixels, to_step, decoded = found
    return {
        "gradient_cosine": cosine,
        "pushed_to_pixels": to_pixels,
        "pushed_to_step": np.moveaxis(to_step, 1, 0),
        "picture_gradient": _shown(config, mean, classes),
        "picture": decoded[: config.maps.num_shown],
    }
