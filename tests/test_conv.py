"""The convolution against plain autodiff: values, all derivatives, under every transformation."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from landscape.models import winograd
from landscape.models.conv import DIMENSIONS, convolution, plain

# size, kernel, stride, padding, channels
CASES = [
    *((size, 3, stride, padding, (3, 4)) for size in (7, 8) for stride in (1, 2, 3) for padding in ("SAME", "VALID")),
    *((8, kernel, stride, "SAME", (3, 4)) for kernel in (1, 2, 5) for stride in (1, 2, 3)),
    *((9, 3, stride, "SAME", channels) for stride in (1, 2) for channels in ((1, 16), (16, 1), (16, 16))),
    (5, 5, 1, "VALID", (3, 4)),
    *((size, 3, stride, "SAME", (6, 8)) for size in (1, 2, 3, 4) for stride in (1, 2, 3)),  # written out as a matrix
    (4, 3, 1, "VALID", (6, 8)),
    (4, 2, 2, "SAME", (6, 8)),
    *((size, 3, stride, "SAME", (6, 8)) for size in (1, 2, 3, 4) for stride in (1, 2)),  # images below the kernel
    (2, 5, 1, "SAME", (1, 8)),
    (4, 3, 2, ((1, 1), (1, 1)), (128, 80)),  # many channels, few places
]


def call(conv, x, w, strides, padding):
    return conv(x, w, strides, padding, dimension_numbers=DIMENSIONS)


def operands(size, kernel, channels, rows=3):
    """Image, kernel and a source of further numbers; made by NumPy, since XLA compiles random draws for seconds."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, *size, channels[0])).astype(np.float32)
    w = rng.normal(size=(*kernel, *channels)).astype(np.float32) / np.sqrt(np.prod(kernel) * channels[0])
    return rng, jnp.asarray(x), jnp.asarray(w, jnp.float32)


def close(a, b, tolerance=1e-5):
    """Equal relative to the largest entry: sums in float32, in another order."""
    np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * max(1.0, float(np.max(np.abs(b), initial=0.0))))


def value_and_gradients(conv, x, w, strides, padding):
    y, pull = jax.vjp(lambda x, w: call(conv, x, w, strides, padding), x, w)
    return (y, *pull(jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape)))


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_value_and_both_gradients_equal_plain_autodiff(stride):
    cases = [c for c in CASES if c[2] == stride]

    @jax.jit  # one compilation for all shapes
    def both(inputs):
        return [
            tuple(value_and_gradients(conv, *arrays, (stride, stride), case[3]) for conv in (convolution, plain))
            for arrays, case in zip(inputs, cases, strict=True)
        ]

    inputs = [operands((size, size), (k, k), channels)[1:] for size, k, _, _, channels in cases]
    for ours, theirs in both(inputs):
        jax.tree.map(close, ours, theirs)


@pytest.mark.parametrize("stride", [1, 2])
def test_bfloat16_stays_bfloat16_and_near_float32(stride):
    """Its own backward pass errs by no more than plain autodiff's in the same precision, twice at most (other sums)."""
    cases = [c for c in CASES if c[2] == stride][::3]

    @jax.jit
    def all_three(inputs):
        found = []
        for (x, w), case in zip(inputs, cases, strict=True):
            low = (x.astype(jnp.bfloat16), w.astype(jnp.bfloat16))
            pairs = ((convolution, low), (plain, low), (plain, (x, w)))
            found.append([value_and_gradients(conv, *arrays, (stride, stride), case[3]) for conv, arrays in pairs])
        return found

    inputs = [operands((size, size), (k, k), channels)[1:] for size, k, _, _, channels in cases]
    for ours, theirs, exact in all_three(inputs):
        for a, b, c in zip(ours, theirs, exact, strict=True):
            assert a.dtype == jnp.bfloat16
            error, allowed = (np.linalg.norm(np.float32(v) - np.float32(c)) for v in (a, b))
            assert error <= 2 * allowed + 2**-9 * np.linalg.norm(c)


UNEVEN = [
    ((7, 10), (3, 5), (2, 1), "SAME"),
    ((9, 6), (2, 3), (1, 3), "VALID"),
    ((8, 8), (3, 3), (2, 2), ((0, 0), (2, 1))),
    ((8, 8), (3, 3), (2, 2), ((4, 0), (0, 5))),  # more zeros than the kernel is wide
    ((8, 8), (3, 3), (1, 1), ((4, 0), (0, 5))),
    ((8, 6), (3, 2), (1, 1), "VALID"),
    ((8, 7), (1, 1), (4, 2), "SAME"),  # pixels that no kernel touches
]


@pytest.mark.parametrize("channels", [(2, 3), (6, 8), (6, 2), (6, 1)])
def test_uneven_sizes_kernels_strides_and_paddings(channels):
    @jax.jit
    def both(inputs):
        cases = [(*arrays, *case[2:]) for arrays, case in zip(inputs, UNEVEN, strict=True)]
        return [[value_and_gradients(conv, *case) for case in cases] for conv in (convolution, plain)]

    jax.tree.map(close, *both([operands(size, kernel, channels)[1:] for size, kernel, *_ in UNEVEN]))


def scalar(conv, strides=(2, 2), padding="SAME"):
    """A smooth function of image and kernel with curvature in both."""
    return lambda x, w: jnp.sum(jnp.tanh(call(conv, x, w, strides, padding)) ** 2)


@pytest.mark.parametrize("channels", [(2, 3), (6, 8)])
def test_derivatives_of_the_gradient(channels):
    """jvp and linearize of the gradient, and reverse over reverse, equal plain autodiff's Hessian-vector product."""
    rng, x, w = operands((7, 7), (3, 3), channels)
    v, u = (jnp.asarray(rng.normal(size=a.shape), a.dtype) for a in (x, w))

    def products(conv):
        grad = jax.grad(scalar(conv), argnums=(0, 1))
        over_reverse = jax.jvp(grad, (x, w), (v, u))[1]
        linear = jax.linearize(grad, x, w)[1](v, u)
        twice = jax.grad(lambda x, w: sum(jnp.vdot(g, t) for g, t in zip(grad(x, w), (v, u), strict=True)), (0, 1))(
            x, w
        )
        return over_reverse, linear, twice

    ours, theirs = jax.jit(lambda: (products(convolution), products(plain)[0]))()
    for product in ours:
        jax.tree.map(close, product, theirs)


@pytest.mark.parametrize("channels", [(1, 16), (6, 8)])
@pytest.mark.parametrize("axes", [(0, None), (None, 0), (0, 0)])
def test_vmap_map_and_remat_equal_a_loop(axes, channels):
    _, x, w = operands((6, 6), (3, 3), channels)
    xs = jnp.stack([x, 2 * x]) if axes[0] == 0 else x
    ws = jnp.stack([w, w[::-1]]) if axes[1] == 0 else w

    def pick(a, axis, i):
        return a if axis is None else a[i]

    ours, theirs = (jax.grad(scalar(c), argnums=(0, 1)) for c in (convolution, plain))

    @jax.jit
    def roads(xs, ws):
        loop = [theirs(pick(xs, axes[0], i), pick(ws, axes[1], i)) for i in (0, 1)]
        remat = jax.grad(jax.checkpoint(scalar(convolution)), argnums=(0, 1))
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *loop), [
            jax.vmap(ours, axes)(xs, ws),
            jax.lax.map(lambda i: ours(pick(xs, axes[0], i), pick(ws, axes[1], i)), jnp.arange(2)),
            jax.lax.map(lambda i: remat(pick(xs, axes[0], i), pick(ws, axes[1], i)), jnp.arange(2)),
        ]

    loop, others = roads(xs, ws)
    for other in others:
        jax.tree.map(close, other, loop)


@pytest.mark.parametrize(
    ("rows", "size", "padding"),
    [
        (32, (2, 2), "SAME"),
        (32, (4, 4), "SAME"),
        (8, (7, 6), "SAME"),  # tiles that reach over the edge
        (8, (10, 9), "VALID"),
        (16, (5, 8), ((2, 0), (0, 1))),
    ],
)
def test_many_channels_by_fewer_products(rows, size, padding):
    """Winograd's convolution: value, both gradients, and the Hessian-vector product equal plain autodiff's."""
    _, x, w = operands(size, (3, 3), (64, 72), rows)
    pads = lax.padtype_to_pads(size, (3, 3), (1, 1), padding) if isinstance(padding, str) else padding
    assert winograd.is_worth(x, w, (1, 1), tuple(pads))

    def all_of(conv):
        hvp = jax.jvp(jax.grad(scalar(conv, (1, 1), padding)), (x, w), (jnp.cos(x), jnp.sin(w)))[1]
        return *value_and_gradients(conv, x, w, (1, 1), padding), hvp

    jax.tree.map(close, *jax.jit(lambda x, w: (all_of(convolution), all_of(plain)))(x, w))


def test_gradient_of_the_image_does_not_compute_the_kernel_gradient():
    """XLA removes it: the compiled program of dx alone has fewer FLOPs than dx and dw by about one convolution."""
    _, x, w = operands((8, 8), (3, 3), (6, 8), rows=8)

    def flops(f):
        return jax.jit(f).lower(x, w).compile().cost_analysis()["flops"]

    alone, both = (flops(jax.grad(scalar(convolution), argnums=a)) for a in (0, (0, 1)))
    one = flops(lambda x, w: call(convolution, x, w, (2, 2), "SAME"))
    assert both - alone > 0.8 * one


def test_other_convolutions_pass_through():
    """Groups, dilation and one spatial dimension are not ours; they still work."""
    _, x, w = operands((8, 8), (3, 3), (4, 8))
    for images, kernel, strides, fields in (
        (x, w[:, :, :2], (1, 1), {"dimension_numbers": DIMENSIONS, "feature_group_count": 2}),
        (x, w, (1, 1), {"dimension_numbers": DIMENSIONS, "rhs_dilation": (2, 2)}),
        (x[:, :, 0], w[:, 0], (1,), {"dimension_numbers": ("NHC", "HIO", "NHC")}),
    ):
        close(*(conv(images, kernel, strides, "SAME", **fields) for conv in (convolution, plain)))


FLAGGED = """
from landscape.runs import process
process.prepare(CACHE)
import jax, jax.numpy as jnp, numpy as np
from landscape.models import classifiers, conv
for size, channels, stride in ((28, (1, 16), 2), (14, (16, 32), 2), (7, (32, 32), 1), (9, (3, 8), 2)):
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(5, size, size, channels[0])), rng.normal(size=(3, 3, *channels))
    x, w = jnp.asarray(x, jnp.float32), jnp.asarray(w, jnp.float32)
    def both(conv):
        def call(x):
            return jnp.sum(jnp.sin(conv(x, w, (stride, stride), "SAME", dimension_numbers=DIMENSIONS)))
        return jax.jit(lambda x: jax.lax.map(jax.value_and_grad(call), x[None]))(x)
    DIMENSIONS = conv.DIMENSIONS
    for ours, theirs in zip(both(conv.convolution), both(conv.plain), strict=True):
        largest = max(1.0, float(jnp.max(jnp.abs(theirs))))
        assert float(jnp.max(jnp.abs(ours - theirs))) <= 2e-5 * largest, (size, stride)  # sums of 28 x 28 x 9 products
model = classifiers.build("cnn", num_classes=10)
x = jnp.asarray(np.random.default_rng(1).uniform(size=(6, 28, 28, 1)), jnp.float32)
variables = model.init(jax.random.key(0), x)
gradient = jax.jit(jax.grad(lambda x: jnp.sum(model.apply(variables, x) ** 2)))
assert jnp.array_equal(gradient(x)[:2], gradient(jnp.concatenate([x[:2], 1 - x[2:]]))[:2])
print("fine", jax.device_count())
"""


@pytest.mark.slow
def test_the_same_holds_with_the_flags_of_a_real_run(tmp_path):
    """Tests compile without optimisation; `main` sets flags of its own before JAX starts."""
    environment = {k: v for k, v in os.environ.items() if k not in ("XLA_FLAGS", "JAX_COMPILATION_CACHE_DIR")}
    code = FLAGGED.replace("CACHE", repr(str(tmp_path)), 1)
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("fine"), done.stderr[-2000:]
