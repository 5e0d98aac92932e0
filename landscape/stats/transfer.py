"""What classifiers make of one another's adversarial examples, from their predictions. NumPy, float64.

Every function takes predictions or decisions per image and gives values per image, whose means are the shares reported:
so that intervals, differences and conditionings are those of `stats.intervals`, `stats.pseudo_values` and
`stats.influence`.
"""

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import optimize

OUTCOMES = ("unfooled", "same", "different")
CONDITIONS = ("all", "clean_correct", "source_fooled")


def outcomes(
    own: Int[np.ndarray, "... N"], seen: Int[np.ndarray, "... N"], label: Int[np.ndarray, " N"]
) -> Int[np.ndarray, "... N"]:
    """Which of OUTCOMES each image is: 0 unfooled, 1 same mistake, 2 different mistake.

    unfooled: the target predicts the label. same: it predicts another class, the one that the source predicts too.
    different: any other class; so is every mistake of a target on an image that did not fool its source.

    Args:
      own: what the source predicts for its own adversarial images. seen: what the target predicts for them.

    Source: Waseda et al. 2021, arXiv:2112.14337, section 3.
    """
    own, seen = np.broadcast_arrays(own, seen)
    return np.where(seen == label, 0, np.where(seen == own, 1, 2))


def chance_of_same(
    own: Int[np.ndarray, " N"], seen: Int[np.ndarray, " N"], label: Int[np.ndarray, " N"], mask: Bool[np.ndarray, " N"]
) -> Float[np.ndarray, " N"]:
    """Same mistakes that there would be by chance, given the true class and how often each mistake is made.

    Among the n marked images of a class on which both err, take what the source says of one image and what the target
    says of another: U is the share of the n (n - 1) ordered pairs that agree. An image's own pair is left out: it holds
    the same mistakes that chance is compared with. An image counts

        c_i = b_i + a_i - U,    b_i, a_i: shares of the other n - 1 images on which the target says what the source
                                says of i, and the source what the target says of i,

    where both err, else 0: its mean over the class is U, and its spread that of U as a statistic (the delta method),
    since U is estimated from the same images. With them the mean of (same mistake) - c_i is unbiased.

    Args:
      mask: images that count; others get 0.

    Returns:
      [N]; its mean over the marked images is the chance rate among them, beside that of outcome 1. NaN for the only
      image of its class on which both err: there is no other one to compare it with. It has to count alike in both.

    Source: Hoeffding 1948 (Annals of Mathematical Statistics 19), U-statistics.
    """
    both = mask & (own != label) & (seen != label)
    found = np.zeros(len(label))
    for y in np.unique(label[both]):
        rows = both & (label == y)
        others = rows.sum() - 1
        if not others:
            found[rows] = np.nan
            continue
        said, met = own[rows], seen[rows]
        num_classes = 1 + max(said.max(), met.max())
        agrees = (said == met).astype(int)  # the own pair
        b = (np.bincount(met, minlength=num_classes)[said] - agrees) / others
        a = (np.bincount(said, minlength=num_classes)[met] - agrees) / others
        found[rows] = b + a - b.mean()
    return found


def chance_matrix(
    own: Int[np.ndarray, "S N"],
    seen: Int[np.ndarray, "S T N"],
    label: Int[np.ndarray, " N"],
    mask: Bool[np.ndarray, "S N"],
) -> Float[np.ndarray, "S T N"]:
    """`chance_of_same` of every source and target."""
    return np.stack([[chance_of_same(o, t, label, m) for t in row] for o, row, m in zip(own, seen, mask, strict=True)])


def condition_mask(
    condition: str,
    clean: Int[np.ndarray, "M N"],
    own: Int[np.ndarray, "S N"],
    label: Int[np.ndarray, " N"],
) -> Bool[np.ndarray, "S N"]:
    """The images of each source that count.

    "all": all of them. "clean_correct": those that every member classifies rightly before the attack, one set for all
    sources. "source_fooled": of these, those on which the source itself errs afterwards, a set for each source.

    Args:
      clean: what all members, sources and targets, predict for the clean images.
      own: what each source predicts for its own adversarial images.
    """
    right = np.all(clean == label, axis=0)
    masks = {"all": np.ones_like(right), "clean_correct": right, "source_fooled": right & (own != label)}
    if condition not in masks:
        raise ValueError(f"condition={condition!r}: expected one of {', '.join(CONDITIONS)}; try clean_correct")
    return np.broadcast_to(masks[condition], own.shape)


# ---- how many classifiers an example fools ----


def expected_given_margin(
    fooled: Bool[np.ndarray, "T N"], margin: Float[np.ndarray, "T N"]
) -> Float[np.ndarray, "T N"]:
    """P(target is fooled | its margin on the clean image): the falling step function nearest to what was seen.

    One function a target, by isotonic regression: images near a target's own boundary fool it easily, whatever the
    other targets do, so that plain independence is false on any data.

    Args:
      margin: of the true class on the clean image, logits.
    """
    found = np.empty(fooled.shape)
    for t, (hit, near) in enumerate(zip(fooled.astype(float), margin, strict=True)):
        # Images of one margin share one value, so their order does not matter.
        _, index, count = np.unique(near, return_inverse=True, return_counts=True)
        mean = np.bincount(index, weights=hit) / count
        found[t] = optimize.isotonic_regression(mean, weights=count, increasing=False).x[index]
    return found


def counts_if_independent(chance: Float[np.ndarray, "T N"]) -> Float[np.ndarray, " T+1"]:
    """Distribution of the number of targets fooled, were they fooled independently with these probabilities.

    The mean over images of Poisson-binomial distributions, each built up target by target.
    """
    num_targets, num_images = chance.shape
    found = np.zeros((num_targets + 1, num_images))
    found[0] = 1.0
    for p in chance:
        found[1:] = found[1:] * (1 - p) + found[:-1] * p
        found[0] *= 1 - p
    return found.mean(axis=1)
