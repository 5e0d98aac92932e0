"""Certified radius of the vote of a classifier under Gaussian noise (randomised smoothing).

Where a share p > 1/2 of all draws x + sigma e, e ~ N(0, I), is given a class, the majority is given that class at every
point within the L2 distance sigma Phi^-1(p) of x. The first n0 draws choose the class, n others estimate p by its lower
Clopper-Pearson bound, which holds with probability 1 - alpha:

    R = sigma Phi^-1(p_low),    p_low the alpha quantile of Beta(k, n - k + 1), k of the n draws agreeing.

Where p_low is at most 1/2 nothing is certified (an abstention). n draws certify at most sigma Phi^-1(alpha^(1/n)).

Source: Cohen, Rosenfeld & Kolter 2019, arXiv:1902.02918, algorithm CERTIFY.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, ArrayLike, Float
from scipy import special

from landscape.spaces import draw_flat, fold
from landscape.types import Apply, Images, Labels, Values, Variables


def radii(num_draws: int, alpha: float) -> Float[np.ndarray, " n"]:
    """Certified radii over sigma when k = 0 .. n of n draws agree, float64 [n + 1]; 0 where nothing is certified."""
    agreeing = np.arange(1, num_draws + 1)
    low = special.betaincinv(agreeing, num_draws - agreeing + 1, alpha)
    return special.ndtri(np.maximum(np.append(0.5, low), 0.5))


def certified_radius(
    keys: jax.Array,
    variables: Variables,
    x: Images,
    label: Labels,
    *,
    apply: Apply,
    sigma: Float[ArrayLike, ""],
    num_choosing: int = 64,
    num_draws: int = 512,
    alpha: float = 0.001,
) -> dict[str, Values]:
    """Radius within which, with confidence 1 - alpha for each example by itself, the majority of noisy copies is given
    the tracked class; see the module's head.

    Args:
      sigma: standard deviation of the noise, pixels; noisy inputs are not cut to [0, 1].
      num_choosing, num_draws: n0 and n; draw r of example i comes from fold_in(keys[i], r).
      alpha: probability that the bound of an example fails.

    Returns:
      certified_radius: [N], pixels (L2); 0 for abstentions, and where another class than the tracked one is chosen.
      certified_abstains, certified_capped: 1 where nothing is certified, and where all n draws agree on the tracked
      class, so that more draws would certify more; else 0. Each [N].

    Raises:
      ValueError: no draws, or an alpha outside (0, 1).
    """
    if min(num_choosing, num_draws) < 1 or not 0 < alpha < 1:
        raise ValueError(
            f"num_choosing={num_choosing}, num_draws={num_draws}, alpha={alpha}: expected draws, and an alpha between "
            "0 and 1; try 64, 512 and 0.001"
        )
    num_classes = jax.eval_shape(apply, variables, x).shape[-1]

    def votes(draws: Array) -> Array:
        """How many draws each class is given, [N, K]."""

        def trial(total, r):
            noise = draw_flat(lambda key, shape: jax.random.normal(key, shape, x.dtype), fold(keys, r), x)
            given = jnp.argmax(apply(variables, x + sigma * noise), axis=-1)
            return total + jax.nn.one_hot(given, num_classes, dtype=jnp.int32), None

        return lax.scan(trial, jnp.zeros((x.shape[0], num_classes), jnp.int32), draws)[0]

    chosen = jnp.argmax(votes(jnp.arange(num_choosing)), axis=-1)
    agreeing = jnp.take_along_axis(votes(num_choosing + jnp.arange(num_draws)), chosen[:, None], axis=-1)[:, 0]
    radius = sigma * jnp.asarray(radii(num_draws, alpha), x.dtype)[agreeing]
    tracked = chosen == label
    return {
        "certified_radius": jnp.where(tracked, radius, 0.0),
        "certified_abstains": (radius == 0).astype(x.dtype),
        "certified_capped": (tracked & (agreeing == num_draws)).astype(x.dtype),
    }
