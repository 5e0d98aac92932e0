"""How many bits a latent takes: of codes, of real latents after uniform quantisation. NumPy, float64.

Entropies are those of the empirical distribution, an ideal coder's mean length with that very table. With n examples
and B used values they fall short by about (B - 1) / (2 n ln 2) bits (Miller 1955).
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int


class CodeUse(NamedTuple):
    """How codes are used over all examples and places.

    bits: an example, each place coded by its own table. usage: share of codes that occur. perplexity: 2^entropy of the
    code of a random place, at most the number of codes.
    """

    bits: float
    usage: float
    perplexity: float


def entropy(counts: Float[np.ndarray, " B"] | Int[np.ndarray, " B"]) -> float:
    """-sum_b p_b log2 p_b of the shares p of counts. Bits."""
    share = counts[counts > 0] / counts.sum()
    return float(-np.sum(share * np.log2(share)))


def code_use(index: Int[np.ndarray, "N P"], num_codes: int) -> CodeUse:
    """Entropy, usage and perplexity of codes 0 .. num_codes - 1 at P places of N examples."""
    if not 0 <= index.min() <= index.max() < num_codes:
        raise ValueError(f"index up to {index.max()}: expected codes 0 to {num_codes - 1}; is num_codes right?")
    places = [np.bincount(column, minlength=num_codes) for column in index.T]
    total = np.sum(places, axis=0)
    return CodeUse(sum(map(entropy, places)), float(np.mean(total > 0)), 2 ** entropy(total))


def quantise(z: Float[np.ndarray, "N D"], step: float) -> tuple[Float[np.ndarray, "N D"], float]:
    """Rounds latents to a grid and tells the bits an example then takes, each dimension coded by its own table.

    The grid of dimension d has the width step * (standard deviation of d); small steps cost -D log2(step) + constant.

    Returns:
      (rounded z, bits).
    """
    width = step * z.std(axis=0)
    width = np.where(width > 0, width, 1.0)
    index = np.round(z / width).astype(np.int64)
    bits = sum(entropy(np.unique(column, return_counts=True)[1]) for column in index.T)
    return (index * width).astype(z.dtype), bits
