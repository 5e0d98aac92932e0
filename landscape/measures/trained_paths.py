"""Curves between two inputs, trained over all of their length.

The inner points z of a Bezier curve or of a chain lower the mean of f along it,

    E over t ~ U[0, 1] of f(path(t)),

by Adam, a few t a step, one in each of as many equal parts of [0, 1]. The ends stay. z is kept in
[0, 1], so that the whole curve, a convex combination of its points, is.

Source: Garipov et al. 2018, arXiv:1802.10026, there between networks.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike, Float

from landscape.measures.bypass import Height
from landscape.measures.paths import Points, curve
from landscape.samplers import Sampler, fixed
from landscape.search import search
from landscape.spaces import Space
from landscape.types import Labels


def trained(
    key: jax.Array,
    variables: Any,
    a: Float[Array, "N ..."],
    b: Float[Array, "N ..."],
    label: Labels,
    *,
    kind: str,
    height: Height,
    num_waypoints: int = 1,
    num_draws: int = 4,
    num_steps: int = 256,
    learning_rate: ArrayLike = 0.005,
    sampler: Callable[[Any], Sampler] = fixed,
) -> Points:
    """The points of the curve, the inner ones trained from places on the line, [num_waypoints + 2, N, ...].

    Args:
      key: of the t of every step, the same for all pairs.
      variables: whatever `height` takes.
      a, b: ends, pixels in [0, 1].
      kind: "bezier" or "chain".
      height: (variables, x, label) -> f [N], to be lowered.
      num_draws: t a step.
      sampler: variables -> the classifier of every step, a random one for curves that are low for noisy classifiers.
    """
    classifiers = sampler(variables)
    share = jnp.linspace(0.0, 1.0, num_waypoints + 2)[1:-1]
    z0 = jnp.stack([a + t * (b - a) for t in share], axis=1)

    def points(z, a, b):
        return jnp.concatenate([a[None], jnp.moveaxis(z, 1, 0), b[None]])

    def draw(key, source):
        at_t, at_classifier = jax.random.split(key)
        t = (jnp.arange(num_draws) + jax.random.uniform(at_t, (num_draws,))) / num_draws
        return classifiers.draw(at_classifier, source), t

    def objective(drawn, z, target):
        (variables, t), (label, a, b) = drawn, target
        path = curve(points(z, a, b), kind)
        return -jnp.mean(jax.lax.map(lambda t: height(variables, path(t), label), t), axis=0)

    box = Space(lambda z: z, lambda z: z, lambda z, origin, epsilon: jnp.clip(z, 0.0, 1.0))
    found = search(
        key,
        z0,
        (label, a, b),
        objective=objective,
        space=box,
        sampler=Sampler(draw, classifiers.source),
        optimizer=optax.adam(learning_rate),
        epsilon=jnp.inf,
        num_steps=num_steps,
    )
    return points(found.z, a, b)
