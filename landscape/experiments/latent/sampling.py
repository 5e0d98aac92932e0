"""Chains of a latent run that classifiers guide: near an embedding (local), anywhere in the latent (global)."""

from collections.abc import Callable, Mapping, Sequence
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
from landscape.experiments.latent import COMPUTED, DIAGNOSED
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
from landscape.stats import convergence

FIRST_STEP = 0.1  # white units; warm-up finds its own
FIRST = 2**31 - 1  # number of the draw that a chain starts with; steps count from 0
WIDER = 1.5  # spread of the starts over that of the target without guidance, so that R-hat can tell
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
        data = targets.Local(predicted, start, jnp.asarray(reach), jnp.full(len(rows), config.mcmc.temperature))
        positions, index, steps = sampler(keys, data, (whitening, variables, guide), start, codes)

        def measured(u):
            images = decode(whitening, variables, u)
            logits = [apply(one, images) for one in (own, held_out)]
            return {
                "local_probability": jnp.stack([objectives.probability(one, predicted) for one in logits]),
                "local_moved": spaces.l2_norm(images - x[rows]),
                "local_drift": jnp.sqrt(family.directions * jnp.mean(jnp.square(u - start), axis=-1)),
            }, jnp.argmax(logits[0], axis=-1)

        along, classes = jax.lax.map(measured, positions)
        means = {name: v.mean(axis=0) for name, v in along.items()} | {f"local_{k}": v for k, v in steps.items()}
        shown = positions[np.asarray(pictured(config))][:, ::each]  # the first chain of each group
        images = jax.lax.map(lambda u: decode(whitening, variables, u), shown)
        return means, (positions, classes, index), images

    def work() -> dict[str, np.ndarray]:
        keys = _chain_keys(config, f"local.{family.name}.{kernel}", starts.ids[rows], each)
        found, images, _ = _mapped(config, members, family, "local", member, rows, groups, keys, jnp.asarray(starts.x))
        shape = (len(PICTURED), len(radii), num, *starts.x.shape[1:])
        return found | {"picture_local": np.asarray(images[0]).reshape(shape)}

    return run_once(run, f"local.{family.name}.{kernel}", work, COMPUTED)


def global_chains(config, run: Run, members: Members, family: Family, kernel: str) -> xr.Dataset:
    """Chains of the global target toward each class, guided and (T = infinity) not; GLOBAL of the schema.

    `mixing` counts steps between the classes predicted along chains. Chains without guidance do not jump: a jump would
    be a fresh draw of their target, which says nothing of how the sampler, or one class and the next, are joined.
    """
    family = with_standard_prior(family)
    apply, decode, sampler = members.apply, of_white(family), _sampler(config, members, family, kernel)
    num_classes, each = members.num_classes, config.mcmc.num_chains
    groups = {"guidance": 2, "class": num_classes, "chain": each}
    label = np.tile(np.repeat(np.arange(num_classes), each), 2).astype(np.int32)
    temperature = np.repeat(np.asarray([config.mcmc.temperature, np.inf], np.float32), num_classes * each)
    rows = np.zeros(len(label), int)  # chains begin at draws of the prior, near no embedding

    def member(start, whitening, variables, own, held_out, guide, codes, keys):
        data = targets.Global(jnp.asarray(label), jnp.asarray(temperature))
        positions, index, steps = sampler(keys, data, (whitening, variables, guide), start, codes)

        def measured(u):
            images = decode(whitening, variables, u)
            logits = apply(own, images)
            seen = [objectives.probability(one, data.label) for one in (logits, apply(held_out, images))]
            return jnp.stack(seen), jnp.argmax(logits, axis=-1)

        probability, classes = jax.lax.map(measured, positions)
        means = {"global_probability": probability.mean(axis=0)} | {f"global_{k}": v for k, v in steps.items()}
        last = decode(whitening, variables, positions[-1][::each])
        return means, (positions, classes, index), last

    def work() -> dict[str, np.ndarray]:
        keys = _chain_keys(config, f"global.{family.name}.{kernel}", label, each)
        found, last, classes = _mapped(config, members, family, "global", member, rows, groups, keys)
        by_guide = np.moveaxis(classes.reshape(*classes.shape[:2], 2, num_classes * each), 2, 0)
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
    """run(keys, data, (whitening, autoencoder, guide), like [C, D], codes) -> (positions [F, C, D], index [F, C, P] of
    codes or None, {"acceptance", "changed", "divergent", "jumped"} [C]) of the target that `data` is of; NaN for what
    the sampler does not have.

    Chains begin at draws of the target without its classifier, made wider: of density^(1 / WIDER^2), which for a
    Gaussian is WIDER times its spread. Codes take the prior of `codes` (global), or the one of codes near data.origin
    (local). Chains that are guided jump.
    """
    one = targets.vote_log_prob if config.mcmc.guide == "vote" else targets.class_log_prob
    log_prob = targets.decoded(descriptions.decoder(family.autoencoders.autoencoder), partial(one, members.apply))
    counts = {"num_steps": config.mcmc.num_steps[kernel], "frames": config.mcmc.num_frames}
    counts["num_warmup"] = config.mcmc.num_warmup

    def continuous(keys, data, shared, like, codes):
        is_local = isinstance(data, targets.Local)
        target, prior = (targets.local, targets.LOCAL) if is_local else (targets.global_, targets.GLOBAL)
        centre = data.origin if is_local else jnp.zeros_like(like)
        start = centre + WIDER * (jax.vmap(prior.draw)(_firsts(keys), like, data) - centre)
        options = counts | {"step_size": FIRST_STEP, "prior": prior}
        options |= {"jumping": jnp.isfinite(data.temperature), "kernel": kernel, "shared": shared}
        found = chains.sample(keys, target(log_prob), start, data, **options)
        steps = {"acceptance": found.acceptance, "divergent": found.divergent, "jumped": found.jumped}
        return found.positions, None, steps | {"changed": jnp.full_like(found.divergent, jnp.nan)}

    def discrete(keys, data, shared, like, codes):
        prior, every = codes
        if isinstance(data, targets.Local):
            prior = gibbs.local_prior(every, data.origin.reshape(len(keys), -1, every.shape[-1]), data.radius)
        prior = jnp.broadcast_to(prior, (len(keys), *prior.shape[-2:]))
        index = jax.vmap(gibbs.draw)(_firsts(keys), prior / WIDER**2)
        options = counts | {"shared": (every, *shared), "jumping": jnp.isfinite(data.temperature)}
        found = gibbs.gibbs(keys, gibbs.likelihood(log_prob), index, prior, data, **options)
        frames = jax.lax.map(partial(gibbs.points, every), found.index)
        steps = {"acceptance": found.acceptance, "changed": found.changed, "jumped": found.jumped}
        return frames, found.index, steps | {"divergent": jnp.full_like(found.changed, jnp.nan)}

    return discrete if family.coded else continuous


def _firsts(keys: jax.Array) -> jax.Array:
    """Keys of the draws that chains start with."""
    return jax.vmap(jax.random.fold_in, (0, None))(keys, FIRST)


def _mapped(
    config,
    members: Members,
    family: Family,
    target: str,
    member: Callable,
    rows: np.ndarray,
    groups: Mapping[str, int],
    *shared: Any,
) -> tuple[dict[str, np.ndarray], Any, np.ndarray]:
    """(values by name in the schema's dims, with the convergence of groups of chains; what else `member` gave; classes
    predicted along chains [member, F, C])

    member(start [C, D], whitening, autoencoder, own classifier, held-out one, guide, codes, *shared) -> (means,
    (positions [F, C, D], predicted classes [F, C], index of codes or None), anything else), C = prod(groups); start are
    the test latents `rows`.
    """

    def program(*one):
        means, (positions, *labels), more = member(*one)
        # Of codes the wide states stay on the device, since codes by number say as much.
        return means, (None if family.coded else positions, *labels), more

    codes = codes_of(config, family)
    means, series, more = jax.jit(lambda *a: map_members(program, *a, shared=shared, how=members.how))(
        white(family, family.z_test[:, rows], members.how),
        family.whitening,
        family.autoencoders.ensemble,
        members.own,
        members.held_out,
        members.guides,
        codes,
    )
    positions, classes, index = (None if one is None else np.asarray(one) for one in series)
    found = {k: np.asarray(v).reshape(*v.shape[:-1], *groups.values()) for k, v in means.items()}
    diagnosed = []
    for s in range(len(classes)):
        every = positions[s] if index is None else np.asarray(codes[1][s])[index[s]].reshape(*classes[s].shape, -1)
        diagnosed.append(_diagnosed(every, classes[s], None if index is None else index[s], tuple(groups.values())))
    found |= {f"{target}_{k}": np.stack([m[k] for m in diagnosed]) for k in diagnosed[0]}
    return {name: _ordered(name, values, groups) for name, values in found.items()}, more, classes


def _ordered(name: str, values: np.ndarray, groups: Mapping[str, int]) -> np.ndarray:
    """Values [member, (classifier,) *groups, (diagnosed)] in the order of the schema's dims."""
    wanted = COMPUTED[name].dims
    computed = [dim for dim in ("member", "classifier", *groups, "diagnosed") if dim in wanted]
    return values.transpose([computed.index(dim) for dim in wanted])


def _diagnosed(
    positions: np.ndarray, classes: np.ndarray, index: np.ndarray | None, groups: tuple[int, ...]
) -> dict[str, np.ndarray]:
    """The worst R-hat and effective sizes of every group of chains, [*groups without the last, DIAGNOSED].

    positions [F, C, D], classes [F, C], index [F, C, P] or None, C = prod(groups) with the chains of a group last.
    """
    index = classes[..., None][..., :0] if index is None else index
    starts = range(0, classes.shape[1], groups[-1])
    of_groups = [[values[:, first : first + groups[-1]] for first in starts] for values in (positions, classes, index)]
    series = [of_groups[0], *([convergence.occupancy(own) for own in labels] for labels in of_groups[1:])]
    values = np.asarray([_worst(one) for one in series]).reshape(len(DIAGNOSED), *groups[:-1], 3)
    return dict(zip(("rhat", "bulk_ess", "tail_ess"), np.moveaxis(values, (0, -1), (-1, 0)), strict=True))


def _worst(series: Sequence[np.ndarray]) -> list[convergence.Diagnosis]:
    """Of every group [F, C, D of its own]; all are diagnosed at once."""
    found = np.asarray(convergence.diagnose(np.concatenate(series, axis=-1)))
    parts = np.split(found, np.cumsum([one.shape[-1] for one in series])[:-1], axis=-1)
    return [convergence.worst(convergence.Diagnosis(*part)) for part in parts]
