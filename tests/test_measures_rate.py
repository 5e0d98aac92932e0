"""Bits of codes and of rounded latents, against distributions whose entropy is known."""

import numpy as np
import pytest

from landscape.measures import rate


def test_codes_of_known_distributions():
    rng = np.random.default_rng(0)
    one, uniform = np.zeros((4096, 1), int), np.tile(np.arange(8), 512)[:, None]
    index = np.concatenate([one, rng.permutation(uniform)], axis=1)
    found = rate.code_use(index, 16)
    assert found.usage == 8 / 16
    share = np.array([(4096 + 512) / 8192, *[512 / 8192] * 7])
    assert found.perplexity == pytest.approx(2 ** -np.sum(share * np.log2(share)))
    with pytest.raises(ValueError, match="expected 0 to 6"):
        rate.code_use(index, 7)


def test_code_lengths_by_hand():
    train, coded = np.array([[0, 2], [0, 2], [1, 0]]), np.array([[0, 2], [1, 1]])
    expected = [
        -np.log2(2.5 / 4) - np.log2(2.5 / 4.5),
        -np.log2(1.5 / 4) - np.log2(0.5 / 4.5),
    ]
    np.testing.assert_allclose(rate.code_lengths(train, coded, np.array([2, 3])), expected)
    with pytest.raises(ValueError, match="indices 0 to 2"):
        rate.code_lengths(train, coded, np.array([2, 2]))


def test_lengths_of_new_examples_never_flatter():
    """A uniform code of 512 takes 9 bits: few examples' own entropy says less, lengths by training tables more."""
    rng = np.random.default_rng(2)
    train, new = rng.integers(0, 512, (400, 1)), rng.integers(0, 512, (400, 1))
    assert rate.entropy(np.bincount(new[:, 0])) < 8.5
    assert 9 < rate.code_lengths(train, new, np.array([512])).mean() < 9.7
    # A code is a code: all lengths together fit under one (Kraft).
    assert np.sum(2.0 ** -rate.code_lengths(train, np.arange(512)[:, None], np.array([512]))) == pytest.approx(1)


def test_on_orthonormal_axes_one_width_takes_fewer_bits_at_equal_error():
    z = np.random.default_rng(3).normal(size=(40_000, 6)) * np.array([4.0, 2.0, 1.0, 0.5, 0.25, 0.1])

    def rate_and_error(step, orthonormal):
        quantiser = rate.fit_quantiser(z, step, orthonormal=orthonormal)
        rounded, index = rate.quantise(quantiser, z)
        return rate.code_lengths(index, index, quantiser.counts).mean(), np.square(rounded - z).sum(axis=1).mean()

    bits, error = zip(*(rate_and_error(step, True) for step in (0.125, 0.25, 0.5, 1.0)), strict=True)
    own_bits, own_error = rate_and_error(0.5, False)
    at_equal_error = np.interp(np.log(own_error), np.log(error), bits)
    assert at_equal_error < own_bits - 2
    assert np.ptp(rate.fit_quantiser(z, 0.5, orthonormal=True).width) == 0


def test_rounding_a_gaussian_takes_the_bits_of_its_density():
    """h(N(0, s^2)) - log2(step s) bits a dimension for small steps, whatever s; half the step costs one bit more."""
    z = np.random.default_rng(1).normal(size=(200_000, 2)) * np.array([1.0, 30.0])
    train, new = z[:100_000], z[100_000:]
    expected = 0.5 * np.log2(2 * np.pi * np.e)
    for step in (0.1, 0.05):
        quantiser = rate.fit_quantiser(train, step)
        rounded, index = rate.quantise(quantiser, new)
        bits = rate.code_lengths(rate.quantise(quantiser, train)[1], index, quantiser.counts)
        assert bits.mean() == pytest.approx(2 * (expected - np.log2(step)), abs=0.015)
        width = step * train.std(axis=0)
        np.testing.assert_allclose(rounded / width, np.round(rounded / width), atol=1e-9)
        inside = (new > train.min(axis=0)) & (new < train.max(axis=0))
        assert np.where(inside, np.abs(rounded - new), 0).max(axis=0) == pytest.approx(width / 2, rel=1e-3)


def test_beyond_the_training_examples_the_grid_ends():
    quantiser = rate.fit_quantiser(np.array([[-1.0], [0.0], [1.0]]), 1.0)
    rounded, index = rate.quantise(quantiser, np.array([[-50.0], [0.1], [50.0]]))
    assert index[:, 0].tolist() == [0, (quantiser.counts[0] - 1) / 2, quantiser.counts[0] - 1]
    assert np.abs(rounded).max() <= 1 + quantiser.width[0] / 2


@pytest.mark.parametrize("constant", [2.0, 0.3, -0.6, 0.0])
def test_a_constant_dimension_takes_no_bits(constant):
    z = np.full((10, 3), constant, np.float32)
    quantiser = rate.fit_quantiser(z, 0.5)
    rounded, index = rate.quantise(quantiser, z)
    assert rounded.dtype == np.float32 and quantiser.counts.tolist() == [1, 1, 1]
    np.testing.assert_array_equal(rounded, z)
    np.testing.assert_array_equal(rate.code_lengths(index, index, quantiser.counts), 0.0)


def test_pixel_histograms_take_the_entropy_of_each_pixel():
    """One pixel is constant, one fair among four levels: 2 bits, beside what unknown tables cost."""
    rng, levels = np.random.default_rng(0), (0, 16, 32, 255)
    train, new = (np.zeros((count, 1, 2, 1), np.float32) for count in (4000, 500))
    for images in (train, new):
        images[:, 0, 1, 0] = rng.choice(levels, len(images)) / 255
    assert rate.pixel_bits(train, new, levels).mean() == pytest.approx(2, abs=0.01)
    between, level = (np.array([0.0, byte / 255], np.float32).reshape(1, 1, 2, 1) for byte in (9, 16))
    np.testing.assert_array_equal(*(rate.pixel_bits(train, one, levels) for one in (between, level)))
