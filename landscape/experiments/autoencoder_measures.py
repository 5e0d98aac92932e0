"""The stages that measure cells: reconstruction and what classifiers say of it, rates, latents, distributions."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from landscape import ensembles, objectives, runs
from landscape.ensembles import map_members
from landscape.experiments.autoencoder_cells import IMAGE, Cell, Layer, sources
from landscape.experiments.setting import Examples, Setting, example_keys, stage_key
from landscape.latent.statistics import active_units, effective_dimension, spectrum
from landscape.measures import rate, reconstruction
from landscape.models import bottlenecks, yardsticks
from landscape.models.autoencoders import Penalties
from landscape.presets.names import CODED, OWN_PRIOR
from landscape.runs import Run
from landscape.stats import frechet
from landscape.types import Arrays

CHUNK = 500 * 784  # entries of the points of a chunk: seconds of work for eight members on two cores
TABLED = 10000  # training images whose codes make the tables that lengths are told by
STEPS = (0.25, 0.5, 1.0, 2.0)  # widths of the uniform quantiser, in standard deviations; see `rate.fit_quantiser`
FEATURES = 32  # principal axes of a classifier's last hidden layer in which Frechet distances are taken, at most;
IMAGES_A_FEATURE = 50  # fewer axes for few images, since covariances must be known
UNITS = ("vae", "sparse")  # families whose loss tells one latent dimension from a rotation of all
EXAMPLE = ("member", "example")


def reconstructions(config, run: Run, prepared: Setting, layer: Layer, cell: Cell, test: Examples) -> Arrays:
    """How well a cell gives back the test images' points, and what classifiers make of them. Arrays [member, example].

    `judged` [member, judge, example]: what every classifier predicts on reconstructed images (image layer only).
    """
    how = ensembles.parse(config.mapping, len(sources(config)))
    chosen, autoencoder = sources(config), cell.autoencoder
    probabilistic = autoencoder is not None and autoencoder.posterior is not None

    def member(variables, context, means, keys, x, label, judges):
        points = layer.observe(context, x)
        back = cell.reconstruct(variables, points, label)
        h, again = layer.restore(context, points), layer.restore(context, back)
        before, after = layer.head(context, h), layer.head(context, again)
        out = reconstruction.errors(h, again, label, mean=context["mean"], class_means=means)
        out["from_zero"] = jnp.mean(jnp.square(h.reshape(h.shape[0], -1)), axis=1)
        out |= {"kl": objectives.divergence(before, after), "prediction": jnp.argmax(after, axis=-1)}
        if layer.name == IMAGE:
            out["ssim"] = reconstruction.ssim(x, back)
            out["judged"] = jax.lax.map(lambda v: jnp.argmax(prepared.classifier.apply(v, back), axis=-1), judges)
        if probabilistic:
            posterior = autoencoder.posterior(variables, points)
            eps = jax.vmap(lambda key: jax.random.normal(key, posterior.mean.shape[1:]))(keys)
            drawn = autoencoder.decode(variables, posterior.mean + jnp.exp(0.5 * posterior.log_var) * eps)
            apart = layer.restore(context, drawn) - h
            out["draw_mse"] = jnp.mean(jnp.square(apart.reshape(h.shape[0], -1)), axis=1)
            out["latent_kl"] = jnp.sum(bottlenecks.kl_to_standard(posterior), axis=-1)
            if layer.name == IMAGE:
                out["nll"] = jax.vmap(partial(_nll, autoencoder, variables))(keys, points)
        return out

    program = jax.jit(lambda e, c, m, *s: map_members(member, e, c, m, shared=s, how=how))
    context, means = ensembles.take((layer.context, jnp.asarray(layer.class_means)), chosen)
    keys = example_keys(config.seed, f"draw.{layer.name}", test.ids)

    def work(start: int, stop: int) -> Arrays:
        rows = (keys[start:stop], test.x[start:stop], test.label[start:stop])
        out = program(cell.ensemble, context, means, *rows, prepared.ensemble)
        small = {"prediction": np.int16, "judged": np.int16}
        dims = {"judged": ("member", "judge", "example")}
        return {
            name: (dims.get(name, EXAMPLE), np.asarray(value, small.get(name, np.float32)))
            for name, value in out.items()
        }

    most = max(16, CHUNK // int(np.prod(layer.shape)))
    total = len(test.label)
    size = -(-total // -(-total // most))
    return runs.chunks(run, f"measure.{cell.name}", work, total, size)


def _nll(autoencoder, variables, key, point):
    """-log p(x | z) of one image in 8-bit bins, z a draw of its posterior. Nats."""
    return autoencoder.losses(variables, key, point[None], Penalties())[0]["nll"][0]


def originals(config, run: Run, prepared: Setting, test: Examples) -> np.ndarray:
    """What every classifier predicts on the test images themselves, [judge, example]."""
    program = jax.jit(
        lambda e, x: map_members(
            lambda v, x: jnp.argmax(prepared.classifier.apply(v, x), axis=-1), e, shared=(x,), how=prepared.how
        )
    )

    def work(start: int, stop: int) -> Arrays:
        out = program(prepared.ensemble, test.x[start:stop])
        return {"original": (("judge", "example"), np.asarray(out, np.int16))}

    size = min(len(test.label), 1000)
    return runs.chunks(run, "originals", work, len(test.label), size)["original"][1]


def encoded(config, layer: Layer, cell: Cell, x: np.ndarray, *, block: int = 1000) -> np.ndarray:
    """Latents of images, [member, n, ...]."""
    how = ensembles.parse(config.mapping, len(sources(config)))
    context = ensembles.take(layer.context, sources(config))
    program = _encoder(layer, cell, how)
    parts = [np.asarray(program(cell.ensemble, context, x[i : i + block])) for i in range(0, len(x), block)]
    return np.concatenate(parts, axis=1)


def _encoder(layer: Layer, cell: Cell, how):
    def member(variables, context, x):
        points = layer.observe(context, x)
        if cell.autoencoder is None:
            return yardsticks.pca_encode(variables, points)
        return cell.autoencoder.encode(variables, points)

    return jax.jit(lambda e, c, x: map_members(member, e, c, shared=(x,), how=how))


def _decoder(cell: Cell, how):
    def member(variables, z):
        if cell.autoencoder is None:
            return yardsticks.pca_decode(variables, z)
        return cell.autoencoder.decode(variables, z)

    return jax.jit(lambda e, z: map_members(member, e, z, how=how))


def latents(config, run: Run, layer: Layer, cell: Cell, test: Examples) -> Arrays:
    """How a cell's latent is used over the test images [member], how many bits an image takes [member, example].

    effective_dimension, where units have a meaning active_units; for codes code_usage, code_perplexity, code_bits; for
    ae-like families and PCA on images rate_bits, rate_mse [member, step, example] after uniform quantisation.
    """

    def work() -> Arrays:
        z = encoded(config, layer, cell, test.x)
        if cell.family in CODED:
            return _codes(config, cell, *(code_index(config, cell, v) for v in (_trained(config, layer, cell), z)))
        flat = z.reshape(*z.shape[:2], -1)
        found: Arrays = {
            "effective_dimension": (("member",), np.asarray([effective_dimension(spectrum(m)) for m in flat]))
        }
        if cell.family in UNITS:
            used = [active_units(m, relative=cell.family != "vae") for m in flat]
            found["active_units"] = (("member",), np.asarray(used, np.float64))
        if layer.name == IMAGE and cell.family != "vae":
            found |= _rate_curve(config, cell, _trained(config, layer, cell), z, test.x)
        return found

    return runs.once(run, f"latent.{cell.name}", work)


def _trained(config, layer: Layer, cell: Cell) -> np.ndarray:
    """Latents of training images, that tables of code lengths are made from."""
    rows = np.random.default_rng(config.seed).permutation(len(layer.bank.x))[:TABLED]
    return encoded(config, layer, cell, layer.bank.x[rows])


def code_index(config, cell: Cell, z: np.ndarray) -> np.ndarray:
    """Codes of latents [member, n, ...] of vq and fsq, [member, n, place]."""

    def one(member: int) -> np.ndarray:
        if cell.family == "fsq":
            points = jnp.asarray(z[member].reshape(len(z[member]), -1, len(config.autoencoder.levels)))
            return np.asarray(bottlenecks.fsq_index(points, tuple(config.autoencoder.levels)))
        codes = cell.ensemble["codebook"].codes[member]
        entries = jnp.asarray(z[member].reshape(-1, codes.shape[-1]))
        return np.asarray(bottlenecks.nearest(codes, entries)).reshape(len(z[member]), -1)

    return np.stack([one(member) for member in range(len(z))])


def _codes(config, cell: Cell, trained: np.ndarray, index: np.ndarray) -> Arrays:
    used = [rate.code_use(member, cell.size) for member in index]
    places = index.shape[-1]
    counts = np.full(places, cell.size)
    bits = [rate.code_lengths(fit, coded, counts) for fit, coded in zip(trained, index, strict=True)]
    return {
        "code_bits": (EXAMPLE, np.asarray(bits, np.float32)),
        "code_usage": (("member",), np.asarray([u.usage for u in used])),
        "code_perplexity": (("member",), np.asarray([u.perplexity for u in used])),
        "code_bound": ((), np.float64(places * np.log2(cell.size))),
    }


def _rate_curve(config, cell: Cell, trained: np.ndarray, z: np.ndarray, x: np.ndarray, block: int = 1000) -> Arrays:
    how = ensembles.parse(config.mapping, len(z))
    decode = _decoder(cell, how)
    bits, errors = (np.zeros((len(z), len(STEPS), len(x)), np.float32) for _ in range(2))
    for i, step in enumerate(STEPS):
        coarse = np.empty_like(z)
        for member, (fit, own) in enumerate(zip(trained, z, strict=True)):
            fit = fit.reshape(len(fit), -1)
            quantiser = rate.fit_quantiser(fit, step, orthonormal=cell.family == "pca")
            rounded, index = rate.quantise(quantiser, own.reshape(len(own), -1))
            bits[member, i] = rate.code_lengths(rate.quantise(quantiser, fit)[1], index, quantiser.counts)
            coarse[member] = rounded.reshape(own.shape)
        for start in range(0, len(x), block):
            back = np.asarray(decode(cell.ensemble, coarse[:, start : start + block]))
            gap = (back - x[None, start : start + block]).reshape(len(z), back.shape[1], -1)
            errors[:, i, start : start + block] = np.square(gap).mean(axis=-1)
    dims = ("member", "step", "example")
    return {"rate_bits": (dims, bits), "rate_mse": (dims, errors)}


# ---- distributions of images, in the feature space of a classifier ----


def features_of(config, prepared: Setting, layer: Layer, test: Examples):
    """(images [member, n, ...]) -> features [member, n, F] in each member's classifier, and those of training images.

    A classifier's last hidden layer, along the principal axes of as many training images there.
    """
    classifier, chosen = prepared.classifier, sources(config)
    how = ensembles.parse(config.mapping, len(chosen))
    judges = ensembles.take(prepared.ensemble, chosen)

    def last(variables, x):
        h = classifier.features(variables, x, classifier.layers[-1])
        return h.reshape(h.shape[0], -1)

    program = jax.jit(lambda e, x: map_members(last, e, x, how=how))

    def all_of(x: np.ndarray) -> np.ndarray:
        parts = [np.asarray(program(judges, x[:, i : i + 500])) for i in range(0, x.shape[1], 500)]
        return np.concatenate(parts, axis=1)

    rows = _like(test.label, layer.bank.label, config.seed)
    bank = layer.bank.x[rows]
    trained = all_of(np.broadcast_to(bank, (len(chosen), *bank.shape)))
    count = max(2, min(FEATURES, len(bank) // IMAGES_A_FEATURE, trained.shape[-1]))
    axes = [yardsticks.fit_pca(t, count) for t in trained]

    def project(h: np.ndarray) -> np.ndarray:
        return np.stack(
            [np.asarray(yardsticks.pca_encode(pca, jnp.asarray(m))) for pca, m in zip(axes, h, strict=True)]
        )

    return (lambda x: project(all_of(x))), project(trained), layer.bank.label[rows]


def _like(label: np.ndarray, bank: np.ndarray, seed: int) -> np.ndarray:
    """Random places in the bank that hold each class as often as `label` does (or as often as there are such)."""
    order = np.random.default_rng(seed).permutation(len(bank))
    return np.concatenate([order[bank[order] == k][: np.sum(label == k)] for k in np.unique(label)])


def distances(a: np.ndarray, b: np.ndarray, strata_a: np.ndarray, strata_b: np.ndarray | None, seed: int) -> np.ndarray:
    """Extrapolated Frechet distance of b from a in every classifier's features, over the variance of a there. [member].

    Feature scales differ between classifiers; as a share of tr cov(a) distances can be averaged.
    """
    pairs = zip(a, b, strict=True)
    far = [
        frechet.extrapolated(x, y, strata_a=strata_a, strata_b=strata_b, seed=seed) / x.var(axis=0, ddof=1).sum()
        for x, y in pairs
    ]
    return np.asarray(far)


def decoded_images(config, layer: Layer, cell: Cell, x: np.ndarray) -> np.ndarray:
    """Reconstructions of images, [member, n, H, W, C]."""
    how = ensembles.parse(config.mapping, len(sources(config)))
    label = np.zeros(len(x), np.int32)
    program = jax.jit(lambda e, *s: map_members(cell.reconstruct, e, shared=s, how=how))
    parts = [np.asarray(program(cell.ensemble, x[i : i + 1000], label[i : i + 1000])) for i in range(0, len(x), 1000)]
    return np.concatenate(parts, axis=1)


def prior_samples(config, cell: Cell, count: int) -> np.ndarray | None:
    """Images decoded from draws of the prior, [member, n, H, W, C]; None for families without one."""
    if cell.family not in OWN_PRIOR:
        return None
    how = ensembles.parse(config.mapping, len(sources(config)))
    dim = cell.autoencoder.latent[-1]
    z = jax.random.normal(stage_key(config.seed, f"prior.{cell.name}"), (count * dim,)).reshape(count, dim)
    z = np.asarray(bottlenecks.sphere(z) if cell.family == "sphere" else z)
    decode = jax.jit(lambda e, z: map_members(cell.autoencoder.decode, e, shared=(z,), how=how))
    return np.concatenate([np.asarray(decode(cell.ensemble, z[i : i + 1000])) for i in range(0, count, 1000)], axis=1)


def distributions(config, run: Run, prepared: Setting, layer: Layer, cells: list[Cell], test: Examples) -> Arrays:
    """Frechet distances to training images: of test images (the floor), of their reconstructions, of prior samples.

    Not to the test images themselves: those and their reconstructions are pairs, and what is extrapolated to many
    images holds for independent sets.
    """

    def work() -> Arrays:
        features, trained, classes = features_of(config, prepared, layer, test)

        def far(images: np.ndarray, strata: np.ndarray | None) -> np.ndarray:
            return distances(trained, features(images), classes, strata, config.seed)

        genuine = np.broadcast_to(test.x, (len(sources(config)), *test.x.shape))
        found: Arrays = {"frechet.floor": (("member",), far(genuine, test.label))}
        for cell in cells:
            told = far(decoded_images(config, layer, cell, test.x), test.label)
            found[f"frechet.reconstruction.{cell.name}"] = (("member",), told)
            samples = prior_samples(config, cell, len(test.x))
            if samples is not None:
                found[f"frechet.samples.{cell.name}"] = (("member",), far(samples, None))
        return found

    return runs.once(run, "frechet", work)
