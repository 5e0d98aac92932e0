"""The convolution every model uses: XLA's forward pass, a backward pass that stays fast inside loops.

XLA's CPU backend gives a convolution its fast layout outside loops only, and the transposed convolutions that autodiff
writes fall off it inside `scan` and `map`: 5x slower for a gradient with respect to the input, 16x for a training
step. Here both backward convolutions are written in NHWC / HWIO with explicitly flipped and transposed operands, kept
apart from the convolution by `optimization_barrier` so that XLA does not fold them back into it. An image smaller than
the kernel also falls off it, 10x, so its zeros are put around it beforehand. First layers, the way back through a
decoder's last one, gradients through strides, maps of a few pixels (`products`) and 3 x 3 kernels of many channels
(`winograd`) are faster still as matrix products.

The gradient agrees with plain autodiff; `jvp` and `linearize` of the gradient, reverse over reverse, `vmap` and `remat`
work. Pure forward mode (`jvp` of the convolution itself) does not exist for a `custom_vjp`: for push-forwards build the
same model with `conv=plain`, which reads the same variables.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from landscape.models import products, winograd
from landscape.models.products import Pads, Strides

DIMENSIONS = ("NHWC", "HWIO", "NHWC")

FEW_CHANNELS = 4  # up to here gathered taps are the faster way
MANY_CHANNELS, FEW_PLACES = 128, 4  # from and up to which gathered taps are the faster way through a stride
MOST_TAPS = 16  # of a kernel, for which they are the faster way forward

plain = lax.conv_general_dilated


def convolution(
    lhs: Float[Array, "N *space I"],
    rhs: Float[Array, "*kernel J O"],
    window_strides,
    padding,
    lhs_dilation=None,
    rhs_dilation=None,
    dimension_numbers=None,
    feature_group_count: int = 1,
    precision=None,
) -> Float[Array, "N *out O"]:
    """2-D convolution in NHWC / HWIO; takes the arguments that `flax.linen.Conv(conv_general_dilated=...)` passes.

    Dilated and grouped convolutions, other dimensions and other layouts go to `lax.conv_general_dilated` as they are.

    Args:
      lhs: images [N, H, W, I]; rhs: kernel [A, B, I, O].
      window_strides: (vertical, horizontal); padding: "SAME", "VALID" or ((low, high), (low, high)).
    """
    ordinary = (
        lhs.ndim == 4
        and feature_group_count == 1
        and all(d == 1 for d in (*(lhs_dilation or ()), *(rhs_dilation or ())))
        and dimension_numbers in (None, DIMENSIONS, lax.conv_dimension_numbers(lhs.shape, rhs.shape, DIMENSIONS))
    )
    if not ordinary:
        dilations = (lhs_dilation, rhs_dilation, dimension_numbers, feature_group_count)
        return plain(lhs, rhs, window_strides, padding, *dilations, precision=precision)
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(lhs.shape[1:3], rhs.shape[:2], window_strides, padding)
    pads = tuple((int(low), int(high)) for low, high in padding)
    strides = tuple(window_strides)
    if products.is_small(lhs, rhs, strides, pads):
        return products.whole(lhs, rhs, strides, pads, precision)
    return _convolution(lhs, rhs, strides, pads, precision)


def _value(x, w, strides: Strides, pads: Pads, precision):
    # Without strides, or with a large kernel, XLA's forward pass is the faster one.
    if x.shape[-1] <= FEW_CHANNELS and strides != (1, 1) and w.shape[0] * w.shape[1] <= MOST_TAPS:
        return products.in_pairs(x, w, strides, pads, precision)
    # The last stride of a residual network, to 2 x 2 places: 1.8x faster than XLA's.
    rows, columns = products.sizes(x, w, strides, pads)
    if x.shape[-1] >= MANY_CHANNELS and strides != (1, 1) and rows * columns <= FEW_PLACES:
        return products.gathered(x, w, strides, pads, precision)
    return _convolve(x, w, strides, pads, precision=precision)


_convolution = jax.custom_vjp(_value, nondiff_argnums=(2, 3, 4))


def _forward(x, w, strides, pads, precision):
    return _value(x, w, strides, pads, precision), (x, w)


def _backward(strides, pads, precision, residuals, g):
    x, w = residuals
    few = x.shape[-1] <= FEW_CHANNELS
    input_gradient = products.input_gradient if few or strides != (1, 1) else _input_gradient
    kernel_gradient = products.kernel_gradient if few else _kernel_gradient
    return input_gradient(x, w, g, strides, pads, precision), kernel_gradient(x, w, g, strides, pads, precision)


_convolution.defvjp(_forward, _backward)


def _convolve(x, w, strides, pads, *, rhs_dilation=(1, 1), precision):
    """XLA's convolution, or Winograd's; an image smaller than the kernel gets its zeros beforehand."""
    if rhs_dilation == (1, 1) and winograd.is_worth(x, w, strides, pads):
        return winograd.convolve(x, w, pads, precision)
    if any(size < k for size, k in zip(x.shape[1:3], w.shape[:2], strict=True)):
        around = [(low, high, 0) for low, high in pads]
        x = lax.optimization_barrier(lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *around, (0, 0, 0)]))
        pads = ((0, 0), (0, 0))
    return plain(x, w, strides, pads, None, rhs_dilation, DIMENSIONS, precision=precision)


def _input_gradient(x, w, g, strides, pads, precision):
    """dx without strides: g convolved with the kernel flipped in space and transposed in channels."""
    del strides  # (1, 1)
    padding = _pads_back(x, w, g, pads)
    flipped = lax.optimization_barrier(_flipped(w))
    if g.shape[-1] <= FEW_CHANNELS and _is_around(padding):  # the last layer of a decoder: an image's channels
        return products.in_pairs(g, flipped, (1, 1), padding, precision)
    return _convolve(g, flipped, (1, 1), padding, precision=precision)


def _flipped(w):
    """The kernel of the way back: turned around in space, input and output channels exchanged."""
    return jnp.transpose(w[::-1, ::-1], (0, 1, 3, 2))


def _pads_back(x, w, g, pads) -> Pads:
    """Zeros around g for the way back of a convolution without strides."""
    sizes = zip(x.shape[1:3], g.shape[1:3], w.shape[:2], pads, strict=True)
    return tuple((k - 1 - low, size + low - out) for size, out, k, (low, _) in sizes)


def _is_around(pads: Pads) -> bool:
    """Whether zeros are put around, none cut off."""
    return all(pad >= 0 for axis in pads for pad in axis)


def _kernel_gradient(x, w, g, strides, pads, precision):
    """dw = x convolved with g, the examples in the place of input channels and g spread out by the strides."""
    around = _pads_back(x, w, g, pads)
    if g.shape[-1] == 1 and strides == (1, 1) and _is_around(around):  # as if g were the image and x the gradient
        return _flipped(products.kernel_gradient(g, _flipped(w), x, strides, around, precision))
    padding = []
    for size, out, k, stride, (low, _) in zip(x.shape[1:3], g.shape[1:3], w.shape[:2], strides, pads, strict=True):
        padding.append((low, (out - 1) * stride + k - size - low))
    xt = lax.optimization_barrier(jnp.transpose(x, (3, 1, 2, 0)))
    gt = lax.optimization_barrier(jnp.transpose(g, (1, 2, 0, 3)))
    dw = _convolve(xt, gt, (1, 1), tuple(padding), rhs_dilation=strides, precision=precision)
    return jnp.transpose(dw, (1, 2, 0, 3))
