"""How many bits a latent takes: of codes, of real latents after uniform quantisation; and pixels. NumPy, float64.

Bits are code lengths: -log2 of the share that an index had over *training* examples at its position (half an example
added to every index, Krichevsky & Trofimov 1981), which an ideal arithmetic coder with those tables comes within two
bits of. Over new examples their mean is the cross-entropy: at least the entropy, whatever the number of examples, where
the entropy of the test examples themselves would fall short by about (B - 1) / (2 n ln 2) bits (Miller 1955), B being
the indices in use.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from landscape.data import level_index


class CodeUse(NamedTuple):
    """How codes are used over all examples and positions.

    usage: share of codes that occur. perplexity: 2^entropy of the code of a random position, at most their number.
    """

    usage: float
    perplexity: float


class Quantiser(NamedTuple):
    """A uniform grid for each of D dimensions: index i of 0 .. counts - 1 stands for (lowest + i) * width."""

    width: Float[np.ndarray, " D"]
    lowest: Int[np.ndarray, " D"]
    counts: Int[np.ndarray, " D"]


def entropy(counts: Float[np.ndarray, " B"] | Int[np.ndarray, " B"]) -> float:
    """-sum_b p_b log2 p_b of the shares p of counts. Bits."""
    share = counts[counts > 0] / counts.sum()
    return float(-np.sum(share * np.log2(share)))


def code_use(index: Int[np.ndarray, "N P"], num_codes: int) -> CodeUse:
    """Usage and perplexity of codes 0 .. num_codes - 1 at P positions of N examples."""
    _check(index, np.full(index.shape[1], num_codes))
    total = np.bincount(index.ravel(), minlength=num_codes)
    return CodeUse(float(np.mean(total > 0)), 2 ** entropy(total))


def code_lengths(
    train: Int[np.ndarray, "n P"], index: Int[np.ndarray, "N P"], counts: Int[np.ndarray, " P"]
) -> Float[np.ndarray, " N"]:
    """Bits of every example: sum over positions p of -log2 ((n_p(index) + 1/2) / (n + counts_p / 2)).

    Args:
      train: indices whose shares are the tables: n_p(i) of n have index i at position p.
      index: indices to be coded.
      counts: how many indices there are at each position.

    Raises:
      ValueError: an index outside 0 .. counts - 1.
    """
    _check(train, counts)
    _check(index, counts)
    bits = np.zeros(len(index))
    for column, coded, count in zip(train.T, index.T, counts, strict=True):
        held = np.bincount(column, minlength=count) + 0.5
        bits -= np.log2(held / held.sum())[coded]
    return bits


def pixel_bits(
    train: Float[np.ndarray, "n H W C"], x: Float[np.ndarray, "N H W C"], levels: tuple[int, ...]
) -> Float[np.ndarray, " N"]:
    """Bits of images by the histograms of training images, one a pixel and channel: no pixel says anything of another.

    What a code that knows more of images has to beat; a uniform code takes log2 of the number of levels a pixel.

    Args:
      train: images whose histograms are the tables of `code_lengths`. x: images to be coded; pixels in [0, 1].
      levels: byte values that pixels take, see `data.levels`; another value counts as the nearest one.
    """
    table = level_index(levels).astype(np.int16)
    index = [table[np.rint(255 * part).astype(np.uint8)].reshape(len(part), -1) for part in (train, x)]
    return code_lengths(*index, np.full(index[0].shape[1], len(levels)))


def fit_quantiser(z: Float[np.ndarray, "N D"], step: float, *, orthonormal: bool = False) -> Quantiser:
    """Uniform grids from the lowest to the highest of the examples; a dimension that is constant has one index.

    The scale of a latent's dimensions is free, so the width is step * (standard deviation of the dimension). Along
    `orthonormal` axes of the data, as PCA's, an error costs as much on every axis, and one width for all, step * (root
    of the mean variance), spends bits where they save most (reverse water-filling: Cover & Thomas 2006, section 10.3).
    """
    spread = z.std(axis=0, dtype=np.float64)
    if orthonormal:
        spread = np.where(spread > 0, np.sqrt(np.mean(np.square(spread))), 0.0)
    width = step * spread
    width = np.where(width > 0, width, np.where(z[0] == 0, 1.0, np.abs(z[0])))
    lowest, highest = (np.round(end / width).astype(np.int64) for end in (z.min(axis=0), z.max(axis=0)))
    return Quantiser(width, lowest, highest - lowest + 1)


def quantise(quantiser: Quantiser, z: Float[np.ndarray, "N D"]) -> tuple[np.ndarray, Int[np.ndarray, "N D"]]:
    """(the nearest points of the grid, their indices); beyond the grid its end serves."""
    index = np.clip(np.round(z / quantiser.width).astype(np.int64) - quantiser.lowest, 0, quantiser.counts - 1)
    return ((index + quantiser.lowest) * quantiser.width).astype(z.dtype), index


def _check(index: np.ndarray, counts: np.ndarray) -> None:
    if not (0 <= index.min() and (index.max(axis=0) < counts).all()):
        raise ValueError(
            f"indices {index.min()} to {index.max()}: expected 0 to {int(counts.max()) - 1}; is the number right?"
        )
