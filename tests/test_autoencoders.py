"""One contract for all families, and losses that are known in closed form."""

import math
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from landscape.models import bottlenecks, coders, likelihoods
from landscape.models.autoencoders import FAMILIES, Penalties, build

SHAPE = (7, 6, 2)


def made(family, *, shape=SHAPE, dim=4, network="dense", spatial=False, **options):
    options |= {"sparse": {"k": 2}, "fsq": {"levels": (64, 63)}, "vq": {"num_codes": 8}}.get(family, {})
    widths = (12,) if network == "dense" else (4, 6)
    return build(family, shape, dim=dim, network=network, widths=widths, spatial=spatial, **options)


def points(n=5, shape=SHAPE, seed=0):
    return jnp.asarray(np.random.default_rng(seed).uniform(size=(n, *shape)), jnp.float32)


@cache
def _drawn(family, network, spatial, options):
    model = made(family, network=network, spatial=spatial, **dict(options))
    init = jax.jit(model.init) if network == "conv" else model.init  # dense ones have their small programs in common
    return model, init(jax.random.key(0), points())


def start(family, *, network="dense", spatial=False, **options):
    """(model, variables before training): drawn once, of one's own to change."""
    model, variables = _drawn(family, network, spatial, tuple(options.items()))
    return model, jax.tree.map(lambda leaf: leaf, variables)


PLACED = ("ae", "denoising", "contractive", "vq", "fsq")
# A flat latent behind convolutions is that of a dense network, `denoising` and `contractive` are the networks of `ae`.
QUICK = [(family, "dense", False, 1) for family in FAMILIES if family not in ("denoising", "contractive")]
QUICK += [("ae", "conv", True, 1), ("vq", "conv", True, 1), ("fsq", "dense", False, 3)]
CASES = [(family, "dense", False) for family in FAMILIES] + [(family, "conv", True) for family in PLACED]
CASES += [(family, "conv", False) for family in FAMILIES]
CASES = [(*case, 1) for case in CASES] + [(family, "dense", False, 3) for family in PLACED]
CASES = [case if case in QUICK else pytest.param(*case, marks=pytest.mark.slow) for case in CASES]


@pytest.mark.parametrize("family,network,spatial,places", CASES)
def test_every_family_keeps_the_contract(family, network, spatial, places):
    """Shapes, outputs in [0, 1], a loss with a gradient everywhere, and rows that do not see their companions; of a
    latent that has places each is quantised by the one codebook."""
    model, variables = start(family, network=network, spatial=spatial, places=places)
    x = points()

    @jax.jit
    def everything(variables, x):
        def loss(params):
            terms, book = model.losses(variables | {"params": params}, jax.random.key(1), x, Penalties(noise=0.1))
            return jnp.mean(terms["loss"]), (terms, book)

        z = model.encode(variables, x)
        return z, model.decode(variables, z), *jax.grad(loss, has_aux=True)(variables["params"])

    z, out, gradients, (terms, book) = everything(variables, x)
    assert z.shape == (5, *model.latent) and out.shape == x.shape
    assert float(out.min()) >= 0 and float(out.max()) <= 1
    among_others = everything(variables, x.at[::2].set(1 - x[::2]))
    for own, other in zip((z, out), among_others[:2], strict=True):
        np.testing.assert_allclose(other[1::2], own[1::2], atol=1e-5)
        assert np.abs(other[::2] - own[::2]).max() > 1e-3
    assert all(value.shape == (5,) for value in terms.values()) and {"mse", "loss"} <= set(terms)
    if family == "vq":
        codes = np.asarray(variables["codebook"].codes)
        assert np.abs(np.asarray(z)[..., None, :] - codes).max(axis=-1).min(axis=-1).max() < 1e-6
    assert (book is None) == (family != "vq") and (model.posterior is None) == (family != "vae")
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradients):
        assert jnp.isfinite(leaf).all() and jnp.any(leaf != 0), jax.tree_util.keystr(path)


SIZES = [(f, spatial, (15, 17)) for spatial in (False, True) for f in (PLACED if spatial else FAMILIES)]
SIZES += [("ae", spatial, (side, side)) for side in (64, 32, 28) for spatial in (False, True)]
SIZES = [one if one[0] in ("ae", "vq") else pytest.param(*one, marks=pytest.mark.slow) for one in SIZES]


@pytest.mark.parametrize("family,spatial,side", SIZES)
def test_residual_networks_take_images_of_any_size(family, spatial, side):
    """Shapes of latents, reconstructions, losses and gradients; the maps of a latent are rounded up."""
    options = {"sparse": {"k": 2}, "fsq": {"levels": (8, 5, 5, 5)}, "vq": {"num_codes": 8}}.get(family, {})
    network = {"network": "conv", "widths": (8, 12, 16), "blocks": 1, "spatial": spatial}
    model = build(family, (*side, 3), dim=4, **network, **options)

    def everything(key, x):
        variables = model.init(key, x)

        def loss(params):
            terms, _ = model.losses(variables | {"params": params}, key, x, Penalties(perceptual=1.0), coders.flat)
            return jnp.mean(terms["loss"]), terms

        z = model.encode(variables, x)
        gradients, terms = jax.grad(loss, has_aux=True)(variables["params"])
        return variables["params"], gradients, z, model.decode(variables, z), terms

    params, gradients, z, out, terms = jax.eval_shape(everything, jax.random.key(0), jnp.zeros((2, *side, 3)))
    assert z.shape == ((2, *(-(-s // 8) for s in side), 4) if spatial else (2, 4)) and out.shape == (2, *side, 3)
    assert jax.tree.map(jnp.shape, gradients) == jax.tree.map(jnp.shape, params)
    assert all(term.shape == (2,) for term in terms.values()) and "perceptual" in terms
    assert sum(name.startswith("block") for name in params["decoder"]) == 3 * 2  # halvings x convolutions


def test_a_silenced_residual_block_is_not_there():
    """h + 0: with the last convolution of every block at zero, a network with blocks is the one without."""
    x = points()
    plain, (with_blocks, variables) = made("ae", network="conv"), start("ae", network="conv", blocks=2)

    def silent(path, leaf):
        name = path[2].key
        return jnp.zeros_like(leaf) if "block" in name and name.endswith("conv2") else leaf

    def both_ways(model):
        return jax.jit(lambda variables: model.decode(variables, model.encode(variables, x)))

    bare = {"params": {n: {k: v for k, v in p.items() if "block" not in k} for n, p in variables["params"].items()}}
    expected, through = both_ways(plain)(bare), both_ways(with_blocks)
    np.testing.assert_array_equal(through(jax.tree_util.tree_map_with_path(silent, variables)), expected)
    assert np.abs(through(variables) - expected).max() > 1e-3


@pytest.mark.parametrize("family", ["ae", *(pytest.param(f, marks=pytest.mark.slow) for f in ("vae", "vq"))])
def test_the_perceptual_term_of_a_linear_classifier_is_a_quadratic_form(family):
    """(x - x^)' A A' (x - x^) of activations A' x, weighed like pixels; the reconstruction alone has a gradient."""
    (model, variables), x, weight = start(family, scale=0.3), points(), 0.7
    a = jnp.asarray(np.random.default_rng(1).normal(size=(84, 6)), jnp.float32)

    def terms(weight, perceive, params=variables["params"]):
        penalties = Penalties(perceptual=weight)
        return model.losses(variables | {"params": params}, jax.random.key(1), x, penalties, perceive)[0]

    def perceive(x):
        return coders.flat(x) @ a

    off, on = terms(weight, None), terms(weight, perceive)
    assert "perceptual" not in off
    np.testing.assert_array_equal(terms(0.0, perceive)["loss"], off["loss"])
    np.testing.assert_allclose(terms(weight, coders.flat)["perceptual"], 84 * off["mse"], rtol=1e-5)  # A = 1
    if family != "vae":  # of which the reconstruction is drawn
        out = model.decode(variables, model.encode(variables, x))
        np.testing.assert_allclose(on["perceptual"], np.square(coders.flat(x - out) @ a).sum(axis=1), rtol=1e-4)
    # of a VAE nats: D / (2 sigma^2) for an error of 1
    unit = 84 / (2 * (0.1**2 + (1 / 255) ** 2)) if family == "vae" else 1.0
    np.testing.assert_allclose(on["loss"] - off["loss"], weight * 0.3**2 * unit * on["perceptual"], rtol=1e-3)
    slopes = [
        jax.grad(lambda p, w=w: jnp.mean(terms(w, perceive, p)["loss"]))(variables["params"]) for w in (0.0, weight)
    ]
    moved = jax.tree.map(lambda a, b: bool(jnp.any(a != b)), *slopes)
    assert moved["decoder"]["out"]["kernel"] and moved["encoder"]["out"]["kernel"]
    assert not moved.get("log_sigma")  # the width of the pixels' distribution answers for pixels alone


@pytest.mark.parametrize("family", FAMILIES)
def test_project_keeps_what_the_encoder_gives_and_is_done_once(family):
    model, variables = start(family)
    x = points()
    z = model.encode(variables, x)
    np.testing.assert_allclose(model.project(variables, z), z, atol=1e-6)
    away = z + 0.3 * jax.random.normal(jax.random.key(1), z.shape)
    once = model.project(variables, away)
    np.testing.assert_allclose(model.project(variables, once), once, atol=1e-6)
    free = family in ("ae", "denoising", "contractive", "vae")
    assert bool(jnp.allclose(once, away)) == free
    slope = jax.grad(lambda z: jnp.sum(model.project(variables, z) * away))(away)
    assert jnp.isfinite(slope).all() and jnp.any(slope != 0)


def test_contraction_is_the_norm_of_the_jacobian():
    """The mean over probes against the dense Jacobian."""
    (model, variables), x = start("contractive"), points(2)
    jacobian = jax.jacrev(lambda x: model.encode(variables, x[None])[0])
    exact = np.square(jax.jit(jax.vmap(jacobian))(x)).sum(axis=(1, *range(2, 2 + len(SHAPE))))
    keys = jax.random.split(jax.random.key(1), 2000)
    found = jax.jit(jax.vmap(lambda key: model.losses(variables, key, x, Penalties())[0]["contraction"]))(keys)
    assert (np.abs(found.mean(0) - exact) < 4 * found.std(0) / math.sqrt(2000)).all()
    terms = model.losses(variables, keys[0], x, Penalties(contraction=0.5))[0]
    np.testing.assert_allclose(terms["loss"], terms["mse"] + 0.5 * terms["contraction"], rtol=1e-6)


def test_quantisers_pass_the_decoders_gradient_to_the_encoder():
    """d mse / d e is the decoder's gradient at the code, as if nothing had been quantised there."""
    (model, variables), x = start("vq"), points()
    z = model.encode(variables, x)
    codes = variables["codebook"].codes
    assert float(jnp.max(jnp.min(jnp.sum(jnp.square(z[:, None] - codes[None]), -1), axis=1))) < 1e-10

    def mse(z):
        return jnp.sum(jnp.mean(jnp.square(model.decode(variables, z) - x).reshape(5, -1), axis=1))

    def through(params):
        return jnp.sum(
            model.losses(variables | {"params": params}, jax.random.key(0), x, Penalties(commitment=0.0))[0]["loss"]
        )

    bias = jax.jit(jax.grad(through))(variables["params"])["encoder"]["out"]["bias"]
    np.testing.assert_allclose(bias, jax.jit(jax.grad(mse))(z).sum(0), rtol=1e-4, atol=1e-6)


def test_denoising_gives_back_the_image_without_its_noise():
    """Seen is x + noise eps, asked for is x: without noise it is a plain autoencoder."""
    (model, variables), x, key = start("denoising"), points(), jax.random.key(1)
    eps = jax.random.normal(jax.random.split(key)[0], (x.size,)).reshape(x.shape)
    losses = []
    for noise in (0.0, 0.5):
        back = model.decode(variables, model.encode(variables, x + noise * eps))
        losses.append(model.losses(variables, key, x, Penalties(noise=noise))[0]["loss"])
        np.testing.assert_allclose(losses[-1], np.square(back - x).mean(axis=(1, 2, 3)), rtol=1e-5)
    assert np.abs(losses[1] / losses[0] - 1).min() > 1e-4


def test_commitment_pulls_the_encoder_to_its_code_and_leaves_the_code():
    """The mean square of e - code, weighed: its slope along e is 2 (e - code) / D, along the codebook none."""
    (model, variables), x = start("vq"), points()
    own = variables["codebook"].codes

    def terms(bias, codes):
        """`bias` moves e alone, by itself."""
        changed = jax.tree.map(lambda leaf: leaf, variables)
        changed["params"]["encoder"]["out"]["bias"] = bias
        changed["codebook"] = variables["codebook"]._replace(codes=codes)
        return model.losses(changed, jax.random.key(0), x, Penalties(commitment=0.25))[0]

    bias = jnp.asarray([0.3, -0.2, 0.1, 0.4])
    found = terms(bias, own)
    np.testing.assert_allclose(found["loss"], found["mse"] + 0.25 * found["commitment"], rtol=1e-6)
    slope = jax.grad(lambda bias, codes: jnp.sum(terms(bias, codes)["commitment"]), argnums=(0, 1))
    # With all codes at one place, every e is nearest to it.
    apart = slope(bias, jnp.zeros_like(own))[0] - slope(bias, jnp.full_like(own, 0.1))[0]
    np.testing.assert_allclose(apart, 5 * 2 * 0.1 / 4, rtol=1e-4)  # five images, D = 4
    np.testing.assert_array_equal(slope(bias, own)[1], 0.0)


def test_probabilities_of_bins_sum_to_one_and_far_ones_keep_their_digits_and_gradient():
    means, sigma = jnp.array([0.3, 0.0, 1.2, 0.5, -0.4]), jnp.array([[0.05, 0.01, 0.1, 1 / 255, 2.0]])
    for levels in (likelihoods.BYTES, (0, 16, 32, 143, 255), (7, 9)):
        x = jnp.tile(jnp.asarray(levels, jnp.float32)[:, None] / 255, 5)
        found = jax.jit(partial(likelihoods.log_bins, levels=levels))(x, jnp.tile(means, (len(x), 1)), sigma)
        assert jnp.isfinite(found).all()
        np.testing.assert_allclose(special.logsumexp(np.asarray(found, np.float64), axis=0), 0.0, atol=2e-5)
    x, sigma = jnp.array([[10 / 255, 200 / 255, 0.0, 1.0]]), 0.02
    low, high = (abs(np.asarray(x[0, :2], np.float64) - 0.5) + s / 510 for s in (-1, 1))  # the far side of either
    expected = np.log(stats.norm.sf(low / sigma) - stats.norm.sf(high / sigma))
    np.testing.assert_allclose(likelihoods.log_bins(x, jnp.full_like(x, 0.5), sigma)[0, :2], expected, rtol=1e-4)

    def total(mean, sigma):
        return jnp.sum(likelihoods.log_bins(x, mean, sigma))

    gradient, slope = jax.jit(jax.grad(total, argnums=(0, 1)))(jnp.full_like(x, 0.5), sigma)
    assert jnp.isfinite(slope)
    # Far out in the tail d log P / d mean is near (x - mean) / sigma^2, the density's own.
    np.testing.assert_allclose(gradient[0, :2], (x[0, :2] - 0.5) / sigma**2, rtol=0.05)
    assert gradient[0, 2] < 0 < gradient[0, 3] and jnp.isfinite(gradient).all()


def test_a_bin_reaches_halfway_to_the_neighbouring_levels():
    levels, sigma = (0, 100, 255), 0.3
    found = likelihoods.log_bins(jnp.array([[0.0, 100 / 255, 1.0]]), jnp.full((1, 3), 0.4), sigma, levels)
    edges = stats.norm.cdf([-np.inf, 50 / 255, 177.5 / 255, np.inf], 0.4, sigma)
    np.testing.assert_allclose(found[0], np.log(np.diff(edges)), rtol=1e-5)


def test_the_elbo_of_a_linear_vae_at_its_optimum_is_the_exact_likelihood():
    """Probabilistic PCA: x = W z + mu + N(0, s^2), posterior N(M^-1 W'(x - mu), s^2 M^-1), M = W'W + s^2 I.

    With orthogonal columns of W that posterior is diagonal, and the ELBO equals log N(x; mu, WW' + s^2 I).
    (Tipping & Bishop 1999; Lucas et al. 2019, arXiv:1911.02469.)
    """
    rng = np.random.default_rng(0)
    dim, latent, noise = 6, 2, 0.3
    w = np.linalg.qr(rng.normal(size=(dim, latent)))[0] * [2.0, 0.7]
    mu, x = rng.normal(size=dim), rng.normal(size=(4, dim))
    inverse = np.diag(1 / (np.square(w).sum(0) + noise**2))
    # The model's own loss, its network set to that optimum: layers silenced, the linear map beside them W.
    scale = 1.7
    model = made("vae", shape=(dim,), dim=latent, pixels=False, mean=jnp.asarray(mu, jnp.float32), scale=scale)
    params = jax.tree.map(jnp.zeros_like, model.init(jax.random.key(0), jnp.zeros((1, dim)))["params"])
    pull = np.concatenate([scale * w @ inverse, np.zeros((dim, latent))], axis=1)  # mean and log variance
    params["encoder"]["straight"]["kernel"] = jnp.asarray(pull, jnp.float32)
    params["decoder"]["straight"]["kernel"] = jnp.asarray(w.T / scale, jnp.float32)
    log_var = np.log(noise**2 * np.diag(inverse))
    params["encoder"]["out"]["bias"] = jnp.asarray([0.0] * latent + log_var.tolist(), jnp.float32)
    params["log_sigma"] = jnp.float32(0.5 * np.log(noise**2 - (1e-3 * scale) ** 2))  # beside the floor
    keys, points = jax.random.split(jax.random.key(0), 4000), jnp.asarray(x, jnp.float32)

    def elbo(key):
        terms, _ = model.losses({"params": params}, key, points, Penalties())
        return -terms["loss"]  # beta = 1

    found = np.asarray(jax.jit(jax.vmap(elbo))(keys), np.float64)
    exact = stats.multivariate_normal(mu, w @ w.T + noise**2 * np.eye(dim)).logpdf(x)
    assert (np.abs(found.mean(0) - exact) < 4 * found.std(0) / math.sqrt(len(keys))).all()


def test_beta_and_free_bits_are_terms_of_the_vaes_loss():
    (model, variables), x = start("vae"), points()

    def terms(**penalties):
        return model.losses(variables, jax.random.key(1), x, Penalties(**penalties))[0]

    plain = terms()
    np.testing.assert_allclose(plain["loss"], plain["nll"] + plain["kl"], rtol=1e-6)
    np.testing.assert_allclose(terms(beta=3.0)["loss"], plain["nll"] + 3 * plain["kl"], rtol=1e-6)
    np.testing.assert_allclose(terms(free_bits=50.0)["loss"], plain["nll"] + 4 * 50.0, rtol=1e-6)
    # However small the learned deviation becomes, the likelihood is that of one of 1 / 255: of 8 bits.
    variables["params"]["log_sigma"] = jnp.float32(-40.0)
    z = bottlenecks.draw(jax.random.split(jax.random.key(1))[0], model.posterior(variables, x))
    for levels in (likelihoods.BYTES, (0, 128, 255)):
        model = made("vae", pixel_levels=levels)
        expected = -likelihoods.log_bins(x, model.decode(variables, z), 1 / 255, levels).sum(axis=(1, 2, 3))
        np.testing.assert_allclose(terms()["nll"], expected, rtol=1e-5)


def test_the_prior_is_that_of_the_family():
    """Standard normal for vae; for sphere one over the area of radius sqrt(D), D V_D r^(D - 1); none for others."""
    assert [family for family in FAMILIES if made(family).log_prior] == ["sphere", "vae"]
    z = jnp.asarray(np.random.default_rng(0).normal(size=(5, 4)), jnp.float32)
    np.testing.assert_allclose(made("vae").log_prior(z), stats.norm.logpdf(z).sum(axis=1), rtol=1e-5)
    for dim in (2, 3, 8):
        area = dim * math.pi ** (dim / 2) / math.gamma(dim / 2 + 1) * dim ** ((dim - 1) / 2)
        np.testing.assert_allclose(made("sphere", dim=dim).log_prior(jnp.zeros((2, dim))), -math.log(area), rtol=1e-5)


@pytest.mark.parametrize(
    "change,message",
    [
        ({"family": "gan"}, "family='gan': expected one of ae"),
        ({"network": "transformer"}, "network='transformer'"),
        ({"shape": (10,), "network": "conv"}, r"expected \(H, W, C\)"),
        ({"spatial": True}, "spatial with ae, dense"),
        ({"levels": (3, 3)}, "levels=.* with ae"),
        ({"scale": 0.0}, "scale=0"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    arguments = {"family": "ae", "shape": SHAPE, "dim": 4} | change
    with pytest.raises(ValueError, match=message):
        build(arguments.pop("family"), arguments.pop("shape"), **arguments)
