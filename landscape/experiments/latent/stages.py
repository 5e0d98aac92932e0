"""The stages of a latent run: for each family its statistics, noise around embeddings, chains, paths.

Member s of everything is autoencoder seed s with classifier s; the classifier of the next seed, which guides nothing,
evaluates as well ("held_out").
"""

from collections.abc import Mapping
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from landscape import ensembles, objectives, spaces
from landscape.ensembles import map_members
from landscape.experiments import descriptions, setting
from landscape.experiments.base import run_once
from landscape.experiments.latent import COMPUTED, families, sampling
from landscape.experiments.latent.classifiers import classifiers_of
from landscape.experiments.latent.describe import statistics_of
from landscape.experiments.latent.families import Family, codes_of, of_white, white, with_standard_prior
from landscape.experiments.setting import Examples, Setting, example_keys, stage_key
from landscape.latent import around, gibbs, paths
from landscape.runs import Run

NOISES, PATHS = ("gaussian", "shell"), {"linear": paths.linear, "spherical": paths.spherical}
SHOWN_DRAWS = 8  # draws of the prior pictured


def compute(config, run: Run) -> xr.Dataset:
    """Every array of a run; what is on disk is not computed again."""
    prepared = setting.prepare(config, run)
    test = setting.examples(prepared.dataset, "test", config.num_examples, config.seed)
    layer = descriptions.image_layer(config, prepared)
    # In random order, since a folder's come class by class: chains and paths begin at the first ones.
    order = np.random.default_rng(config.seed).permutation(len(test.label))
    test = Examples(*(part[order] for part in test))
    starts = Examples(*(part[: config.mcmc.num_embeddings] for part in test))
    ends = Examples(*(part[: 2 * config.paths.num_pairs] for part in test))
    found = []
    for name in config.families:
        family = families.prepare(config, run, prepared, layer, name, test)
        parts = [statistics_of(config, run, family, test), noise_around(config, run, prepared, family, starts)]
        parts += [chains(config, run, prepared, family, starts), between(config, run, prepared, family, ends)]
        found.append(_numbered(xr.merge(parts)))
    by_family = xr.DataArray(list(config.families), dims="family", name="family")
    data = xr.concat(found, by_family, join="outer", fill_value={"mixing": 0, "sampled": False})
    data = data.assign(label=("example", test.label), picture=(("end", *COMPUTED["picture_prior"].dims[1:]), ends.x))
    return data.assign_coords(_coordinates(config, prepared, test, starts, ends)).assign_attrs(guide=config.mcmc.guide)


def chains(config, run: Run, prepared: Setting, family: Family, starts: Examples) -> xr.Dataset:
    """Local and global chains of every sampler that the family's latents allow, pictures of the first one's."""
    found = []
    for kernel in config.mcmc.kernels:
        if (kernel == "gibbs") != family.coded:  # of codes alone
            continue
        local = sampling.local_chains(config, run, prepared, family, starts, kernel)
        found.append(xr.merge([local, sampling.global_chains(config, run, prepared, family, kernel)]))
        found[-1] = found[-1].assign(sampled=True).assign_coords(kernel=kernel)
    pictures = [name for name in found[0] if str(name).startswith("picture")]
    one = xr.concat([part.drop_vars(pictures) for part in found], "kernel")
    one = one.reindex(kernel=list(config.mcmc.kernels), fill_value={"mixing": 0, "sampled": False})
    return one.assign(found[0][pictures].drop_vars("kernel"))


def _numbered(data: xr.Dataset) -> xr.Dataset:
    """Dims of which families have unlike many, with their numbers: the others are filled up."""
    return data.assign_coords({dim: np.arange(data.sizes[dim]) for dim in ("latent", "first", "second")})


def _coordinates(config, prepared: Setting, test: Examples, starts: Examples, ends: Examples) -> Mapping:
    """What stands along the axes; members are the first classifiers, one for each autoencoder."""
    of_members = {
        name: ("member", values[: config.num_members]) if dim == "member" else (dim, values)
        for name, (dim, values) in setting.coordinates(prepared).items()
    }
    return of_members | {
        "example": test.ids,
        "start": starts.ids,
        "end": ends.ids,
        "radius": np.asarray(config.mcmc.radii),
        "noise": list(NOISES),
        "path": list(PATHS),
        "classifier": ["own", "held_out"],
        "guidance": ["guided", "unguided"],
        "t": np.linspace(0, 1, config.paths.num_points),
        "frame": list(sampling.pictured(config)),
    }


def noise_around(config, run: Run, prepared: Setting, family: Family, starts: Examples) -> xr.Dataset:
    """Unguided noise around embeddings, at the radii of the guided chains, and draws of the prior; NOISE of the schema.

    Means over num_chains trials. Gaussian noise is the local target without guidance; of codes that is a draw of the
    codes near the embedding's. The embedding decoded without any noise is what the reconstruction leaves.
    """
    how = ensembles.parse(config.mapping, config.num_members)
    apply, decode = prepared.classifier.apply, of_white(family)
    both = classifiers_of(prepared, config.num_members)
    radii = jnp.asarray(config.mcmc.radii, jnp.float32)
    trials = config.mcmc.num_chains
    keys = example_keys(config.seed, f"around.{family.name}", starts.ids)

    def near(codes, u, keys):
        """Codes near an embedding's, drawn at every radius: [L, N, D]."""
        index, _, every = codes
        origin = u.reshape(u.shape[0], index.shape[-1], -1)

        def at(radius):
            prior = gibbs.local_prior(every, origin, jnp.full(u.shape[0], radius))
            return every[jax.vmap(gibbs.draw)(keys, prior)].reshape(u.shape)

        return jax.lax.map(at, radii)

    def member(u, whitening, variables, own, held_out, codes, x, keys):
        predicted = jnp.argmax(apply(own, x), axis=-1)
        draw_keys = jax.vmap(lambda t: jax.vmap(jax.random.fold_in, (0, None))(keys, t))(jnp.arange(trials))

        def one(u, key_rows):
            noise = near(codes, u, key_rows) if family.coded else around.gaussian(key_rows, u, radii)
            return jnp.stack([noise, around.shell(key_rows, u, radii / np.sqrt(family.directions))])

        points = jax.lax.map(lambda rows: one(u, rows), draw_keys)  # [R, 2, L, N, D]

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

    def prior_draws(whitening, variables, own, codes, key):
        if family.coded:
            _, prior, every = codes
            keys = jax.random.split(key, config.mcmc.num_prior)
            u = jax.vmap(lambda key: every[gibbs.draw(key, prior)].ravel())(keys)
        else:
            u = around.prior(key, config.mcmc.num_prior, whitening.mean.shape[0])
        images = decode(whitening, variables, u)
        return jax.nn.softmax(apply(own, images)).max(axis=-1), images[:SHOWN_DRAWS]

    def work() -> dict[str, np.ndarray]:
        u = white(family, family.z_test[:, : len(starts.label)], how)
        codes = codes_of(config, family, np.arange(len(starts.label)))
        shared = (jnp.asarray(starts.x), keys)
        values, images = jax.jit(lambda *a: map_members(member, *a, shared=shared, how=how))(
            u, family.whitening, family.cell.ensemble, *both, codes
        )
        confidence, drawn = jax.jit(
            lambda *a: map_members(prior_draws, *a, shared=(stage_key(config.seed, "prior"),), how=how)
        )(with_standard_prior(family).whitening, family.cell.ensemble, both[0], codes)
        values = {name: np.moveaxis(np.asarray(value), 0, -2) for name, value in values.items()}
        return values | {"prior_confidence": confidence, "picture_around": images[0], "picture_prior": drawn[0]}

    return run_once(run, f"around.{family.name}", work, COMPUTED)


def between(config, run: Run, prepared: Setting, family: Family, ends: Examples) -> xr.Dataset:
    """Straight and spherical paths between embeddings of pairs of images; PATHS of the schema."""
    how = ensembles.parse(config.mapping, config.num_members)
    apply, decode = prepared.classifier.apply, of_white(family)
    half = len(ends.label) // 2

    def member(u, whitening, variables, own, held_out):
        points = [kind(u[:half], u[half : 2 * half], config.paths.num_points) for kind in PATHS.values()]
        images = jax.lax.map(partial(decode, whitening, variables), jnp.concatenate(points))
        seen = [jax.lax.map(lambda x, v=v: jax.nn.softmax(apply(v, x)), images) for v in (own, held_out)]
        shape = (len(PATHS), config.paths.num_points, half)
        return jnp.stack(seen).reshape(2, *shape, -1), images.reshape(*shape, *images.shape[2:])

    def work() -> dict[str, np.ndarray]:
        u = white(family, family.z_test[:, : 2 * half], how)
        probs, images = jax.jit(lambda *a: map_members(member, *a, how=how))(
            u, family.whitening, family.cell.ensemble, *classifiers_of(prepared, config.num_members)
        )
        # [member, classifier, path, t, pair, class] as computed
        return {"path_probability": np.asarray(probs).transpose(2, 1, 0, 3, 4, 5), "picture_path": images[0]}

    return run_once(run, f"paths.{family.name}", work, COMPUTED)
