"""What lies around an embedding when nothing guides: noise of a given size, spheres of a given radius, the prior.

All in white coordinates. Levels and radii share their random numbers, so that two levels differ by the level alone,
and a key stands for (example, trial): an example's draws do not depend on the others.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from landscape.spaces import draw_flat


def gaussian(keys: jax.Array, u: Float[Array, "N D"], levels: Float[Array, " L"]) -> Float[Array, "L N D"]:
    """u + s eps, eps ~ N(0, I) the same at all levels s (white units); about s sqrt(D) away."""
    return u[None] + levels[:, None, None] * draw_flat(jax.random.normal, keys, u)[None]


def shell(keys: jax.Array, u: Float[Array, "N D"], radii: Float[Array, " L"]) -> Float[Array, "L N D"]:
    """Uniform on the sphere of radius r sqrt(D) around u, in the same direction at all radii r.

    r is a root mean square per dimension (white units), so r here is as far as the level s = r of `gaussian`, on which
    it takes the spread of lengths away.
    """

    def direction(key: jax.Array, shape: tuple[int, ...]) -> Array:
        eps = jax.random.normal(key, shape)
        return eps / jnp.sqrt(jnp.mean(jnp.square(eps)))

    return u[None] + radii[:, None, None] * draw_flat(direction, keys, u)[None]


def prior(key: jax.Array, num: int, dim: int) -> Float[Array, "N D"]:
    """N(0, I): the Gaussian fitted to the training latents. Row i is the same whatever `num` is."""
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(num))
    return draw_flat(jax.random.normal, keys, jnp.zeros((num, dim)))
