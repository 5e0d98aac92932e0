"""One contract for all families, and losses that are known in closed form."""

import math
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, special, stats

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
QUICK = [(family, "dense", False) for family in FAMILIES] + [("ae", "conv", False)]
# Behind convolutions `denoising` is the network of `ae`, and a flat latent that of a dense one.
QUICK += [(family, "conv", True) for family in PLACED if family != "denoising"]
CASES = [(family, "dense", False) for family in FAMILIES] + [(family, "conv", True) for family in PLACED]
CASES += [(family, "conv", False) for family in FAMILIES]
CASES = [case if case in QUICK else pytest.param(*case, marks=pytest.mark.slow) for case in CASES]


@pytest.mark.parametrize("family,network,spatial", CASES)
def test_every_family_keeps_the_contract(family, network, spatial):
    """Shapes, outputs in [0, 1], a loss with a gradient everywhere, and rows that do not see their companions."""
    model, variables = start(family, network=network, spatial=spatial)
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
    assert (book is None) == (family != "vq") and (model.posterior is None) == (family != "vae")
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradients):
        assert jnp.isfinite(leaf).all() and jnp.any(leaf != 0), jax.tree_util.keystr(path)


SIZES = [(f, spatial, (15, 17)) for spatial in (False, True) for f in (PLACED if spatial else FAMILIES)]
SIZES += [("ae", spatial, (side, side)) for side in (64, 32, 28) for spatial in (False, True)]


@pytest.mark.parametrize("family,spatial,side", SIZES)
def test_residual_networks_take_images_of_any_size(family, spatial, side):
    """Shapes of latents, reconstructions, losses and gradients; the maps of a latent are rounded up."""
    shape = (*side, 3)
    options = {"sparse": {"k": 2}, "fsq": {"levels": (8, 5, 5, 5)}, "vq": {"num_codes": 8}}.get(family, {})
    model = build(family, shape, dim=4, network="conv", widths=(8, 12, 16), blocks=1, spatial=spatial, **options)

    def everything(key, x):
        variables = model.init(key, x)

        def loss(params):
            terms, _ = model.losses(variables | {"params": params}, key, x, Penalties(perceptual=1.0), coders.flat)
            return jnp.mean(terms["loss"]), terms

        z = model.encode(variables, x)
        gradients, terms = jax.grad(loss, has_aux=True)(variables["params"])
        return variables["params"], gradients, z, model.decode(variables, z), terms

    params, gradients, z, out, terms = jax.eval_shape(everything, jax.random.key(0), jnp.zeros((2, *shape)))
    places = tuple(-(-s // 8) for s in side)
    assert z.shape == (2, *places, 4) if spatial else z.shape == (2, 4)
    assert out.shape == (2, *shape) and jax.tree.map(jnp.shape, gradients) == jax.tree.map(jnp.shape, params)
    assert all(term.shape == (2,) for term in terms.values()) and "perceptual" in terms
    names = [name for name in params["decoder"] if name.startswith("block")]
    assert len(names) == 3 * 2  # halvings x convolutions


def test_a_silenced_residual_block_is_not_there():
    """h + 0: with the last convolution of every block at zero, a network with blocks is the one without."""
    x = points()
    plain, (with_blocks, variables) = made("ae", network="conv"), start("ae", network="conv", blocks=2)

    def silenced(part):
        return {
            n: jax.tree.map(jnp.zeros_like, v) if n.endswith("conv2") and "block" in n else v for n, v in part.items()
        }

    silent = {"params": {name: silenced(part) for name, part in variables["params"].items()}}
    bare = {"params": {n: {k: v for k, v in p.items() if "block" not in k} for n, p in variables["params"].items()}}
    expected = jax.jit(lambda v: plain.decode(v, plain.encode(v, x)))(bare)

    @jax.jit
    def through(variables):
        return with_blocks.decode(variables, with_blocks.encode(variables, x))

    np.testing.assert_array_equal(through(silent), expected)
    assert np.abs(through(variables) - expected).max() > 1e-3


@pytest.mark.parametrize("family", ["ae", "vae", "vq"])
def test_the_perceptual_term_of_a_linear_classifier_is_a_quadratic_form(family):
    """(x - x^)' A A' (x - x^) of activations A' x, weighed like pixels; the reconstruction alone has a gradient."""
    (model, variables), x, weight = start(family, scale=0.3), points(), 0.7
    a = jnp.asarray(np.random.default_rng(1).normal(size=(84, 6)), jnp.float32)

    def terms(weight, perceive, params=variables["params"]):
        return model.losses(
            variables | {"params": params}, jax.random.key(1), x, Penalties(perceptual=weight), perceive
        )[0]

    def perceive(x):
        return coders.flat(x) @ a

    off, none, on = terms(weight, None), terms(0.0, perceive), terms(weight, perceive)
    assert "perceptual" not in off
    np.testing.assert_array_equal(none["loss"], off["loss"])
    # What the decoder gave is not among the terms: it is found as what A = 1 cannot tell from x.
    d = terms(weight, lambda x: coders.flat(x))["perceptual"]
    np.testing.assert_allclose(d, 84 * off["mse"], rtol=1e-5)
    np.testing.assert_allclose(terms(weight, lambda x: 2 * perceive(x))["perceptual"], 4 * on["perceptual"], rtol=1e-5)
    if family != "vae":  # of which the reconstruction is drawn
        out = model.decode(variables, model.encode(variables, x))
        gap = np.asarray(coders.flat(x - out), np.float64)
        quadratic = np.einsum("ni,ij,nj->n", gap, np.asarray(a @ a.T, np.float64), gap)
        np.testing.assert_allclose(on["perceptual"], quadratic, rtol=1e-4)
    unit = 1.0
    if family == "vae":  # nats: D / (2 sigma^2) for an error of 1
        unit = 84 / (2 * (0.1**2 + (1 / 255) ** 2))
    np.testing.assert_allclose(on["loss"] - off["loss"], weight * 0.3**2 * unit * on["perceptual"], rtol=1e-3)

    def own(params, weight):
        return jnp.mean(terms(weight, perceive, params)["loss"])

    slopes = [jax.grad(own)(variables["params"], w) for w in (0.0, weight)]
    moved = jax.tree.map(lambda a, b: bool(jnp.any(a != b)), *slopes)
    assert moved["decoder"]["out"]["kernel"] and moved["encoder"]["out"]["kernel"]
    if family == "vae":
        assert not moved["log_sigma"]  # the width of the pixels' distribution answers for pixels alone


@pytest.mark.parametrize("family", PLACED)
def test_a_dense_latent_may_have_places(family):
    """P groups of D, quantised one by one: the codes of a place are those of the codebook, wherever it is."""
    model, variables = start(family, places=3)
    x = points()
    z = model.encode(variables, x)
    assert z.shape == (5, *model.latent) and model.latent == (3, 2 if family == "fsq" else 4)
    assert model.decode(variables, z).shape == x.shape
    if family == "vq":
        codes = np.asarray(variables["codebook"].codes)
        apart = np.abs(np.asarray(z)[:, :, None] - codes).max(axis=-1).min(axis=-1)
        assert apart.max() < 1e-6


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


def test_a_dense_network_can_be_pca():
    """With its layers silenced, the linear map beside them is what PCA is."""
    from landscape.models import baselines

    x = (np.random.default_rng(0).normal(size=(50, 6)) * [5, 3, 1, 1, 1, 1]).astype(np.float32)
    pca = baselines.fit_pca(x, 2)
    model = made("ae", shape=(6,), dim=2, pixels=False, mean=pca.mean, scale=1.0)
    params = model.init(jax.random.key(0), jnp.asarray(x))["params"]
    for part, axes in (("encoder", pca.axes), ("decoder", pca.axes.T)):
        params[part]["straight"]["kernel"] = axes
        params[part]["out"] = jax.tree.map(jnp.zeros_like, params[part]["out"])
    variables = {"params": params}
    ours = model.decode(variables, model.encode(variables, jnp.asarray(x)))
    np.testing.assert_allclose(ours, baselines.pca_decode(pca, baselines.pca_encode(pca, jnp.asarray(x))), atol=1e-5)


@pytest.mark.parametrize("family", ["ae", "vae"])
def test_hidden_layers_come_back_in_their_own_units(family):
    """Moving and stretching the data, mean and scale with it, moves and stretches the reconstruction."""
    h = 3.0 * points(6, (10,)) - 1.0
    one, two = (
        made(family, shape=(10,), pixels=False, mean=m, scale=s)
        for m, s in ((h.mean(0), 2.0), (5 * h.mean(0) + 7, 10.0))
    )
    variables = one.init(jax.random.key(0), h)
    out, moved = (m.decode(variables, m.encode(variables, x)) for m, x in ((one, h), (two, 5 * h + 7)))
    np.testing.assert_allclose(moved, 5 * out + 7, rtol=1e-4)


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
    plain = np.square(model.decode(variables, model.encode(variables, x)) - x).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(model.losses(variables, key, x, Penalties())[0]["loss"], plain, rtol=1e-5)
    eps = np.asarray(jax.random.normal(jax.random.split(key)[0], (x.size,))).reshape(x.shape)
    assert abs(eps.mean()) < 4 / x.size**0.5 and abs(np.square(eps).mean() - 1) < 4 * (2 / x.size) ** 0.5
    back = model.decode(variables, model.encode(variables, x + 0.5 * eps))
    expected = np.square(back - x).mean(axis=(1, 2, 3))
    assert np.abs(expected / plain - 1).min() > 1e-4
    np.testing.assert_allclose(model.losses(variables, key, x, Penalties(noise=0.5))[0]["loss"], expected, rtol=1e-5)


def test_commitment_pulls_the_encoder_to_its_code_and_leaves_the_code():
    """The mean square of e - code, weighed: its slope along e is 2 (e - code) / D, along the codebook none."""
    (model, variables), x = start("vq"), points()
    bias = jnp.asarray([0.3, -0.2, 0.1, 0.4])  # moves e alone, by itself

    def terms(bias, codes, commitment):
        changed = jax.tree.map(lambda leaf: leaf, variables)
        changed["params"]["encoder"]["out"]["bias"] = bias
        changed["codebook"] = variables["codebook"]._replace(codes=codes)
        return model.losses(changed, jax.random.key(0), x, Penalties(commitment=commitment))[0]

    codes = variables["codebook"].codes
    # With codes at 0 that all e are nearest to, e itself is what is left.
    own = terms(bias, jnp.zeros_like(codes), 0.25)
    slope = jax.grad(lambda bias: jnp.sum(terms(bias, jnp.zeros_like(codes), 1.0)["commitment"]))(bias)
    np.testing.assert_allclose(own["loss"], own["mse"] + 0.25 * own["commitment"], rtol=1e-6)
    shifted = jax.grad(lambda bias: jnp.sum(terms(bias, jnp.zeros_like(codes) + 0.1, 1.0)["commitment"]))(bias)
    np.testing.assert_allclose(slope - shifted, 5 * 2 * 0.1 / 4, rtol=1e-4)  # five images, D = 4
    moved = jax.grad(lambda codes: jnp.sum(terms(bias, codes, 1.0)["commitment"]))(codes)
    np.testing.assert_array_equal(moved, 0.0)


def test_an_output_is_no_surer_than_the_eight_bits_it_is_told_of():
    """However small the learned deviation becomes, the likelihood is that of one of 1 / 255."""
    (model, variables), x, key = start("vae"), points(), jax.random.key(1)
    variables["params"]["log_sigma"] = jnp.float32(-40.0)
    z = bottlenecks.draw(jax.random.split(key)[0], model.posterior(variables, x))
    expected = -likelihoods.log_bins(x, model.decode(variables, z), 1 / 255).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(model.losses(variables, key, x, Penalties())[0]["nll"], expected, rtol=1e-5)


def test_probabilities_of_all_bins_sum_to_one():
    x = jnp.arange(256, dtype=jnp.float32)[:, None] / 255
    for mean, sigma in ((0.3, 0.05), (0.0, 0.01), (1.2, 0.1), (0.5, 1 / 255), (-0.4, 2.0)):
        found = likelihoods.log_bins(x, jnp.full_like(x, mean), sigma)
        assert jnp.isfinite(found).all()
        np.testing.assert_allclose(special.logsumexp(np.asarray(found, np.float64)), 0.0, atol=2e-5)


def test_a_bin_far_from_the_mean_keeps_its_digits_and_its_gradient():
    x = jnp.array([[10 / 255, 200 / 255, 0.0, 1.0]])
    mean, sigma = jnp.full_like(x, 0.5), 0.02
    low, high = (np.asarray(x, np.float64) + s / 510 for s in (-1, 1))
    low, high = np.where(x <= 0, -np.inf, low), np.where(x >= 1, np.inf, high)
    a, b = (low - 0.5) / sigma, (high - 0.5) / sigma
    a, b = np.where(a + b > 0, -b, a), np.where(a + b > 0, -a, b)
    expected = special.log_ndtr(b) + np.log1p(-np.exp(special.log_ndtr(a) - special.log_ndtr(b)))
    np.testing.assert_allclose(likelihoods.log_bins(x, mean, sigma), expected, rtol=1e-4)
    gradient = jax.grad(lambda mean: jnp.sum(likelihoods.log_bins(x, mean, sigma)))(mean)
    # Far out in the tail d log P / d mean is near (x - mean) / sigma^2, the density's own.
    np.testing.assert_allclose(gradient[0, :2], (x[0, :2] - 0.5) / sigma**2, rtol=0.05)
    assert gradient[0, 2] < 0 < gradient[0, 3] and jnp.isfinite(gradient).all()


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


@pytest.mark.parametrize("family", FAMILIES)
def test_the_prior_is_that_of_the_family(family):
    """Standard normal for vae; for sphere one constant, minus the log of the area (tested below); none for others."""
    model = made(family)
    if family not in ("vae", "sphere"):
        assert model.log_prior is None
        return
    z = jnp.asarray(np.random.default_rng(0).normal(size=(5, 4)), jnp.float32)
    expected = stats.norm.logpdf(z).sum(axis=1) if family == "vae" else likelihoods.log_uniform_on_sphere(z)
    np.testing.assert_allclose(model.log_prior(z), expected, rtol=1e-5)
    assert (np.ptp(expected) == 0) == (family == "sphere")


@pytest.mark.parametrize("dim", [2, 3, 8])
def test_density_on_the_sphere_integrates_to_one(dim):
    """Area of the sphere of radius sqrt(D) from the volume of the ball: d/dr of V_D r^D."""
    volume = integrate.quad(lambda r: r ** (dim - 1), 0, 1)[0] * dim * math.pi ** (dim / 2) / math.gamma(dim / 2 + 1)
    area = dim * volume * dim ** ((dim - 1) / 2)
    found = likelihoods.log_uniform_on_sphere(jnp.zeros((1, dim)))
    np.testing.assert_allclose(np.exp(found) * area, 1.0, rtol=1e-5)


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
