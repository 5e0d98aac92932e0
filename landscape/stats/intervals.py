"""The two-way random-effects interval: members and examples are crossed, all members see the same images."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import special

LEVEL = 0.95  # nominal coverage of every interval and band
MIN_MEMBERS = 4  # below this no statement about new seeds is made: three members say too little about a fourth
MOST_SKEW = 1 / 3  # of an estimate, that is corrected for
CONCENTRATED = 0.25  # share of the images below which the effective number of images replaces their count


class Interval(NamedTuple):
    """An estimate with its two-sided t interval. Arrays instead of floats where a statistic is an array (bootstrap).

    `members` and `examples` are S and N. `var_member`, `var_example`, `var_residual` are the variance components of one
    value v_si = mean + member_s + example_i + residual_si (negative estimates cut at 0, NaN where S or N is too small).
    `skew` is the estimated skewness of the estimate itself, by which its t interval is corrected.
    """

    value: float | np.ndarray
    low: float | np.ndarray
    high: float | np.ndarray
    df: float | np.ndarray
    sem: float | np.ndarray
    members: int
    examples: int
    var_member: float
    var_example: float
    var_residual: float
    skew: float | np.ndarray = 0.0

    @property
    def generalises_to(self) -> str:
        """What the interval speaks of: "both" (new seeds and new images), "new seeds" or "new images"."""
        return generalises_to(self.members, self.examples)


class TwoWay(NamedTuple):
    """Mean squares of values [..., S, N] and what follows from them; every field has the leading axes."""

    value: np.ndarray  # grand mean
    member: np.ndarray  # A = N var(row means), NaN for S = 1
    example: np.ndarray  # B = S var(column means), NaN for N = 1
    residual: np.ndarray  # E, NaN for S = 1 or N = 1
    sem: np.ndarray  # standard error of the grand mean
    df: np.ndarray  # degrees of freedom of sem^2
    skew: np.ndarray  # skewness of the grand mean, its third cumulant / sem^3

    def ends(self, level: float | np.ndarray = LEVEL) -> np.ndarray:
        """Low and high end of the interval of a level, [2, ...]."""
        return ends(self.value, self.sem, t_quantile(self.df, level), self.skew)


def generalises_to(members: int, examples: int) -> str:
    """ "both", "new seeds" (one example only) or "new images" (fewer than 4 members, which are then taken as given)."""
    if members < MIN_MEMBERS:
        return "new images"
    return "both" if examples > 1 else "new seeds"


def checked(values: np.ndarray, name: str, ndim: int | None = None) -> np.ndarray:
    """`values` as float64; refuses a wrong number of axes, an empty axis and values that are not finite."""
    values = np.asarray(values, dtype=np.float64)
    wanted = "[L, S, N]" if ndim == 3 else "[S, N]"
    if values.ndim < 2 or (ndim is not None and values.ndim != ndim) or values.size == 0:
        raise ValueError(
            f"{name} has shape {values.shape}: expected {wanted} with S >= 1 members and N >= 1 examples; "
            "put members on the axis before examples."
        )
    bad = int(np.sum(~np.isfinite(values)))
    if bad:
        raise ValueError(
            f"{name} holds {bad} of {values.size} values that are NaN or infinite: expected finite values; "
            "leave invalid examples out by a mask, or narrow the one there is."
        )
    return values


def t_quantile(df: float | np.ndarray, level: float | np.ndarray = LEVEL) -> float | np.ndarray:
    """The two-sided quantile of Student's t: P(|T| <= q) = level."""
    return special.stdtrit(df, 0.5 + 0.5 * level)


def sides(skew: float | np.ndarray) -> np.ndarray:
    """How long the lower and the upper half of an interval are, as shares of those without skewness. [2, ...]

    t = (mean - truth) / sem of a mean with skewness k is skewed itself, since a large mean and a large standard error
    go together. Hall's cubic t + k t^2 / 3 + k^2 t^3 / 27 + k / 6 undoes that; its inverse is
    h(x) = 3 / k (cbrt(1 + k (x - k / 6)) - 1). The shares are h(z) / z and -h(-z) / z, z the normal quantile of LEVEL:
    at the larger quantiles of t, or with k above MOST_SKEW, the cubic is nearly flat and its inverse says little.

    Source: Hall 1992 (Journal of the Royal Statistical Society B 54:221).
    """
    k = np.clip(skew, -MOST_SKEW, MOST_SKEW)
    k = np.where(np.abs(k) < 1e-6, 1e-6, k)  # the limit k -> 0 is 1, to 1e-6
    z = special.ndtri(0.5 + 0.5 * LEVEL)
    return np.stack([3 / (k * x) * (np.cbrt(1 + k * (x - k / 6)) - 1) for x in (z, -z)])


def ends(
    value: float | np.ndarray, sem: float | np.ndarray, quantile: float | np.ndarray, skew: float | np.ndarray
) -> np.ndarray:
    """Low and high end of value -+ quantile sem, each half as long as `sides` of the skewness says. [2, ...]"""
    low, high = quantile * sem * sides(skew)
    return np.stack([value - low, value + high])


def _third(means: np.ndarray) -> np.ndarray:
    """Third cumulant of the mean of n values [..., n], without bias; 0 of fewer than 3."""
    num = means.shape[-1]
    cubes = np.sum((means - means.mean(-1, keepdims=True)) ** 3, -1)
    return np.asarray(cubes / (num * (num - 1) * (num - 2)) if num > 2 else 0 * cubes)


def _example_df(columns: np.ndarray) -> np.ndarray:
    """Degrees of freedom of the variance of column means [..., N]: N - 2, fewer where few columns carry it all.

    A masked mean over 13 of 500 images is a mean of 13. The effective number 3 (sum d^2)^2 / sum d^4, d the deviations
    of the columns, is N for normal d and 13 for that case; it is used where it falls below N / 4.
    """
    num = columns.shape[-1]
    squares = np.square(columns - columns.mean(-1, keepdims=True))
    fourth = np.sum(np.square(squares), -1)
    with np.errstate(divide="ignore", invalid="ignore"):
        effective = np.where(fourth > 0, 3 * np.square(squares.sum(-1)) / fourth, num)
    return np.asarray(np.maximum(np.where(effective < CONCENTRATED * num, effective, num) - 2.0, 1.0))


def crossed_variance(
    member: float | np.ndarray,
    example: float | np.ndarray,
    residual: float | np.ndarray,
    df_member: float,
    df_example: float | np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """V = max(A + B - E, A, B) of mean squares A, B, E, and its df: 1 / df = max(A - E/4, 0) / (V df_A) + B / (V df_B).

    The maxima keep an interval from being shorter than the one over members or images alone. Unlike Satterthwaite's,
    1 / df is linear in the shares, since few members may show too little of their spread. Members whose spread is that
    of the residual count for less (E/4). df is at least 1 and at most the larger of the two.
    """
    variance = np.maximum(member + example - residual, np.maximum(member, example))
    shares = np.maximum(member - residual / 4, 0.0) / df_member + example / df_example
    varies = variance > np.finfo(np.float64).tiny
    inverse = np.maximum(shares / np.where(varies, variance, 1.0), 1 / np.maximum(df_member, df_example))
    df = np.where(varies, 1 / inverse, np.minimum(df_member, df_example))
    return np.asarray(variance), np.asarray(np.maximum(df, 1.0))


def two_way(values: np.ndarray) -> TwoWay:
    """Mean squares, standard error and skewness of the mean, and degrees of freedom of values [..., S, N].

    A = N var(row means), B = S var(column means), E = residual mean square;
    sem^2 = V / (S N), V and df from `crossed_variance` with S - 2 and N - 2: one degree of freedom less each than a
    variance has, since four members of a skewed law often show neither their spread nor their skewness;
    skew = (k3(row means) / S^2 + k3(column means) / N^2) / sem^3, k3 the third cumulant of one row or column mean.
    With S < 4 the members are taken as given: sem^2 = B / (S N), df = N - 2; with N = 1, sem^2 = A / S, df = S - 2.
    Where few images carry the variance (`_example_df`) their effective number replaces N in df.

    Source: Searle, Casella & McCulloch 1992, "Variance Components".
    """
    num_members, num_examples = values.shape[-2:]
    rows, columns = values.mean(-1), values.mean(-2)
    value = rows.mean(-1)
    nothing = np.full(value.shape, np.nan)
    member = num_examples * rows.var(-1, ddof=1) if num_members > 1 else nothing
    example = num_members * columns.var(-1, ddof=1) if num_examples > 1 else nothing
    df_member, df_example = max(num_members - 2.0, 1.0), _example_df(columns)
    residual = nothing
    if num_members > 1 and num_examples > 1:
        rest = values - rows[..., :, None] - columns[..., None, :] + value[..., None, None]
        residual = np.sum(np.square(rest), (-2, -1)) / ((num_members - 1) * (num_examples - 1))
    scope = generalises_to(num_members, num_examples)
    if scope == "new images":  # NaN for N = 1: one image and no interval over seeds leave nothing to say
        variance, df, third = example, df_example, _third(columns)
    elif scope == "new seeds":
        variance, df, third = member, df_member + np.zeros_like(value), _third(rows)
    else:
        variance, df = crossed_variance(member, example, residual, df_member, df_example)
        third = _third(rows) + _third(columns)
    sem = np.sqrt(variance / (num_members * num_examples))
    skew = np.divide(third, sem**3, out=np.zeros_like(value), where=sem**3 > 0)
    return TwoWay(value, member, example, residual, sem, df, skew)


def interval(values: Float[np.ndarray, "S N"]) -> Interval:
    """Mean of values [S, N] with its two-way random-effects t interval, corrected for skewness.

    (value - sem q a, value + sem q b), q the quantile of Student's t, a and b of `sides`, all else of `two_way`.
    Values are one per member and example, or an influence array of `influence` / `matching`; their unit is that of the
    interval. S < 4: over images only, given the members. S < 4 and N = 1: low, high NaN.

    Coverage of the 95 % interval in simulation, S = 4, 8, 16 and N = 64, 256, where members, images or the residual
    dominate: normal effects 94.5 - 97.7 %, exponential 92.1 - 97.3 %, lognormal (skewness 6) 88.5 - 97.8 %, lowest
    where four or eight skewed members outweigh the rest; residual alone 96.4 - 98.7 %. With four members of normal
    effects that outweigh the rest, intervals are 1.45 times as long as the t interval with S - 1, in the median.

    Raises:
      ValueError: not [S, N], or not finite.
    """
    values = checked(values, "values", 2)
    num_members, num_examples = values.shape
    result = two_way(values)
    low, high = result.ends()
    return Interval(
        value=float(result.value),
        low=float(low),
        high=float(high),
        df=float(result.df),
        sem=float(result.sem),
        members=num_members,
        examples=num_examples,
        # np.maximum keeps the NaN of what cannot be estimated
        var_member=float(np.maximum((result.member - result.residual) / num_examples, 0.0)),
        var_example=float(np.maximum((result.example - result.residual) / num_members, 0.0)),
        var_residual=float(result.residual),
        skew=float(result.skew),
    )


def within(found: Interval, low: float, high: float) -> Interval:
    """An interval cut to the range of what it is of, such as -1 to 1 of a cosine."""
    return found._replace(low=float(np.clip(found.low, low, high)), high=float(np.clip(found.high, low, high)))


def of_share(found: Interval, examples: int | float) -> Interval:
    """An interval of a share, cut to [0, 1]; where all values are alike, the exact binomial one over the images.

    n images that all say yes (or no) have no spread for a t interval, and still allow a share of
    (1 - LEVEL) / 2 = p^n: the other end is p (or 1 - p), Clopper & Pearson 1934 (Biometrika 26:404).

    Args:
      examples: number n of distinct images; infinite where a value is not of images.
    """
    if found.sem == 0 and found.value in (0.0, 1.0):
        end = (0.5 - 0.5 * LEVEL) ** (1 / examples)
        low, high = (end, 1.0) if found.value == 1.0 else (0.0, 1 - end)
        return found._replace(low=low, high=high)
    return within(found, 0.0, 1.0)
