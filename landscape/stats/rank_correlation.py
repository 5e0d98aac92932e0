"""Spearman's rank correlation of measures over examples, as influence arrays, see `influence`."""

import numpy as np
from jaxtyping import Bool, Float
from scipy import stats

from landscape.stats.influence import small_sample_factor
from landscape.stats.intervals import checked


def spearman(values: Float[np.ndarray, "M S N"], mask: Bool[np.ndarray, "S N"]) -> Float[np.ndarray, "M M S N"]:
    """Rank correlations of each two of M measures, for each member over its own valid examples.

    With F and G the centred mid-ranks of two measures over n, and v the root of the product of their mean squares,

      rho = mean F G / v,   u_i = (F_i G_i + h_i(G) + h_i(F)) / v - 2 rho,

    h_i(G) the mean over examples j of G_j where the first measure is larger than at i (half where it is equal): what an
    example does to the ranks of all others. u.mean(-1) = rho; of members with n of N examples deviations are scaled as
    in `influence.ratio`. To first order in 1 / n; v counts as known. Where a measure has no two values, rho is 0.

    Coverage of the 95 % interval of `intervals.interval` in simulation, 8 members, 40 and 150 examples, normal pairs
    with correlations 0, 0.5 and 0.9 of whose variance members share nothing, half or nine tenths: 94 - 97 %.

    Args:
      mask: examples that count; values elsewhere are never read.

    Returns:
      u [M, M, S, N], in [-1, 1] in the mean.

    Raises:
      ValueError: a member with fewer than 3 examples, NaN inside the mask.

    Source of the projection: Borkowf 2002 (Computational Statistics & Data Analysis 39:271).
    """
    count, num_examples = mask.sum(axis=-1), mask.shape[-1]
    if np.any(count < 3):
        few = ", ".join(map(str, np.flatnonzero(count < 3)))
        raise ValueError(f"member(s) {few} have fewer than 3 valid examples: expected 3 to rank; leave them out")
    factor = small_sample_factor(count, num_examples) * num_examples / count
    out = np.empty((len(values), len(values), *mask.shape))
    for s, own in enumerate(mask):
        rho, deviation = _one(checked(values[:, s, own], "values (inside the mask)"))
        out[..., s, :] = rho[..., None]
        out[..., s, own] += factor[s] * deviation
    return out


def _one(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """rho [M, M] and u - rho [M, M, n] of measures [M, n]."""
    n = values.shape[1]
    ranks = (stats.rankdata(values, axis=1) - (n + 1) / 2) / n
    above = (values[:, None, :] > values[:, :, None]) + 0.5 * (values[:, None, :] == values[:, :, None])
    pull = np.einsum("mij,kj->mki", above, ranks) / n  # of measure k, where measure m is larger
    products = ranks[:, None] * ranks[None]
    spread = np.sqrt(np.mean(np.square(ranks), axis=1))
    scale = spread[:, None] * spread[None]
    rho = np.divide(products.mean(axis=-1), scale, out=np.zeros_like(scale), where=scale > 0)
    total = products + pull + pull.swapaxes(0, 1)
    u = np.divide(total, scale[..., None], out=np.zeros_like(total), where=scale[..., None] > 0) - 2 * rho[..., None]
    return rho, u - rho[..., None]
