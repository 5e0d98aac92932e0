"""Chains of a latent run that classifiers guide: near an embedding (local), anywhere in the latent (global)."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from landscape import objectives, spaces
from landscape.ensembles import map_members
from landscape.experiments import descriptions
from landscape.experiments.base import run_once
from landscape.experiments.latent import COMPUTED
from landscape.experiments.latent.families import (
    Family,
    Members,
    codes_of,
    of_white,
    white,
    with_standard_prior,
)
from landscape.experiments.setting import Examples, example_keys
from landscape.latent import chains, gibbs, statistics, targets
from landscape.runs import Run

FIRST_STEP = 0.1  # white units; warm-up finds its own
FIRST = 2**31 - 1  # number of the draw that a chain starts with; steps count from 0
PICTURED = (0.4, 1.0)  # of the recorded length: states that are kept as pictures


def pictured(config) -> tuple[int, ...]:
    """Numbers of the states that are pictured, of those kept."""
    return tuple(int((config.mcmc.num_frames - 1) * share) for share in PICTURED)


def local_chains(config, run: Run, members: Members, family: Family, starts: Examples, kernel: str) -> xr.Dataset:
    """Chains of the local target around each embedding, toward its own class, at every radius; LOCAL of the schema.

    Probabilities, distance and drift are means along the chain; drift is over dimensions, of codes over places.
    """
    apply, decode, sampler = members.apply, of_white(family), _sampler(config, members, family, kernel)
    radii, num, each = np.asarray(config.mcmc.radii, np.float32), len(starts.label), config.mcmc.num_chains
    groups = {"radius": len(radii), "start": num, "chain": each}
    rows = np.tile(np.repeat(np.arange(num), each), len(radii))  # embedding of each chain
    reach = np.repeat(radii, num * each)

    def member(start, whitening, variables, own, held_out, guide, codes, keys, x):
        predicted = jnp.argmax(apply(own, x), axis=-1)[rows]
        eps = jax.vmap(lambda key: jax.random.normal(jax.random.fold_in(key, FIRST), start.shape[1:]))(keys)
        spread = start + reach[:, None] * eps  # as wide as the target without guidance, so that R-hat can tell
        data = targets.Local(predicted, start, jnp.asarray(reach), jnp.full(len(rows), config.mcmc.temperature))
        positions, steps, log_density = sampler(keys, spread, data, (whitening, variables, guide), codes)

        def measured(u):
            images = decode(whitening, variables, u)
            seen = [objectives.probability(apply(one, images), predicted) for one in (own, held_out)]
            return {
                "local_probability": jnp.stack(seen),
                "local_moved": spaces.l2_norm(images - x[rows]),
                "local_drift": jnp.sqrt(family.directions * jnp.mean(jnp.square(u - start), axis=-1)),
            }

        means = {name: v.mean(axis=0) for name, v in jax.lax.map(measured, positions).items()}
        shown = positions[np.asarray(pictured(config))][:, ::each]  # the first chain of each group
        images = jax.lax.map(lambda u: decode(whitening, variables, u), shown)
        return means | {f"local_{k}": v for k, v in steps.items()}, _kept(family, positions), log_density, images

    def work() -> dict[str, np.ndarray]:
        keys = _chain_keys(config, f"local.{family.name}.{kernel}", starts.ids[rows], each)
        found, images = _mapped(config, members, family, "local", member, rows, groups, keys, jnp.asarray(starts.x))
        shape = (len(PICTURED), len(radii), num, *starts.x.shape[1:])
        return found | {"picture_local": np.asarray(images[0]).reshape(shape)}

    return run_once(run, f"local.{family.name}.{kernel}", work, COMPUTED)


def global_chains(config, run: Run, members: Members, family: Family, kernel: str) -> xr.Dataset:
    """Chains of the global target toward each class, guided and (T = infinity) not; GLOBAL of the schema.

    They start at embeddings of any class. `mixing` counts steps between the classes predicted along chains.
    """
    family = with_standard_prior(family)
    apply, decode, sampler = members.apply, of_white(family), _sampler(config, members, family, kernel)
    num_classes, each = members.num_classes, config.mcmc.num_chains
    groups = {"guidance": 2, "class": num_classes, "chain": each}
    label = np.tile(np.repeat(np.arange(num_classes), each), 2).astype(np.int32)
    temperature = np.repeat(np.asarray([config.mcmc.temperature, np.inf], np.float32), num_classes * each)
    rows = np.tile(np.arange(num_classes * each) % family.z_test.shape[1], 2)

    def member(start, whitening, variables, own, held_out, guide, codes, keys):
        data = targets.Global(jnp.asarray(label), jnp.asarray(temperature))
        positions, steps, log_density = sampler(keys, start, data, (whitening, variables, guide), codes)

        def measured(u):
            images = decode(whitening, variables, u)
            logits = apply(own, images)
            seen = [objectives.probability(one, data.label) for one in (logits, apply(held_out, images))]
            return jnp.stack(seen), jnp.argmax(logits, axis=-1)

        probability, states = jax.lax.map(measured, positions)
        means = {"global_probability": probability.mean(axis=0)} | {f"global_{k}": v for k, v in steps.items()}
        last = decode(whitening, variables, positions[-1][::each])
        return means, _kept(family, positions), log_density, (states, last)

    def work() -> dict[str, np.ndarray]:
        keys = _chain_keys(config, f"global.{family.name}.{kernel}", label, each)
        found, (states, last) = _mapped(config, members, family, "global", member, rows, groups, keys)
        by_guide = np.moveaxis(np.asarray(states).reshape(*states.shape[:2], 2, num_classes * each), 2, 0)
        counts = [[statistics.transitions(m, num_classes) for m in one] for one in by_guide]
        guided = np.asarray(last[0]).reshape(2, num_classes, *last.shape[2:])[0]
        return found | {"mixing": np.asarray(counts), "picture_global": guided}

    return run_once(run, f"global.{family.name}.{kernel}", work, COMPUTED)


def _chain_keys(config, stage: str, ids: np.ndarray, each: int) -> jax.Array:
    """Keys [C] of ids, of an example or a class, and of the chain's number among `each`.

    No radius, example or chain that is left out or added changes another chain, and those of other radii share their
    random numbers.
    """
    keys = example_keys(config.seed, stage, ids)
    return jax.vmap(jax.random.fold_in)(keys, np.arange(len(ids)) % each)


def _sampler(config, members: Members, family: Family, kernel: str) -> Callable:
    """run(keys, start, data, (whitening, autoencoder, guide), codes) -> (positions [F, C, D], {"acceptance", "changed",
    "divergent"} [C], log density [F, C]) of the target that `data` is of; NaN for what the sampler does not have.

    Chains of real latents begin at `start`. Codes take the prior of `codes` (global), or the one of codes near
    data.origin, which their first states are drawn from as well (local).
    """
    one = targets.vote_log_prob if config.mcmc.guide == "vote" else targets.class_log_prob
    log_prob = targets.decoded(descriptions.decoder(family.autoencoders.autoencoder), partial(one, members.apply))
    counts = {"num_steps": config.mcmc.num_steps[kernel], "frames": config.mcmc.num_frames}

    def continuous(keys, start, data, shared, codes):
        target = targets.local if isinstance(data, targets.Local) else targets.global_
        options = counts | {"num_warmup": config.mcmc.num_warmup, "step_size": FIRST_STEP}
        found = chains.sample(keys, target(log_prob), start, data, kernel=kernel, shared=shared, **options)
        steps = {"acceptance": found.acceptance, "divergent": found.divergent}
        return found.positions, steps | {"changed": jnp.full_like(found.divergent, jnp.nan)}, found.log_density

    def discrete(keys, start, data, shared, codes):
        index, prior, every = codes
        if isinstance(data, targets.Local):
            origin = data.origin.reshape(index.shape[0], index.shape[1], -1)
            prior = gibbs.local_prior(every, origin, data.radius)
            index = jax.vmap(lambda key, p: gibbs.draw(jax.random.fold_in(key, FIRST), p))(keys, prior)
        likelihood = gibbs.likelihood(log_prob)
        run = partial(gibbs.gibbs, log_likelihood=likelihood, log_prior=prior, data=data, shared=(every, *shared))
        early, late = jnp.moveaxis(jax.vmap(jax.random.split)(keys), 1, 0)
        index = run(early, index0=index, num_steps=config.mcmc.num_warmup, frames=1).index[-1]
        found = run(late, index0=index, **counts)
        frames = jax.lax.map(partial(gibbs.points, every), found.index)
        steps = {"acceptance": found.acceptance, "changed": found.changed}
        return frames, steps | {"divergent": jnp.full_like(found.changed, jnp.nan)}, found.log_density

    return discrete if family.coded else continuous


def _kept(family: Family, positions):
    """What leaves the device: codes are diagnosed by their log density, so of their wide states one entry will do."""
    return positions[..., :1] if family.coded else positions


def _mapped(
    config,
    members: Members,
    family: Family,
    target: str,
    member: Callable,
    rows: np.ndarray,
    groups: Mapping[str, int],
    *shared: Any,
) -> tuple[dict[str, np.ndarray], Any]:
    """(values by name in the schema's dims, with <target>_rhat and <target>_ess of groups of chains; what else it gave)

    member(start [C, D], whitening, autoencoder, own classifier, held-out one, guide, codes, *shared) -> (means,
    positions, log density, anything else), C = prod(groups), chains start at the test latents `rows`.
    """
    means, positions, log_density, more = jax.jit(lambda *a: map_members(member, *a, shared=shared, how=members.how))(
        white(family, family.z_test[:, rows], members.how),
        family.whitening,
        family.autoencoders.ensemble,
        members.own,
        members.held_out,
        members.guides,
        codes_of(config, family, rows),
    )
    diagnosed = [
        _diagnosed(np.asarray(p), np.asarray(d), tuple(groups.values()), family.coded)
        for p, d in zip(positions, log_density, strict=True)
    ]
    found = {k: np.asarray(v).reshape(*v.shape[:-1], *groups.values()) for k, v in means.items()}
    found |= {f"{target}_{k}": np.stack([m[k] for m in diagnosed]) for k in ("rhat", "ess")}
    return {name: _ordered(name, values, groups) for name, values in found.items()}, more


def _ordered(name: str, values: np.ndarray, groups: Mapping[str, int]) -> np.ndarray:
    """Values [member, (classifier,) *groups] in the order of the schema's dims."""
    wanted = COMPUTED[name].dims
    computed = [dim for dim in ("member", "classifier", *groups) if dim in wanted]
    return values.transpose([computed.index(dim) for dim in wanted])


def _diagnosed(positions: np.ndarray, log_density: np.ndarray, groups: tuple[int, ...], coded: bool) -> dict:
    """R-hat and the effective sample size of groups of chains, the worst dimension; of codes, of the log density.

    positions [F, C, D], C = prod(groups) with the chains of a group last.
    """
    values = log_density[..., None] if coded else positions
    values = values.reshape(len(values), -1, groups[-1], values.shape[-1])
    rhat = [np.max(chains.rhat(values[:, g])) for g in range(values.shape[1])]
    ess = [np.min(chains.ess(values[:, g])) for g in range(values.shape[1])]
    return {"rhat": np.reshape(rhat, groups[:-1]), "ess": np.reshape(ess, groups[:-1])}
