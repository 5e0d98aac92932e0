"""Stages of `gradients` that differentiate: every class's gradient on pixels and on manifolds, smoothed, compared.

Classifiers are the first `config.num_alone`; every array is told for each of them or for each pair.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from landscape import ensembles, objectives, runs
from landscape.ensembles import map_members
from landscape.experiments.gradient_places import Place
from landscape.experiments.setting import Examples, Setting, example_keys
from landscape.measures import gradients
from landscape.runs import Run
from landscape.types import Arrays

VALUES = tuple(objectives.VALUES)
PIXEL = ("height", "width", "channel")


def by_number(number):
    """The value of a class of that number in VALUES, a traced choice: one program differentiates all of them."""
    return lambda logits, label: lax.switch(number, list(objectives.VALUES.values()), logits, label)


def pairs_of(count: int) -> np.ndarray:
    """Pairs of members, [P, 2]."""
    return np.stack(np.triu_indices(count, 1), axis=1)


def _norms(g):
    return jnp.linalg.norm(g, axis=-1)


def _paired(g, pairs):
    """Cosines of the pairs' gradients, [P, K, N] of g [S, K, N, D]."""
    one, other = (g[pairs[:, side]] for side in (0, 1))
    return gradients.cosine(one, other)


def _flat(g, lead: int):
    return g.reshape(*g.shape[:lead], -1)


def on_pixels(config, run: Run, prepared: Setting, place: Place, test: Examples) -> Arrays:
    """Gradients of every value with respect to pixels, and SmoothGrad of `config.maps.value` at every sigma.

    gradient_norm [value, member, class, example]; gradient_cosine [value, pair, class, example];
    smooth_norm, smooth_error (of the mean over trials, as a share of its length), smooth_cosine [sigma, pair, ...],
    smooth_kept [sigma, member, class, example], the cosine with the plain gradient; pictures of members, of their mean.
    """
    count, num_classes = config.num_alone, len(prepared.dataset.class_names)
    members = ensembles.take(place.guides, slice(count))
    how, pairs = ensembles.parse(config.mapping, count), pairs_of(count)
    options = {"apply": place.apply, "num_classes": num_classes}
    keys = example_keys(config.seed, "smooth", test.ids)

    @jax.jit
    def plain(number, members, x):
        def member(variables, x):
            return gradients.class_gradients(variables, x, value_fn=by_number(number), **options)

        g = map_members(member, members, shared=(x,), how=how)
        flat = _flat(g, 3)
        return g, _norms(flat), _paired(flat, pairs)

    @jax.jit
    def smooth(sigma, members, keys, x, before):
        def member(variables, keys, x):
            value_fn = objectives.VALUES[config.maps.value]
            trials = {"sigma": sigma, "num_trials": config.maps.num_trials, "value_fn": value_fn}
            return gradients.smooth_gradients(keys, variables, x, **options, **trials)

        g, error = map_members(member, members, shared=(keys, x), how=how)
        flat = _flat(g, 3)
        length = _norms(flat)
        share = error * flat.shape[-1] ** 0.5 / jnp.where(length > 0, length, 1.0)
        return g.mean(axis=0), length, share, _paired(flat, pairs), gradients.cosine(flat, _flat(before, 3))

    def work() -> Arrays:
        x, shown = jnp.asarray(test.x), config.maps.num_shown
        norms, alike, chosen = [], [], None
        for number, name in enumerate(VALUES):
            g, norm, cosine = plain(number, members, x)
            norms.append(np.asarray(norm))
            alike.append(np.asarray(cosine))
            chosen = g if name == config.maps.value else chosen
        mean, *told = zip(*(smooth(s, members, keys, x, chosen) for s in config.maps.sigmas), strict=True)
        length, share, cosine, kept = (np.stack([np.asarray(v) for v in each]) for each in told)
        per_member, per_pair = (("sigma", who, "class", "example") for who in ("member", "pair"))
        each = np.moveaxis(np.asarray(chosen)[:, :, :shown], 1, 2)
        smoothed = np.stack([np.moveaxis(np.asarray(m)[:, :shown], 0, 1) for m in mean])
        return {
            "gradient_norm.pixels": (("value", *per_member[1:]), np.stack(norms)),
            "gradient_cosine.pixels": (("value", *per_pair[1:]), np.stack(alike)),
            "smooth_norm": (per_member, length),
            "smooth_error": (per_member, share),
            "smooth_cosine": (per_pair, cosine),
            "smooth_kept": (per_member, kept),
            "picture_gradient_member": (("member", "shown", "class", *PIXEL), each),
            "picture_gradient": (("shown", "class", *PIXEL), each.mean(axis=0)),
            "picture_smooth": (("sigma", "shown", "class", *PIXEL), smoothed),
        }

    return runs.once(run, "maps.pixels", work)


def on_manifold(config, run: Run, prepared: Setting, place: Place, test: Examples) -> Arrays:
    """Gradients with respect to a latent, and what a small step along them does to the image.

    gradient_norm.<family> (per unit of z), gradient_cosine.<family> (of the push-forwards, in pixels); with
    `config.maps.value`: pushed_to_pixels [member, class, example], the cosine of the push-forward J J'g with the
    gradient g of pixels; pushed_to_step [step, member, class, example], with the finite difference of that step, whose
    length is a share of the latent's typical size; latent_gradient [member, shown, class, latent]; pictures of the
    members' mean.
    """
    count, num_classes = config.num_alone, len(prepared.dataset.class_names)
    members = ensembles.take(place.guides, slice(count))
    how, pairs = ensembles.parse(config.mapping, count), pairs_of(count)
    options = {"apply": place.apply, "num_classes": num_classes}
    steps = jnp.asarray(config.maps.steps, jnp.float32) * place.size

    def decoder(own):
        return place.space(own, None).decode

    def pushed(own, z, g):
        """Of g [K, N, D]: [K, N, H, W, C]."""
        return lax.map(lambda g: gradients.push_forward(decoder(own), z, g), g)

    def differences(own, z, g):
        """At every step: [step, K, N, H, W, C]."""
        return lax.map(
            lambda step: lax.map(lambda g: gradients.difference(decoder(own), z, g, step), gradients.unit(g)), steps
        )

    @jax.jit
    def told(number, members, own, z):
        def member(variables, own, z):
            value_fn = by_number(number)
            g = gradients.class_gradients(variables, z, value_fn=value_fn, decode=decoder(own), **options)
            return g, pushed(own, z, g)

        g, forward = map_members(member, members, shared=(own, z), how=how)
        return g, forward, _norms(g), _paired(_flat(forward, 3), pairs)

    @jax.jit
    def compared(members, g, forward, own, z):
        def member(variables, g, forward, own, z):
            x = decoder(own)(z)
            value_fn = objectives.VALUES[config.maps.value]
            on_pixels = gradients.class_gradients(variables, x, value_fn=value_fn, **options)
            far = differences(own, z, g)
            flat = _flat(forward, 2)
            return gradients.cosine(flat, _flat(on_pixels, 2)), gradients.cosine(flat[None], _flat(far, 3))

        return map_members(member, members, g, forward, shared=(own, z), how=how)

    @jax.jit
    def drawn(g, own, z):
        mean = g.mean(axis=0)
        return pushed(own, z, mean), differences(own, z, mean)[-1], decoder(own)(z)

    def work() -> Arrays:
        z = jax.jit(lambda own, x: place.space(own, None).encode(x))(place.own, jnp.asarray(test.x))
        norms, alike, chosen = [], [], None
        for number, name in enumerate(VALUES):
            g, forward, norm, cosine = told(number, members, place.own, z)
            norms.append(np.asarray(norm))
            alike.append(np.asarray(cosine))
            chosen = (g, forward) if name == config.maps.value else chosen
        to_pixels, to_step = compared(members, *chosen, place.own, z)
        shown = slice(config.maps.num_shown)
        exact, finite, decoded = drawn(chosen[0][:, :, shown], place.own, z[shown])
        each = np.moveaxis(np.asarray(chosen[0])[:, :, shown], 1, 2)
        along = ("member", "class", "example")
        found: Arrays = {
            "gradient_norm": (("value", *along), np.stack(norms)),
            "gradient_cosine": (("value", "pair", *along[1:]), np.stack(alike)),
            "pushed_to_pixels": (along, np.asarray(to_pixels)),
            "pushed_to_step": (("step", *along), np.moveaxis(np.asarray(to_step), 1, 0)),
            "latent_gradient": (("member", "shown", "class", f"entry_{place.name}"), each),
            "picture_pushed": (("shown", "class", *PIXEL), np.moveaxis(np.asarray(exact), 0, 1)),
            "picture_difference": (("shown", "class", *PIXEL), np.moveaxis(np.asarray(finite), 0, 1)),
            "picture_decoded": (("shown", *PIXEL), np.asarray(decoded)),
        }
        return {f"{name}.{place.name}": array for name, array in found.items()}

    return runs.once(run, f"maps.{place.name}", work)


def predictions(config, run: Run, prepared: Setting, test: Examples) -> Arrays:
    """The class that each classifier of the maps predicts, [member, example]."""
    count = config.num_alone
    members, how = ensembles.take(prepared.ensemble, slice(count)), ensembles.parse(config.mapping, count)

    def member(variables, x):
        return jnp.argmax(prepared.classifier.apply(variables, x), axis=-1)

    def work() -> Arrays:
        program = jax.jit(lambda members, x: map_members(member, members, shared=(x,), how=how))
        return {"prediction": (("member", "example"), np.asarray(program(members, jnp.asarray(test.x)), np.int32))}

    return runs.once(run, "maps.predictions", work)
