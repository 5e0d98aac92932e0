"""Input curvature: gradient norm, extreme eigenvalues and trace of Hessians with respect to the input, matrix-free.

Two functions of an input are looked at, both of the tracked class c: the loss -log p (nats) and the error probability
1 - p, so that positive curvature always means "worse away from x". Both are functions of the log-odds g
(`objectives.log_odds`), whose derivatives are taken once; with e = 1 - p,

    H_loss  = e (p dg dg' - H_g),        H_error = e p ((p - e) dg dg' - H_g),        d loss = -e dg.

The factors e and e p are multiplied last, so a saturated classifier keeps its digits in float32: vectors as small as
e at log-odds of 60 (9e-27) would have a squared length of 0.

With ReLU the logits are piecewise linear in x: their Hessian is zero almost everywhere, all curvature comes from the
softmax, and both Hessians have rank K - 1 at most. Smooth activations (gelu, softplus) have curvature of their own.

Where a classifier is known to be piecewise linear, K - 1 gradients hold everything: with J_k those of the differences
d_k = l_k - l_c and q = softmax(d), dg = -sum_k q_k J_k and H_g = -Y'Y, Y_k = sqrt(q_k) (J_k + dg). Eigenvalues and
traces of s dg dg' + Y'Y follow from the products of dg and the Y_k with one another, K x K numbers, to rounding.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from landscape import arguments, objectives
from landscape.measures import welford
from landscape.spaces import l2_norm
from landscape.types import Apply, Images, Labels, Values, Variables

Points = Float[Array, "N D"]
Diagonal = Float[Array, "N T"]
Small = Float[Array, "N K K"]

MOST_CLASSES = 100  # with more, products with Hessians cost less than a gradient of every logit


def curvature(
    keys: jax.Array,
    variables: Variables,
    x: Images,
    label: Labels,
    *,
    apply: Apply,
    piecewise_linear: bool = False,
    num_steps: int = 16,
    num_probes: int = 16,
) -> dict[str, Values]:
    """Gradient norm and Hessian summaries at every input; see the module's head for the formulas.

    Args:
      piecewise_linear: whether logits are known to be that in x (`Classifier.piecewise_linear`). With at most
        MOST_CLASSES classes, fewer than pixels, everything is then exact, and steps and probes do not matter.
      num_steps: Lanczos steps. K of them are exact for ReLU logits; a Ritz value lies inside the spectrum, so with
        fewer than needed the top is a lower bound and the bottom an upper one.
      num_probes: orthogonal probes of the trace, at least 2; from num_probes = D on it is exact, its error 0.

    Returns:
      gradient_norm (loss), then hessian_top, hessian_bottom, hessian_trace, hessian_trace_sem of the loss, and the
      same of 1 - p as probability_hessian_*: each [N], per pixel (gradient) or per squared pixel.

    Raises:
      ValueError: fewer than one step or two probes.
    """
    if num_steps < 1 or num_probes < 2:
        raise ValueError(f"num_steps={num_steps}, num_probes={num_probes}: expected at least 1 and 2; try 16 of both")
    arguments.check(variables, x, label, apply=apply, keys=keys)
    num_classes = jax.eval_shape(apply, variables, x).shape[1]
    if piecewise_linear and num_classes <= min(MOST_CLASSES, x[0].size - 1):
        slope, gaps, summaries = _exact(variables, x, label, apply=apply)
    else:
        slope, gaps, gap_hvp = _log_odds(variables, x, label, apply=apply)
        summaries = partial(_estimated, keys, slope, gap_hvp, num_steps=num_steps, num_probes=num_probes)
    error, prob = jax.nn.sigmoid(-gaps), jax.nn.sigmoid(gaps)
    # H = scale (along dg dg' - H_g), for the loss and for 1 - p: [2, N].
    along, scale = jnp.stack([prob, prob - error]), jnp.stack([error, error * prob])
    bottom, top, mean, sem = summaries(along)
    # The trace of dg dg' is known: only that of H_g is estimated.
    traces = along * jnp.square(l2_norm(slope))[None] - mean[None]
    out = {"gradient_norm": error * l2_norm(slope)}
    for i, prefix in enumerate(("", "probability_")):
        out |= {
            f"{prefix}hessian_top": scale[i] * top[i],
            f"{prefix}hessian_bottom": scale[i] * bottom[i],
            f"{prefix}hessian_trace": scale[i] * traces[i],
            f"{prefix}hessian_trace_sem": scale[i] * sem,
        }
    return out


def _estimated(keys, slope, gap_hvp, along, *, num_steps, num_probes):
    """Smallest and largest eigenvalue of along dg dg' - H_g [2, N] by Lanczos; trace of H_g and its standard error [N]
    by random probes."""
    key_start, key_probes = jnp.moveaxis(jax.vmap(lambda key: jax.random.split(key, 2))(keys), 1, 0)
    start = jax.vmap(lambda key: jax.random.normal(key, slope.shape[1:], slope.dtype))(key_start)

    def spectrum(along):
        return extremes(*lanczos(_weighted(along, slope, gap_hvp), start, num_steps=num_steps))

    return *lax.map(spectrum, along), *trace(gap_hvp, key_probes, slope, num_probes=num_probes)


def _exact(variables, x, label, *, apply):
    """Gradient [N, D] and value [N] of the log-odds of piecewise linear logits; and what `_estimated` finds, exact."""

    def differences(flat):
        logits = apply(variables, flat.reshape(x.shape))
        others = (label[:, None] + jnp.arange(1, logits.shape[1], dtype=label.dtype)[None]) % logits.shape[1]
        own = jnp.take_along_axis(logits, label[:, None], axis=1)
        return jnp.take_along_axis(logits, others, axis=1) - own

    gains, pull = jax.vjp(differences, x.reshape(x.shape[0], -1))
    (rows,) = lax.map(lambda k: pull(jnp.zeros_like(gains).at[:, k].set(1.0)), jnp.arange(gains.shape[1]))
    share = jax.nn.softmax(gains, axis=1).T
    slope = -jnp.einsum("kn,knd->nd", share, rows, precision="highest")
    rows = jnp.concatenate([slope[None], jnp.sqrt(share)[..., None] * (rows + slope[None])])
    products = jnp.einsum("ind,jnd->nij", rows, rows, precision="highest")
    spread = jnp.trace(products[:, 1:, 1:], axis1=1, axis2=2)

    def summaries(along):
        return *lax.map(partial(_of_products, products), along), -spread, jnp.zeros_like(spread)

    return slope, -jax.nn.logsumexp(gains, axis=1), summaries


def _of_products(products: Small, along: Values) -> tuple[Values, Values]:
    """Smallest and largest eigenvalue of along z_0 z_0' + sum_k z_k z_k', of the inner products of K vectors z in more
    than K dims.

    With S the signs of the weights and A = L L' the products of the vectors scaled by the roots of their absolute
    values, these are those of L' S L, and 0.
    """
    weights = jnp.ones_like(products[:, 0]).at[:, 0].set(along)
    scale = jnp.sqrt(jnp.abs(weights))
    left = _root(products * scale[:, :, None] * scale[:, None, :])
    matrix = jnp.einsum("nki,nk,nkj->nij", left, jnp.sign(weights), left, precision="highest")
    start = jnp.broadcast_to(jax.random.normal(jax.random.key(0), weights.shape[1:], weights.dtype), weights.shape)
    matvec = partial(jnp.einsum, "nij,nj->ni", matrix, precision="highest")
    bottom, top = extremes(*lanczos(matvec, start, num_steps=weights.shape[1]))
    return jnp.minimum(bottom, 0.0), jnp.maximum(top, 0.0)


def _root(matrices: Small) -> Small:
    """L with L L' = A for N positive semidefinite matrices A: Cholesky's columns, that of the largest pivot first."""
    floor = matrices.shape[1] * jnp.finfo(matrices.dtype).eps * jnp.max(matrices, axis=(1, 2))

    def column(left, _):
        pivots = jnp.diagonal(left, axis1=1, axis2=2)
        pivot, index = jnp.max(pivots, axis=1), jnp.argmax(pivots, axis=1)
        inverse = jnp.where(pivot > floor, lax.rsqrt(jnp.maximum(pivot, floor)), 0.0)
        found = inverse[:, None] * jnp.take_along_axis(left, index[:, None, None], axis=2)[..., 0]
        return left - found[:, :, None] * found[:, None, :], found

    return jnp.moveaxis(lax.scan(column, matrices, None, length=matrices.shape[1])[1], 0, 2)


def loss_hessian(variables: Variables, x: Images, label: Labels, *, apply: Apply) -> Callable[[Points], Points]:
    """v [N, D] -> H v, H the Hessian of every example's loss with respect to its flattened input."""
    slope, gaps, gap_hvp = _log_odds(variables, x, label, apply=apply)
    matvec = _weighted(jax.nn.sigmoid(gaps), slope, gap_hvp)
    return lambda v: jax.nn.sigmoid(-gaps)[:, None] * matvec(v)


def _weighted(along: Values, slope: Points, gap_hvp: Callable[[Points], Points]) -> Callable[[Points], Points]:
    """v -> (along dg dg' - H_g) v of every example."""

    def matvec(v):
        onto_slope = along * jnp.sum(slope * v, axis=1)
        return onto_slope[:, None] * slope - gap_hvp(v)

    return matvec


def _log_odds(variables, x, label, *, apply):
    """Gradient [N, D] and value [N] of the log-odds g, and v [N, D] -> H_g v, all examples at once.

    The gradient of the batch's sum holds every example's own gradient, so one linearisation of it multiplies every
    example's Hessian with that example's vector.
    """

    def total(flat):
        gaps = objectives.log_odds(apply(variables, flat.reshape(x.shape)), label)
        return jnp.sum(gaps), gaps

    slope, hvp, gaps = jax.linearize(jax.grad(total, has_aux=True), x.reshape(x.shape[0], -1), has_aux=True)
    return slope, gaps, hvp


def trace(
    matvec: Callable[[Points], Points], keys: jax.Array, like: Points, *, num_probes: int
) -> tuple[Values, Values]:
    """Trace and its standard error, each [N], of N symmetric matrices at once.

    Probes v_r = sqrt(D) q_r, q_r the first R = min(num_probes, D) vectors of a random orthonormal basis, uniform among
    all: each v' H v has the mean tr H, and all D of a basis have it exactly. Given the basis they are a sample without
    replacement from D numbers whose mean is wanted, so that the squared error of their mean is s^2 / R (1 - R / D),
    s^2 their variance: 0 from num_probes = D on. An interval takes the t quantile of R - 1 degrees of freedom.

    Args:
      matvec: v [N, D] -> H v [N, D].
      keys: [N].
      like: array [N, D] that gives shape and dtype.

    Source: Hutchinson 1990 (Communications in Statistics 19:433), with orthogonal probes; the error: Cochran 1977,
    "Sampling Techniques", theorem 2.2.
    """
    num_dims = like.shape[1]
    count = min(num_probes, num_dims)

    def vectors(key):
        if count == num_dims:
            return jnp.eye(num_dims, dtype=like.dtype)
        return jax.random.normal(key, (count, num_dims), like.dtype)

    def probe(state, v):
        return welford.update(state, jnp.sum(v * matvec(v), axis=1)), None

    probes = jnp.sqrt(jnp.asarray(num_dims, like.dtype)) * jnp.moveaxis(orthonormal(jax.vmap(vectors)(keys)), 1, 0)
    state, _ = lax.scan(probe, welford.start(jnp.zeros(like.shape[:1], like.dtype)), probes)
    mean, error = welford.finish(state)
    return mean, jnp.zeros_like(mean) if count == num_dims else error * (1 - count / num_dims) ** 0.5


def orthonormal(vectors: Float[Array, "N R D"]) -> Float[Array, "N R D"]:
    """Bases of the spans of N sets of R independent vectors, by Gram-Schmidt, twice; no LAPACK, see `extremes`."""

    def step(basis, t):
        q = _unit(vectors[:, t])
        for _ in range(2):
            q = _unit(_orthogonalise(q, basis))
        return lax.dynamic_update_index_in_dim(basis, q, t, axis=1), None

    return lax.scan(step, jnp.zeros_like(vectors), jnp.arange(vectors.shape[1]))[0]


def _orthogonalise(w: Points, basis: Float[Array, "N T D"]) -> Points:
    """w without its part in the span of orthonormal vectors; vectors of zeros are no part of it."""
    return w - jnp.einsum("ntd,nt->nd", basis, jnp.einsum("ntd,nd->nt", basis, w))


def lanczos(matvec: Callable[[Points], Points], start: Points, *, num_steps: int) -> tuple[Diagonal, Diagonal]:
    """Tridiagonal form of N symmetric matrices at once, T = min(num_steps, D) rows; `extremes` gives its eigenvalues.

    Every new vector is orthogonalised against all earlier ones, twice. Where the Krylov space is exhausted (a Hessian
    of rank r ends after r + 1 steps) the recurrence goes on from a fresh direction with coupling 0, so what follows
    speaks of the rest of the space rather than of rounding.

    Args:
      matvec: v [N, D] -> H v [N, D].
      start: random vectors, non-zero.

    Returns:
      The diagonal [N, T], and the coupling of row t with row t - 1 [N, T], the first of them 0.
    """
    num_steps = min(num_steps, start.shape[1])
    tolerance = 100 * jnp.finfo(start.dtype).eps

    def step(carry, t):
        basis, w, scale = carry
        coupling = l2_norm(w)
        exhausted = coupling <= tolerance * scale
        # A shifted copy of a Gaussian start is as good as a new draw, and costs nothing.
        fresh = _orthogonalise(jnp.roll(start, t, axis=1), basis)
        q = _unit(_orthogonalise(_unit(jnp.where(exhausted[:, None], fresh, w)), basis))
        basis = lax.dynamic_update_index_in_dim(basis, q, t, axis=1)
        product = matvec(q)
        state = (basis, _orthogonalise(product, basis), jnp.maximum(scale, l2_norm(product)))
        return state, (jnp.sum(q * product, axis=1), jnp.where(exhausted | (t == 0), 0.0, coupling))

    basis = jnp.zeros((start.shape[0], num_steps, start.shape[1]), start.dtype)
    initial = (basis, start, jnp.zeros(start.shape[:1], start.dtype))
    _, (diagonal, coupling) = lax.scan(step, initial, jnp.arange(num_steps))
    return diagonal.T, coupling.T


def extremes(diagonal: Diagonal, coupling: Diagonal) -> tuple[Values, Values]:
    """Smallest and largest eigenvalue of N symmetric tridiagonal matrices, to a few units of rounding of the largest.

    Bisection on Sturm counts: the pivots of T - x, q_t = a_t - x - b_t^2 / q_{t-1}, have as many negative ones as T has
    eigenvalues below x. Plain arithmetic rather than LAPACK: on CPU a LAPACK call and a convolution that run on two
    host devices at once wait for each other's threads for ever, and so do two of them (jaxlib 0.10.2).

    `diagonal` is a, `coupling` b of rows t - 1 and t; b_0 is not read.
    """
    off = jnp.abs(coupling.at[:, 0].set(0.0))
    reach = jnp.abs(diagonal) + off + jnp.roll(off, -1, axis=1)
    scale = jnp.max(reach, axis=1)  # Gershgorin: all eigenvalues lie in [-scale, scale]
    unit = jnp.where(scale > 0, scale, 1.0)[:, None]
    a, b2 = (diagonal / unit).T, jnp.square(off / unit).T
    info = jnp.finfo(diagonal.dtype)

    def below(x):
        def pivot(carry, row):
            q, count = carry
            q = row[0] - x - row[1] / q
            q = jnp.where(jnp.abs(q) < info.tiny / info.eps, -info.tiny / info.eps, q)
            return (q, count + (q < 0)), None

        (_, count), _ = lax.scan(pivot, (jnp.ones_like(x), jnp.zeros(x.shape, jnp.int32)), (a[:, None], b2[:, None]))
        return count

    wanted = jnp.asarray([[1], [a.shape[0]]])  # x is above the smallest / the largest once so many lie below it

    def halve(_, bounds):
        low, high = bounds
        middle = 0.5 * (low + high)
        above = below(middle) >= wanted
        return jnp.where(above, low, middle), jnp.where(above, middle, high)

    start = jnp.ones((2, a.shape[1]), a.dtype)
    low, high = lax.fori_loop(0, info.nmant + 3, halve, (-start, start))
    bottom, top = 0.5 * (low + high) * scale[None]
    return bottom, top


def _unit(v: Points) -> Points:
    """v / ||v||; zero where v is zero."""
    length = l2_norm(v)[:, None]
    return v / jnp.where(length > 0, length, 1.0)
