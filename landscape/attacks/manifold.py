"""On-manifold attacks: the search of a class in an autoencoder's latent, so that results stay what it decodes."""

import jax
from jaxtyping import ArrayLike, Float

from landscape import objectives
from landscape.samplers import fixed
from landscape.search import SearchResult, normalized_steps, search
from landscape.spaces import Space
from landscape.types import Apply, Images, Labels, Variables


def on_manifold(
    variables: Variables,
    x: Images,
    label: Labels,
    *,
    apply: Apply,
    space: Space,
    epsilon: Float[ArrayLike, "..."],
    step_size: ArrayLike,
    num_steps: int,
    frames: int = 1,
) -> SearchResult:
    """Away from the class `label` in the L2 ball of radius epsilon around each image's encoding; the last iterate.

    Nothing is random: the search starts at the encoding. Whether the decoded start has the class at all is the
    autoencoder's doing; compare with `space.decode(space.encode(x))`, not with x.

    Args:
      space: of the autoencoder; see `spaces.latent`. Images of the result are `space.decode(result.z)`.
      epsilon, step_size: in units of the latent, over the whole of it; epsilon scalar or [N].

    Source: Stutz et al. 2019, arXiv:1812.00740.
    """
    return search(
        jax.random.key(0),
        space.encode(x),
        label,
        objective=objectives.descend(apply, objectives.gap),
        space=space,
        sampler=fixed(variables),
        optimizer=normalized_steps(step_size),
        epsilon=epsilon,
        num_steps=num_steps,
        frames=frames,
    )


def decoded(
    keys: jax.Array,
    variables: Variables,
    x: Images,
    label: Labels,
    *,
    apply: Apply,
    norm: str,
    space: Space,
    **budget,
) -> Images:
    """The images of `on_manifold`, called as all named attacks are; `keys` are of no use to it.

    Args:
      norm: "l2" alone, of the latent.

    Raises:
      ValueError: another norm.
    """
    del keys
    if norm != "l2":
        raise ValueError(f"norm={norm!r}: expected l2, the norm of the latent's ball")
    return space.decode(on_manifold(variables, x, label, apply=apply, space=space, **budget).z)
