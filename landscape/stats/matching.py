"""Matching two populations one to one on a scalar, and their matched difference with the image as unit."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from landscape.stats.influence import small_sample_factor
from landscape.stats.intervals import checked

CALIPER = 0.2  # of the reference population's standard deviation (Austin 2011)
EXACT_FROM = 0.5  # classes are matched exactly where that keeps at least this share of the pairs found without them
WINDOW = 10  # neighbouring pairs behind the local baseline of `matched_difference`
RIDGE = 0.02  # keeps the local slope finite in a window of equal values; in squared SDs of what is matched on


class Matching(NamedTuple):
    """Partners, and how good the match is. Fields [S] are per member."""

    partner: np.ndarray  # [S, N] index of the reference example matched to this treated one, -1 for none
    caliper: np.ndarray  # [S] largest distance allowed, unit of the margins
    pairs: np.ndarray  # [S] matched pairs; without replacement, so also the member's number of distinct partners
    share_kept: np.ndarray  # [S] matched share of the treated, NaN where there are none
    smd_before: np.ndarray  # [S] mean difference treated - reference in reference SDs, all examples
    smd_after: np.ndarray  # [S] the same among the matched; NaN without a pair
    distinct_partners: int  # reference images used by at least one member
    same_class: bool  # whether pairs agree on the predicted class


def _closest_first(left: np.ndarray, right: np.ndarray, distance: np.ndarray, allowed: np.ndarray) -> dict[int, int]:
    """Pairs (left id -> right id) taken in order of distance [n_left, n_right], each id once."""
    rows, columns = np.nonzero(allowed)
    order = np.argsort(distance[rows, columns], kind="stable")
    partner: dict[int, int] = {}
    taken: set[int] = set()
    for i, j in zip(left[rows[order]].tolist(), right[columns[order]].tolist(), strict=True):
        if i not in partner and j not in taken:
            partner[i] = j
            taken.add(j)
    return partner


def _partners(pairs, radii, masks, classes) -> np.ndarray:
    """Partner indices [S, N] of all members, -1 for none; each pair of arrays is (treated, reference).

    pairs: margins, then further covariates, with their radii [S]. classes: to be matched exactly, or None.
    """
    partner = np.full(masks[0].shape, -1)
    for s in range(partner.shape[0]):
        left, right = np.flatnonzero(masks[0][s]), np.flatnonzero(masks[1][s])
        apart = [np.abs(treated[s, left][:, None] - reference[s, right][None, :]) for treated, reference in pairs]
        allowed = np.all([one <= radius[s] for one, radius in zip(apart, radii, strict=True)], axis=0)
        distance = apart[0]
        if len(pairs) > 1:  # in calipers of each covariate, which may have unlike units
            scaled = [one / radius[s] if radius[s] > 0 else 0 * one for one, radius in zip(apart, radii, strict=True)]
            distance = np.sqrt(sum(np.square(one) for one in scaled))
        if classes is not None:
            allowed &= classes[0][s, left][:, None] == classes[1][s, right][None, :]
        found = _closest_first(left, right, distance, allowed)
        partner[s, list(found)] = list(found.values())
    return partner


def _inside(pair, masks) -> tuple[np.ndarray, np.ndarray]:
    """(treated, reference) with 0 outside the masks, and no NaN inside."""
    return tuple(
        checked(np.where(mask, values, 0.0), f"margin_{name} (inside the mask)", 2)
        for values, mask, name in zip(pair, masks, ("treated", "reference"), strict=True)
    )


def _spread(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Standard deviation inside the mask, [S]."""
    return np.array([row[own].std(ddof=1) for row, own in zip(values, mask, strict=True)])


def match(
    margin_treated: Float[np.ndarray, "S N"],
    margin_reference: Float[np.ndarray, "S N"],
    mask_treated: Bool[np.ndarray, "S N"],
    mask_reference: Bool[np.ndarray, "S N"],
    *,
    classes_treated: Int[np.ndarray, "S N"] | None = None,
    classes_reference: Int[np.ndarray, "S N"] | None = None,
    others: Sequence[tuple[Float[np.ndarray, "S N"], Float[np.ndarray, "S N"]]] = (),
) -> Matching:
    """1:1 nearest-neighbour matching without replacement on a margin, for each member by itself.

    Pairs are taken in order of distance (the closest pair of all first, so the order of the examples does not matter),
    none beyond CALIPER x SD of the member's reference margins. Multiplying all margins by a constant changes nothing.
    An image may be treated in one pair and reference in another, or both in the same one.

    Args:
      margin_treated, margin_reference: scalar to match on, [S, N], logits; read inside the masks only. Not a
        probability or a loss: both tie at saturation.
      mask_treated, mask_reference: who takes part, [S, N].
      classes_treated, classes_reference: predicted classes, [S, N]; give both or none. See `_by_class`.
      others: further covariates, (treated, reference) [S, N] each, in any unit: pairs must then lie within the caliper
        of every one, and are as close as the root of the sum of squares over calipers.

    Returns:
      Matching. A member may end without a pair. The estimand of what is computed from it is the difference among
      treated examples that have a partner.

    Raises:
      ValueError: a member with fewer than 2 reference examples (no SD), or NaN margins inside a mask.

    Source: Stuart 2010 (Statistical Science 25:1); caliper: Austin 2011 (Pharmaceutical Statistics 10:150).
    """
    masks = np.asarray(mask_treated, dtype=bool), np.asarray(mask_reference, dtype=bool)
    pairs = [_inside(pair, masks) for pair in ((margin_treated, margin_reference), *others)]
    few = np.flatnonzero(masks[1].sum(1) < 2)
    if few.size:
        raise ValueError(
            f"member(s) {', '.join(map(str, few))} have fewer than 2 reference examples: expected at least 2, since "
            "the caliper is a share of their standard deviation; leave these members out, or take more examples."
        )
    spreads = [_spread(reference, masks[1]) for _, reference in pairs]
    classes = None if classes_treated is None or classes_reference is None else (classes_treated, classes_reference)
    partner, same_class = _by_class(pairs, [CALIPER * spread for spread in spreads], masks, classes)
    matched = partner >= 0
    differences = pairs[0][0] - np.take_along_axis(pairs[0][1], np.maximum(partner, 0), axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):  # no treated, no pair or no spread: NaN says so
        means = [margin.sum(1) / mask.sum(1) for margin, mask in zip(pairs[0], masks, strict=True)]
        return Matching(
            partner=partner,
            caliper=CALIPER * spreads[0],
            pairs=matched.sum(1),
            share_kept=matched.sum(1) / masks[0].sum(1),
            smd_before=(means[0] - means[1]) / spreads[0],
            smd_after=np.where(matched, differences, 0.0).sum(1) / matched.sum(1) / spreads[0],
            distinct_partners=int(np.unique(partner[matched]).size),
            same_class=same_class,
        )


def _by_class(pairs, radii, masks, classes) -> tuple[np.ndarray, bool]:
    """Partners, and whether they agree on the class: where that keeps EXACT_FROM of the pairs found without, in all.

    Otherwise classes are left out altogether: filling up class-exact pairs with cross-class ones is worse than either,
    since it brings the classes' own differences in.
    """
    if classes is None:
        return _partners(pairs, radii, masks, None), False
    exact = _partners(pairs, radii, masks, classes)
    # No matching has more pairs than the smaller group has examples: often there is no need to try the other one.
    if np.sum(exact >= 0) >= EXACT_FROM * np.minimum(masks[0].sum(1), masks[1].sum(1)).sum():
        return exact, True
    loose = _partners(pairs, radii, masks, None)
    same_class = bool(np.sum(exact >= 0) >= EXACT_FROM * np.sum(loose >= 0))
    return (exact if same_class else loose), same_class


def _local_baseline(values: np.ndarray, margin: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Ridge line of the partners' values on their margin over the WINDOW nearest pairs of the class, at each pair. [n].

    All are sorted by (class, margin). The window holds the pair itself and stays inside the class.
    """
    count = np.arange(values.size)
    first, last = np.searchsorted(classes, classes, "left"), np.searchsorted(classes, classes, "right")
    width = np.minimum(WINDOW, last - first)
    start = np.clip(count - width // 2, first, last - width)

    spread = margin.std()
    x = (margin - margin.mean()) / (spread if spread > 0 else 1.0)
    y = values - values.mean()  # centred, so that running sums keep their digits
    total = np.pad(np.cumsum([x, y, x * y, x * x], axis=1), ((0, 0), (1, 0)))
    mean_x, mean_y, mean_xy, mean_xx = (total[:, start + width] - total[:, start]) / width
    slope = (mean_xy - mean_x * mean_y) / (np.maximum(mean_xx - mean_x**2, 0.0) + RIDGE)
    return values.mean() + mean_y + slope * (x - mean_x)


def matched_difference(
    values_treated: Float[np.ndarray, "S N"],
    values_reference: Float[np.ndarray, "S N"],
    partner: Int[np.ndarray, "S N"],
    *,
    margin_reference: Float[np.ndarray, "S N"],
    classes_reference: Int[np.ndarray, "S N"] | None = None,
) -> Float[np.ndarray, "S N"]:
    """Mean difference of matched pairs, treated - reference, as an influence array with the *image* as unit.

    D_s = mean over pairs k = (i, j) of v_i - w_j. Take from both values of a pair the same baseline h_k; D_s stays as
    it is, and splits over the images as r_i = v_i - h_k (as treated) and r_j = w_j - h_k (as reference):

      u_si = D_s + c_s (N / n_s) [1{i treated} (r_i - mean r) - 1{i a partner} (r_i - mean r)].

    An image that is treated in one pair and partner in another, or partner in pairs of several members, is thereby one
    unit. h_k is a local line of the partners' values on their margin: what the matched variable explains is common to a
    pair and must not count twice as noise, and conditional variance is what is left. As h_k holds the pair's own
    partner, its own noise leaves r_j (1 - 1/m of the variance, m the window) and enters r_i (1/m): the sum is unbiased.
    Simulated coverage of 95 % intervals from `interval(u)`, values steep in the margin, disjoint or shared images, with
    and without classes: 92 - 97 %; where members and images have no effects of their own, up to 99 %.

    Args:
      values_treated, values_reference: v, w [S, N]; read at matched examples only.
      partner: `Matching.partner`.
      margin_reference: the margins that were matched on, [S, N].
      classes_reference: pass the classes if `Matching.same_class`: the baseline then stays inside a class.

    Returns:
      u [S, N] in the unit of the values; u.mean(1) = D. Multiplying margins by a constant leaves it unchanged.

    Source of the pair's variance given the matched variable: Abadie & Imbens 2006 (Econometrica 74:235).
    """
    num_members, num_examples = partner.shape
    pairs = np.sum(partner >= 0, axis=1)
    if np.any(pairs < 2):
        raise ValueError(
            f"member(s) {', '.join(map(str, np.flatnonzero(pairs < 2)))} have fewer than 2 matched pairs: expected at "
            "least 2 for a mean and its spread; leave these members out, take more examples or a wider caliper."
        )
    factor = small_sample_factor(pairs, num_examples) * num_examples / pairs
    influence = np.zeros((num_members, num_examples))
    for s in range(num_members):
        i = np.flatnonzero(partner[s] >= 0)
        j = partner[s, i]
        group = np.zeros(i.size, dtype=int) if classes_reference is None else classes_reference[s, j]
        order = np.lexsort((margin_reference[s, j], group))
        i, j, group = i[order], j[order], group[order]
        treated, reference, margin = checked(
            np.stack([values_treated[s, i], values_reference[s, j], margin_reference[s, j]]), "values of matched pairs"
        )
        baseline = _local_baseline(reference, margin, group)
        rest_treated, rest_reference = treated - baseline, reference - baseline
        influence[s] = np.mean(treated - reference)
        influence[s, i] += factor[s] * (rest_treated - rest_treated.mean())
        influence[s, j] -= factor[s] * (rest_reference - rest_reference.mean())  # partners are distinct, no index twice
    return influence
