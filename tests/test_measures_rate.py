"""Bits of codes and of rounded latents, against distributions whose entropy is known."""

import numpy as np
import pytest

from landscape.measures import rate


def test_codes_of_known_distributions():
    rng = np.random.default_rng(0)
    one, uniform = np.zeros((4096, 1), int), np.tile(np.arange(8), 512)[:, None]
    index = np.concatenate([one, rng.permutation(uniform)], axis=1)
    found = rate.code_use(index, 16)
    assert found.bits == pytest.approx(0 + 3)
    assert found.usage == 8 / 16
    share = np.array([(4096 + 512) / 8192, *[512 / 8192] * 7])
    assert found.perplexity == pytest.approx(2 ** -np.sum(share * np.log2(share)))
    with pytest.raises(ValueError, match="expected codes 0 to 6"):
        rate.code_use(index, 7)


def test_entropy_is_at_most_that_of_equal_shares():
    for counts in ([5], [1, 1], [3, 0, 1], [2, 2, 2, 2]):
        counts = np.asarray(counts)
        used = np.sum(counts > 0)
        assert 0 <= rate.entropy(counts) <= np.log2(used) + 1e-12
    assert rate.entropy(np.array([3, 1])) == pytest.approx(0.75 * np.log2(4 / 3) + 0.25 * 2)


def test_rounding_a_gaussian_takes_the_bits_of_its_density():
    """h(N(0, s^2)) - log2(step s) bits a dimension for small steps, whatever s; half the step costs one bit more."""
    z = np.random.default_rng(1).normal(size=(200_000, 2)) * np.array([1.0, 30.0])
    expected = 0.5 * np.log2(2 * np.pi * np.e)
    for step in (0.1, 0.05):
        rounded, bits = rate.quantise(z, step)
        assert bits == pytest.approx(2 * (expected - np.log2(step)), abs=0.01)
        width = step * z.std(axis=0)
        np.testing.assert_allclose(rounded / width, np.round(z / width), atol=1e-9)
        assert np.abs(rounded - z).max(axis=0) == pytest.approx(width / 2, rel=1e-3)


def test_a_constant_dimension_takes_no_bits():
    rounded, bits = rate.quantise(np.full((10, 3), 2.0, np.float32), 0.5)
    assert bits == 0 and rounded.dtype == np.float32
    np.testing.assert_array_equal(rounded, 2.0)
