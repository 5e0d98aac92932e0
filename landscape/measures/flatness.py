"""Average-case input flatness: what a classifier's output does under noise on the input.

For every example and noise level sigma, over trials eps (Gaussian, or of another kind, see `direction`):

    probability_drop = E[p(x) - p(x + sigma eps)]              in [-1, 1]
    loss_rise        = E[loss(x + sigma eps) - loss(x)]        nats
    margin_drop      = E[margin(x) - margin(x + sigma eps)]    logits
    kept             = share of draws predicted as the tracked class
    returned         = share of draws predicted as the true class, where that is not the tracked one, else 0

each of the tracked class `label`, with the standard error of the mean over trials, std / sqrt(R), as `<name>_sem` for
the first three. The rest, 1 - kept - returned, went elsewhere. The scale-free drop 1 - E[margin(x + sigma eps)] /
margin(x) is margin_drop / margin(x): it does not move when logits are multiplied by a constant.

The probability drop is a difference of error probabilities, so it keeps its digits where p rounds to 1. For small
sigma and additive noise, probability_drop / sigma^2 -> -tr(H) / 2 with H the Hessian of p. With ReLU the logits are
piecewise linear, so a flat measure there speaks of the softmax and of kinks within reach of the noise.

The same of the classifier *linearised* at x, logits(x) + J(x) sigma eps, is what confidence and gradient alone predict:
for a classifier that is linear both are equal, and what is above it is the landscape's own (`linear_drops`).

One draw of an (example, trial) serves all kinds, sigmas, populations and members, so that comparisons are paired. Noisy
inputs are not cut to [0, 1], but for "additive_clipped": clipping bends the identity between noise and Hessian.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, Float, Int

from landscape import arguments, objectives
from landscape.ensembles import Mapping, Rows, map_members
from landscape.measures import welford
from landscape.spaces import fold
from landscape.types import Apply, Ensemble, Images, Labels, Variables

CLIPPED = "additive_clipped"
INPUT_NOISES = ("additive", "multiplicative", "envelope", "sphere", "linf_ball", CLIPPED)
DROPS = ("probability_drop", "loss_rise", "margin_drop")


def flatness(
    keys: jax.Array,
    variables: Variables,
    x: Images,
    label: Labels,
    *,
    apply: Apply,
    sigmas: Float[Array, " L"],
    num_trials: int,
    noise: str = "additive",
    origin: Images | None = None,
    true_label: Labels | None = None,
) -> dict[str, Float[Array, "L N"]]:
    """Flatness of one classifier around a batch of inputs; see the module's head for the formulas.

    Trial r of example i draws from fold_in(keys[i], r): the same noise for every sigma, kind, member and population.

    Args:
      sigmas: noise levels, pixels (relative for "multiplicative" and "envelope").
      num_trials: R >= 2; all R draws are held at once, R N D floats.
      noise: one of INPUT_NOISES.
      origin: genuine images that x was made from, for "envelope"; x itself where None.
      true_label: for `returned`; the tracked class where None.

    Returns:
      probability_drop, loss_rise, margin_drop, their `_sem`, kept, returned: each [L, N].
    """
    arguments.check(variables, x, label, apply=apply, keys=keys)
    arguments.check_levels("sigmas", sigmas)
    base = draws(keys, x, num_trials=num_trials)
    origin = x if origin is None else origin
    true_label = label if true_label is None else true_label
    out = _member(
        variables, x[None], label[None], true_label, base, origin, jnp.asarray(sigmas), apply=apply, kinds=(noise,)
    )
    return {name: value[0, :, 0] for name, value in out.items()}


def ensemble_flatness(
    keys: jax.Array,
    ensemble: Ensemble,
    x: Float[Array, "S P N H W C"],
    label: Int[Array, "S P N"],
    true_label: Int[Array, "S N"],
    origin: Images,
    *,
    apply: Apply,
    sigmas: Float[Array, "*K L"],
    num_trials: int,
    kinds: tuple[str, ...] = ("additive",),
    how: Mapping | None = None,
) -> dict[str, Float[Array, "K L S P N"]]:
    """`flatness` of every member, on its own inputs of P populations, for several kinds of noise at once.

    The noise is drawn once for all members, populations, kinds and sigmas; the numbers are those of `flatness`. A
    forward call sees N images, so an N of 32 to 256 runs fastest on CPU.

    Args:
      true_label: true class for each member (for a control, its own clean prediction).
      origin: genuine images, shared by members and populations.
      sigmas: noise levels, common [L] or of each kind [K, L].
      kinds: K of INPUT_NOISES.
      how: mapping of the members; None means `ensembles.auto`.

    Returns:
      The names of `flatness`, each [K, L, S, P, N].
    """
    base = draws(keys, origin, num_trials=num_trials)

    def member(variables, x, label, true_label, base, origin, sigmas):
        out = _member(variables, x, label, true_label, base, origin, sigmas, apply=apply, kinds=kinds)
        return {name: jnp.moveaxis(value, -1, 0) for name, value in out.items()}

    own, shared = (Rows(x, 1), Rows(label, 1), Rows(true_label)), (Rows(base, 1), Rows(origin), jnp.asarray(sigmas))
    out = map_members(member, ensemble, *own, shared=shared, how=how)
    return {name: jnp.moveaxis(value, (0, 1), (2, 4)) for name, value in out.items()}


def ensemble_linear_drops(
    keys: jax.Array,
    ensemble: Ensemble,
    x: Float[Array, "S P N H W C"],
    label: Int[Array, "S P N"],
    origin: Images,
    *,
    apply: Apply,
    sigmas: Float[Array, " L"],
    num_trials: int,
    kind: str = "additive",
    how: Mapping | None = None,
) -> dict[str, Float[Array, "L S P N"]]:
    """`linear_drops` of every member on its own inputs, under the very draws of `ensemble_flatness`."""
    base = draws(keys, origin, num_trials=num_trials)

    def member(variables, x, label, base, origin, sigmas):
        out = lax.map(
            lambda one: linear_drops(variables, *one, base, origin, sigmas, apply=apply, kind=kind), (x, label)
        )
        return {name: value.T for name, value in out.items()}  # [P, L, N] -> [N, L, P]

    own, shared = (Rows(x, 1), Rows(label, 1)), (Rows(base, 1), Rows(origin), jnp.asarray(sigmas))
    out = map_members(member, ensemble, *own, shared=shared, how=how)
    return {name: jnp.moveaxis(value, (0, 1), (1, 3)) for name, value in out.items()}


def linear_drops(
    variables: Variables,
    x: Images,
    label: Labels,
    base: Float[Array, "R N H W C"],
    origin: Images,
    sigmas: Float[Array, " L"],
    *,
    apply: Apply,
    kind: str = "additive",
) -> dict[str, Float[Array, "L N"]]:
    """`flatness` of the classifier linearised at each input: logits(x) + sigma J(x) step, J the Jacobian.

    Args:
      base: draws. kind: of the noise; a clipped one is not proportional to sigma and has no such baseline.

    Returns:
      DROPS, each [L, N], equal to those of `flatness` for logits linear in x.

    Raises:
      ValueError: clipped noise.
    """
    if kind == CLIPPED:
        raise ValueError(f"kind={kind!r} is not proportional to sigma: expected another kind; try additive")
    logits, pull = jax.vjp(partial(apply, variables), x)
    # J step as the transpose of the vector-Jacobian product: own rules for gradients have no forward derivative.
    push = jax.linear_transpose(lambda c: pull(c)[0], logits)
    clean = values(logits, label)

    def trial(state, eps):
        (change,) = push(direction(kind, eps, x, origin))
        rises = jax.vmap(lambda sigma: jax.tree.map(jnp.subtract, values(logits + sigma * change, label), clean))
        return welford.update(state, rises(sigmas)), None

    zeros = dict.fromkeys(DROPS, jnp.zeros((len(sigmas), len(label)), x.dtype))
    state, _ = lax.scan(trial, welford.start(zeros), base)
    return welford.finish(state)[0]


def draws(keys: jax.Array, like: Images, *, num_trials: int) -> Float[Array, "R N H W C"]:
    """Gaussian noise of R trials, shaped like the images; trial r of example i depends on fold_in(keys[i], r) alone.

    Raises:
      ValueError: fewer than two trials.
    """
    if num_trials < 2:
        raise ValueError(f"num_trials={num_trials}: expected at least 2, which a standard error needs; try 16")
    return jax.vmap(lambda r: _normal(fold(keys, r), like))(jnp.arange(num_trials))


def _normal(keys: jax.Array, like: Images) -> Images:
    """Standard Gaussian noise [N, H, W, C] in the shape and dtype of `like`; row i depends on keys[i] alone."""
    return jax.vmap(lambda key: jax.random.normal(key, like.shape[1:], like.dtype))(keys)


def direction(kind: str, base: Images, x: Images, origin: Images) -> Images:
    """What sigma multiplies. With e = `base` ~ N(0, 1) for every pixel and D = H W C:

    - additive, additive_clipped: e.
    - multiplicative: x e, which leaves black pixels black.
    - envelope: x0 e, with x0 the genuine image: the same noise for every population made from it.
    - sphere: sqrt(D) e / ||e||, uniform on the L2 sphere of radius sqrt(D).
    - linf_ball: sqrt(3) (2 Phi(e) - 1), uniform in [-sqrt(3), sqrt(3)] for every pixel: standard deviation 1.

    Args:
      kind: one of INPUT_NOISES. base: a draw.
      x: points that noise is added to. origin: genuine images that they were made from.

    Raises:
      ValueError: unknown kind.
    """
    if kind in ("additive", CLIPPED):
        return base
    if kind == "multiplicative":
        return x * base
    if kind == "envelope":
        return origin * base
    if kind == "sphere":
        length = jnp.sqrt(jnp.sum(jnp.square(base), axis=(1, 2, 3), keepdims=True))
        return base * (base[0].size ** 0.5 / jnp.where(length > 0, length, 1.0))
    if kind == "linf_ball":
        return 3**0.5 * jax.lax.erf(base * 0.5**0.5)
    raise ValueError(f"kind={kind!r}: expected one of {', '.join(INPUT_NOISES)}; try additive")


def moved(x: Images, step: Images, sigma: ArrayLike, *, clipped: ArrayLike) -> Images:
    """x + sigma * step, cut to [0, 1] where `clipped` (a scalar, also a traced one). [N, H, W, C]."""
    z: Float[Array, "N H W C"] = x + sigma * step
    return jnp.where(clipped, jnp.clip(z, 0.0, 1.0), z)


def _member(variables, x, label, true_label, base, origin, sigmas, *, apply, kinds):
    """All numbers of one member: x [P, N, ...], label [P, N], base [R, N, ...] -> dict of [K, L, P, N].

    Loops run trial, population, kind, sigma, outermost first, each forward call on one batch of N images: on CPU that
    is as fast as larger batches and keeps memory at one batch.
    """
    clipped = jnp.asarray([kind == CLIPPED for kind in kinds])
    sigmas = jnp.broadcast_to(sigmas, (len(kinds), sigmas.shape[-1]))
    clean = lax.map(lambda args: values(apply(variables, args[0]), args[1]), (x, label))

    def changes(x, label, clean, eps):
        steps = jnp.stack([direction(kind, eps, x, origin) for kind in kinds])

        def one(step, clipped, sigma):
            logits = apply(variables, moved(x, step, sigma, clipped=clipped))
            predicted = jnp.argmax(logits, axis=-1)
            rises = jax.tree.map(jnp.subtract, values(logits, label), clean)
            return rises | {
                "kept": (predicted == label).astype(x.dtype),
                "returned": ((predicted == true_label) & (predicted != label)).astype(x.dtype),
            }

        def of_kind(kind):
            step, clipped, sigmas = kind
            return lax.map(lambda sigma: one(step, clipped, sigma), sigmas)

        return lax.map(of_kind, (steps, clipped, sigmas))

    def trial(state, eps):
        return welford.update(state, lax.map(lambda args: changes(*args, eps), (x, label, clean))), None

    shape = (x.shape[0], *sigmas.shape, x.shape[1])
    zeros = dict.fromkeys((*DROPS, "kept", "returned"), jnp.zeros(shape, x.dtype))
    state, _ = lax.scan(trial, welford.start(zeros), base)
    mean, sem = welford.finish(state)
    out = mean | {f"{name}_sem": sem[name] for name in DROPS}
    return {name: jnp.moveaxis(value, 0, 2) for name, value in out.items()}


def values(logits, label):
    """The three values whose rise is reported: 1 - p, loss, -margin. Dict of [N]."""
    return {
        "probability_drop": objectives.error_probability(logits, label),
        "loss_rise": objectives.loss(logits, label),
        "margin_drop": -objectives.margin(logits, label),
    }
