"""Attacks within a ball: each is `landscape.search.search` with other parts.

All take one example key each, `keys [N]`, and return images [N, H, W, C] inside the ball and in [0, 1]. Radii and step
sizes are pixels of [0, 1] and may be traced: a new radius compiles nothing. `budget` stands for what `attack` takes.

The cross-entropy attacks move the log-odds of the class: their gradient is the cross-entropy's times 1 / (1 - p) > 0,
so sign and normalised steps are the same ones, and it does not underflow where p rounds to 1.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, ArrayLike, Float, Int

from landscape import objectives
from landscape.attacks import rules
from landscape.objectives import Objective
from landscape.samplers import Sampler, fixed, later, several
from landscape.search import better, normalized_steps, search, steepest
from landscape.spaces import Space, draw_flat, fold, l2_norm, per_example, pixels, random_start
from landscape.types import Apply, Images, Labels, Logits, Variables

Drawn = Callable[[Variables], Sampler]  # a classifier that is drawn at random, as `landscape.samplers` makes them

# Logits by which the class must have lost before a first-flip search stops: rounding undoes a flip at margin 0.
FLIP_MARGIN = 0.05
# A steered search ends with steps this much smaller than it began with, which brings log-odds within 0.1 nats.
FINAL_STEP = 1e-3
TARGET_STEPS = 5  # `multi_targeted` begins with one class for so many of its steps,
NARROWED = (4, 2)  # and goes on with so many of these
DRAWS = 8  # classifiers in each step of an attack on their mean


class Budget(NamedTuple):
    """What a search may spend; radii and step sizes in pixels of [0, 1].

    norm: "linf" or "l2". epsilon: radius. step_size, num_steps, num_restarts: of the full-budget searches.
    iso_steps: of the steered ones. iso_log_odds: where they aim, nats, or "clean" for the image's own log-odds,
      see `populations.wanted_log_odds`.
    """

    norm: str
    epsilon: ArrayLike
    step_size: ArrayLike
    num_steps: int
    num_restarts: int = 1
    iso_steps: int = 60
    iso_log_odds: float | str = "clean"


def attack(
    keys: jax.Array,
    variables: Variables,
    x: Images,
    target: object,
    *,
    objective: Objective,
    norm: str,
    epsilon: ArrayLike,
    step_size: ArrayLike | optax.Schedule | None = None,
    rule: optax.GradientTransformation | None = None,
    start: str | Array = "random",
    num_restarts: int = 1,
    rank: Objective | None = None,
    keep_best: bool = False,
    sampler: Drawn = fixed,
    key: jax.Array | None = None,
    **steps,
) -> Float[Array, "N H W C"]:
    """Ascent of an objective in a ball around x; of restarts, the one ranked highest.

    Args:
      keys: one key an example; restart r starts from fold_in(key, r).
      target: pytree with leading axis N for the objective (labels, or labels and log-odds).
      norm: "linf" (sign steps) or "l2" (normalised steps).
      epsilon, step_size: pixels (L-inf: per pixel; L2: over the whole image); steps are of steepest ascent.
      rule: optax rule of the steps, instead of a step size.
      start: "random" (uniform in the ball), "image", or points [N, H, W, C]. More restarts need random starts.
      rank: objective by which the ends of restarts are compared; `objective` where None.
      keep_best: of each start the step ranked highest is the result, not the last one.
      sampler: the classifier of every step; key: of its draws, the same for all examples. A random one needs a key.
      steps: `num_steps`, and `stop_value` where examples are to stop, as `search` takes them.

    Raises:
      ValueError: unknown start, restarts that would all be the same, not one of step size and rule.
    """
    if (step_size is None) == (rule is None):
        raise ValueError(f"step_size={step_size}, rule={rule}: expected one of them; try step_size=epsilon / 10")
    begin = _starts(start, num_restarts, keys, x, epsilon, norm)
    rank = rank or objective
    key = jax.random.key(0) if key is None else key  # of no matter where the classifier is fixed
    parts = {"objective": objective, "space": pixels(norm), "sampler": sampler(variables), "origin": x}
    parts |= {"optimizer": steepest(norm, step_size) if rule is None else rule, "epsilon": epsilon}
    parts["rank"] = rank if keep_best else None

    def one(restart):
        return search(jax.random.fold_in(key, restart), begin(restart), target, **parts, **steps).z

    if num_restarts == 1:
        return one(0)
    # One draw compares all restarts.
    drawn = parts["sampler"].draw(jax.random.fold_in(key, num_restarts), parts["sampler"].source)

    def again(best, restart):
        z = one(restart)
        return better(best, (z, rank(drawn, z, target))), None

    return lax.scan(again, (x, _worst(x)), jnp.arange(num_restarts))[0][0]


def _starts(start, num_restarts: int, keys, x: Images, epsilon: ArrayLike, norm: str) -> Callable[[ArrayLike], Array]:
    """restart -> its first points."""
    named = isinstance(start, str)
    if named and start not in ("random", "image"):
        raise ValueError(f"start={start!r}: expected random or image; try random")
    if named and start == "random":
        return lambda restart: random_start(fold(keys, restart), x, epsilon, norm=norm)
    if num_restarts != 1:
        raise ValueError(f"num_restarts={num_restarts} from a given start: they would be the same; try start='random'")
    return lambda restart: x if named else start


def _worst(x: Images) -> Float[Array, " N"]:
    """Ranks below that of any point."""
    return jnp.full(x.shape[:1], -jnp.inf, x.dtype)


def fgsm(keys, variables, x, label, *, apply: Apply, epsilon: ArrayLike, **budget) -> Float[Array, "N H W C"]:
    """One step of the whole radius from the image (Goodfellow et al. 2015, arXiv:1412.6572; L2: normalised)."""
    whole = {"epsilon": epsilon, "step_size": epsilon, "num_steps": 1}
    return bim(keys, variables, x, label, apply=apply, **whole, **budget)


def bim(keys, variables, x, label, *, apply: Apply, **budget) -> Float[Array, "N H W C"]:
    """Steps of steepest ascent from the image (Kurakin et al. 2017, arXiv:1607.02533)."""
    objective = objectives.descend(apply, objectives.log_odds)
    return attack(keys, variables, x, label, objective=objective, start="image", **budget)


def pgd(keys, variables, x, label, *, apply: Apply, value_fn=objectives.log_odds, **budget) -> Float[Array, "N H W C"]:
    """Away from the class `label` within the ball, full budget, random start (Madry et al. 2018, arXiv:1706.06083)."""
    # A restart that has flipped the class wins over one that has only lowered its probability further.
    lost = objectives.descend(apply, objectives.margin)
    return attack(keys, variables, x, label, objective=objectives.descend(apply, value_fn), rank=lost, **budget)


def targeted_pgd(keys, variables, x, label, *, apply: Apply, **budget) -> Float[Array, "N H W C"]:
    """Toward the class `label` within the ball. With the true class as label it makes the `boosted` population."""
    return attack(keys, variables, x, label, objective=objectives.ascend(apply, objectives.log_odds), **budget)


def first_flip(keys, variables, x, label, *, apply: Apply, **budget) -> Float[Array, "N H W C"]:
    """From the image away from the class `label`, stopped once that class has lost by FLIP_MARGIN logits."""
    objective = objectives.descend(apply, objectives.margin)
    return attack(keys, variables, x, label, objective=objective, start="image", stop_value=FLIP_MARGIN, **budget)


def steered(
    keys, variables, x, label, log_odds: Float[Array, " N"], *, apply: Apply, step_size, num_steps: int, **budget
) -> Float[Array, "N H W C"]:
    """To a point of the ball around x where the class `label` has the given log-odds (nats), by shrinking steps; of all
    points on the way, start included, the one that is nearest to that.

    Not from the image itself: where its log-odds are already the wanted ones, the gradient is all rounding.
    """
    schedule = optax.cosine_decay_schedule(1.0, num_steps, alpha=FINAL_STEP)
    steps = {"step_size": lambda t: step_size * schedule(t), "num_steps": num_steps}
    return attack(
        keys, variables, x, (label, log_odds), objective=objectives.steer(apply), keep_best=True, **steps, **budget
    )


def on_the_mean(keys, variables, x, label, *, apply: Apply, sampler: Drawn, **budget) -> Float[Array, "N H W C"]:
    """PGD on the mean log-odds of DRAWS fresh classifiers a step: expectation over transformations (EOT).

    Args:
      sampler: variables -> the random classifier; `budget` has a `key` of its draws, the same for all examples.

    Source: Athalye et al. 2018, arXiv:1802.00420.
    """
    objective = objectives.averaged(objectives.descend(apply, objectives.log_odds))
    drawn = lambda variables: several(sampler(variables), DRAWS)  # noqa: E731
    return attack(keys, variables, x, label, objective=objective, sampler=drawn, **budget)


def mi_fgsm(
    keys, variables, x, label, *, apply: Apply, norm: str, step_size, objective: Objective | None = None, **budget
) -> Float[Array, "N H W C"]:
    """Steps along a running sum of gradients, each over its L1 norm (Dong et al. 2018, arXiv:1710.06081).

    Args:
      objective: what is raised; away from the class where None.
    """
    objective = objective or objectives.descend(apply, objectives.log_odds)
    rule = rules.momentum(norm, step_size)
    return attack(keys, variables, x, label, objective=objective, start="image", norm=norm, rule=rule, **budget)


def apgd(keys, variables, x, label, *, apply: Apply, value_fn=objectives.log_odds, **budget) -> Float[Array, "N H W C"]:
    """Auto-PGD away from the class `label`: step sizes that adapt, momentum, the best step of each start.

    `value_fn`: what is lowered, `log_odds` (the cross-entropy's) or `scaled_margin` (DLR). Its rule is `rules.apgd`.

    Source: Croce & Hein 2020, arXiv:2003.01690.
    """
    lost = objectives.descend(apply, objectives.margin)
    return adaptive(keys, variables, x, label, objective=objectives.descend(apply, value_fn), rank=lost, **budget)


def adaptive(
    keys, variables, x, target, *, norm: str, epsilon: ArrayLike, num_steps: int, **more
) -> Float[Array, "N H W C"]:
    """`attack` with the rule of auto-PGD, the best step of each start."""
    rule = rules.apgd(norm, epsilon, num_steps, x)
    ball = {"norm": norm, "epsilon": epsilon, "num_steps": num_steps, "rule": rule}
    return attack(keys, variables, x, target, keep_best=True, **ball, **more)


def apgd_targeted(
    keys, variables, x, label, *, apply: Apply, num_targets: int = 9, **budget
) -> Float[Array, "N H W C"]:
    """Auto-PGD toward each of the `num_targets` classes that the image itself is taken for next, the best of all.

    Source: Croce & Hein 2020, arXiv:2003.01690 (APGD-T, with the targeted DLR loss).
    """

    def objective(variables, z, pair):
        return objectives.scaled_lead(apply(variables, z), pair)

    def lost(variables, z, pair):
        return -objectives.margin(apply(variables, z), pair[0])

    def ascended(own, pair):
        return adaptive(own, variables, x, pair, objective=objective, rank=lost, **budget)

    about = {"apply": apply, "num_targets": num_targets, "rank": lost}
    return _best_of_targets(ascended, keys, variables, x, label, **about)


def multi_targeted(
    keys,
    variables,
    x,
    label,
    *,
    apply: Apply,
    norm: str,
    epsilon: ArrayLike,
    num_steps: int,
    num_restarts: int = 1,
    toward_label: ArrayLike = False,
    sampler: Drawn = fixed,
    key: jax.Array | None = None,
) -> Float[Array, "N H W C"]:
    """The default attack: toward several classes at first, then toward those alone that the image has come nearest to.

    With c the label, it raises l_t - l_c of each target t from a random point of the ball. `rounds` says how many
    targets an image has in each round, and how many steps toward each. Those at whose ends the class c has lost most go
    on from there. Step k of a target is epsilon (1 + cos(pi k / n)), n its steps in all rounds together. Of all ends,
    the one where c has lost most is the result.

    Args:
      num_steps: gradients of all targets together, for each of `num_restarts`.
      toward_label: bool, also traced. The same search with its sign turned makes the `boosted` population: it raises
        l_c - l_t of each target, and the end where the class c leads by most is the result.
      sampler, key: as `attack` takes them. All targets of a round share its draws; ends are compared without any.

    Raises:
      ValueError: num_steps below 1.

    Source: Gowal et al. 2019, arXiv:1910.09338 (MultiTargeted), with other step sizes, ordered targets and successive
    halving of them (Jamieson & Talwalkar 2016, arXiv:1502.07943).
    """
    planned = rounds(num_steps, jax.eval_shape(apply, variables, x).shape[-1] - 1)
    targets = _next_classes(apply(variables, x), label, planned[0][0])
    shrinking = optax.cosine_decay_schedule(2.0, sum(steps for _, steps in planned))  # of the radius
    sign = jnp.where(toward_label, -1.0, 1.0)
    key = jax.random.key(0) if key is None else key

    def objective(variables, z, pair):
        logits = apply(variables, z)
        return sign * (objectives.logit(logits, pair[1]) - objectives.logit(logits, pair[0]))

    def ascended(best, restart):
        own, drawn = fold(keys, restart), jax.random.fold_in(key, restart)

        def toward(start, target, first, steps):
            taken = {"step_size": lambda t: epsilon * shrinking(first + t), "num_steps": steps}
            ball = {"norm": norm, "epsilon": epsilon, "key": jax.random.fold_in(drawn, first)}
            parts = {
                "objective": objective,
                "start": start,
                "sampler": lambda variables: later(sampler(variables), first),
            }
            end = attack(own, variables, x, (label, target), **parts, **taken, **ball)
            return end, -sign * objectives.margin(apply(variables, end), label)

        starts = lax.map(lambda i: random_start(fold(own, i), x, epsilon, norm=norm), jnp.arange(len(targets)))
        return _narrowed(toward, starts, targets, planned, best), None

    return lax.scan(ascended, (x, _worst(x)), jnp.arange(num_restarts))[0][0]


def _narrowed(toward, z, targets, planned: list[tuple[int, int]], best: tuple[Array, Array]) -> tuple[Array, Array]:
    """The highest ranked of `best` and the ends of all rounds, (points [N, ...], ranks [N]).

    Args:
      toward: (start [N, ...], target [N], steps taken before, steps) -> (end, its rank [N]).
      z: starts [T, N, ...] toward the targets [T, N]. planned: (targets of each image, steps) of each round.
    """
    first, ranks = 0, None
    for count, steps in planned:
        if ranks is not None:
            kept = lax.top_k(ranks.T, count)[1].T  # [count, N]
            z, targets = (one[kept, jnp.arange(kept.shape[1])[None]] for one in (z, targets))

        def compared(best, at, first=first, steps=steps):
            found = toward(*at, first, steps)
            return better(best, found), found

        best, (z, ranks) = lax.scan(compared, best, (z, targets))
        first += steps
    return best


def rounds(num_steps: int, others: int) -> list[tuple[int, int]]:
    """How many targets `multi_targeted` has in each round, of `others` classes, and how many steps toward each.

    50 steps and nine classes: 9 x 1, 4 x 4, 2 x 12. Gradients of the rounds are nearly as 1 : 2 : 3, never more than
    num_steps together; with fewer than four targets there is no second round, with fewer than two no third.

    Percentage points of images that a search leaves right although another one makes them wrong, of seven that were
    tried, and its time in that of PGD: on 128 validation images of each of 8 default members on digits, mean of three
    seeds. The class stays right against all on 43 % (L-inf 0.1), 5 % (0.14) and 52 % (L2 0.45).

        search                                    L-inf 0.1   0.14   L2 0.45   time
        PGD, 40 steps                                  10.1   13.4       7.8    1
        multi_targeted, 50 steps                        1.0    1.2       0.4    1.44
        11 steps toward each of nine classes            1.2    1.2       0.5    2.66
        50 steps toward each of nine classes            0.3    0.2       0.3   11
        APGD, 40 steps toward each of nine classes      0.5    0.2       0.3   16
    """
    if num_steps < 1:
        raise ValueError(f"num_steps={num_steps}: expected at least 1; try 50")
    first = max(1, min(others, num_steps // TARGET_STEPS))
    counts = [first, *(count for count in NARROWED if count < first)]
    weights, found, left = (1, 2, 3)[-len(counts) :], [], num_steps
    for count, weight in zip(counts[:-1], weights, strict=False):
        found.append((count, max(1, round(num_steps * weight / sum(weights) / count))))
        left -= count * found[-1][1]
    return [*found, (counts[-1], max(1, left // counts[-1]))]


def _best_of_targets(
    search, keys, variables, x, label, *, apply: Apply, num_targets: int, rank: Objective
) -> Float[Array, "N H W C"]:
    """Of searches toward the classes that the image is taken for next, the one whose end is ranked highest.

    Args:
      search: (keys, (label, target)) -> images. rank: objective of (label, target).
    """
    targets = _next_classes(apply(variables, x), label, num_targets)

    def toward(best, at):
        number, target = at
        pair = (label, target)
        z = search(fold(keys, number), pair)  # each target starts elsewhere
        return better(best, (z, rank(variables, z, pair))), None

    return lax.scan(toward, (x, _worst(x)), (jnp.arange(len(targets)), targets))[0][0]


def _next_classes(logits: Logits, label: Labels, count: int) -> Int[Array, "T N"]:
    """The `count` classes, at most all, that come next after the label, highest logit first."""
    others = jnp.where(jnp.arange(logits.shape[-1])[None, :] == label[:, None], -jnp.inf, logits)
    return lax.top_k(others, min(count, logits.shape[-1] - 1))[1].astype(label.dtype).T


def on_manifold(
    keys, variables, x, label, *, apply: Apply, norm: str, space: Space, step_size: ArrayLike, **ball
) -> Float[Array, "N ..."]:
    """Away from the class `label` in the L2 ball of radius epsilon around each image's encoding, decoded.

    Nothing is random (`keys` are of no use): the search starts at the encoding. Whether the decoded start has the class
    at all is the autoencoder's doing; compare with `space.decode(space.encode(x))`, not with x.

    Args:
      norm: "l2" alone, of the latent.
      space: of the autoencoder; see `spaces.latent`.
      step_size: in units of the latent, over the whole of it. ball: `epsilon`, scalar or [N], and `num_steps`.

    Raises:
      ValueError: another norm.

    Source: Stutz et al. 2019, arXiv:1812.00740.
    """
    if norm != "l2":
        raise ValueError(f"norm={norm!r}: expected l2, the norm of the latent's ball")
    objective = objectives.descend(apply, objectives.log_odds)
    parts = {"objective": objective, "space": space, "sampler": fixed(variables)}
    optimizer = normalized_steps(step_size)
    return space.decode(search(jax.random.key(0), space.encode(x), label, optimizer=optimizer, **parts, **ball).z)


def equal_norm_noise(keys: jax.Array, x: Images, radius: ArrayLike, *, norm: str) -> Float[Array, "N H W C"]:
    """Random perturbation of a given norm, clipped to [0, 1] as an attack is.

    "linf": x + radius * sign, signs fair and independent. "l2": x + radius * u, u uniform on the unit sphere.
    """
    draw = {"linf": jax.random.rademacher, "l2": jax.random.normal}[norm]
    noise = draw_flat(lambda key, shape: draw(key, shape, x.dtype), keys, x)
    if norm == "l2":
        noise = noise / per_example(l2_norm(noise), noise)
    return jnp.clip(x + per_example(radius, x) * noise, 0.0, 1.0)
