"""Chains of the experiment `latent` that classifiers guide: near an embedding (local), anywhere in the latent (global).

Members, guides and held-out classifiers are those of `latent_stages`.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from landscape import ensembles, objectives, runs, spaces
from landscape.ensembles import map_members
from landscape.experiments.latent_families import Family, codes_of, decoder, of_white, white, with_standard_prior
from landscape.experiments.latent_stages import guides_of, judges_of
from landscape.experiments.setting import Examples, Setting, example_keys
from landscape.latent import chains, gibbs, statistics, targets
from landscape.runs import Run
from landscape.types import Arrays

PICTURED = 6  # states of a chain that are kept as pictures
FIRST_STEP = 0.1  # white units; warm-up finds its own
FIRST = 2**31 - 1  # number of the draw that a chain starts with; steps count from 0


def kernels_of(config, family: Family) -> tuple[str, ...]:
    """Those of the config that the family's latents allow: gibbs for codes, the others for real latents."""
    return tuple(kernel for kernel in config.mcmc.kernels if (kernel == "gibbs") == family.coded)


def local_chains(config, run: Run, prepared: Setting, family: Family, test: Examples, kernel: str) -> Arrays:
    """Chains of the local target around each embedding, toward its own class, at every radius.

    [member, radius, start, chain]: local_probability, local_held_out (means along the chain), local_drift (white units,
    root mean square over dimensions, of codes over places), local_moved (pixels), local_acceptance,
    local_divergent, of codes local_changed; [member, radius, start]: local_rhat, local_ess.
    """
    apply, decode = prepared.classifier.apply, of_white(family)
    radii, num, each = np.asarray(config.mcmc.radii, np.float32), len(test.label), config.mcmc.num_chains
    groups = (len(radii), num, each)
    rows = np.tile(np.repeat(np.arange(num), each), len(radii))  # embedding of each chain
    reach = np.repeat(radii, num * each)
    log_prob = _log_prob(config, prepared, family)
    sampler = _sampled(config, family, kernel, targets.local(log_prob), log_prob, is_local=True)

    def member(start, whitening, variables, own_classifier, judge, guide, codes, keys, x):
        own = jnp.argmax(apply(own_classifier, x), axis=-1)[rows]
        eps = jax.vmap(lambda key: jax.random.normal(jax.random.fold_in(key, FIRST), start.shape[1:]))(keys)
        spread = start + reach[:, None] * eps  # as wide as the target without guidance, so that R-hat can tell
        data = targets.Local(own, start, jnp.asarray(reach), jnp.full(len(rows), config.mcmc.temperature))
        positions, steps, log_density = sampler(keys, spread, data, (whitening, variables, guide), codes)

        def told(u):
            images = decode(whitening, variables, u)
            return {
                "local_probability": objectives.probability(apply(own_classifier, images), own),
                "local_held_out": objectives.probability(apply(judge, images), own),
                "local_moved": spaces.l2_norm(images - x[rows]),
                "local_drift": jnp.sqrt(family.directions * jnp.mean(jnp.square(u - start), axis=-1)),
            }

        means = {name: v.mean(axis=0) for name, v in jax.lax.map(told, positions).items()}
        frames = np.linspace(0, config.mcmc.num_frames - 1, PICTURED).astype(int)
        pictured = positions[frames][:, ::each]  # the first chain of each group
        images = jax.lax.map(lambda u: decode(whitening, variables, u), pictured)
        return means | {f"local_{k}": v for k, v in steps.items()}, _kept(family, positions), log_density, images

    def work() -> Arrays:
        x = jnp.asarray(test.x)
        found, images = _mapped(config, prepared, family, kernel, "local", member, rows, test.ids[rows], groups, (x,))
        dims = ("radius", "start", "chain")
        arrays: Arrays = {f"{k}.{family.name}.{kernel}": (("member", *dims[: v.ndim - 1]), v) for k, v in found.items()}
        pictures = np.asarray(images[0]).reshape(PICTURED, len(radii), num, *test.x.shape[1:])
        shown = ("shown_frame", "radius", "start", "height", "width", "channel")
        return arrays | {f"picture_local.{family.name}.{kernel}": (shown, pictures)}

    return runs.once(run, f"local.{family.name}.{kernel}", work)


def global_chains(config, run: Run, prepared: Setting, family: Family, kernel: str) -> Arrays:
    """Chains of the global target toward each class, from embeddings of any class, guided and (T = infinity) not.

    [member, guided, class, chain]: global_probability, global_held_out, global_acceptance, global_divergent, of codes
    global_changed;
    [member, guided, class]: global_rhat, global_ess; [member, guided, class, class]: mixing counts between the classes
    predicted along chains.
    """
    family = with_standard_prior(family)
    apply, decode = prepared.classifier.apply, of_white(family)
    num_classes, each = len(prepared.dataset.class_names), config.mcmc.num_chains
    groups = (2, num_classes, each)
    label = np.tile(np.repeat(np.arange(num_classes), each), 2).astype(np.int32)
    temperature = np.repeat(np.asarray([config.mcmc.temperature, np.inf], np.float32), num_classes * each)
    rows = np.tile(np.arange(num_classes * each) % family.z_test.shape[1], 2)
    log_prob = _log_prob(config, prepared, family)
    sampler = _sampled(config, family, kernel, targets.global_(log_prob, targets.standard), log_prob, is_local=False)

    def member(start, whitening, variables, own_classifier, judge, guide, codes, keys):
        data = targets.Global(jnp.asarray(label), jnp.asarray(temperature))
        positions, steps, log_density = sampler(keys, start, data, (whitening, variables, guide), codes)

        def told(u):
            images = decode(whitening, variables, u)
            logits = apply(own_classifier, images)
            return {
                "global_probability": objectives.probability(logits, data.label),
                "global_held_out": objectives.probability(apply(judge, images), data.label),
            }, jnp.argmax(logits, axis=-1)

        values, states = jax.lax.map(told, positions)
        means = {name: v.mean(axis=0) for name, v in values.items()} | {f"global_{k}": v for k, v in steps.items()}
        last = decode(whitening, variables, positions[-1][::each])
        return means, _kept(family, positions), log_density, (states, last)

    def work() -> Arrays:
        found, (states, last) = _mapped(config, prepared, family, kernel, "global", member, rows, label, groups)
        name, dims = f"{family.name}.{kernel}", ("guided", "class", "chain")
        arrays: Arrays = {f"{k}.{name}": (("member", *dims[: v.ndim - 1]), v) for k, v in found.items()}
        by_guide = np.asarray(states).reshape(*states.shape[:2], 2, num_classes * each)
        counts = [[statistics.mixing_matrix(m[:, guided], num_classes).counts for guided in range(2)] for m in by_guide]
        arrays[f"mixing.{name}"] = (("member", "guided", "class", "next_class"), np.asarray(counts))
        pictures = np.asarray(last[0]).reshape(2, num_classes, *last.shape[2:])
        shown = ("guided", "class", "height", "width", "channel")
        return arrays | {f"picture_global.{name}": (shown, pictures)}

    return runs.once(run, f"global.{family.name}.{kernel}", work)


def _log_prob(config, prepared: Setting, family: Family) -> targets.LogProb:
    """log p(c | decode(u)) as (u, label, whitening, autoencoder, guide); see `guides_of`."""
    judge = targets.vote_log_prob if config.mcmc.guide == "vote" else targets.class_log_prob
    return targets.decoded(decoder(family), partial(judge, prepared.classifier.apply))


def _sampled(config, family: Family, kernel: str, log_density, log_prob, *, is_local: bool):
    """run(keys, start, data, shared, codes) -> (positions [F, C, D], {"acceptance", "changed" or "divergent"} [C], log
    density [F, C]).

    Real latents take log_density from `start`. Codes take log_prob and the prior of `codes` (global), or the one of
    codes near data.origin, which the first states are drawn from as well (local).
    """
    counts = {"num_steps": config.mcmc.num_steps[kernel], "frames": config.mcmc.num_frames}
    if not family.coded:

        def continuous(keys, start, data, shared, codes):
            del codes
            options = counts | {"num_warmup": config.mcmc.num_warmup, "step_size": FIRST_STEP}
            found = chains.sample(keys, log_density, start, data, kernel=kernel, shared=shared, **options)
            steps = {"acceptance": found.acceptance, "divergent": found.divergent}
            return found.positions, steps, found.log_density

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
        return frames, {"acceptance": found.acceptance, "changed": found.changed}, found.log_density

    return discrete


def _kept(family: Family, positions):
    """What leaves the device: codes are diagnosed by their log density, so of their wide states one entry will do."""
    return positions[..., :1] if family.coded else positions


def _mapped(
    config,
    prepared: Setting,
    family: Family,
    kernel: str,
    target: str,
    member: Callable,
    rows: np.ndarray,
    ids: np.ndarray,
    groups: tuple[int, ...],
    shared: tuple = (),
) -> tuple[dict[str, np.ndarray], Any]:
    """(values by name [member, *groups], with <target>_rhat and <target>_ess [member, *groups[:-1]]; what else it gave)

    member(start [C, D], whitening, autoencoder, own classifier, held-out one, guide, codes, keys [C], *shared) ->
    (means, positions, log density, anything else), C = prod(groups), chains start at the test latents `rows`.
    Keys are those of ids [C], of an example or a class, and of the chain's number in its group: no radius, example or
    chain that is left out or added changes another chain, and those of other radii share their random numbers.
    """
    how = ensembles.parse(config.mapping, config.num_members)
    keys = example_keys(config.seed, f"{target}.{family.name}.{kernel}", ids)
    keys = jax.vmap(jax.random.fold_in)(keys, np.arange(len(ids)) % groups[-1])
    means, positions, log_density, more = jax.jit(lambda *a: map_members(member, *a, shared=(keys, *shared), how=how))(
        white(family, family.z_test[:, rows], how),
        family.whitening,
        family.cell.ensemble,
        *judges_of(prepared, config.num_members),
        guides_of(config, prepared),
        codes_of(config, family, rows),
    )
    found = {k: np.asarray(v).reshape(-1, *groups) for k, v in means.items()}
    diagnosed = [
        _diagnosed(np.asarray(p), np.asarray(d), groups, family.coded)
        for p, d in zip(positions, log_density, strict=True)
    ]
    return found | {f"{target}_{k}": np.stack([m[k] for m in diagnosed]) for k in ("rhat", "ess")}, more


def _diagnosed(positions: np.ndarray, log_density: np.ndarray, groups: tuple[int, ...], coded: bool) -> dict:
    """R-hat and the effective sample size of groups of chains, the worst dimension; of codes, of the log density.

    positions [F, C, D], C = prod(groups) with the chains of a group last.
    """
    values = log_density[..., None] if coded else positions
    values = values.reshape(len(values), -1, groups[-1], values.shape[-1])
    rhat = [np.max(chains.rhat(values[:, g])) for g in range(values.shape[1])]
    ess = [np.min(chains.ess(values[:, g])) for g in range(values.shape[1])]
    return {"rhat": np.reshape(rhat, groups[:-1]), "ess": np.reshape(ess, groups[:-1])}
