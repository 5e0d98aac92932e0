"""Curvature in weight space: largest eigenvalue and trace of the Hessian of a classifier's mean loss in its weights.

All parameters count, biases and those of norm layers too; running statistics do not move. Both numbers change when one
layer of a ReLU network is multiplied by a and the next divided by a, which changes no output: compare members with
`relative_flatness` instead, and populations within one member.

Source: Yao et al. 2020, arXiv:1912.07145; on scaling, Dinh et al. 2017, arXiv:1703.04933.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float

from landscape import objectives
from landscape.measures.curvature import extremes, lanczos, trace
from landscape.types import Apply, Images, Labels, Variables

BLOCK = 32  # examples whose activations are held at once


def weight_hessian(
    key: jax.Array,
    variables: Variables,
    x: Images,
    label: Labels,
    where: Bool[Array, " N"],
    *,
    apply: Apply,
    num_steps: int = 16,
    num_probes: int = 16,
) -> dict[str, Float[Array, ""]]:
    """Of the mean loss over the examples `where` it holds; memory is that of max(num_steps, num_probes) classifiers.

    Args:
      key: of the start and of the probes.
      label: the tracked class. num_steps: of Lanczos: the top is a lower bound.
      num_probes: of the trace, at least 2.

    Returns:
      weight_hessian_top, weight_hessian_trace, weight_hessian_trace_sem: nats per squared unit of the weights; NaN
      where no example counts.
    """
    weights, restore = ravel_pytree(variables["params"])
    parts = _blocks((x, label, where.astype(weights.dtype) / jnp.sum(where)))

    def total(weights, x, label, share):
        values = objectives.loss(apply({**variables, "params": restore(weights)}, x), label)
        return jnp.sum(share * jnp.where(share > 0, values, 0.0))

    def matvec(v):
        def block(found, part):
            gradient = jax.grad(lambda weights: total(weights, *part))
            return found + jax.jvp(gradient, (weights,), (v[0],))[1], None

        return lax.scan(block, jnp.zeros_like(weights), parts)[0][None]

    key_start, key_probes = jax.random.split(key)
    start = jax.random.normal(key_start, (1, weights.size), weights.dtype)
    _, top = extremes(*lanczos(matvec, start, num_steps=num_steps))
    mean, sem = trace(matvec, key_probes[None], weights[None], num_probes=num_probes)
    found = {"top": top[0], "trace": mean[0], "trace_sem": sem[0]}
    return {f"weight_hessian_{name}": jnp.where(jnp.any(where), value, jnp.nan) for name, value in found.items()}


def _blocks(rows: tuple[Array, ...]) -> tuple[Array, ...]:
    """[N, ...] as [number of blocks, BLOCK, ...], filled up with zeros, which have no share in the mean."""
    num = rows[0].shape[0]
    size = min(BLOCK, num)
    count = -(-num // size)

    def cut(row):
        filled = jnp.concatenate([row, jnp.zeros((count * size - num, *row.shape[1:]), row.dtype)])
        return filled.reshape(count, size, *row.shape[1:])

    return tuple(map(cut, rows))
