"""Gradients of every class, in pixels and on manifolds: smoothed, compared between classifiers, and pushed forward.

All are of the first `config.num_alone` classifiers: one value each, or one a pair of them.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from landscape import objectives
from landscape.ensembles import map_members
from landscape.experiments.gradients.spaces import AscentSpace, alone
from landscape.experiments.setting import Examples, Setting, example_keys
from landscape.measures import gradients

VALUES = tuple(objectives.VALUES)


def by_number(number):
    """The value of a class of that number in VALUES, a traced choice: one program differentiates all of them."""
    return lambda logits, label: lax.switch(number, list(objectives.VALUES.values()), logits, label)


def pairs_of(count: int) -> np.ndarray:
    """Pairs of members, [P, 2]."""
    return np.stack(np.triu_indices(count, 1), axis=1)


def _flat(g, lead: int):
    return g.reshape(*g.shape[:lead], -1)


def _norms(g):
    return jnp.linalg.norm(g, axis=-1)


def _paired(g):
    """Cosines of the pairs' gradients, [P, K, N] of g [S, K, N, D]."""
    one, other = (g[pairs_of(len(g))[:, side]] for side in (0, 1))
    return gradients.cosine(one, other)


def _shown(config, g: jax.Array | np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Pictures [shown, class, ...] of gradients [class, example, ...]."""
    return np.moveaxis(np.asarray(g)[classes, : config.maps.num_shown], 0, 1)


def predictions(config, prepared: Setting, mapped: Examples) -> np.ndarray:
    """The class that each classifier predicts, [member, example]."""
    members, how = alone(config, prepared.ensemble)
    predict = lambda v, x: jnp.argmax(prepared.classifier.apply(v, x), axis=-1)  # noqa: E731
    program = jax.jit(lambda members, x: map_members(predict, members, shared=(x,), how=how))
    return np.asarray(program(members, jnp.asarray(mapped.x)), np.int32)


def in_pixels(
    config, prepared: Setting, space: AscentSpace, mapped: Examples, classes: np.ndarray
) -> dict[str, np.ndarray]:
    """Gradients of every value with respect to pixels; pictures of the members' mean."""
    members, how = alone(config, space.guides)
    options = {"apply": space.apply, "num_classes": len(prepared.dataset.class_names)}

    @jax.jit
    def plain(number, members, x):
        def member(variables, x):
            return gradients.class_gradients(variables, x, value_fn=by_number(number), **options)

        g = map_members(member, members, shared=(x,), how=how)
        flat = _flat(g, 3)
        return g, _norms(flat), _paired(flat)

    norms, alike, picture = [], [], None
    for number, name in enumerate(VALUES):
        g, norm, cosine = plain(number, members, jnp.asarray(mapped.x))
        norms.append(np.asarray(norm))
        alike.append(np.asarray(cosine))
        picture = np.asarray(g).mean(axis=0) if name == config.maps.value else picture
    return {
        "gradient_norm": np.stack(norms),
        "gradient_cosine": np.stack(alike),
        "picture": mapped.x[: config.maps.num_shown],
        "picture_gradient": _shown(config, picture, classes),
    }


def smoothed(config, prepared: Setting, mapped: Examples, classes: np.ndarray) -> dict[str, np.ndarray]:
    """SmoothGrad of `config.maps.value` in pixels at every sigma; pictures of the members' mean."""
    members, how = alone(config, prepared.ensemble)
    value_fn, num_classes = objectives.VALUES[config.maps.value], len(prepared.dataset.class_names)
    options = {"apply": prepared.classifier.apply, "num_classes": num_classes, "value_fn": value_fn}
    keys = example_keys(config.seed, "smooth", mapped.ids)

    @jax.jit
    def smooth(sigma, members, keys, x):
        def member(variables, keys, x):
            trials = {"sigma": sigma, "num_trials": config.maps.num_trials}
            return gradients.smooth_gradients(keys, variables, x, **options, **trials)

        g, error = map_members(member, members, shared=(keys, x), how=how)
        flat = _flat(g, 3)
        length = _norms(flat)
        share = error * flat.shape[-1] ** 0.5 / jnp.where(length > 0, length, 1.0)
        return g.mean(axis=0), share, _paired(flat)

    x = jnp.asarray(mapped.x)
    found = [jax.tree.map(np.asarray, smooth(sigma, members, keys, x)) for sigma in config.maps.sigmas]
    mean, share, cosine = zip(*found, strict=True)
    pictures = np.stack([_shown(config, one, classes) for one in mean])
    return {"smooth_error": np.stack(share), "smooth_cosine": np.stack(cosine), "picture_smooth": pictures}


def _pushed(decode, z, g):
    """Push-forwards of gradients [K, N, D]: [K, N, H, W, C]."""
    return lax.map(lambda g: gradients.push_forward(decode, z, g), g)


def _differences(decode, z, g, steps):
    """Finite differences along gradients [K, N, D] at every step: [step, K, N, H, W, C]."""
    of_step = lambda step: lax.map(lambda g: gradients.difference(decode, z, g, step), gradients.unit(g))  # noqa: E731
    return lax.map(of_step, steps)


def on_manifold(
    config, prepared: Setting, space: AscentSpace, mapped: Examples, classes: np.ndarray
) -> dict[str, np.ndarray]:
    """Gradients with respect to a latent, and what a small step along them does to the image.

    Norms per unit of the latent, cosines of push-forwards J J^T g in pixels; of `config.maps.value` the cosine of the
    push-forward with the gradient g of pixels, and with the finite difference of steps whose length is a share of the
    latent's typical size; pictures of the members' mean.
    """
    members, how = alone(config, space.guides)
    options = {"apply": space.apply, "num_classes": len(prepared.dataset.class_names)}
    steps, chosen_fn = jnp.asarray(config.maps.steps, jnp.float32) * space.size, objectives.VALUES[config.maps.value]
    decoder = lambda own: space.space(own, None).decode  # noqa: E731

    @jax.jit
    def measured(number, members, own, z):
        def member(variables, own, z):
            value_fn = by_number(number)
            g = gradients.class_gradients(variables, z, value_fn=value_fn, decode=decoder(own), **options)
            return g, _pushed(decoder(own), z, g)

        g, forward = map_members(member, members, shared=(own, z), how=how)
        return g, forward, _norms(g), _paired(_flat(forward, 3))

    @jax.jit
    def compared(members, g, forward, own, z):
        def member(variables, g, forward, own, z):
            x = decoder(own)(z)
            in_pixels = gradients.class_gradients(variables, x, value_fn=chosen_fn, **options)
            far, flat = _differences(decoder(own), z, g, steps), _flat(forward, 2)
            return gradients.cosine(flat, _flat(in_pixels, 2)), gradients.cosine(flat[None], _flat(far, 3))

        return map_members(member, members, g, forward, shared=(own, z), how=how)

    @jax.jit
    def drawn(g, own, z):
        mean = g.mean(axis=0)
        return _pushed(decoder(own), z, mean), _differences(decoder(own), z, mean, steps)[-1], decoder(own)(z)

    z = jax.jit(lambda own, x: space.space(own, None).encode(x))(space.own, jnp.asarray(mapped.x))
    norms, alike, chosen = [], [], None
    for number, name in enumerate(VALUES):
        g, forward, norm, cosine = measured(number, members, space.own, z)
        norms.append(np.asarray(norm))
        alike.append(np.asarray(cosine))
        chosen = (g, forward) if name == config.maps.value else chosen
    to_pixels, to_step = compared(members, *chosen, space.own, z)
    few = slice(config.maps.num_shown)
    exact, finite, decoded = drawn(chosen[0][:, :, few], space.own, z[few])
    return {
        "gradient_norm": np.stack(norms),
        "gradient_cosine": np.stack(alike),
        "pushed_to_pixels": np.asarray(to_pixels),
        "pushed_to_step": np.moveaxis(np.asarray(to_step), 1, 0),
        "picture_gradient": _shown(config, exact, classes),
        "picture_step": _shown(config, finite, classes),
        "picture": np.asarray(decoded),
    }
