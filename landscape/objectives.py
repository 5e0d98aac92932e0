"""Per-example values of a classifier's logits: loss, margin, probability, and what searches raise.

All are functions `(logits [N, K], label [N]) -> [N]` and keep the dtype of the logits. The loss is written from the
*other* classes, so it stays exact when the tracked class is all but certain: `-log_softmax` in float32 rounds to zero
beyond log-odds of about 16.6 and its gradient points elsewhere well before.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, Bool, Float

from landscape.ensembles import Mapping, map_members
from landscape.types import Apply, Ensemble, Images, Labels, Logits, Values, Variables

TINY = 1e-12  # keeps a quotient of equal logits finite


def _tracked(logits: Logits, label: Labels) -> Bool[Array, "N K"]:
    return jnp.arange(logits.shape[-1])[None, :] == label[:, None]


def logit(logits: Logits, label: Labels) -> Values:
    """l_c, the logit of a class. [N]."""
    return jnp.take_along_axis(logits, label[:, None], axis=-1)[:, 0]


def log_odds(logits: Logits, label: Labels) -> Values:
    """Log-odds of the tracked class c: -logsumexp over k != c of (l_k - l_c) = log(p_c / (1 - p_c)). Nats, [N].

    Differences to the tracked logit are taken before the sum, so they are exact wherever the logits are.
    """
    others = jnp.where(_tracked(logits, label), -jnp.inf, logits - logit(logits, label)[:, None])
    return -jax.nn.logsumexp(others, axis=-1)


def loss(logits: Logits, label: Labels) -> Values:
    """Cross-entropy of the tracked class, softplus(logsumexp over k != c of (l_k - l_c)) = -log p_c. Nats, [N]."""
    return jax.nn.softplus(-log_odds(logits, label))


def probability(logits: Logits, label: Labels) -> Values:
    """p_c, the softmax probability of the tracked class. [N] in [0, 1]."""
    return jax.nn.sigmoid(log_odds(logits, label))


def error_probability(logits: Logits, label: Labels) -> Values:
    """1 - p_c as the sum of the other probabilities: keeps its digits where p_c rounds to 1. [N] in [0, 1]."""
    return jax.nn.sigmoid(-log_odds(logits, label))


def margin(logits: Logits, label: Labels) -> Values:
    """l_c - max over k != c of l_k: positive exactly where c is predicted (ties aside). Logits, [N]."""
    return logit(logits, label) - jnp.max(jnp.where(_tracked(logits, label), -jnp.inf, logits), axis=-1)


def scaled_margin(logits: Logits, label: Labels) -> Values:
    """(l_c - max over k != c of l_k) / (l_(1) - l_(3)): minus the DLR loss, which no scale of the logits moves. [N].

    l_(i) are the logits from the largest down.

    Raises:
      ValueError: fewer than three classes.

    Source: Croce & Hein 2020, arXiv:2003.01690, equation 6.
    """
    if logits.shape[-1] < 3:
        raise ValueError(f"{logits.shape[-1]} classes: expected at least 3; try the cross-entropy")
    top = lax.top_k(logits, 3)[0]
    return margin(logits, label) / (top[:, 0] - top[:, 2] + TINY)


def scaled_lead(logits: Logits, pair: tuple[Labels, Labels]) -> Values:
    """(l_t - l_c) / (l_(1) - (l_(3) + l_(4)) / 2) of classes (c, t): the targeted DLR loss. [N].

    Raises:
      ValueError: fewer than four classes.

    Source: Croce & Hein 2020, arXiv:2003.01690, equation 7.
    """
    if logits.shape[-1] < 4:
        raise ValueError(f"{logits.shape[-1]} classes: expected at least 4; try the untargeted one")
    label, target = pair
    top = lax.top_k(logits, 4)[0]
    return (logit(logits, target) - logit(logits, label)) / (top[:, 0] - 0.5 * (top[:, 2] + top[:, 3]) + TINY)


def log_probability(logits: Logits, label: Labels) -> Values:
    """log p_c. Nats, [N]."""
    return -loss(logits, label)


# What is raised, or differentiated, of a class: (logits [N, K], class [N]) -> [N].
VALUES = {"probability": probability, "log_probability": log_probability, "logit": logit, "margin": margin}


def divergence(logits: Logits, others: Logits) -> Values:
    """KL(p || q) = sum_k p_k (log p_k - log q_k) of the softmax p of `logits` and q of `others`. Nats, [N]."""
    log_p, log_q = jax.nn.log_softmax(logits), jax.nn.log_softmax(others)
    return jnp.sum(jnp.exp(log_p) * (log_p - log_q), axis=-1)


# ---- what a search raises: objective(variables, x, target) -> values [N] ----

Objective = Callable[[Variables, Images, object], Values]


def ascend(apply: Apply, value_fn: Callable[[Logits, Labels], Values]) -> Objective:
    """Objective that raises `value_fn` of the target class. Target: labels [N]."""
    return lambda variables, x, label: value_fn(apply(variables, x), label)


def descend(apply: Apply, value_fn: Callable[[Logits, Labels], Values]) -> Objective:
    """Objective that lowers `value_fn` of the target class, as untargeted attacks do. Target: labels [N]."""
    return lambda variables, x, label: -value_fn(apply(variables, x), label)


def steer(apply: Apply) -> Objective:
    """-(o_c(x) - o*)^2 / 2: brings the log-odds of class c to o*. Target: (labels [N], log-odds o* [N], nats).

    Inputs at equal log-odds have equal probability and equal loss; inputs at equal margin have not, where there are
    more than two classes.
    """

    def objective(variables: Variables, x: Images, target: tuple[Labels, Float[ArrayLike, " N"]]) -> Values:
        label, wanted = target
        return -0.5 * jnp.square(log_odds(apply(variables, x), label) - wanted)

    return objective


# ---- several classifiers at once: variables stacked along a leading axis M ----


def averaged(one: Objective) -> Objective:
    """The mean of the classifiers' own objectives, an objective of M classifiers [M, ...]."""

    def objective(ensemble: Ensemble, x: Images, target: object) -> Values:
        return jnp.mean(_each(lambda variables: one(variables, x, target), ensemble), axis=0)

    return objective


def agreeing(one: Objective) -> Objective:
    """`averaged`, its gradient 0 in every pixel where not all of the classifiers' gradients have one sign.

    Source: the idea of the AND-mask, Parascandolo et al. 2020, arXiv:2009.00329.
    """

    def objective(ensemble: Ensemble, x: Images, target: object) -> Values:
        here = lax.stop_gradient(x)

        def value_and_slope(variables):
            value, back = jax.vjp(lambda x: one(variables, x, target), here)
            return value, back(jnp.ones_like(value))[0]

        values, slopes = _each(value_and_slope, ensemble)
        agreed = jnp.abs(jnp.sum(jnp.sign(slopes), axis=0)) == slopes.shape[0]
        slope = lax.stop_gradient(jnp.where(agreed, jnp.mean(slopes, axis=0), 0.0))
        plain = lax.stop_gradient(jnp.mean(values, axis=0))
        return plain + jnp.sum((slope * (x - here)).reshape(x.shape[0], -1), axis=1)

    return objective


# How several classifiers guide one search together: (apply of one, one of VALUES or any like it) -> objective.
GUIDES = {
    "mean": lambda apply, value_fn: averaged(ascend(apply, value_fn)),
    "agreeing": lambda apply, value_fn: agreeing(ascend(apply, value_fn)),
}


def _own(logits: Float[Array, "M N K"], label: Labels, value_fn) -> Float[Array, "M N"]:
    return jax.vmap(value_fn, (0, None))(logits, label)


_JOINTLY = {
    "loss": lambda logits, label: jnp.mean(_own(logits, label, loss), axis=0),
    "hardmin": lambda logits, label: -jnp.max(_own(logits, label, margin), axis=0),
}
JOINT = tuple(_JOINTLY)


def jointly(apply: Apply) -> Objective:
    """An objective of S classifiers [S, ...], all of which one input is to fool. Target: labels c [N], to be lost.

    Its classifiers are (ensemble, number), the number of one of JOINT, so that one program serves both of them. With
    L_s the classifiers' losses of c, m_s their margins (positive where c is predicted), raised is

    - "loss": mean_s L_s. A classifier that is sure of c has little gradient until it gives way.
    - "hardmin": min_s (-m_s) = -max_s m_s, the classifier that is farthest from being fooled alone.
    """

    def objective(chosen: tuple[Ensemble, Any], x: Images, label: Labels) -> Values:
        ensemble, number = chosen
        logits = _each(lambda variables: apply(variables, x), ensemble)
        return lax.switch(jnp.asarray(number), [*_JOINTLY.values()], logits, label)

    return objective


# ---- what may be taken off an objective ----


def total_variation(x: Images) -> Values:
    """Sum over pixels and channels of |x[i+1, j] - x[i, j]| + |x[i, j+1] - x[i, j]|. Pixels, [N].

    Source: Rudin, Osher & Fatemi 1992 (Physica D 60:259), the anisotropic form.
    """
    return sum(jnp.sum(jnp.abs(jnp.diff(x, axis=axis)), axis=(1, 2, 3)) for axis in (1, 2))


def _each(fn: Callable[[Variables], Any], ensemble: Ensemble) -> Any:
    """fn of every classifier; not over devices, since gradients are taken through this."""
    kind = "map" if jax.default_backend() == "cpu" else "vmap"
    return map_members(fn, ensemble, how=Mapping(kind=kind))
