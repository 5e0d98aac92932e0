"""Stages of the experiment `latent` without chains: noise around embeddings, paths between them; who judges them.

Member s of everything is autoencoder seed s with classifier s; the classifier of the next seed, which guides nothing,
is asked as well ("held out").
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from landscape import ensembles, objectives, runs, spaces
from landscape.ensembles import map_members
from landscape.experiments.latent_families import Family, codes_of, of_white, white, with_standard_prior
from landscape.experiments.setting import Examples, Setting, example_keys, stage_key
from landscape.latent import around, gibbs, paths
from landscape.runs import Run
from landscape.types import Arrays


def judges_of(prepared: Setting, count: int):
    """(own, held-out classifiers), both [S, ...]: the members' own classifiers, and those of the next seed.

    A ring: each classifier guides in one row and judges in another, so rows are not quite as independent as intervals
    over members take them.
    """
    order = np.arange(count)
    return ensembles.take(prepared.ensemble, order), ensembles.take(prepared.ensemble, np.roll(order, -1))


def guides_of(config, prepared: Setting):
    """Guides of each member's chains: its own classifier [S, ...]; of a vote all but the held-out one [S, S-1, ...]."""
    own, _ = judges_of(prepared, config.num_members)
    if config.mcmc.guide == "member":
        return own
    order = np.arange(config.num_members)
    voters = [np.delete(order, (s + 1) % config.num_members) for s in order]
    return ensembles.take(prepared.ensemble, np.asarray(voters))


def noise_around(config, run: Run, prepared: Setting, family: Family, test: Examples) -> Arrays:
    """Unguided noise around embeddings, at the radii of the guided chains, and draws of the prior.

    around_probability, around_held_out, around_kept, around_moved: [member, around, radius, start], means over trials.
    Gaussian noise is the local target without guidance; of codes that is a draw of the codes near the embedding's.
    decoded_probability, decoded_held_out [member, start]: without any noise, what the reconstruction leaves.
    """
    how = ensembles.parse(config.mapping, config.num_members)
    apply, decode = prepared.classifier.apply, of_white(family)
    guides, judges = judges_of(prepared, config.num_members)
    radii = jnp.asarray(config.mcmc.radii, jnp.float32)
    trials = config.mcmc.num_chains
    keys = example_keys(config.seed, f"around.{family.name}", test.ids)

    def near(codes, u, keys):
        """Codes near an embedding's, drawn at every radius: [L, N, D]."""
        index, _, every = codes
        origin = u.reshape(u.shape[0], index.shape[-1], -1)

        def at(radius):
            prior = gibbs.local_prior(every, origin, jnp.full(u.shape[0], radius))
            return every[jax.vmap(gibbs.draw)(keys, prior)].reshape(u.shape)

        return jax.lax.map(at, radii)

    def member(u, whitening, variables, guide, judge, codes, x, keys):
        own = jnp.argmax(apply(guide, x), axis=-1)
        draw_keys = jax.vmap(lambda t: jax.vmap(jax.random.fold_in, (0, None))(keys, t))(jnp.arange(trials))

        def one(u, key_rows):
            noise = near(codes, u, key_rows) if family.coded else around.gaussian(key_rows, u, radii)
            return jnp.stack([noise, around.shell(key_rows, u, radii / np.sqrt(family.directions))])

        points = jax.lax.map(lambda rows: one(u, rows), draw_keys)  # [R, 2, L, N, D]

        def told(points):
            images = decode(whitening, variables, points)
            logits = apply(guide, images)
            return {
                "around_probability": objectives.probability(logits, own),
                "around_held_out": objectives.probability(apply(judge, images), own),
                "around_kept": (jnp.argmax(logits, axis=-1) == own).astype(jnp.float32),
                "around_moved": spaces.l2_norm(images - x),
            }, images

        flat = points.reshape(-1, *u.shape)
        values, images = jax.lax.map(told, flat)
        shape = (trials, 2, len(config.mcmc.radii))
        means = {name: v.reshape(*shape, -1).mean(axis=0) for name, v in values.items()}
        plain, _ = told(u)
        still = {f"decoded_{name}": plain[f"around_{name}"] for name in ("probability", "held_out")}
        return means, still, images.reshape(*shape, *x.shape)[0]

    def prior_draws(whitening, variables, guide, codes, key):
        if family.coded:
            _, prior, every = codes
            keys = jax.random.split(key, config.mcmc.num_prior)
            u = jax.vmap(lambda key: every[gibbs.draw(key, prior)].ravel())(keys)
        else:
            u = around.prior(key, config.mcmc.num_prior, whitening.mean.shape[0])
        images = decode(whitening, variables, u)
        probs = jax.nn.softmax(apply(guide, images))
        return {"prior_confidence": probs.max(axis=-1), "prior_prediction": jnp.argmax(probs, axis=-1)}, images

    def work() -> Arrays:
        u = white(family, family.z_test[:, : len(test.label)], how)
        codes = codes_of(config, family, np.arange(len(test.label)))
        shared = (jnp.asarray(test.x), keys)
        means, still, images = jax.jit(lambda *a: map_members(member, *a, shared=shared, how=how))(
            u, family.whitening, family.cell.ensemble, guides, judges, codes
        )
        drawn, samples = jax.jit(
            lambda *a: map_members(prior_draws, *a, shared=(stage_key(config.seed, "prior"),), how=how)
        )(with_standard_prior(family).whitening, family.cell.ensemble, guides, codes)
        dims = ("member", "around", "radius", "start")
        pixel = ("height", "width", "channel")
        return {
            **{f"{name}.{family.name}": (dims, np.asarray(value)) for name, value in means.items()},
            **{f"{name}.{family.name}": (("member", "start"), np.asarray(value)) for name, value in still.items()},
            **{f"{name}.{family.name}": (("member", "draw"), np.asarray(value)) for name, value in drawn.items()},
            f"picture_around.{family.name}": (("around", "radius", "start", *pixel), np.asarray(images[0])),
            f"picture_prior.{family.name}": (("shown_draw", *pixel), np.asarray(samples[0][:8])),
        }

    return runs.once(run, f"around.{family.name}", work)


def between(config, run: Run, prepared: Setting, family: Family, test: Examples) -> Arrays:
    """Straight and spherical paths between embeddings of pairs of images, with every classifier's probabilities.

    path_probability.<family> [member, judge, path, t, couple, class]: what classifier `judge` says along the paths of
    autoencoder `member`; pictures of the first member.
    """
    how = ensembles.parse(config.mapping, config.num_members)
    apply, decode = prepared.classifier.apply, of_white(family)
    judges, _ = judges_of(prepared, config.num_members)
    half = len(test.label) // 2
    kinds = (paths.linear, paths.spherical)

    def member(u, whitening, variables, judges):
        points = jnp.stack([kind(u[:half], u[half : 2 * half], config.paths.num_points) for kind in kinds])
        flat = points.reshape(-1, half, u.shape[-1])
        images = jax.lax.map(partial(decode, whitening, variables), flat)
        probs = jax.lax.map(lambda v: jax.lax.map(lambda x: jax.nn.softmax(apply(v, x)), images), judges)
        shape = (len(kinds), config.paths.num_points, half)
        return probs.reshape(len(probs), *shape, -1), images.reshape(*shape, *images.shape[2:])

    def work() -> Arrays:
        u = white(family, family.z_test[:, : 2 * half], how)
        probs, images = jax.jit(lambda *a: map_members(member, *a, shared=(judges,), how=how))(
            u, family.whitening, family.cell.ensemble
        )
        dims = ("path", "t", "couple")
        return {
            f"path_probability.{family.name}": (("member", "judge", *dims, "class"), np.asarray(probs)),
            f"picture_path.{family.name}": ((*dims, "height", "width", "channel"), np.asarray(images[0])),
        }

    return runs.once(run, f"paths.{family.name}", work)
