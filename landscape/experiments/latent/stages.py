"""The stages of a latent run: for each family its statistics, noise around embeddings, chains, paths.

The own classifier of a member guides; that of the next seed, which guides nothing, evaluates as well ("held_out").
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from landscape import objectives, spaces
from landscape.data import Dataset
from landscape.ensembles import map_members
from landscape.experiments import descriptions, inputs, setting
from landscape.experiments.base import run_once
from landscape.experiments.descriptions import UNITS
from landscape.experiments.latent import COMPUTED, DIAGNOSED, families, sampling
from landscape.experiments.latent.families import (
    Family,
    Members,
    codes_of,
    members_of,
    of_members,
    of_white,
    white,
    with_standard_prior,
)
from landscape.experiments.setting import Examples, Setting, example_keys, stage_key
from landscape.files import UserError
from landscape.latent import around, gibbs, separability, statistics, two_sample
from landscape.latent.coordinates import fit_whitening, from_white
from landscape.models import bottlenecks
from landscape.runs import Run

NOISES, PATHS = ("gaussian", "shell"), {"linear": around.linear, "spherical": around.spherical}
SHOWN_DRAWS = 8  # draws of the prior pictured
CORRELATED = 64  # dimensions up to which the matrix of correlations is kept
DRAWS = 2000  # of the prior, for the distance of the aggregate from it


def compute(config, run: Run) -> xr.Dataset:
    """Every array of a run; what is on disk is not computed again."""
    prepared = setting.prepare(config, run, partial(check, config))
    members = members_of(config, prepared)
    test = setting.shuffled(prepared.dataset, "test", config.num_examples, config.seed)
    test = inputs.of_population(config, prepared, test)
    layer = descriptions.image_layer(config, prepared)
    starts = Examples(*(part[: config.mcmc.num_embeddings] for part in test))
    ends = Examples(*(part[: 2 * config.paths.num_pairs] for part in test))
    found = []
    for name in config.families:
        family = families.prepare(config, run, prepared, layer, name, test)
        parts = [statistics_of(config, run, family, test).isel(member=members.seeds)]
        family = of_members(family, members.seeds)
        parts += [noise_around(config, run, members, family, starts), chains(config, run, members, family, starts)]
        parts.append(between(config, run, members, family, ends))
        # Dims of which families have unlike many, with their numbers: the others are filled up.
        one = xr.merge(parts)
        found.append(one.assign_coords({dim: np.arange(one.sizes[dim]) for dim in ("latent", "first", "second")}))
    by_family = xr.DataArray(list(config.families), dims="family", name="family")
    data = xr.concat(found, by_family, join="outer", fill_value={"mixing": 0, "sampled": False})
    data = data.assign(label=("example", test.label), picture=(("end", *COMPUTED["picture_prior"].dims[1:]), ends.x))
    return data.assign_coords(_coordinates(config, prepared, test, starts, ends)).assign_attrs(guide=config.mcmc.guide)


def check(config, dataset: Dataset) -> None:
    """Refuses images that autoencoders do not fit, and too few for the statistics of their latents."""
    sizes = ((family, descriptions.size_of(config, family, config.autoencoder.dim)) for family in config.families)
    descriptions.check_images(config, dataset, sizes)
    fit = setting.labels(dataset, "train", config.num_fit, config.seed)
    if len(fit) < separability.NEIGHBORS or len(np.unique(fit)) < 2:
        raise UserError(
            f"num_fit={config.num_fit}: {len(fit)} training images of {len(np.unique(fit))} classes; expected "
            f"{separability.NEIGHBORS} or more, of two classes or more, by which latents are classified; take more"
        )
    count = min(config.num_examples, len(dataset.splits["test"]))
    if count < separability.FEWEST:
        raise UserError(
            f"num_examples={config.num_examples}: {count} test images; expected {separability.FEWEST} or more, by "
            "which latents are compared; take more"
        )


def _coordinates(config, prepared: Setting, test: Examples, starts: Examples, ends: Examples) -> Mapping:
    """What stands along the axes; members are the trained classifiers."""
    of_trained = {
        name: ("member", np.asarray(values)[prepared.trained]) if dim == "member" else (dim, values)
        for name, (dim, values) in setting.coordinates(prepared).items()
    }
    return of_trained | {
        "example": test.ids,
        "start": starts.ids,
        "end": ends.ids,
        "radius": np.asarray(config.mcmc.radii),
        "noise": list(NOISES),
        "path": list(PATHS),
        "classifier": ["own", "held_out"],
        "guidance": ["guided", "unguided"],
        "diagnosed": list(DIAGNOSED),
        "t": np.linspace(0, 1, config.paths.num_points),
        "frame": list(sampling.pictured(config)),
    }


# ---- what the set of a family's latents looks like ----


def statistics_of(config, run: Run, family: Family, test: Examples) -> xr.Dataset:
    """Every statistic of the latent, by seed; STATISTICS of the schema. NumPy, but for draws of the prior."""

    def work() -> dict[str, np.ndarray]:
        each = [_of_seed(config, family, test, seed) for seed in range(len(family.z_test))]
        found = {name: np.stack([m[name] for m in each]) for name in each[0]}
        found |= dict(zip(("cka", "linear_r2"), _alike(family, config.seed), strict=True))
        centre = family.z_train[0].mean(axis=0)
        axes = np.linalg.svd(family.z_train[0] - centre, full_matrices=False)[2][:2]
        found["projection"] = ((family.z_test[0] - centre) @ axes.T).astype(np.float32)
        few = family.z_test.shape[-1] <= CORRELATED
        first = family.z_test[0].astype(np.float64)
        return found | {"correlation": statistics.correlation(first) if few else np.full((1, 1), np.nan)}

    return run_once(run, f"statistics.{family.name}", work, COMPUTED)


def _of_seed(config, family: Family, test: Examples, seed: int) -> dict[str, Any]:
    """Statistics of one seed; NaN where they say nothing: codes lie on a grid, on which TwoNN has no meaning."""
    z, fit = family.z_test[seed].astype(np.float64), family.z_train[seed].astype(np.float64)
    drawn_fit, drawn = (v[seed].astype(np.float64) for v in (family.drawn_train, family.drawn))
    spectrum = statistics.spectrum(z)
    distinct = not family.coded and len(np.unique(z, axis=0)) >= statistics.FEWEST
    kept, accuracy = _varying(drawn_fit, drawn), np.nan
    if len(z) >= two_sample.FEWEST:
        accuracy = two_sample.gaussian_check(drawn_fit[:, kept], drawn[:, kept], config.seed)
    mmd, p_value = two_sample.mmd(drawn, _reference(config, family, seed), seed=config.seed)
    labels, units = (family.train.label, test.label), family.name in UNITS
    return statistics.moments(z) | {
        "norms": statistics.norms(z),
        "spectrum": spectrum,
        "effective_dimension": statistics.effective_dimension(spectrum),
        "intrinsic_dimension": statistics.intrinsic_dimension(z) if distinct else np.nan,
        "active_units": float(statistics.active_units(z, relative=family.name != "vae")) if units else np.nan,
        "mmd": mmd,
        "mmd_p": p_value,
        "gaussian_accuracy": accuracy,
        "probe": separability.linear_probe(fit, labels[0], z, labels[1]),
        "knn": separability.knn_accuracy(fit, labels[0], z, labels[1]),
    }


def _alike(family: Family, seed: int) -> np.ndarray:
    """[2, S, S]: alignment and R^2 of linear maps of two seeds' latents; a seed is like itself."""
    count = len(family.z_test)
    found = np.ones((2, count, count))
    for a in range(count):
        for b in range(a + 1, count):
            found[:, a, b] = found[:, b, a] = separability.stability(family.z_test[a], family.z_test[b], seed=seed)
    return found


def _varying(z: np.ndarray, other: np.ndarray) -> np.ndarray:
    """At most the CORRELATED widest dimensions of z, without those that are constant in z or other. Indices."""
    spread = np.where(other.std(axis=0) > 0, z.std(axis=0), 0.0)
    widest = np.argsort(-spread)[:CORRELATED]
    return np.sort(widest[spread[widest] > 0])


def _reference(config, family: Family, seed: int) -> np.ndarray:
    """Draws of what latents are compared with: the prior of vae and sphere, else the Gaussian fitted to z_train."""
    key = jax.random.fold_in(jax.random.key(config.seed), seed)
    eps = np.asarray(around.prior(key, DRAWS, family.z_test.shape[-1]))
    if family.name == "vae":
        return eps
    if family.name == "sphere":
        return np.asarray(bottlenecks.sphere(jnp.asarray(eps)))
    fit = fit_whitening(family.z_train[seed], ridge=1e-6)
    return np.asarray(from_white(fit, eps))


# ---- around and between embeddings ----


def noise_around(config, run: Run, members: Members, family: Family, starts: Examples) -> xr.Dataset:
    """Unguided noise around embeddings, at the radii of the guided chains, and draws of the prior; NOISE of the schema.

    Means over num_chains trials. Gaussian noise is the local target without guidance; of codes that is a draw of the
    codes near the embedding's. The embedding decoded without any noise is what the reconstruction leaves.
    """
    apply, decode, noisy = members.apply, of_white(family), _noisy(config, family)
    trials, num = config.mcmc.num_chains, len(starts.label)
    keys = example_keys(config.seed, f"around.{family.name}", starts.ids)

    def member(u, whitening, variables, own, held_out, codes, x, keys):
        predicted = jnp.argmax(apply(own, x), axis=-1)
        draw_keys = jax.vmap(lambda t: jax.vmap(jax.random.fold_in, (0, None))(keys, t))(jnp.arange(trials))
        points = jax.lax.map(lambda rows: noisy(u, codes, rows), draw_keys)  # [R, 2, L, N, D]

        def measured(points):
            images = decode(whitening, variables, points)
            seen = [objectives.probability(apply(one, images), predicted) for one in (own, held_out)]
            return jnp.stack(seen), spaces.l2_norm(images - x), images

        probability, moved, images = jax.lax.map(measured, points.reshape(-1, *u.shape))
        shape = (trials, len(NOISES), len(config.mcmc.radii))
        return {
            "around_probability": probability.reshape(*shape, *probability.shape[1:]).mean(axis=0),
            "around_moved": moved.reshape(*shape, -1).mean(axis=0),
            "decoded_probability": measured(u)[0],
        }, images.reshape(*shape, *x.shape)[0, 0]

    def work() -> dict[str, np.ndarray]:
        u, codes = white(family, family.z_test[:, :num], members.how), codes_of(config, family)
        shared = (jnp.asarray(starts.x), keys)
        values, images = jax.jit(lambda *a: map_members(member, *a, shared=shared, how=members.how))(
            u, family.whitening, family.autoencoders.ensemble, members.own, members.held_out, codes
        )
        values = {name: np.moveaxis(np.asarray(value), 0, -2) for name, value in values.items()}
        confidence, drawn = _prior_draws(config, members, with_standard_prior(family), codes)
        return values | {"prior_confidence": confidence, "picture_around": images[0], "picture_prior": drawn[0]}

    return run_once(run, f"around.{family.name}", work, COMPUTED)


def _noisy(config, family: Family) -> Callable:
    """noisy(u [N, D], codes, keys [N]) -> points [2, L, N, D]: Gaussian noise and shells at every radius."""
    radii = jnp.asarray(config.mcmc.radii, jnp.float32)

    def near(codes, u, keys):
        """Codes near an embedding's, drawn at every radius: [L, N, D]."""
        _, every = codes
        origin = u.reshape(len(u), -1, every.shape[-1])

        def at(radius):
            prior = gibbs.local_prior(every, origin, jnp.full(u.shape[0], radius))
            return gibbs.points(every, jax.vmap(gibbs.draw)(keys, prior))

        return jax.lax.map(at, radii)

    def noisy(u, codes, keys):
        noise = near(codes, u, keys) if family.coded else around.gaussian(keys, u, radii)
        return jnp.stack([noise, around.shell(keys, u, radii / np.sqrt(family.directions))])

    return noisy


def _prior_draws(config, members: Members, family: Family, codes: Any) -> tuple[jax.Array, jax.Array]:
    """Of every member's draws of the prior: the largest class probabilities, and the first images."""
    decode, num = of_white(family), config.mcmc.num_prior

    def member(whitening, variables, own, codes, key):
        if family.coded:
            prior, every = codes
            index = jax.vmap(lambda key: gibbs.draw(key, prior))(jax.random.split(key, num))
            u = gibbs.points(every, index)
        else:
            u = around.prior(key, num, whitening.mean.shape[0])
        images = decode(whitening, variables, u)
        return jax.nn.softmax(members.apply(own, images)).max(axis=-1), images[:SHOWN_DRAWS]

    shared = (stage_key(config.seed, "prior"),)
    return jax.jit(lambda *a: map_members(member, *a, shared=shared, how=members.how))(
        family.whitening, family.autoencoders.ensemble, members.own, codes
    )


def chains(config, run: Run, members: Members, family: Family, starts: Examples) -> xr.Dataset:
    """Local and global chains of every sampler that the family's latents allow, pictures of the first one's."""
    found = []
    for kernel in config.mcmc.kernels:
        if (kernel == "gibbs") != family.coded:  # of codes alone
            continue
        local = sampling.local_chains(config, run, members, family, starts, kernel)
        found.append(xr.merge([local, sampling.global_chains(config, run, members, family, kernel)]))
        found[-1] = found[-1].assign(sampled=True).assign_coords(kernel=kernel)
    pictures = [name for name in found[0] if str(name).startswith("picture")]
    one = xr.concat([part.drop_vars(pictures) for part in found], "kernel")
    one = one.reindex(kernel=list(config.mcmc.kernels), fill_value={"mixing": 0, "sampled": False})
    return one.assign(found[0][pictures].drop_vars("kernel"))


def between(config, run: Run, members: Members, family: Family, ends: Examples) -> xr.Dataset:
    """Straight and spherical paths between embeddings of pairs of images; PATHS of the schema."""
    apply, decode, half = members.apply, of_white(family), len(ends.label) // 2

    def member(u, whitening, variables, own, held_out):
        points = [kind(u[:half], u[half : 2 * half], config.paths.num_points) for kind in PATHS.values()]
        images = jax.lax.map(partial(decode, whitening, variables), jnp.concatenate(points))
        seen = [jax.lax.map(lambda x, v=v: jax.nn.softmax(apply(v, x)), images) for v in (own, held_out)]
        shape = (len(PATHS), config.paths.num_points, half)
        return jnp.stack(seen).reshape(2, *shape, -1), images.reshape(*shape, *images.shape[2:])

    def work() -> dict[str, np.ndarray]:
        u = white(family, family.z_test[:, : 2 * half], members.how)
        probs, images = jax.jit(lambda *a: map_members(member, *a, how=members.how))(
            u, family.whitening, family.autoencoders.ensemble, members.own, members.held_out
        )
        # [member, classifier, path, t, pair, class] as computed
        return {"path_probability": np.asarray(probs).transpose(2, 1, 0, 3, 4, 5), "picture_path": images[0]}

    return run_once(run, f"paths.{family.name}", work, COMPUTED)
