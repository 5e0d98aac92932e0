"""Autoencoders of images and of hidden layers, all families behind one interface.

    x -> encoder -> e -> bottleneck -> z -> decoder -> x^

Families: `ae` (plain), `denoising` and `contractive` (other losses), `sparse` (the k largest entries), `sphere` (radius
sqrt(D)), `vae`, `vq` (learned codebook) and `fsq` (fixed grid).
Latents are flat [N, D] or have places: maps [N, P, Q, D] of a convolutional network with `spatial`, or groups [N, P, D]
of a dense one. Inputs are standardised inside, (x - mean) / scale, and outputs are brought back, so errors are in the
units of x. Decoders of maps upsample by repeating pixels, then convolve.

Dense networks have a linear map beside their layers, so that PCA is among what they can be: with 256 dimensions on
Fashion-MNIST it halves the error of eight epochs, with 32 it changes nothing.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from landscape.models import bottlenecks, coders, likelihoods
from landscape.models.bottlenecks import Gaussian
from landscape.types import Values, Variables

FAMILIES = ("ae", "denoising", "contractive", "sparse", "sphere", "vae", "vq", "fsq")
NETWORKS = ("dense", "conv")
PRIORS = {"vae": bottlenecks.log_standard, "sphere": likelihoods.log_uniform_on_sphere}  # log densities, nats
SIGMA_FLOOR = 1 / 255  # pixels: a VAE's output may be no surer than the 8 bits of its images

Points = Float[Array, "N ..."]
Latents = Float[Array, "N ..."]


class Penalties(NamedTuple):
    """Numbers that training takes and that change no shape, so that they can be swept along the member axis.

    noise: standard deviation of Gaussian noise on the input of a denoising autoencoder, units of x.
    contraction: of the squared Frobenius norm of dz/dx, which random probes estimate (Rifai et al. 2011).
    beta, free_bits: of a VAE's KL, and nats a dimension that cost nothing extra.
    commitment: of the distance of e from its code (van den Oord et al. 2017).
    restart: share of the mean use of codes below which one is moved to where latents are; 0: plain VQ, without.
    perceptual: of the error of hidden activations beside that of pixels, both as shares of their variance.
    """

    noise: ArrayLike = 0.0
    contraction: ArrayLike = 0.0
    beta: ArrayLike = 1.0
    free_bits: ArrayLike = 0.0
    commitment: ArrayLike = 0.25
    restart: ArrayLike = 0.03
    perceptual: ArrayLike = 0.0


WEIGHED = {  # the penalties that a family's training takes
    "denoising": ("noise",),
    "contractive": ("contraction",),
    "vae": ("beta", "free_bits"),
    "vq": ("commitment", "restart"),
}


class Autoencoder(NamedTuple):
    """Pure functions of one architecture; `variables` is {"params", and "codebook" for vq}.

    Attributes:
      init: init(key, x) -> variables.
      encode: encode(variables, x) -> z, what the decoder reads, without randomness: a VAE's posterior mean, vq's codes.
      decode: decode(variables, z) -> x^, in the units of x.
      losses: losses(variables, key, x, penalties, perceive=None) -> (terms, codebook): per-example terms [N] by name,
        "loss" the one to be lowered, and the moved codebook, None but for vq. With perceive(x) -> [N, F], activations
        in units of the root of their total variance, there is the term "perceptual", see `_perceptual`.
      log_prior: log_prior(z) -> log density [N], nats; None for families without a prior.
      posterior: posterior(variables, x) -> Gaussian; None but for vae.
      project: project(variables, z) -> a point that the encoder could have given: on the sphere, the k largest entries,
        the nearest codes or grid points; z itself for families whose latent is all of space.
      latent: shape of one z.
    """

    init: Callable
    encode: Callable
    decode: Callable
    losses: Callable
    log_prior: Callable | None
    posterior: Callable | None
    project: Callable
    latent: tuple[int, ...]


def build(
    family: str,
    shape: tuple[int, ...],
    *,
    dim: int,
    network: str = "dense",
    widths: tuple[int, ...] = (512, 256),
    blocks: int = 0,
    places: int = 1,
    spatial: bool = False,
    mean: ArrayLike = 0.0,
    scale: float = 1.0,
    pixels: bool = True,
    k: int = 0,
    num_codes: int = 512,
    levels: tuple[int, ...] = (),
    pixel_levels: tuple[int, ...] = likelihoods.BYTES,
) -> Autoencoder:
    """The functions of one autoencoder; a ValueError where values do not fit each other.

    Args:
      family: one of FAMILIES. shape: of one point: (H, W, C), or of a hidden layer.
      dim: D, of the latent; channels of it with `spatial`. fsq has one channel for each of `levels`.
      network: "dense" or "conv" (points [H, W, C] only), with `widths` units a layer or channels a halving.
      blocks: residual blocks a halving (conv), as many again on the way back.
      places: P (dense): the latent is P groups of D, which vq and fsq quantise one by one.
      spatial: a latent at every place of the last map (conv), as `places`.
      mean, scale: inputs are standardised by them; mean has the shape of a point or is a scalar.
      pixels: images in [0, 1]: outputs go through a sigmoid, and a VAE gives probabilities of bins.
      k: entries kept (sparse). num_codes: B (vq). levels: counts (fsq). pixel_levels: of `likelihoods.bins` (vae).
    """
    _check(family, shape, dim, network, places, spatial, scale, levels)
    channels = len(levels) if family == "fsq" else dim
    sizes = coders.halvings(shape[:2], len(widths)) if network == "conv" else []
    latent = (*sizes[-1], channels) if spatial else (places, channels) if places > 1 else (channels,)
    encoder = coders.Encoder(2 * dim if family == "vae" else channels * places, network, widths, spatial, blocks)
    decoder = coders.Decoder(tuple(shape), network, widths, tuple(sizes), pixels, blocks)
    squeeze, project = _bottleneck(family, dim, k, levels)
    centre = jnp.asarray(mean, jnp.float32)

    def encoded(params: Any, x: Points) -> Array:
        e = encoder.apply({"params": params["encoder"]}, (x - _against(centre, x)) / scale)
        return e.reshape(x.shape[0], *latent) if places > 1 else e

    def encode(variables: Variables, x: Points) -> Latents:
        return squeeze(variables, encoded(variables["params"], x))

    def decode(variables: Variables, z: Latents) -> Points:
        out = decoder.apply({"params": variables["params"]["decoder"]}, z)
        return out if pixels else out * scale + _against(centre, out)

    def posterior(variables: Variables, x: Points) -> Gaussian:
        return bottlenecks.gaussian(encoded(variables["params"], x))

    init = partial(_initial, encoder, decoder, latent, 0.1 if pixels else 1.0, (num_codes, dim), family)
    if family == "vae":
        losses = _elbo(posterior, decode, scale, pixel_levels if pixels else ())
    else:
        losses, posterior = _reconstruction(family, encoded, squeeze, decode, scale), None
    return Autoencoder(init, encode, decode, losses, PRIORS.get(family), posterior, project, latent)


def _bottleneck(family: str, dim: int, k: int, levels: tuple[int, ...]) -> tuple[Callable, Callable]:
    """`squeeze` and `project`: (variables, e) -> z, and (variables, z) -> a z that an encoder could have given."""

    def coded(variables: Variables, z: Latents) -> Latents:
        codes = variables["codebook"].codes
        nearest = codes[bottlenecks.nearest(codes, z.reshape(-1, dim))].reshape(z.shape)
        return bottlenecks.straight_through(z, nearest)

    def sparse(variables: Variables, e: Array) -> Latents:
        return bottlenecks.top_k(e, k)

    def unchanged(variables: Variables, z: Latents) -> Latents:
        return z

    return {
        "sparse": (sparse, sparse),
        "sphere": (lambda variables, e: bottlenecks.sphere(e),) * 2,
        "vae": (lambda variables, e: bottlenecks.gaussian(e).mean, unchanged),
        "vq": (coded, coded),
        "fsq": (
            lambda variables, e: bottlenecks.fsq(e, levels),
            lambda variables, z: bottlenecks.fsq_nearest(z, levels),
        ),
    }.get(family, (unchanged, unchanged))


def _initial(encoder, decoder, latent, sigma: float, codes: tuple[int, int], family: str, key, x: Points) -> Variables:
    """Variables before training; `sigma` of a VAE's output, `codes` (number, dimension) of a codebook."""
    keys = jax.random.split(key, 3)
    z = jnp.zeros((x.shape[0], *latent))
    params = {"encoder": encoder.init(keys[0], x)["params"], "decoder": decoder.init(keys[1], z)["params"]}
    if family == "vae":
        params["log_sigma"] = jnp.log(jnp.float32(sigma))
    return {"params": params} | ({"codebook": bottlenecks.new_codebook(keys[2], *codes)} if family == "vq" else {})


def _reconstruction(family: str, encoded: Callable, squeeze: Callable, decode: Callable, scale: float) -> Callable:
    """`Autoencoder.losses` of all families but vae, made of the functions of `build`."""

    def losses(variables: Variables, key: jax.Array, x: Points, penalties: Penalties, perceive: Callable | None = None):
        key_noise, key_probe = jax.random.split(key)
        seen = x
        if family == "denoising":
            seen = x + penalties.noise * jax.random.normal(key_noise, (x.size,), x.dtype).reshape(x.shape)
        if family == "contractive":
            e, pull = jax.vjp(lambda x: encoded(variables["params"], x), seen)
        else:  # not through `vjp`, which would keep the convolution from its own backward pass
            e = encoded(variables["params"], seen)
        z = squeeze(variables, e)
        out = decode(variables, z)
        error = _mean_square(out - x)
        terms = {"mse": error, "loss": error}
        if perceive is not None:
            terms["perceptual"] = _perceptual(perceive, x, out)
            terms["loss"] += penalties.perceptual * scale**2 * terms["perceptual"]
        if family == "vq":
            vectors = e.reshape(-1, z.shape[-1])
            index = bottlenecks.nearest(variables["codebook"].codes, vectors)
            terms["commitment"] = _mean_square(e - jax.lax.stop_gradient(z))
            terms["loss"] += penalties.commitment * terms["commitment"]
            book = bottlenecks.update(key_probe, variables["codebook"], vectors, index, penalties.restart)
            return terms, jax.lax.stop_gradient(book)
        if family == "contractive":
            # E ||J' v||^2 = ||J||_F^2 for signs v, fair and independent.
            probe = jax.random.rademacher(key_probe, (e.size,), e.dtype).reshape(e.shape)
            terms["contraction"] = jnp.sum(jnp.square(coders.flat(pull(probe)[0])), axis=-1)
            terms["loss"] += penalties.contraction * terms["contraction"]
        return terms, None

    return losses


def _elbo(posterior: Callable, decode: Callable, scale: float, pixel_levels: tuple[int, ...]) -> Callable:
    """`Autoencoder.losses` of a vae; of points that are no images there are no `pixel_levels`."""
    density = partial(likelihoods.log_bins, levels=pixel_levels) if pixel_levels else likelihoods.log_normal

    def losses(variables: Variables, key: jax.Array, x: Points, penalties: Penalties, perceive: Callable | None = None):
        q = posterior(variables, x)
        out = decode(variables, bottlenecks.draw(jax.random.split(key)[0], q))
        floor = SIGMA_FLOOR if pixel_levels else 1e-3 * scale
        sigma = jnp.sqrt(jnp.exp(2 * variables["params"]["log_sigma"]) + floor**2)
        log_likelihood = density(x, out, sigma)
        kl = bottlenecks.kl_to_standard(q)
        nll, rate = -jnp.sum(coders.flat(log_likelihood), axis=-1), jnp.sum(kl, axis=-1)
        loss = nll + penalties.beta * bottlenecks.with_free_bits(kl, penalties.free_bits)
        terms = {"mse": _mean_square(out - x), "nll": nll, "kl": rate, "loss": loss}
        if perceive is not None:
            terms["perceptual"] = _perceptual(perceive, x, out)
            # What an error of that size costs in pixels, D error / (2 sigma^2), which is not to move sigma.
            nats = x[0].size / (2 * jax.lax.stop_gradient(sigma) ** 2)
            terms["loss"] += penalties.perceptual * nats * scale**2 * terms["perceptual"]
        return terms, None

    return losses


def _check(family, shape, dim, network, places, spatial, scale, levels) -> None:
    for what, value, known in (("family", family, FAMILIES), ("network", network, NETWORKS)):
        if value not in known:
            raise ValueError(f"{what}={value!r}: expected one of {', '.join(known)}")
    if network == "conv" and len(shape) != 3:
        raise ValueError(f"network='conv' for points of shape {shape}: expected (H, W, C); try network='dense'")
    if spatial and (network != "conv" or family in ("sparse", "sphere", "vae")):
        raise ValueError(
            f"spatial with {family}, {network}: expected conv and a family that works by place; try spatial=False"
        )
    if places > 1 and (network != "dense" or family in ("sparse", "sphere", "vae")):
        raise ValueError(
            f"places={places} with {family}, {network}: expected dense and a family that works by place; try places=1"
        )
    if dim < 1 or places < 1 or not scale > 0:
        raise ValueError(f"dim={dim}, places={places}, scale={scale}: expected at least 1, and positive numbers")
    if (family == "fsq") != bool(levels):
        raise ValueError(
            f"levels={levels} with {family}: expected level counts for fsq and for it alone; try (8, 5, 5)"
        )


def _against(centre: Array, x: Points) -> Array:
    """The mean of a point, or a scalar, shaped to broadcast against [N, ...]."""
    return centre.reshape((1,) * x.ndim) if centre.ndim == 0 else centre[None]


def _perceptual(perceive: Callable, x: Points, out: Points) -> Values:
    """||h(x) - h(x^)||^2 / E ||h(x) - E h(x)||^2 over hidden activations h of a classifier: 1 where x^ says nothing.

    Its weight is set beside the same share of pixels, ||x - x^||^2 / E ||x - E x||^2, in the unit of the family's loss.

    Source: Johnson et al. 2016, arXiv:1603.08155.
    """
    return jnp.sum(jnp.square(perceive(x) - perceive(out)), axis=-1)


def _mean_square(difference: Points) -> Values:
    return jnp.mean(jnp.square(coders.flat(difference)), axis=-1)
