"""Local linearity of a classifier around an input: how far it strays from its tangent within a radius rho.

    gamma(rho, x) = max over ||delta|| <= rho of |f(x + delta) - f(x) - delta . grad f(x)|

of a value f of the tracked class: the loss (nats), or the margin (logits). The loss of a confident classifier is flat
whatever its logits do, so the departure as a share of the margin compares inputs of unlike confidence. What projected
ascent finds is a lower bound.

Source: Qin et al. 2019, arXiv:1907.02610, equation 5.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike, Float

from landscape import arguments, objectives, spaces
from landscape.samplers import fixed
from landscape.search import search, steepest
from landscape.types import Apply, Images, Labels, Logits, Values, Variables


def linearity(
    keys: jax.Array,
    variables: Variables,
    x: Images,
    label: Labels,
    *,
    apply: Apply,
    norm: str,
    rho: ArrayLike,
    value_fn: Callable[[Logits, Labels], Values] = objectives.loss,
    num_steps: int = 10,
) -> Float[Array, " N"]:
    """gamma(rho, x) of every input, [N], in the unit of `value_fn`; see the module's head.

    Steepest ascent in steps of rho, brought back into the ball, from a uniform point of it (at x itself the gradient of
    gamma is zero); the best point counts. Where f is quadratic that is a power iteration. Points are not kept in
    [0, 1]: the tangent knows no box.

    Args:
      norm: "linf" or "l2". rho: radius in that norm, pixels; scalar or [N].
      value_fn: f, such as `objectives.loss` (the one of the source) or `objectives.margin`.
    """
    arguments.check(variables, x, label, apply=apply, keys=keys)
    arguments.check_radius(rho, norm, x)

    def value(z):
        return value_fn(apply(variables, z), label)

    here, slope = value(x), jax.grad(lambda z: jnp.sum(value(z)))(x)

    def strays(variables, z, origin):
        at, here, slope, label = origin
        along = jnp.sum((slope * (z - at)).reshape(z.shape[0], -1), axis=1)
        return jnp.abs(value_fn(apply(variables, z), label) - here - along)

    target = (x, here, slope, label)
    radius, ball = spaces.per_example(rho, x), spaces.Space(spaces.same, spaces.same, spaces.balls(norm))
    found = search(
        jax.random.key(0),  # the classifier is fixed: nothing is drawn from this
        spaces.random_start(keys, x, rho, norm=norm),
        target,
        objective=strays,
        space=ball,
        sampler=fixed(variables),
        optimizer=optax.chain(steepest(norm, 1.0), optax.stateless(lambda steps, _: steps * radius)),
        epsilon=rho,
        num_steps=num_steps,
        origin=x,
    )
    return jnp.maximum(jnp.max(found.value, axis=0), strays(variables, found.z, target))
