"""Stages of `latent` on latents that are the image itself, where distances and probabilities are known."""

import itertools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict
from scipy import special

from landscape import ensembles, runs
from landscape.experiments.descriptions import Description
from landscape.experiments.latent import families, sampling, stages
from landscape.experiments.setting import Examples, Setting
from landscape.latent import chains, coordinates
from landscape.models.autoencoders import Autoencoder
from landscape.models.bottlenecks import Codebook
from landscape.runs import Run

SHAPE = (2, 3, 1)  # an image of six pixels; as a latent flat, or
PLACES, EACH = 3, 2  # three places of codes of two numbers
CODES = np.random.default_rng(1).normal(size=(5, EACH)).astype(np.float32)
RADII = (0.3, 1.0)
RUN = object.__new__(Run)  # of which nothing is asked
NAMES = ("vae", "sphere", "ae")


@pytest.fixture(autouse=True)
def without_files(monkeypatch):
    monkeypatch.setattr(runs, "once", lambda run, name, work: work())


def config_of(**mcmc):
    steps = {"mala": 400, "hmc": 40, "nuts": 40, "gibbs": 600}
    few = {"radii": RADII, "num_chains": 4, "num_warmup": 200, "num_steps": steps, "num_frames": 100, "num_prior": 400}
    few |= {"temperature": 1.0, "guide": "member", "num_embeddings": 2, **mcmc}
    return ConfigDict({"seed": 0, "mapping": "map", "num_members": 2, "mcmc": few, "autoencoder": {"levels": ()}})


def family_of(name="ae", n=40):
    """Two members whose decoder is the identity; latents of spread 2 about 5 (codes: those of CODES)."""
    rng = np.random.default_rng(0)
    latent, variables = (PLACES * EACH,), {"unused": jnp.zeros(2)}
    if name == "vq":
        latent = (PLACES, EACH)
        book = Codebook(jnp.asarray(np.stack([CODES] * 2)), jnp.ones((2, 5)), jnp.asarray(np.stack([CODES] * 2)))
        variables |= {"codebook": book}
        z = CODES[rng.integers(0, 5, (2, n, PLACES))].reshape(2, n, -1)
        fits = [coordinates.fit_scaling(own, own.shape[1] // PLACES) for own in z]
    else:
        z = (5 + 2 * rng.normal(size=(2, n, 6))).astype(np.float32)
        fits = [families.fit_whitening(own, ridge=1e-3) for own in z]
    identity = Autoencoder(None, None, lambda v, z: z.reshape(-1, *SHAPE), None, None, None, lambda v, z: z, latent)
    own = Description("image", name, 5, None, variables, identity)
    whitening = ensembles.stack([jax.tree.map(jnp.asarray, fit) for fit in fits])
    return families.Family(own, whitening, z, z, z, z, Examples(*(np.zeros(1),) * 3))


def linear(variables, x):
    return x.reshape(len(x), -1) @ variables["w"]


def prepared_of(strength):
    """Classifiers that see the first pixel (member 0) or the second one: class 1 where it is large."""
    w = np.zeros((2, 6, 2), np.float32)
    w[0, 0, 1] = w[1, 1, 1] = strength
    classifier = types.SimpleNamespace(apply=linear)
    dataset = types.SimpleNamespace(class_names=("a", "b"))
    how = ensembles.Mapping("map")
    return Setting(dataset, classifier, {"w": jnp.asarray(w)}, [], np.ones(2, bool), how)


def members_with(strength):
    return families.members_of(config_of(), prepared_of(strength))


def images_of(family, count=2):
    """The images that the first latents of the first member are."""
    return Examples(family.z_test[0, :count].reshape(-1, *SHAPE), np.zeros(count, np.int32), np.arange(count))


def spread_of(family, member):
    """White units in pixels, of a family whose coordinates are scaled alike in all directions."""
    return float(family.whitening.root[member, 0, 0])


# ---- coordinates ----


def test_codes_are_scaled_alike_and_count_in_places():
    z = np.random.default_rng(3).normal(size=(50, 12)) * np.arange(1, 13) + 7
    fit = coordinates.fit_scaling(z, z.shape[1] // 4)
    white = (z - z.mean(axis=0)) @ fit.inverse
    assert np.square(white).sum(axis=1).mean() == pytest.approx(4, rel=1e-5)
    np.testing.assert_allclose(fit.root @ fit.inverse, np.eye(12), atol=1e-6)
    np.testing.assert_allclose(fit.root, fit.root[0, 0] * np.eye(12))


def test_codes_and_their_prior_are_those_of_the_latents():
    """Codes are white; the prior counts codes place by place."""
    family, config = family_of("vq"), config_of()
    prior, codes = families.codes_of(config, family)
    for s in range(2):
        np.testing.assert_allclose(np.asarray(codes[s]) * spread_of(family, s), CODES, rtol=1e-5)
    first = (np.abs(family.z_train[1].reshape(-1, PLACES, EACH)[:, 0, None] - CODES).sum(axis=-1) < 1e-6).sum(axis=0)
    np.testing.assert_allclose(np.exp(prior[1, 0]), (first + 1) / (40 + 5), rtol=1e-5)
    assert families.codes_of(config, family_of()) == ()


def test_aggregates_are_compared_with_the_familys_prior_or_its_own_gaussian():
    config = config_of()
    named = {name: family_of()._replace(autoencoders=Description("image", name, 5, None, {})) for name in NAMES}
    of = {name: stages._reference(config, family, 1) for name, family in named.items()}
    np.testing.assert_allclose(of["vae"].mean(axis=0), 0, atol=4 / stages.DRAWS**0.5)
    np.testing.assert_allclose(of["vae"].var(axis=0), 1, atol=4 * (2 / stages.DRAWS) ** 0.5)
    np.testing.assert_allclose(np.square(of["sphere"]).sum(axis=1), 6, rtol=1e-5)
    z = family_of().z_train[1].astype(np.float64)
    apart = np.linalg.solve(np.cov(z.T), (of["ae"] - z.mean(axis=0)).T)
    assert np.mean(apart * (of["ae"] - z.mean(axis=0)).T) == pytest.approx(1, abs=4 * (2 / of["ae"].size) ** 0.5)


def test_a_vaes_aggregate_is_that_of_posterior_draws():
    """Means of spread 0.3 whose draws fill the prior: far from it are the means, not the draws."""
    rng, n = np.random.default_rng(5), 300
    means = 0.3 * rng.normal(size=(2, n, 6))
    drawn = means + (1 - 0.3**2) ** 0.5 * rng.normal(size=means.shape)
    label = np.arange(n) % 2
    family = family_of("vae")._replace(z_train=means, z_test=means, drawn_train=drawn, drawn=drawn)
    family = family._replace(train=Examples(None, label, np.arange(n)))
    found = stages.statistics_of(config_of(), RUN, family, Examples(None, label, np.arange(n)))
    assert (found.mmd_p > 0.01).all() and (found.active_units == 6).all()
    np.testing.assert_allclose(found["std"], 0.3, atol=4 * 0.3 / (2 * n) ** 0.5)
    means_alone = family._replace(drawn_train=means, drawn=means)
    alone = stages.statistics_of(config_of(), RUN, means_alone, Examples(None, label, np.arange(n)))
    assert (alone.mmd_p < 0.01).all()


# ---- noise and chains ----


@pytest.mark.parametrize("name", ["ae", "vq"])
def test_noise_around_is_as_far_as_its_radius_says(name):
    """Shells exactly: r sqrt(D) white units, of codes r sqrt(P); the guide sees its pixel, the held-out one its own."""
    family, members = family_of(name), members_with(0.3)
    if name == "ae":  # alike in all directions, so that a white distance is one in pixels
        family = family._replace(whitening=jax.tree.map(jnp.asarray, family_of("vq").whitening))
    images = images_of(family)
    found = stages.noise_around(config_of(), RUN, members, family, images)
    moved = found.around_moved.values  # [noise, radius, member, start]
    count = 6 if name == "ae" else PLACES
    for r, radius in enumerate(RADII):
        expected = radius * count**0.5 * spread_of(family, 0)
        np.testing.assert_allclose(moved[1, r, 0], expected, rtol=1e-4)
    x = images.x.reshape(2, -1)
    for who in (0, 1):  # own, held out
        own = np.where(x[:, 0] > 0, 1, -1)  # the class that the guide predicts
        expected = 1 / (1 + np.exp(-0.3 * own * x[:, who]))
        np.testing.assert_allclose(found.decoded_probability.values[who, 0], expected, rtol=1e-3, atol=1e-5)


def test_draws_of_the_prior_have_the_moments_of_the_latents():
    family = family_of()
    found = stages.noise_around(config_of(), RUN, members_with(1.0), family, images_of(family))
    # The own classifier's logit is the first pixel: its confidence is that of draws with the latents' moments.
    mean, spread = family.z_train[0, :, 0].mean(), family.z_train[0, :, 0].std()
    sure = special.expit(np.abs(mean + spread * np.random.default_rng(2).normal(size=100_000)))
    assert abs(found.prior_confidence.values[0].mean() - sure.mean()) < 4 * sure.std() / 400**0.5


@pytest.mark.parametrize("name,kernel", [pytest.param("ae", "mala", marks=pytest.mark.slow), ("vq", "gibbs")])
def test_local_chains_without_a_say_are_as_wide_as_their_reach(name, kernel):
    """A classifier that says nothing leaves the second term: drift s, of codes what the codes near a latent give."""
    family = family_of(name)
    found = sampling.local_chains(config_of(), RUN, members_with(0.0), family, images_of(family), kernel)
    drift = found.local_drift.mean(("start", "chain")).values  # [radius, member]
    if name == "ae":  # the length of six standard normal numbers over the root of their number
        length = (2 / 6) ** 0.5 * special.gamma(3.5) / special.gamma(3)
        np.testing.assert_allclose(drift, length * np.asarray(RADII)[:, None] * np.ones(2), rtol=0.1)
        return
    states = np.asarray(list(itertools.product(range(len(CODES)), repeat=PLACES)))
    for s, start in itertools.product(range(2), range(2)):
        origin = family.z_test[s, start].reshape(PLACES, EACH)
        far = np.square((CODES[states] - origin) / spread_of(family, s)).sum(axis=(1, 2))  # of every state
        for r, radius in enumerate(RADII):
            weight = np.exp(-0.5 * far / radius**2)
            expected = np.sum(weight * np.sqrt(far / PLACES)) / weight.sum()
            mean = float(found.local_drift[r, s, start].mean())
            assert mean == pytest.approx(expected, rel=0.15, abs=0.03)


def test_chains_start_wider_than_their_target(monkeypatch):
    """Or R-hat would call chains alike that have hardly left their embedding."""
    monkeypatch.setattr(sampling, "FIRST_STEP", 1e-5)
    monkeypatch.setattr(chains, "JUMP_EVERY", 10)  # after the last step
    config = config_of(num_warmup=0, num_chains=20, num_steps={"mala": 4}, num_frames=4)
    family = family_of()
    found = sampling.local_chains(config, RUN, members_with(0.0), family, images_of(family), "mala")
    drift = found.local_drift.mean(("start", "chain"))
    np.testing.assert_allclose(drift, sampling.WIDER * np.asarray(RADII)[:, None] * np.ones(2), rtol=0.2)
    assert (found.local_rhat.isel(diagnosed=0) > 1.5).all()  # they have not moved
    assert found.local_rhat.isel(diagnosed=2).isnull().all()  # and hold no codes


def test_every_number_class_and_code_of_a_group_is_diagnosed():
    """Two groups of eight chains: the second one has a chain apart in its last number, its class or its last place."""
    rng, shape = np.random.default_rng(0), (100, 16)
    positions, classes, index = rng.normal(size=(*shape, 3)), rng.integers(0, 2, shape), rng.integers(0, 2, (*shape, 4))
    for series, kind in ((positions[..., 2], 0), (classes, 1), (index[..., 3], 2)):
        kept = series[:, 15].copy()
        series[:, 15] = 9
        found = sampling._diagnosed(positions, classes, index, (2, 8))
        assert found["rhat"].shape == (2, 3)
        apart = found["rhat"] > 1.05
        assert apart.nonzero() == (1, kind)
        series[:, 15] = kept
    assert np.isnan(sampling._diagnosed(positions, classes, None, (2, 8))["tail_ess"][:, 2]).all()


@pytest.mark.slow
@pytest.mark.parametrize("name,kernel", [("ae", "mala"), ("vq", "gibbs")])
def test_a_local_chain_is_its_own_whatever_else_is_run(name, kernel):
    """Another radius, one embedding and two chains less, and the same images under other ids."""
    family, members = family_of(name), members_with(2.0)
    few = {"num_warmup": 20, "num_steps": {kernel: 20}, "num_frames": 10}
    images = images_of(family)

    def drift(images, **mcmc):
        config = config_of(**few | mcmc)
        return sampling.local_chains(config, RUN, members, family, images, kernel).local_drift.values

    full = drift(images)
    one = Examples(images.x[:1], images.label[:1], images.ids[:1])
    np.testing.assert_allclose(full[1:, :, :1, :2], drift(one, radii=RADII[1:], num_chains=2), rtol=1e-4)
    assert (full != drift(images._replace(ids=images.ids + 7))).mean() > 0.9


def test_global_chains_are_guided_in_their_first_half_alone():
    """Toward class a, which latents about 5 hardly ever are: the own classifier sees it, the other one does not."""
    family = family_of()
    found = sampling.global_chains(config_of(), RUN, members_with(2.0), family, "mala")
    own, other = found.global_probability.mean("chain").transpose("classifier", "member", "guidance", "class").values
    free = np.stack([1 / (1 + np.exp(2.0 * family.z_train[s, :, s])) for s in range(2)]).mean(axis=1)
    np.testing.assert_allclose(own[:, 1, 0], free, atol=0.1)
    assert (own[:, 0, 0] > free + 0.2).all() and (other[:, 0, 0] < own[:, 0, 0] - 0.2).all()
    counts = found.mixing.transpose("member", "guidance", "class", "next_class").values
    assert (counts.sum(axis=(2, 3)) == 99 * 2 * 4).all()
    assert (counts[:, 0, 0].sum(axis=1) > counts[:, 1, 0].sum(axis=1)).all()  # more often in class a where guided
    jumped = found.global_jumped.transpose("guidance", ...)
    assert jumped[0].notnull().all() and jumped[1].isnull().all()


def test_who_guides_and_who_is_held_out():
    """The held-out classifier is the next seed's of the same training; all others of that training vote."""
    prepared = prepared_of(1.0)._replace(ensemble={"w": jnp.arange(8.0)}, trained=np.arange(8) < 6)
    config = config_of(guide="vote")
    config.num_members = 3
    members = families.members_of(config, prepared)
    assert members.own["w"].tolist() == [0, 1, 2, 3, 4, 5] and members.held_out["w"].tolist() == [1, 2, 0, 4, 5, 3]
    assert members.guides["w"].tolist() == [[0, 2], [0, 1], [1, 2], [3, 5], [3, 4], [4, 5]]
    assert members.seeds.tolist() == [0, 1, 2] * 2
    config.mcmc.guide = "member"
    assert families.members_of(config, prepared).guides["w"].tolist() == [0, 1, 2, 3, 4, 5]
