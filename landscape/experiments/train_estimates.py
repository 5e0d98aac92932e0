"""Accuracy, calibration and agreement from the logits of members on test images. NumPy, float64."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from landscape.stats.claims import estimate_dict
from landscape.stats.duplicates import duplicate_check
from landscape.stats.intervals import Interval, interval, of_share
from landscape.stats.resampling import crossed_bootstrap
from landscape.types import Arrays

NEAR_CHANCE = 0.15  # an accuracy above chance by less than this is called near chance

Logits3 = Float[np.ndarray, "S N K"]
Labels1 = Int[np.ndarray, " N"]


def probabilities(logits: Logits3) -> Logits3:
    """Softmax over classes, float64."""
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    exp = np.exp(shifted)
    return exp / exp.sum(axis=-1, keepdims=True)


def losses(logits: Logits3, label: Labels1) -> Float[np.ndarray, "S N"]:
    """Cross-entropy of the true class, nats."""
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    own = np.take_along_axis(shifted, label[None, :, None], axis=-1)[..., 0]
    return np.log(np.exp(shifted).sum(axis=-1)) - own


def brier(logits: Logits3, label: Labels1) -> Float[np.ndarray, "S N"]:
    """sum_k (p_k - [k = y])^2, in [0, 2]. Brier 1950 (Monthly Weather Review 78:1)."""
    probs = probabilities(logits)
    own = np.take_along_axis(probs, label[None, :, None], axis=-1)[..., 0]
    return np.square(probs).sum(axis=-1) - 2 * own + 1


def _bins(confidence: Float[np.ndarray, "S N"], num_bins: int) -> Int[np.ndarray, "S N"]:
    return np.clip((confidence * num_bins).astype(int), 0, num_bins - 1)


def _bin_sums(values: np.ndarray, bins: np.ndarray, num_bins: int) -> Float[np.ndarray, "S B"]:
    """Sum of values [S, N] in each member's bins."""
    num_members = len(values)
    flat = (bins + num_bins * np.arange(num_members)[:, None]).ravel()
    return np.bincount(flat, values.ravel(), minlength=num_members * num_bins).reshape(num_members, num_bins)


def calibration_error(
    confidence: Float[np.ndarray, "S N"],
    right: Bool[np.ndarray, "S N"],
    *,
    num_bins: int,
    weight: Float[np.ndarray, " N"] | None = None,
) -> Float[np.ndarray, " S"]:
    """Expected calibration error of each member: sum over bins of |share right - mean confidence| times its share.

    `num_bins` bins of equal width in confidence; `weight` counts the images. Biased upwards by sampling noise, of the
    order sqrt(num_bins / N). Guo et al. 2017, arXiv:1706.04599.
    """
    weight = np.ones(confidence.shape[1]) if weight is None else weight
    gaps = _bin_sums((right - confidence) * weight[None, :], _bins(confidence, num_bins), num_bins)
    return np.abs(gaps).sum(axis=1) / weight.sum()


def disagreements(prediction: Int[np.ndarray, "S N"]) -> Bool[np.ndarray, "S S N"]:
    """Whether two members predict different classes."""
    return prediction[:, None, :] != prediction[None, :, :]


def expected_disagreements(onehot: Float[np.ndarray, "S N K"], label: Labels1) -> Float[np.ndarray, "S S N"]:
    """What two members would disagree on if, given the true class, they predicted independently. Mean over N: a share.

    The mean is 1 - sum_y P(y) sum_k C_s[y, k] C_t[y, k], C the confusion matrices (rows: true classes): the
    disagreement of two classifiers of these accuracies whose errors have nothing to do with each other. Image i of
    class y contributes 1 - (o_s . C_t[y] + C_s[y] . o_t - C_s[y] . C_t[y]), o its one-hot prediction: the influence of
    the image, so that intervals see that the matrices are estimates. A member with itself is meaningless.
    """
    rows = np.zeros((len(onehot), onehot.shape[-1], onehot.shape[-1]))
    for y in np.unique(label):
        rows[:, y] = onehot[:, label == y].mean(axis=1)
    own = rows[:, label]  # [S, N, K]
    cross = np.einsum("snk,tnk->stn", onehot, own)
    return 1 - (cross + cross.swapaxes(0, 1) - np.einsum("snk,tnk->stn", own, own))


def pair_influence(values: Float[np.ndarray, "S S N"]) -> Float[np.ndarray, "S N"]:
    """Influence of (member, image) on the mean over all pairs of different members and all images.

    A member takes part in a share 2 / S of the pairs, so its deviation counts twice (Hajek's projection of a
    U-statistic); an image is in all pairs and counts once. The mean over [S, N] is the estimate.
    """
    num_members = len(values)
    others = values * (1 - np.eye(num_members))[:, :, None]
    member = others.sum(axis=1) / (num_members - 1)
    image = member.mean(axis=0, keepdims=True)
    return image + 2 * (member - image)


def tables(logits: Logits3, label: Labels1, *, num_bins: int) -> Arrays:
    """Values per member, per class, per bin and per pair, as saved in arrays.nc."""
    num_members, _, num_classes = logits.shape
    probs = probabilities(logits)
    confidence, prediction = probs.max(axis=-1), logits.argmax(axis=-1)
    right = prediction == label[None, :]
    bins = _bins(confidence, num_bins)
    count = _bin_sums(np.ones_like(confidence), bins, num_bins)
    with np.errstate(invalid="ignore"):
        by_bin = {
            "bin_accuracy": _bin_sums(right.astype(float), bins, num_bins) / count,
            "bin_confidence": _bin_sums(confidence, bins, num_bins) / count,
        }
    by_class = np.full((num_members, num_classes), np.nan)
    for k in np.unique(label):
        by_class[:, k] = right[:, label == k].mean(axis=1)
    expected = expected_disagreements(np.eye(num_classes)[prediction], label).mean(axis=-1)
    np.fill_diagonal(expected, np.nan)
    member = {
        "accuracy": right.mean(axis=1),
        "nll": losses(logits, label).mean(axis=1),
        "brier": brier(logits, label).mean(axis=1),
        "ece": calibration_error(confidence, right, num_bins=num_bins),
    }
    found = {
        **{name: (("member",), values) for name, values in member.items()},
        **{name: (("member", "bin"), values) for name, values in by_bin.items()},
        "class_accuracy": (("member", "class"), by_class),
        "disagreement": (("member", "other"), disagreements(prediction).mean(axis=-1)),
        "disagreement_expected": (("member", "other"), expected),
    }
    single = {name: (dims, values.astype(np.float32)) for name, (dims, values) in found.items()}
    return single | {"bin_count": (("member", "bin"), count.astype(np.int32))}


def _share(right: np.ndarray) -> Interval:
    """Interval of the share of right predictions, [S, N]."""
    return of_share(interval(right.astype(float)), right.shape[1])


def strata(members: Sequence[dict], swept: Sequence[str]) -> list[tuple[dict, np.ndarray]]:
    """(values of the swept hyperparameters, indices of the trained members that have them), in order of appearance."""
    groups: dict[tuple, list[int]] = {}
    for s, member in enumerate(members):
        if member["control"] == "trained":
            groups.setdefault(tuple(member[name] for name in swept), []).append(s)
    return [(dict(zip(swept, point, strict=True)), np.asarray(index)) for point, index in groups.items()]


def estimate(
    logits: Logits3,
    label: Labels1,
    members: Sequence[dict],
    swept: Sequence[str],
    *,
    class_names: Sequence[str],
    num_bins: int,
) -> tuple[list[dict], list[dict]]:
    """(estimates, checks): one set of estimates for each value of a sweep, controls' accuracy behind."""
    estimates, checks = [], []
    chance = float(np.bincount(label).max() / len(label))
    for coords, index in strata(members, swept):
        own = logits[index]
        estimates += _quality(own, label, coords, class_names, num_bins)
        if len(index) > 1:
            estimates += _agreement(own.argmax(axis=-1), label, own.shape[-1], coords)
    for control in ("untrained", "shuffled"):
        index = [s for s, member in enumerate(members) if member["control"] == control]
        if index:
            right = (logits[index].argmax(axis=-1) == label[None, :]).astype(float)
            estimates.append(
                estimate_dict(_share(right), "accuracy.test", population="clean", unit="1", control=control)
            )
            checks.append(_near_chance(control, float(right.mean()), chance))
    trained = [s for s, member in enumerate(members) if member["control"] == "trained"]
    lowest = float((logits[trained].argmax(axis=-1) == label[None, :]).mean(axis=1).min())
    checks.append(
        {
            "name": "accuracy.above_chance",
            "passed": lowest > chance + NEAR_CHANCE,
            "detail": f"lowest test accuracy of a trained member {lowest:.3f}, most frequent class {chance:.3f}",
        }
    )
    return estimates, [*checks, duplicate_check(losses(logits, label)[trained])]


def _near_chance(control: str, accuracy: float, chance: float) -> dict:
    limit = chance + NEAR_CHANCE
    detail = f"mean test accuracy {accuracy:.3f}; expected below {limit:.3f} (most frequent class {chance:.3f})"
    return {"name": f"controls.{control}", "passed": accuracy < limit, "detail": detail}


def _quality(logits: Logits3, label: Labels1, coords: dict, class_names: Sequence[str], num_bins: int) -> list[dict]:
    """Accuracy, in total and by class, and calibration of the members of one stratum."""
    probs = probabilities(logits)
    right, confidence = logits.argmax(axis=-1) == label[None, :], probs.max(axis=-1)

    def entry(found: Interval, name: str, unit: str, **more) -> dict:
        return estimate_dict(found, name, population="clean", unit=unit, **coords, **more)

    def error(weight_members, weight_examples) -> float:
        each = calibration_error(confidence, right, num_bins=num_bins, weight=weight_examples)
        return float(np.average(each, weights=weight_members))

    ece = crossed_bootstrap(error, *right.shape)
    return [
        {**entry(_share(right), "accuracy.test", "1"), "headline": True},
        {**entry(interval(losses(logits, label)), "calibration.nll", "nats"), "headline": True},
        {**entry(interval(brier(logits, label)), "calibration.brier", "1"), "headline": True},
        {**entry(ece, "calibration.ece", "1", num_bins=num_bins), "headline": True},
        *(
            entry(_share(right[:, label == k]), "accuracy.class", "1", **{"class": name})
            for k, name in enumerate(class_names)
            if np.sum(label == k) > 1
        ),
    ]


def _agreement(prediction: Int[np.ndarray, "S N"], label: Labels1, num_classes: int, coords: dict) -> list[dict]:
    """Pairwise disagreement, what unrelated errors would give, and their ratio, over all pairs of one stratum."""
    seen = pair_influence(disagreements(prediction).astype(float))
    expected = pair_influence(expected_disagreements(np.eye(num_classes)[prediction], label))
    found = {"agreement.disagreement": seen, "agreement.disagreement_expected": expected}
    if expected.mean() > 0:
        ratio = seen.mean() / expected.mean()
        found["agreement.ratio"] = ratio + (seen - ratio * expected) / expected.mean()
    return [
        {**estimate_dict(interval(values), name, population="clean", unit="1", **coords), "headline": True}
        for name, values in found.items()
    ]


def headline(estimates: Sequence[dict], told: str, swept: Sequence[str]) -> str:
    """The answer in one or two sentences; of a sweep, the values with the best accuracy."""
    trained = [e for e in estimates if e["name"] == "accuracy.test" and "control" not in e]
    best = max(trained, key=lambda e: e["value"])

    def same(entry: dict) -> bool:
        return all(entry.get(name) == best[name] for name in swept)

    def percent(entry: dict) -> str:
        value = f"{100 * entry['value']:.1f} %"
        if entry["low"] is None or entry["high"] is None:
            return value
        return f"{value} [{100 * entry['low']:.1f}, {100 * entry['high']:.1f}]"

    where = "".join(f", {name} {best[name]:g} (the best of {len(trained)} values)" for name in swept[:1])
    text = f"{best['members']} classifiers ({told}{where}) are right on {percent(best)} of the test images."
    pairs = {e["name"]: e for e in estimates if e["name"].startswith("agreement.") and same(e)}
    if "agreement.ratio" in pairs:
        ratio = pairs["agreement.ratio"]["value"]
        text += (
            f" Two of them disagree on {percent(pairs['agreement.disagreement'])}, {ratio:.2f} times what unrelated "
            "errors of equal accuracy would give."
        )
    return text
