"""Is an attack to be trusted? The checklist of Carlini et al. 2019 (arXiv:1902.06705), measured on a trained ensemble.

Run on validation images. Attacks are compared example by example and member by member, on values [S, N]: whether a
member still gets an example right, of a random classifier the share of draws that do. Robust accuracy is their mean.

All comparisons are made in one way, `beyond`: an attack fails where it is shown, by an interval over members and images
of a difference in robust accuracy, to be more than TOLERANCE worse. What rivals are allowed is not what some attack
needs, and more images show smaller differences.
"""

import functools
import itertools
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from landscape import arguments
from landscape.attacks import projected
from landscape.attacks.minimum_norm import fmn
from landscape.attacks.projected import DRAWS, Budget, Drawn, equal_norm_noise
from landscape.attacks.square import square
from landscape.ensembles import Mapping, Rows, map_members, size
from landscape.samplers import fixed, several
from landscape.spaces import LENGTH, fold, per_example, pixels
from landscape.stats import intervals
from landscape.types import Apply, Arrays, Ensemble, Images

Attack = Callable[..., Images]
Right = Float[np.ndarray, "S N"]

# Robust accuracy is measured at these multiples of the radius, and at LARGE, where hardly anything may stay right.
MULTIPLES = (0.0, 0.25, 0.5, 1.0, 2.0)
LARGE = {"linf": 0.5, "l2": 0.5}  # pixels; times sqrt(D) for l2
LEFT = 0.02  # robust accuracy that may be left at LARGE
RESTARTS = 2  # the attack again from other starts
BALL_SLACK = 1e-6  # pixels, relative to a radius of 1: float32 rounding of origin + delta
# Robust accuracy, or share of the examples, by which an attack may be worse than another, or than itself done again.
# Where the interval of a difference contains it, nothing is shown. Share of 400 simulated comparisons that are flagged,
# where images are missed with chances from a beta distribution of concentration 1 and 5:
#                                 1 point missed   3 points       5 points
#   8 members and 128 images      0 to 0.8 %       43 to 84 %     91 to 99.8 %
#   8 members and 64 images                        11 to 38 %     53 to 93 %
#   4 members and 64 images                        9 to 12 %      34 to 51 %
TOLERANCE = 0.01
# Attacks are compared as well at the radius that leaves half of the examples that are right; outside these shares of
# them that says nothing.
INFORMATIVE = (0.05, 0.95)
# What rivals spend, whatever the audited attack does. Steps of single searches, of each of nine targeted ones, of the
# search for the nearest image; queries of Square. On 128 images of each of 8 default members on digits, L-inf 0.1,
# where about half stay right, PGD of 40 steps misses 8.7 points of what the targeted searches find, 6.2 of the nearest
# image's and 2.9 of Square's.
STEPS, TARGETED_STEPS, NEAREST_STEPS, QUERIES = 40, 40, 100, 300
STEP = 0.1  # of the radius: of rivals with one step size
# A perturbation that fools nobody has no reason to end inside its ball: mean length over the radius, of each member.
# PGD in L2 is at 0.998 on Fashion-MNIST, where half of the pixels lie at an end of the box.
USED = 0.97

NO_MORE = f"no interval above {100 * TOLERANCE:g} %"  # what a check requires of `beyond`, in words

# What rivals are, in words.
RIVALS = {
    "double_steps": "the attack with twice the steps",
    "more_restarts": "the attack from two more starts",
    "targeted_finds_no_more": "APGD toward each of nine classes",
    "minimum_norm_finds_no_more": "the search for the nearest image (FMN)",
    "gradient_free_finds_no_more": "Square, without gradients,",
    "expectation_agrees": "PGD on the mean over draws",
}

# Images in another range: its name, and the images in it.
RANGES = (("as [-1, 1]", lambda x: 2 * x - 1), ("as [0, 1] from [-1, 1]", lambda x: (x + 1) / 2))
# Logits of an image, in units of their spread, may move by this where its pixels move by their last bit (6e-8): the
# slope of a classifier trained here moves them by 1e-5. Nor may their own last bit be coarser than that: it is 4e-7 of
# logits of some tens, and 4e-3 where 1e6 was added to them.
LAST_BIT = 1e-3


class Found(NamedTuple):
    """What the audited attack found at one radius: images [S, N, H, W, C], and whether members get them right.

    Of a pair of them one is at the attack's own radius, the other where half of the examples stay right.
    """

    radius: float
    images: Array
    right: Right


class Trial(NamedTuple):
    """Members, images and the programs that an audit runs on them.

    searches: by name, jitted (ensemble, keys, x, label, key, epsilon) -> images [S, N, H, W, C]. logits_of: jitted
    (ensemble, images [S, N, H, W, C], key) -> logits [S, M, N, K] of M draws, 1 of a fixed classifier. key_choice: of
    the draws by which one of several images is chosen, others than those that then count.
    """

    ensemble: Ensemble
    keys: jax.Array
    x: Images
    label: np.ndarray
    searches: dict[str, Callable[..., Array]]
    logits_of: Callable[..., Array]
    key_attack: jax.Array
    key_logits: jax.Array
    key_choice: jax.Array
    advance: Callable[[int], None]

    def run(self, name: str, epsilon: ArrayLike, **other: Any) -> Array:
        """What a search finds within a radius; `other`: fields that are different this time."""
        its = self._replace(**other)
        radius = jnp.asarray(epsilon, its.x.dtype)
        images = its.searches[name](its.ensemble, its.keys, its.x, its.label, self.key_attack, radius)
        jax.block_until_ready(images)
        self.advance(1)
        return images

    def logits(self, z: Array) -> Float[np.ndarray, "S M N K"]:
        """Logits of each member on its own images z [S, N, ...], or on common ones."""
        z = jnp.broadcast_to(z[None], (size(self.ensemble), *z.shape)) if z.ndim == self.x.ndim else z
        return np.asarray(self.logits_of(self.ensemble, z, self.key_logits))

    def right(self, z: Array) -> Right:
        """Whether members get examples right: 0 or 1, of a random classifier the share of draws."""
        return _right(self.logits(z), self.label)

    def least_right(self, *several: Array) -> Right:
        """The same of the image, one of several, that fools a member most.

        The draws of a random classifier that count are not those by which it was chosen: the lowest of several shares
        is too low by chance.
        """
        choosing = self._replace(key_logits=self.key_choice)
        chosen = np.argmin([choosing.right(z) for z in several], axis=0)
        return np.take_along_axis(np.stack([self.right(z) for z in several]), chosen[None], axis=0)[0]


def num_searches(sampler: Drawn = fixed) -> int:
    """How many searches an audit makes: at every radius, by rivals and in double precision at two, once in company."""
    rivals = len(_rivals(projected.multi_targeted, {}, sampler)) + RESTARTS
    return 2 * (len(MULTIPLES) + 2) + 2 * (rivals + 1) + 1


def audit(
    keys: jax.Array,
    ensemble: Ensemble,
    x: np.ndarray,
    label: np.ndarray,
    *,
    apply: Apply,
    budget: Budget,
    how: Mapping,
    attack: Attack = projected.multi_targeted,
    sampler: Drawn = fixed,
    key: jax.Array | None = None,
    advance: Callable[[int], None] = lambda count: None,
) -> tuple[Arrays, list[dict]]:
    """Robust accuracy by attack and radius, and the checks.

    Args:
      keys: [N], one an example. ensemble: trained members. x: [N, H, W, C] float32. label: [N].
      budget: what the attack that is audited may spend.
      attack: the one that is audited, called as `projected.pgd` is; one of OWN_STEPS, or a partial of it, gets no step
        size.
      sampler: of a classifier that is drawn at random each time it is used; robust accuracy is then a mean over DRAWS
        draws, and the attack is given `sampler` and `key` as well. key: of all these draws.
      advance: called with 1 after each of `num_searches`.

    Raises:
      UserError: arguments that `landscape.arguments` refuses.

    Returns:
      arrays: audit [audit_attack, audit_epsilon], mean robust accuracy over members; coords of both dims.
      checks: dicts {"name", "passed", "detail"}.
    """
    _check_arguments(keys, ensemble, x, label, apply, budget)
    shared = jax.random.split(jax.random.key(0) if key is None else key, 3)  # of no matter for a fixed classifier
    programs = _searches(attack, apply=apply, budget=budget, how=how, sampler=sampler), _logits_of(apply, how, sampler)
    trial = Trial(ensemble, keys, jnp.asarray(x), np.asarray(label), *programs, *shared, advance)
    large = LARGE[budget.norm] * (trial.x[0].size ** 0.5 if budget.norm == "l2" else 1.0)
    epsilons = [m * budget.epsilon for m in MULTIPLES] + [large]
    images = [trial.run("audited", e) for e in epsilons]
    half = half_robust(epsilons, [trial.right(z).mean() for z in images])
    epsilons, images = [*epsilons, half], [*images, trial.run("audited", half)]
    own = NAMES.get(attack, "audited")
    found = _found(trial, epsilons, budget.norm, images) | {own: images}
    right = {name: [trial.right(z) for z in each] for name, each in found.items()}  # [S, N] for each radius

    # Where everything falls all attacks agree: they are compared where half of the examples stay right, too.
    pair = tuple(Found(epsilons[i], found[own][i], right[own][i]) for i in (MULTIPLES.index(1.0), -1))
    checks = [
        *_by_radius(own, right, trial, epsilons),
        *_by_rivals(trial, pair),
        radius_used(trial.x, pair[1], trial.right, budget.norm),
        gradients_reach(trial.x, found["fgsm"][-1]),
        float64_agrees(pair, _in_float64(trial, pair)),
        *_by_images(trial, pair[0], budget),
        *_of_classifier(trial),
    ]
    robust = {name: [r.mean() for r in right[name]] for name in ("noise", "transfer", "fgsm", own) if name in right}
    return _arrays(robust, epsilons), checks


def _check_arguments(
    keys: jax.Array, ensemble: Ensemble, x: np.ndarray, label: np.ndarray, apply: Apply, budget: Budget
) -> None:
    """Refuses what `landscape.arguments` refuses; the classifier's output is looked at by its shape alone."""
    arguments.check_members(ensemble)
    arguments.check_images(x)
    arguments.check_label_form(label, len(x))
    arguments.check_keys(keys, len(x))
    one = jax.eval_shape(lambda every, x: apply(jax.tree.map(lambda leaf: leaf[0], every), x), ensemble, x)
    arguments.check_form("apply", one, len(x))
    arguments.check_labels(label, one.shape[1])
    arguments.check_radius(budget.epsilon, budget.norm, x)


def _arrays(robust: dict[str, list], epsilons: list[float]) -> Arrays:
    """Robust accuracy by attack [audit_attack, audit_epsilon], radii rising."""
    order = np.argsort(epsilons)
    return {
        "audit": (("audit_attack", "audit_epsilon"), np.asarray([*robust.values()], np.float32)[:, order]),
        "audit_attack": (("audit_attack",), np.asarray([*robust])),
        "audit_epsilon": (("audit_epsilon",), np.asarray(epsilons, np.float32)[order]),
    }


def half_robust(epsilons: list[float], robust: list[float]) -> float:
    """The radius at which robust accuracy is half of that at radius 0, linear between radii; the last where it is more.

    Args:
      epsilons: rising from 0. robust: accuracy at each of them.
    """
    falling = np.minimum.accumulate(robust)
    return float(np.interp(0.5 * falling[0], falling[::-1], epsilons[::-1]))


def _found(trial: Trial, epsilons: list[float], norm: str, images: list[Array]) -> dict[str, list[Array]]:
    """Images at each radius by attacks that are weaker than the one that found `images`."""
    found = {"fgsm": [trial.run("fgsm", e) for e in epsilons]}
    if size(trial.ensemble) > 1:  # every member is shown the examples made on its neighbour
        found["transfer"] = [jnp.roll(z, 1, axis=0) for z in images]
    noise = jax.jit(partial(equal_norm_noise, norm=norm))
    return found | {"noise": [noise(trial.keys, trial.x, jnp.float32(e)) for e in epsilons]}


# ---- programs, used again in double precision and by later audits ----


OWN_STEPS = (projected.multi_targeted, projected.apgd, projected.apgd_targeted)  # attacks that choose their step sizes
NAMES = {projected.multi_targeted: "multi-targeted", projected.pgd: "pgd"}  # of audited attacks in figures


def targeted(keys, variables, x, label, *, apply: Apply, num_steps: int, **ball) -> Images:
    """`projected.apgd_targeted`; of fewer than four classes, which its loss needs, `multi_targeted` with as much."""
    if jax.eval_shape(apply, variables, x).shape[-1] < 4:
        return projected.multi_targeted(keys, variables, x, label, apply=apply, num_steps=9 * num_steps, **ball)
    return projected.apgd_targeted(keys, variables, x, label, apply=apply, num_steps=num_steps, **ball)


def nearest(keys, variables, x, label, *, epsilon: ArrayLike, norm: str, **options) -> Images:
    """The nearest image that is not given the class, where it lies in the ball; else the image itself."""
    z = fmn(keys, variables, x, label, norm=norm, **options)
    return jnp.where(per_example(LENGTH[norm](z - x) <= epsilon, x) > 0, z, x)


def _rivals(attack: Attack, own: dict[str, Any], sampler: Drawn) -> dict[str, tuple[Attack, dict]]:
    """Those of RIVALS that are searches of their own and suit the classifier, with options. own: of the attack."""
    double = {"double_steps": (attack, own | {"num_steps": 2 * own.get("num_steps", 1)})}
    if sampler is not fixed:  # the others compare values, which a random classifier changes from query to query
        return double | {"expectation_agrees": (projected.on_the_mean, {"num_steps": STEPS, "step": STEP})}
    return double | {
        "targeted_finds_no_more": (targeted, {"num_steps": TARGETED_STEPS}),
        "minimum_norm_finds_no_more": (nearest, {"num_steps": NEAREST_STEPS}),
        "gradient_free_finds_no_more": (square, {"num_steps": QUERIES}),
    }


def _searches(attack: Attack, *, sampler: Drawn, budget: Budget, **options) -> dict[str, Callable[..., Array]]:
    """The audited attack, one step of it, and its rivals."""
    own = {"num_steps": budget.num_steps, "num_restarts": budget.num_restarts}
    if getattr(attack, "func", attack) not in OWN_STEPS:
        own["step"] = budget.step_size / budget.epsilon  # so that a larger ball gets larger steps
    chosen = {"fgsm": (projected.fgsm, {}), "audited": (attack, own)} | _rivals(attack, own, sampler)
    options |= {"norm": budget.norm, "sampler": sampler}
    return {name: _search(fn, tuple(its.items()), **options) for name, (fn, its) in chosen.items()}


@functools.lru_cache(maxsize=16)
def _search(fn: Attack, its: tuple[tuple[str, Any], ...], *, apply: Apply, norm: str, how: Mapping, sampler: Drawn):
    """A program of `Trial.searches`; the radius is traced. its: options, `step` as a share of the radius."""

    def member(variables, keys, x, label, key, epsilon):
        own = dict(its)
        steps = {"step_size": own.pop("step") * epsilon} if "step" in own else {}
        random = {} if sampler is fixed else {"sampler": sampler, "key": key}
        return fn(keys, variables, x, label, apply=apply, norm=norm, epsilon=epsilon, **own, **steps, **random)

    def program(ensemble, keys, x, label, *shared):
        return map_members(member, ensemble, shared=(*map(Rows, (keys, x, label)), *shared), how=how)

    return jax.jit(program)


@functools.lru_cache(maxsize=4)
def _logits_of(apply: Apply, how: Mapping, sampler: Drawn):
    """`Trial.logits_of`."""

    def logits(variables, z, key):
        own = sampler(variables)
        draws = several(own, 1 if sampler is fixed else DRAWS).draw(key, own.source)
        return jax.lax.map(lambda drawn: apply(drawn, z), draws)

    return jax.jit(lambda ensemble, z, key: map_members(logits, ensemble, z, shared=(key,), how=how))


# ---- checks: each a dict, or a list of them ----


def check(name: str, passed: Any, measured: str, expected: str) -> dict:
    return {"name": f"audit.{name}", "passed": bool(passed), "detail": f"{measured}; expected {expected}"}


def _shares(what: str, *values: float) -> str:
    return f"{what}: {', '.join(f'{100 * v:.1f} %' for v in values)}"


def _right(logits: Float[np.ndarray, "S M N K"], label: np.ndarray) -> Right:
    return (logits.argmax(axis=-1) == label).mean(axis=1)


def beyond(differences: Float[np.ndarray, "S N"]) -> bool:
    """Whether a mean difference is shown to be more than TOLERANCE: of all members, or of one of them.

    Shown means that the whole 95 % interval is: of all, over members and images (`stats.intervals`); of one, over
    images, at 1 - 0.05 / S, since the worst of S is looked at.
    """
    each = intervals.two_way(differences[:, None, :])
    quantile = intervals.t_quantile(each.df, 1 - (1 - intervals.LEVEL) / len(differences))
    lowest = np.max(each.value - quantile * each.sem, initial=-1.0, where=np.isfinite(each.sem))
    return bool(intervals.interval(differences).low > TOLERANCE or lowest > TOLERANCE)


def _points(differences: Float[np.ndarray, "S N"]) -> str:
    """Their mean with its interval, in words."""
    found = intervals.interval(differences)
    return f"{100 * found.value:.1f} % [{100 * found.low:.1f}, {100 * found.high:.1f}]"


def _by_radius(own: str, right: dict[str, list[Right]], trial: Trial, epsilons: list[float]) -> list[dict]:
    """How robust accuracy falls with the radius, and which attack is stronger.

    own: name of the audited attack. right: by attack and radius, the half-robust one last.
    """
    where, ours, single = f"at radius {epsilons[-1]:.3g}", right[own], right["fgsm"]
    clean, mean = trial.right(trial.x), [r.mean() for r in ours]
    least, most = (share * clean.mean() for share in INFORMATIVE)
    names = [name for name in (own, "transfer", "noise") if name in right]
    ranked = [right[name][-1] for name in names]
    in_order = intervals.interval(ranked[-1] - ranked[0]).low > 0
    in_order &= not any(beyond(stronger - weaker) for stronger, weaker in itertools.pairwise(ranked))
    rises = any(beyond(after - before) for before, after in itertools.pairwise(ours[:-1]))
    worse = any(beyond(mine - theirs) for mine, theirs in zip(ours, single, strict=True))
    more = f"clearly more than {100 * TOLERANCE:g} points above"
    return [
        check(
            "epsilon_zero",
            np.array_equal(ours[0].mean(axis=1), clean.mean(axis=1)),
            _shares("robust accuracy at radius 0, and of clean images", mean[0], clean.mean()),
            "the same for every image",
        ),
        check("monotone", not rises, _shares("robust accuracy by radius", *mean[:-1]), f"none {more} the one before"),
        check(
            "large_radius",
            mean[-2] <= LEFT,
            _shares(f"robust accuracy at radius {epsilons[-2]:.3g}", mean[-2]),
            f"at most {100 * LEFT:g} %",
        ),
        check(
            "informative_radius",
            least <= mean[-1] <= most,
            _shares(f"robust accuracy {where}, where attacks are compared too, and at 0", mean[-1], clean.mean()),
            "the first to be {:g} to {:g} % of the second".format(*(100 * share for share in INFORMATIVE)),
        ),
        check(
            "iterative_beats_single_step",
            not worse,
            _shares(f"robust accuracy {where} under {own}, fgsm", mean[-1], single[-1].mean()),
            f"the first at no radius {more} the second",
        ),
        check(
            "whitebox_beats_transfer_beats_noise",
            in_order,
            _shares(f"robust accuracy {where} under {', '.join(names)}", *(r.mean() for r in ranked)),
            f"the last clearly above the first, and none {more} the next",
        ),
    ]


def _by_rivals(trial: Trial, pair: tuple[Found, Found]) -> list[dict]:
    """Does anything find what the audited attack misses? Not asked at a radius at which nothing is left to be found."""
    names = [name for name in RIVALS if name in trial.searches]
    # A restart is the attack again from other starts: an example is robust if no restart fools the member.
    starts, both = [fold(trial.keys, 1 + i) for i in range(RESTARTS)], {}
    for at in pair:
        if at is pair[0] and at.right.mean() <= TOLERANCE:
            trial.advance(len(names) + RESTARTS)
            continue
        found = {name: [trial.run(name, at.radius)] for name in names}
        again = [trial.run("audited", at.radius, keys=start) for start in starts]
        # An attack without starts of its own does the same again, which says nothing.
        if not all(bool(jnp.array_equal(z, at.images)) for z in again):
            found["more_restarts"] = again
        for name, images in found.items():
            both.setdefault(name, []).append((at, trial.least_right(at.images, *images)))
    return [compared(name, both[name]) for name in RIVALS if name in both]


def compared(name: str, both: list[tuple[Found, Right]]) -> dict:
    """The check of one rival: what falls to it and not to the attack is nowhere `beyond` the tolerance.

    Args:
      both: by radius, what the attack found, and who is right on the better of its image and the rival's.
    """
    words = [
        f"at radius {at.radius:.3g} {_points(at.right - least)} of the examples fall to {RIVALS[name]} alone, "
        f"{100 * at.right.mean():.1f} % stay right under the attack"
        for at, least in both
    ]
    return check(name, not any(beyond(at.right - least) for at, least in both), "; ".join(words), NO_MORE)


def _in_float64(trial: Trial, pair: tuple[Found, Found]) -> tuple[Right, Right]:
    """Which examples stay right where the audited attack runs in double precision."""
    with jax.enable_x64(True):

        def wide(leaf):  # of real numbers; others, such as an order of pixels, stay as they are
            return jnp.asarray(np.asarray(leaf), jnp.float64 if jnp.issubdtype(leaf.dtype, jnp.inexact) else None)

        double = trial._replace(ensemble=jax.tree.map(wide, trial.ensemble), x=wide(trial.x))
        return tuple(double.right(double.run("audited", jnp.float64(at.radius))) for at in pair)


def float64_agrees(pair: tuple[Found, Found], theirs: tuple[Right, Right]) -> dict:
    """In double precision the attack finds neither more nor less."""
    both = list(zip(pair, theirs, strict=True))
    agreed = not any(beyond(at.right - other) or beyond(other - at.right) for at, other in both)
    words = [f"at radius {at.radius:.3g} {_points(at.right - other)} more fall in float64" for at, other in both]
    return check("float64_agrees", agreed, "; ".join(words), f"{NO_MORE}, nor below -{100 * TOLERANCE:g} %")


@partial(jax.jit, static_argnames="norm")
def carried_on(x: Images, found: Array, radius: ArrayLike, norm: str) -> tuple[Array, Array]:
    """Perturbations of images [S, N, H, W, C] lengthened to the radius, in [0, 1]; and their length over it, [S, N]."""

    def member(z):
        delta = z - x
        length = LENGTH[norm](delta) / radius
        further = x + per_example(1 / jnp.where(length > 0, jnp.minimum(length, 1.0), 1.0), delta) * delta
        return pixels(norm).project(further, x, radius), length

    return jax.lax.map(member, found)


def radius_used(x: Images, at: Found, right: Callable[[Array], Right], norm: str) -> dict:
    """Perturbations that fool nobody end at the radius, and carried on to it they fool hardly more."""
    further, length = carried_on(x, at.images, at.radius, norm)
    fell = np.minimum(at.right, right(further))
    standing = at.right > 0.5
    used = min(own[s].mean() if s.any() else 1.0 for own, s in zip(np.asarray(length), standing, strict=True))
    return check(
        "radius_is_used",
        used >= USED and not beyond(at.right - fell),
        f"perturbations that fool nobody are {100 * used:.1f} % of radius {at.radius:.3g} long; "
        f"carried on to it {_points(at.right - fell)} of the examples fall",
        f"at least {100 * USED:g} %, and {NO_MORE}",
    )


def gradients_reach(x: Images, stepped: Array) -> dict:
    """Of no member and no image is the gradient 0 in every pixel: one step along it moves every image.

    Args:
      stepped: images [S, N, H, W, C] one step of steepest ascent away from x.
    """
    lost = np.asarray(stepped == x[None]).reshape(*stepped.shape[:2], -1).all(axis=-1)
    return check(
        "gradients_reach_every_image",
        not lost.any(),
        f"no gradient on {100 * lost.mean():.1f} % of the examples, of the worst member "
        f"{100 * lost.mean(axis=1).max():.1f} %",
        "0 %",
    )


def _by_images(trial: Trial, at: Found, budget: Budget) -> list[dict]:
    """What the images found are: in the ball and in [0, 1], good after rounding, the same in other company."""
    z = at.images
    furthest = max(float(jnp.max(LENGTH[budget.norm](member - trial.x))) for member in z)
    low, high = float(z.min()), float(z.max())
    inside = furthest <= budget.epsilon + BALL_SLACK and low >= 0.0 and high <= 1.0
    distance = f"largest distance {furthest:.4g} pixels, values in [{low:.3g}, {high:.3g}]"
    allowed = f"at most {float(budget.epsilon):.4g}, and values in [0, 1]"

    rounded = trial.right(jnp.round(z * 255) / 255)

    # Every other example again among other companions: the negatives of those that were there. They have other
    # labels too, or a loss that takes in their labels would pass.
    num_classes = trial.logits(trial.x).shape[-1]
    odd = np.arange(len(trial.label)) % 2
    label = np.where(odd, (trial.label + 1) % num_classes, trial.label)
    again = trial.run("audited", budget.epsilon, x=trial.x.at[1::2].set(1 - trial.x[1::2]), label=label)
    difference = float(jnp.max(jnp.abs(again[:, ::2] - z[:, ::2])))
    return [
        check("inside_ball", inside, distance, allowed),
        check(
            "survives_8_bits",
            not beyond(rounded - at.right),
            _shares("robust accuracy as found, rounded", at.right.mean(), rounded.mean()),
            f"the second not clearly more than {100 * TOLERANCE:g} points above the first",
        ),
        check(
            "batch_independent",
            difference == 0.0,
            f"largest difference with other examples in the batch: {difference:.2g} pixels",
            "0",
        ),
    ]


def _of_classifier(trial: Trial) -> list[dict]:
    """Is the classifier one that an attack can be trusted on? Four checks of all members.

    Faults in here leave an attack's own checks green: it is as strong as it can be, on another function than is meant.

    - logits_not_probabilities: of no member do all outputs lie in [0, 1]. Their loss takes a softmax: on outputs that
      are one already gradients vanish where the classifier is sure.
    - logits_keep_their_digits: the last bit of an image's logits is small beside their spread. It is not where they
      have a common part that is large: differences, of which all losses are made, are then rounded.
    - inputs_in_unit_box: images lie in [0, 1], and in no other range are they classified better.
    - deterministic: logits do not jump where every pixel moves by its last bit. They do where a random classifier
      draws its noise from the image itself; hand its sampler to the audit, so that attacks can average.
    """
    x, label = trial.x, trial.label
    logits = trial.logits(x)
    outputs = logits.reshape(len(logits), -1)
    clean = _right(logits, label)
    others = [trial.right(read(x)) for _, read in RANGES]
    low, high = float(x.min()), float(x.max())
    in_box = low >= 0 and high <= 1 and not any(beyond(other - clean) for other in others)
    accuracies = [clean.mean(), *(other.mean() for other in others)]
    ranges = ", ".join(name for name, _ in RANGES)

    spread = np.maximum(np.ptp(logits, axis=-1), np.finfo(np.float32).tiny)
    last_bit = float((np.spacing(np.abs(logits).max(axis=-1)) / spread).max())
    moved = np.abs(trial.logits(jnp.nextafter(x, jnp.full_like(x, 0.5))) - logits).max(axis=-1)
    jump = float((moved / spread).max())
    return [
        check(
            "logits_not_probabilities",
            ((outputs.min(axis=1) < 0) | (outputs.max(axis=1) > 1)).all(),
            f"outputs of all members in [{outputs.min():.3g}, {outputs.max():.3g}]",
            "of no member all in [0, 1]",
        ),
        check(
            "logits_keep_their_digits",
            last_bit <= LAST_BIT,
            f"the last bit of an image's logits is up to {last_bit:.2g} of their spread",
            f"at most {LAST_BIT:g}",
        ),
        check(
            "inputs_in_unit_box",
            in_box,
            _shares(f"pixels in [{low:.3g}, {high:.3g}]; accuracy as they are, read {ranges}", *accuracies),
            f"pixels in [0, 1], and the first not clearly more than {100 * TOLERANCE:g} points below another",
        ),
        check(
            "deterministic",
            jump <= LAST_BIT,
            f"logits move by up to {jump:.2g} of their spread where pixels move by their last bit",
            f"at most {LAST_BIT:g}",
        ),
    ]
