"""The stages of the experiment `latent`: noise around embeddings, guided chains near and far, paths between embeddings.

Member s of everything is autoencoder seed s with classifier s; the classifier of the next seed, which guides nothing,
is asked as well ("held out").
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from landscape import ensembles, objectives, runs, spaces
from landscape.ensembles import map_members
from landscape.experiments.latent_families import Family, decoder, of_white, white
from landscape.experiments.setting import Examples, Setting, example_keys, stage_key
from landscape.files import UserError
from landscape.latent import around, chains, gibbs, paths, statistics, targets
from landscape.models import bottlenecks
from landscape.runs import Run
from landscape.types import Arrays

PICTURED = 6  # states of a chain that are kept as pictures
FIRST_STEP = 0.1  # white units; warm-up finds its own
FIRST = 2**31 - 1  # number of the draw that a chain starts with; steps count from 0


def judges_of(prepared: Setting, count: int):
    """(own, held-out classifiers), both [S, ...]: the members' own classifiers, and those of the next seed."""
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
    """Unguided noise around embeddings, at the radii of the guided chains, and draws of the fitted Gaussian.

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
            return jnp.stack([noise, around.shell(key_rows, u, radii)])

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

    def prior_draws(whitening, variables, guide, key):
        images = decode(whitening, variables, around.prior(key, config.mcmc.num_prior, whitening.mean.shape[0]))
        probs = jax.nn.softmax(apply(guide, images))
        return {"prior_confidence": probs.max(axis=-1), "prior_prediction": jnp.argmax(probs, axis=-1)}, images

    def work() -> Arrays:
        u = white(family, family.z_test[:, : len(test.label)], how)
        codes = _codes_of(config, family, np.arange(len(test.label)))
        shared = (jnp.asarray(test.x), keys)
        means, still, images = jax.jit(lambda *a: map_members(member, *a, shared=shared, how=how))(
            u, family.whitening, family.ensemble, guides, judges, codes
        )
        drawn, samples = jax.jit(
            lambda *a: map_members(prior_draws, *a, shared=(stage_key(config.seed, "prior"),), how=how)
        )(family.whitening, family.ensemble, guides)
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


def kernels_of(config, family: Family) -> tuple[str, ...]:
    """Those of the config that the family's latents allow: gibbs for codes, the others for real latents.

    Raises:
      UserError: there is none.
    """
    found = tuple(kernel for kernel in config.mcmc.kernels if (kernel == "gibbs") == family.coded)
    if found:
        return found
    for kernel in config.mcmc.kernels:
        gibbs.refuse_gradients(family.name, kernel)
    raise UserError(
        f"mcmc.kernels={tuple(config.mcmc.kernels)} on {family.name}: expected one for real latents; try mala"
    )


def _log_prob(config, prepared: Setting, family: Family):
    """log p(c | decode(u)) as (u, label, whitening, autoencoder, guide); see `guides_of`."""
    judge = targets.vote_log_prob if config.mcmc.guide == "vote" else targets.class_log_prob
    return targets.decoded(decoder(family), partial(judge, prepared.classifier.apply))


def _sampled(config, family: Family, kernel: str, log_density, log_prob, *, is_local: bool):
    """run(keys, start, data, shared, codes) -> (positions [F, C, D], acceptance [C], log density [F, C]).

    Real latents take log_density from `start`. Codes take log_prob and the prior of `codes` (global), or the one of
    codes near data.origin, which the first states are drawn from as well (local).
    """
    counts = {"num_steps": config.mcmc.num_steps[kernel], "frames": config.mcmc.num_frames}
    if not family.coded:

        def continuous(keys, start, data, shared, codes):
            del codes
            options = counts | {"num_warmup": config.mcmc.num_warmup, "step_size": FIRST_STEP}
            found = chains.sample(keys, log_density, start, data, kernel=kernel, shared=shared, **options)
            return found.positions, found.acceptance, found.log_density

        return continuous

    def discrete(keys, start, data, shared, codes):
        index, prior, every = codes

        def lookup(every, index):
            return every[index].reshape(index.shape[0], -1)

        if is_local:
            origin = data.origin.reshape(index.shape[0], index.shape[1], -1)
            prior = gibbs.local_prior(every, origin, data.radius)
            index = jax.vmap(lambda key, p: gibbs.draw(jax.random.fold_in(key, FIRST), p))(keys, prior)
        likelihood = gibbs.on_codes(gibbs.tempered(log_prob), lookup)
        run = partial(gibbs.gibbs, log_likelihood=likelihood, log_prior=prior, data=data, shared=(every, *shared))
        early, late = jnp.moveaxis(jax.vmap(jax.random.split)(keys), 1, 0)
        index = run(early, index0=index, num_steps=config.mcmc.num_warmup, frames=1).index[-1]
        found = run(late, index0=index, **counts)
        frames = jax.lax.map(lambda index: lookup(every, index), found.index)
        return frames, found.acceptance, found.log_density

    return discrete


def _codes_of(config, family: Family, rows: np.ndarray) -> Any:
    """First indices [S, C, P] of the test latents `rows`, log code prior [S, P, B], codes [S, B, E]; () if real.

    Codes are in white coordinates, which for them differ by one number from their own (`_scaling`).
    """
    if not family.coded:
        return ()
    levels = tuple(config.autoencoder.levels)
    channels = family.autoencoder.latent[-1]

    def index_of(z: np.ndarray, member: int) -> np.ndarray:
        entries = jnp.asarray(z.reshape(-1, channels))
        if family.name == "vq":
            found = bottlenecks.nearest(family.ensemble["codebook"].codes[member], entries)
        else:
            found = bottlenecks.fsq_index(entries, levels)
        return np.asarray(found).reshape(len(z), -1)

    count = family.z_test.shape[0]
    num_codes = config.autoencoder.num_codes if family.name == "vq" else int(np.prod(levels))
    index = np.stack([index_of(family.z_test[s][rows], s) for s in range(count)])
    prior = np.stack([gibbs.fit_code_prior(index_of(family.z_train[s], s), num_codes) for s in range(count)])
    if family.name == "vq":
        codes = family.ensemble["codebook"].codes
    else:
        codes = jnp.broadcast_to(
            bottlenecks.fsq_point(jnp.arange(num_codes), levels)[None], (count, num_codes, channels)
        )
    return jnp.asarray(index), jnp.asarray(prior), codes * family.whitening.inverse[:, :1, :1]


def _diagnosed(positions: np.ndarray, log_density: np.ndarray, groups: tuple[int, ...], coded: bool) -> dict:
    """R-hat and the effective sample size of groups of chains, the worst dimension; of codes, of the log density.

    positions [F, C, D], C = prod(groups) with the chains of a group last.
    """
    values = log_density[..., None] if coded else positions
    values = values.reshape(len(values), -1, groups[-1], values.shape[-1])
    rhat = [np.max(chains.rhat(values[:, g])) for g in range(values.shape[1])]
    ess = [np.min(chains.ess(values[:, g])) for g in range(values.shape[1])]
    return {"rhat": np.reshape(rhat, groups[:-1]), "ess": np.reshape(ess, groups[:-1])}


def local_chains(config, run: Run, prepared: Setting, family: Family, test: Examples, kernel: str) -> Arrays:
    """Chains of the local target around each embedding, toward its own class, at every radius.

    [member, radius, start, chain]: local_probability, local_held_out (means along the chain), local_drift (white units,
    root mean square), local_moved (pixels), local_acceptance; [member, radius, start]: local_rhat, local_ess.
    """
    how = ensembles.parse(config.mapping, config.num_members)
    apply, decode = prepared.classifier.apply, of_white(family)
    own_classifiers, judges = judges_of(prepared, config.num_members)
    radii, num, each = np.asarray(config.mcmc.radii, np.float32), len(test.label), config.mcmc.num_chains
    groups = (len(radii), num, each)
    rows = np.tile(np.repeat(np.arange(num), each), len(radii))  # embedding of each chain
    reach = np.repeat(radii, num * each)
    log_prob = _log_prob(config, prepared, family)
    sampler = _sampled(config, family, kernel, targets.local(log_prob), log_prob, is_local=True)
    keys = jax.random.split(stage_key(config.seed, f"local.{family.name}.{kernel}"), len(rows))

    def member(u, whitening, variables, own_classifier, judge, guide, codes, x, keys):
        own = jnp.argmax(apply(own_classifier, x), axis=-1)[rows]
        eps = jax.vmap(lambda key: jax.random.normal(jax.random.fold_in(key, FIRST), u.shape[1:]))(keys)
        origin = u[rows]
        start = origin + reach[:, None] * eps  # as wide as the target without guidance, so that R-hat can tell
        data = targets.Local(own, origin, jnp.asarray(reach), jnp.full(len(rows), config.mcmc.temperature))
        positions, acceptance, log_density = sampler(keys, start, data, (whitening, variables, guide), codes)

        def told(u):
            images = decode(whitening, variables, u)
            return {
                "local_probability": objectives.probability(apply(own_classifier, images), own),
                "local_held_out": objectives.probability(apply(judge, images), own),
                "local_moved": spaces.l2_norm(images - x[rows]),
                "local_drift": jnp.sqrt(jnp.mean(jnp.square(u - origin), axis=-1)),
            }

        means = {name: v.mean(axis=0) for name, v in jax.lax.map(told, positions).items()}
        steps = np.linspace(0, config.mcmc.num_frames - 1, PICTURED).astype(int)
        pictured = positions[steps][:, ::each]  # the first chain of each group
        images = jax.lax.map(lambda u: decode(whitening, variables, u), pictured)
        kept = positions if not family.coded else positions[..., :1]  # codes are diagnosed by their log density
        return means | {"local_acceptance": acceptance}, images, kept, log_density

    def work() -> Arrays:
        u = white(family, family.z_test[:, :num], how)
        codes = _codes_of(config, family, rows)
        shared = (jnp.asarray(test.x), keys)
        means, images, positions, log_density = jax.jit(lambda *a: map_members(member, *a, shared=shared, how=how))(
            u, family.whitening, family.ensemble, own_classifiers, judges, guides_of(config, prepared), codes
        )
        dims = ("member", "radius", "start", "chain")
        name = f"{family.name}.{kernel}"
        found: Arrays = {f"{k}.{name}": (dims, np.asarray(v).reshape(-1, *groups)) for k, v in means.items()}
        each_member = [
            _diagnosed(np.asarray(p), np.asarray(d), groups, family.coded)
            for p, d in zip(positions, log_density, strict=True)
        ]
        for k in ("rhat", "ess"):
            found[f"local_{k}.{name}"] = (dims[:-1], np.stack([m[k] for m in each_member]))
        pictures = np.asarray(images[0]).reshape(PICTURED, len(radii), num, *test.x.shape[1:])
        found[f"picture_local.{name}"] = (("shown_frame", "radius", "start", "height", "width", "channel"), pictures)
        return found

    return runs.once(run, f"local.{family.name}.{kernel}", work)


def global_chains(config, run: Run, prepared: Setting, family: Family, kernel: str) -> Arrays:
    """Chains of the global target toward each class, from embeddings of any class, guided and (T = infinity) not.

    [member, guided, class, chain]: global_probability, global_held_out, global_acceptance; [member, guided, class]:
    global_rhat, global_ess; [member, guided, class, class]: mixing counts between the classes predicted along chains.
    """
    how = ensembles.parse(config.mapping, config.num_members)
    apply, decode = prepared.classifier.apply, of_white(family)
    own_classifiers, judges = judges_of(prepared, config.num_members)
    num_classes, each = len(prepared.dataset.class_names), config.mcmc.num_chains
    groups = (2, num_classes, each)
    label = np.tile(np.repeat(np.arange(num_classes), each), 2).astype(np.int32)
    temperature = np.repeat(np.asarray([config.mcmc.temperature, np.inf], np.float32), num_classes * each)
    rows = np.tile(np.arange(num_classes * each) % family.z_test.shape[1], 2)
    prior = targets.own_prior(family.autoencoder.log_prior) if family.name == "vae" else targets.standard
    log_prob = _log_prob(config, prepared, family)
    sampler = _sampled(config, family, kernel, targets.global_(log_prob, prior), log_prob, is_local=False)
    keys = jax.random.split(stage_key(config.seed, f"global.{family.name}.{kernel}"), len(rows))

    def member(start, whitening, variables, own_classifier, judge, guide, codes, keys):
        data = targets.Global(jnp.asarray(label), jnp.asarray(temperature))
        positions, acceptance, log_density = sampler(keys, start, data, (whitening, variables, guide), codes)

        def told(u):
            logits = apply(own_classifier, decode(whitening, variables, u))
            held_out = apply(judge, decode(whitening, variables, u))
            return {
                "global_probability": objectives.probability(logits, data.label),
                "global_held_out": objectives.probability(held_out, data.label),
            }, jnp.argmax(logits, axis=-1)

        values, states = jax.lax.map(told, positions)
        means = {name: v.mean(axis=0) for name, v in values.items()} | {"global_acceptance": acceptance}
        last = decode(whitening, variables, positions[-1][::each])
        kept = positions if not family.coded else positions[..., :1]
        return means, states, last, kept, log_density

    def work() -> Arrays:
        u = white(family, family.z_test[:, rows], how)
        codes = _codes_of(config, family, rows)
        shared = (keys,)
        means, states, last, positions, log_density = jax.jit(
            lambda *a: map_members(member, *a, shared=shared, how=how)
        )(u, family.whitening, family.ensemble, own_classifiers, judges, guides_of(config, prepared), codes)
        name, dims = f"{family.name}.{kernel}", ("member", "guided", "class", "chain")
        found: Arrays = {f"{k}.{name}": (dims, np.asarray(v).reshape(-1, *groups)) for k, v in means.items()}
        each_member = [
            _diagnosed(np.asarray(p), np.asarray(d), groups, family.coded)
            for p, d in zip(positions, log_density, strict=True)
        ]
        for k in ("rhat", "ess"):
            found[f"global_{k}.{name}"] = (dims[:-1], np.stack([m[k] for m in each_member]))
        by_guide = np.asarray(states).reshape(len(states), -1, 2, num_classes * each)
        counts = [[statistics.mixing_matrix(m[:, guided], num_classes).counts for guided in range(2)] for m in by_guide]
        found[f"mixing.{name}"] = (("member", "guided", "class", "next_class"), np.asarray(counts))
        pictures = np.asarray(last[0]).reshape(2, num_classes, *last.shape[2:])
        found[f"picture_global.{name}"] = (("guided", "class", "height", "width", "channel"), pictures)
        return found

    return runs.once(run, f"global.{family.name}.{kernel}", work)


def between(config, run: Run, prepared: Setting, family: Family, test: Examples) -> Arrays:
    """Straight and spherical paths between embeddings of pairs of images, with each classifier's probabilities.

    path_probability.<family> [member, path, t, couple, class]; pictures of the first member.
    """
    how = ensembles.parse(config.mapping, config.num_members)
    apply, decode = prepared.classifier.apply, of_white(family)
    guides, _ = judges_of(prepared, config.num_members)
    half = len(test.label) // 2
    kinds = (paths.linear, paths.spherical)

    def member(u, whitening, variables, guide):
        points = jnp.stack([kind(u[:half], u[half : 2 * half], config.paths.num_points) for kind in kinds])
        flat = points.reshape(-1, half, u.shape[-1])
        images = jax.lax.map(partial(decode, whitening, variables), flat)
        probs = jax.lax.map(lambda x: jax.nn.softmax(apply(guide, x)), images)
        shape = (len(kinds), config.paths.num_points, half)
        return probs.reshape(*shape, -1), images.reshape(*shape, *images.shape[2:])

    def work() -> Arrays:
        u = white(family, family.z_test[:, : 2 * half], how)
        probs, images = jax.jit(lambda *a: map_members(member, *a, how=how))(
            u, family.whitening, family.ensemble, guides
        )
        dims = ("path", "t", "couple")
        return {
            f"path_probability.{family.name}": (("member", *dims, "class"), np.asarray(probs)),
            f"picture_path.{family.name}": ((*dims, "height", "width", "channel"), np.asarray(images[0])),
        }

    return runs.once(run, f"paths.{family.name}", work)
