"""Estimates of `autoencoders` from made-up arrays."""

import numpy as np
import pytest

from landscape.experiments import autoencoder_estimates


def test_a_swept_value_is_told_of_those_whose_loss_has_it():
    swept = {"learning_rate": 1e-3, "beta": 4.0}
    of = autoencoder_estimates._swept_of
    assert of("vae", swept) == swept and of("ae", swept) == {"learning_rate": 1e-3} and of("pca", swept) == {}


def test_errors_of_a_layer_are_told_as_shares_and_as_distances():
    """Two members of one cell: mean squared error 0.04 and 0.12 of a layer of mean square 4 and variance 0.5."""
    mse = np.stack([np.full(10, 0.04), np.full(10, 0.12)])
    values = {name: np.full((1, 2, 10), size) for name, size in (("from_mean", 0.5), ("from_class_mean", 0.1))}
    values |= {"from_zero": np.full((1, 2, 10), 4.0), "mse": mse[None], "kl": np.full((1, 2, 10), 0.3)}
    values |= {
        "layer": np.array(["conv1"]),
        "cell": np.array(["conv1.pca.8"]),
        "seed": np.arange(2),
        "label": np.zeros(10, int),
    }
    values |= {
        "original": np.zeros((2, 10), int),
        "prediction": (np.arange(10) < 2).astype(int) * np.ones((1, 2, 1), int),
    }
    values |= {
        f"cell_{name}": np.array([value]) for name, value in (("layer", "conv1"), ("size", 8), ("family", "pca"))
    }
    about = {"family": "pca", "layer": "conv1", "dim": 8}
    found = {e["name"]: e for e in autoencoder_estimates._quality(values, 0, "conv1.pca.8", about, np.arange(2))}
    root = lambda size: np.sqrt([0.04 / size, 0.12 / size]).mean()  # noqa: E731
    expected = {"fvu.total": 0.08 / 0.5, "fvu.in_class": 0.08 / 0.1, "distance.kl": 0.3}
    expected |= {"distance.of_norm": root(4.0), "distance.of_typical_pair": root(2 * 0.5)}
    expected |= {"accuracy.substituted": 0.8, "accuracy.change": -0.2, "agreement.substituted": 0.8}
    for name, value in expected.items():
        assert found[name]["value"] == pytest.approx(value), name


def test_the_root_of_a_ratio_has_the_influence_of_the_delta_method():
    u = np.abs(np.random.default_rng(0).normal(4, 0.5, (3, 1000)))
    ours = autoencoder_estimates._root(u)
    np.testing.assert_allclose(ours.mean(axis=1), np.sqrt(u.mean(axis=1)))
    np.testing.assert_allclose(ours.std(axis=1), u.std(axis=1) / (2 * np.sqrt(u.mean(axis=1))))
