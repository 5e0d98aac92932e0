"""What is told of where guided ascents end: by each judge, by the second autoencoder, by the training images."""

import types

import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from landscape import ensembles
from landscape.experiments import gradient_guided as guided
from landscape.experiments.autoencoder_cells import Cell, Layer
from landscape.experiments.gradient_places import KINDS
from landscape.experiments.latent_families import Family
from landscape.experiments.setting import Examples, Setting
from landscape.latent.coordinates import Whitening
from landscape.models.autoencoders import Autoencoder

SHAPE, SIGMA = (2, 2, 1), 0.3


def curved(variables, x):
    """Two classes; the margin of the first is the sum of squares over a half, less a threshold."""
    square = 2 * jnp.sum(jnp.square(x).reshape(len(x), -1), axis=1)
    return jnp.stack([square - variables["b"], jnp.zeros(len(x))], axis=1)


def test_each_judge_tells_the_margin_of_its_own_prediction_and_the_second_autoencoder_its_error():
    """Noise changes the margin +-(2 |x|^2 - b) of what a judge predicts by +-2 D sigma^2: the drop is its negative."""
    config = ConfigDict({"seed": 0, "mapping": "map", "guided": {"sigma": SIGMA, "num_trials": 400}})
    rng = np.random.default_rng(0)
    bank = Examples(rng.random((9, *SHAPE), np.float32), np.zeros(9, np.int32), np.arange(9))
    layer = Layer("image", SHAPE, None, None, None, {}, np.zeros(1), bank, bank.x[None], ("",))
    plain = Autoencoder(None, lambda v, x: x, lambda v, z: v["keep"] * z, None, None, None, lambda v, z: z, (4,))
    cell = Cell("image", "ae", 4, None, {"keep": jnp.asarray([1.0, 0.7])}, plain)
    none = np.zeros((2, 1, 4))
    family = Family(cell, Whitening(none, none, none), none, none, none, none, bank)
    classifier = types.SimpleNamespace(apply=curved)
    prepared = Setting(None, classifier, {}, [], np.ones(2, bool), ensembles.Mapping("map"))
    judges = {"b": jnp.asarray([1.0, 50.0])}
    test = Examples(rng.random((2, *SHAPE), np.float32), np.zeros(2, np.int32), np.arange(2))
    images = 0.6 + 0.4 * rng.random((len(KINDS) * 2, *SHAPE), np.float32)
    found = guided._judge(config, prepared, layer, family, judges, test)(images)
    square = 2 * np.square(images).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(found["guided_margin"], [square - 1, 50 - square], rtol=1e-5)
    rise = 2 * 4 * SIGMA**2
    spread = np.sqrt(np.square(4 * SIGMA) * square.max() / 2 + 4 * 2 * 4 * SIGMA**4)  # of one draw
    for drop, expected in zip(found["guided_margin_drop"], (-rise, rise), strict=True):
        assert (np.abs(drop - expected) < 4 * spread / 400**0.5).all()
        assert drop.mean() == pytest.approx(expected, rel=0.25)
    np.testing.assert_allclose(found["guided_error"], 0.3**2 * square / 2 / 4, rtol=1e-4)
    gaps = np.sqrt(np.square(images[:, None] - bank.x[None]).sum(axis=(2, 3, 4))).min(axis=1)
    np.testing.assert_allclose(found["guided_nearest"], gaps, rtol=1e-4)
