"""Networks of autoencoders: points to what the bottleneck reads, latents back to points; dense, or convolutional.

A convolutional encoder halves the map with a strided convolution, then takes `blocks` residual blocks; its decoder
takes as many before each doubling, which repeats pixels. Without blocks it is plain convolutions, for small images.
"""

import math

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from landscape.models.conv import convolution

Points = Float[Array, "N ..."]
Latents = Float[Array, "N ..."]


class Encoder(nn.Module):
    """Points to e [N, E], or to a map [N, P, Q, E]; `widths`: units of each layer, or channels of each halving."""

    out: int
    network: str
    widths: tuple[int, ...]
    spatial: bool
    blocks: int = 0

    @nn.compact
    def __call__(self, h: Points) -> Array:
        if self.network == "dense":
            h = flat(h)
            straight = nn.Dense(self.out, use_bias=False, name="straight")(h)
            for i, width in enumerate(self.widths):
                h = nn.gelu(nn.Dense(width, name=f"dense{i + 1}")(h))
            return straight + nn.Dense(self.out, name="out")(h)
        for i, width in enumerate(self.widths):
            h = nn.gelu(_conv(width, f"conv{i + 1}", stride=2)(h))
            h = _residual(h, self.blocks, f"block{i + 1}")
        return _conv(self.out, "out", size=1)(h) if self.spatial else nn.Dense(self.out, name="out")(flat(h))


class Decoder(nn.Module):
    """z to points of one shape; `sizes`: spatial sizes of the encoder's maps, the input's first."""

    shape: tuple[int, ...]
    network: str
    widths: tuple[int, ...]
    sizes: tuple[tuple[int, int], ...]
    bounded: bool
    blocks: int = 0

    @nn.compact
    def __call__(self, z: Latents) -> Points:
        if self.network == "dense":
            h, size = flat(z), math.prod(self.shape)
            straight = nn.Dense(size, use_bias=False, name="straight")(h)
            for i, width in enumerate(reversed(self.widths)):
                h = nn.gelu(nn.Dense(width, name=f"dense{i + 1}")(h))
            h = (straight + nn.Dense(size, name="out")(h)).reshape(z.shape[0], *self.shape)
        else:
            rows, columns = self.sizes[-1]
            h = z if z.ndim == 4 else nn.Dense(rows * columns * self.widths[-1], name="in")(z)
            h = h.reshape(z.shape[0], rows, columns, -1)
            for i, (width, (rows, columns)) in enumerate(
                zip(reversed(self.widths), reversed(self.sizes[:-1]), strict=True)
            ):
                h = nn.gelu(_conv(width, f"conv{i + 1}")(h))
                h = _residual(h, self.blocks, f"block{i + 1}")
                h = jnp.repeat(jnp.repeat(h, 2, axis=1), 2, axis=2)[:, :rows, :columns]
            h = _conv(self.shape[-1], "out")(h)
        return nn.sigmoid(h) if self.bounded else h


def _residual(h: Array, blocks: int, name: str) -> Array:
    """h + conv(gelu(conv(gelu(h)))), `blocks` times (He et al. 2016, arXiv:1603.05027, without normalisation)."""
    for b in range(blocks):
        y = nn.gelu(_conv(h.shape[-1], f"{name}_{b + 1}_conv1")(nn.gelu(h)))
        h = h + _conv(h.shape[-1], f"{name}_{b + 1}_conv2")(y)
    return h


def _conv(width: int, name: str, *, size: int = 3, stride: int = 1) -> nn.Conv:
    return nn.Conv(width, (size, size), (stride, stride), conv_general_dilated=convolution, name=name)


def flat(h: Array) -> Float[Array, "N D"]:
    return h.reshape(h.shape[0], -1)


def halvings(size: tuple[int, int], count: int) -> list[tuple[int, int]]:
    """Spatial sizes of the maps of `count` strided convolutions, the input's first; odd sides are rounded up."""
    found = [tuple(size)]
    for _ in range(count):
        found.append((-(-found[-1][0] // 2), -(-found[-1][1] // 2)))
    return found
