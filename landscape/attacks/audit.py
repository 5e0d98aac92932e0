"""Is an attack to be trusted? The checklist of Carlini et al. 2019 (arXiv:1902.06705), measured on a trained ensemble.

Run on validation images. Attacks are compared example by example and member by member, on values [S, N]: whether a
member still gets an example right, of a random classifier the share of draws that do. Robust accuracy is their mean.
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

from landscape import objectives
from landscape.attacks import projected
from landscape.attacks.projected import DRAWS, Budget, Drawn, equal_norm_noise, on_the_mean
from landscape.attacks.square import square
from landscape.ensembles import Mapping, Rows, map_members, size
from landscape.samplers import fixed, several
from landscape.spaces import LENGTH, fold, per_example, pixels
from landscape.types import Apply, Arrays, Ensemble, Images

Attack = Callable[..., Images]
Right = Float[np.ndarray, "S N"]

# Robust accuracy is measured at these multiples of the radius, and at LARGE, where hardly anything may stay right.
MULTIPLES = (0.0, 0.25, 0.5, 1.0, 2.0)
LARGE = {"linf": 0.5, "l2": 0.5}  # pixels; times sqrt(D) for l2
RESTARTS = 2  # the attack again from other starts
BALL_SLACK = 1e-6  # pixels, relative to a radius of 1: float32 rounding of origin + delta
# How far two attacks that should agree may differ in robust accuracy: half a point, or one example if that is more.
AGREEMENT = 0.005
# Attacks are compared as well at the radius that leaves nearest to half robust; outside these shares that says nothing.
INFORMATIVE = (0.05, 0.95)


class Rival(NamedTuple):
    """An attack that should find hardly more than the audited one.

    what: in words. agreements: by how many AGREEMENTs it may find more at the radius itself, where hardly anything is
    left. missed: share of the examples by which it may at the most informative radius; see `finds_more`.
    """

    what: str
    agreements: int
    missed: float


# What an honest attack needs of the allowances `missed`, in points, and one that takes half of its steps: PGD, 40 steps
# of a tenth of the radius, one start, 128 images of each of 8 default members on digits (64 pixels, many maxima), L-inf
# with six sets of keys, and L2. Fashion-MNIST's members need less: restarts find 0.2 there.
#   twice the steps   0.1 to 0.9, 2.0    half of the steps 3.0 to 4.1, 8.2
#   margin loss       0.7 to 3.2, -0.2                     4.4 to 6.4, 8.0
#   restarts          3.8 to 6.1, 3.2
#   Square            4.7 to 6.0, 0.0
# Of members whose weights are drawn (multiplicative 0.3, layer-relative 0.2), by what an attack on the mean over draws
# finds more: 0.0 of an honest one, 11 and 16 of one on a single draw.
RIVALS = {
    "double_steps": Rival("with twice the steps", 2, 0.025),
    "more_restarts": Rival("with two more restarts", 2, 0.08),
    "margin_loss_agrees": Rival("under PGD with the margin loss", 1, 0.045),
    "expectation_agrees": Rival("under PGD on the mean over draws", 1, 0.05),
}
MISSED_BY_GRADIENTS = 0.08  # share of examples that Square may fool and the audited attack not
# Of Square. Measured as above in L-inf, with 100, 300 and 1000 it fools 0.1 to 0.3, 5.1 to 6.0 and 10.2 to 10.9 points
# that an honest attack misses, and 15, 29 and 34 that one misses which leaves out a third of the images.
QUERIES = 300
# A perturbation that fools nobody has no reason to end inside its ball: mean length over the radius, of each member.
# PGD in L2 is at 0.998 on Fashion-MNIST, where half of the pixels lie at an end of the box.
USED = 0.97
# Share of examples that may fall where perturbations are carried on to the radius. Measured as above: 0.0 points in
# L-inf and 0.1 in L2 of an honest attack, 4.1 to 4.9 of one whose ball is 0.95 of the radius, 6.1 to 10.0 at 0.9.
BEYOND = 0.02

# Images in another range: its name, and the images in it.
RANGES = (("as [-1, 1]", lambda x: 2 * x - 1), ("as [0, 1] from [-1, 1]", lambda x: (x + 1) / 2))
# Logits of an image, in units of their spread, may move by this where its pixels move by their last bit (6e-8): the
# slope of a classifier trained here moves them by 1e-5.
LAST_BIT = 1e-3

on_the_margin = partial(projected.pgd, value_fn=objectives.margin)  # which no scale of the logits weakens


class Found(NamedTuple):
    """What the audited attack found at one radius: images [S, N, H, W, C], and whether members get them right.

    Of a pair of them one is at the attack's own radius, the other at the most informative one.
    """

    radius: float
    images: Array
    right: Right


class Trial(NamedTuple):
    """Members, images and the programs that an audit runs on them.

    searches: by name, jitted (ensemble, keys, x, label, key, epsilon) -> images [S, N, H, W, C]. logits_of: jitted
    (ensemble, images [S, N, H, W, C], key) -> logits [S, M, N, K] of M draws, 1 of a fixed classifier.
    """

    ensemble: Ensemble
    keys: jax.Array
    x: Images
    label: np.ndarray
    searches: dict[str, Callable[..., Array]]
    logits_of: Callable[..., Array]
    key_attack: jax.Array
    key_logits: jax.Array
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


def num_searches(sampler: Drawn = fixed) -> int:
    """How many searches an audit makes: at every radius, by rivals at two of them, once in other company."""
    single = {"double_steps", "margin_loss_agrees", *(() if sampler is fixed else ("expectation_agrees",))}
    at_both = len(single) + RESTARTS + 1  # the last one in double precision
    return 2 * (len(MULTIPLES) + 1) + 2 * at_both + (sampler is fixed) + 1


def audit(
    keys: jax.Array,
    ensemble: Ensemble,
    x: np.ndarray,
    label: np.ndarray,
    *,
    apply: Apply,
    budget: Budget,
    how: Mapping,
    attack: Attack = projected.pgd,
    sampler: Drawn = fixed,
    key: jax.Array | None = None,
    advance: Callable[[int], None] = lambda count: None,
) -> tuple[Arrays, list[dict]]:
    """Robust accuracy by attack and radius, and the checks.

    Args:
      keys: [N], one an example. ensemble: trained members. x: [N, H, W, C] float32. label: [N].
      budget: what the attack that is audited may spend.
      attack: the one that is audited, called as `projected.pgd` is.
      sampler: of a classifier that is drawn at random each time it is used; robust accuracy is then a mean over DRAWS
        draws, and the attack is given `sampler` and `key` as well. key: of all these draws.
      advance: called with 1 after each of `num_searches`.

    Returns:
      arrays: audit [audit_attack, audit_epsilon], mean robust accuracy over members; coords of both dims.
      checks: dicts {"name", "passed", "detail"}.
    """
    random = sampler is not fixed
    shared = jax.random.split(jax.random.key(0) if key is None else key)  # of no matter where the classifier is fixed
    programs = _searches(attack, apply=apply, budget=budget, how=how, sampler=sampler), _logits_of(apply, how, sampler)
    trial = Trial(ensemble, keys, jnp.asarray(x), np.asarray(label), *programs, *shared, advance)
    large = LARGE[budget.norm] * (trial.x[0].size ** 0.5 if budget.norm == "l2" else 1.0)
    epsilons = [m * budget.epsilon for m in MULTIPLES] + [large]
    own = "pgd" if attack is projected.pgd else "audited"
    found = _found(trial, own, epsilons, budget.norm)
    right = {name: [trial.right(z) for z in images] for name, images in found.items()}  # [S, N] for each radius
    mean = {name: np.stack([r.mean(axis=1) for r in each]).mean(axis=1) for name, each in right.items()}

    # Where everything falls all attacks agree: they are compared where about half of the examples stay right, too.
    at, near = MULTIPLES.index(1.0), 1 + int(np.argmin(np.abs(mean[own][1:] - 0.5)))
    pair = tuple(Found(epsilons[i], found[own][i], right[own][i]) for i in (at, near))
    slack = max(AGREEMENT, 1.0 / right[own][0].size)
    checks = [
        *_by_radius(own, right, mean, trial, epsilons, near, slack),
        *_by_rivals(trial, pair, slack, random=random),
        radius_used(trial.x, pair[1], trial.right, budget.norm),
        gradients_reach(trial.x, found["fgsm"][near]),
        float64_agrees(pair, _in_float64(trial, pair), slack, random=random),
        *_by_images(trial, pair[0], budget, slack),
        *_of_classifier(trial),
    ]
    robust = {name: mean[name] for name in ("noise", "transfer", "fgsm", own) if name in mean}
    arrays: Arrays = {
        "audit": (("audit_attack", "audit_epsilon"), np.stack([*robust.values()]).astype(np.float32)),
        "audit_attack": (("audit_attack",), np.asarray([*robust])),
        "audit_epsilon": (("audit_epsilon",), np.asarray(epsilons, np.float32)),
    }
    return arrays, checks


def _found(trial: Trial, own: str, epsilons: list[float], norm: str) -> dict[str, list[Array]]:
    """Images at each radius, by attack: one step, the audited one under its `own` name, and what is weaker."""
    found = {"fgsm": [trial.run("fgsm", e) for e in epsilons], own: [trial.run("audited", e) for e in epsilons]}
    if size(trial.ensemble) > 1:  # every member is shown the examples made on its neighbour
        found["transfer"] = [jnp.roll(z, 1, axis=0) for z in found[own]]
    noise = jax.jit(partial(equal_norm_noise, norm=norm))
    return found | {"noise": [noise(trial.keys, trial.x, jnp.float32(e)) for e in epsilons]}


# ---- programs, used again in double precision and by later audits ----


def _searches(attack: Attack, *, sampler: Drawn, budget: Budget, **options) -> dict[str, Callable[..., Array]]:
    """The audited attack, one step of it, and those of its RIVALS that suit the classifier."""
    chosen = {
        "fgsm": (projected.fgsm, 1),
        "audited": (attack, budget.num_steps),
        "double_steps": (attack, 2 * budget.num_steps),
        "margin_loss_agrees": (on_the_margin, budget.num_steps),
    }
    if sampler is fixed:  # Square compares values, which a random classifier changes from query to query
        chosen["square"] = (square, QUERIES)
    else:
        chosen["expectation_agrees"] = (on_the_mean, budget.num_steps)
    return {name: _search(*one, budget=budget, sampler=sampler, **options) for name, one in chosen.items()}


@functools.lru_cache(maxsize=16)
def _search(fn: Attack, num_steps: int, *, apply: Apply, budget: Budget, how: Mapping, sampler: Drawn):
    """A program of `Trial.searches`; radius and step size are traced."""
    step = budget.step_size / budget.epsilon  # of the radius, so that a larger ball gets larger steps

    def member(variables, keys, x, label, key, epsilon):
        options = {"apply": apply, "norm": budget.norm, "epsilon": epsilon}
        if fn is not projected.fgsm:
            options["num_steps"] = num_steps
        if fn not in (projected.fgsm, square):
            options |= {"step_size": step * epsilon, "num_restarts": budget.num_restarts}
        random = {} if sampler is fixed else {"sampler": sampler, "key": key}
        return fn(keys, variables, x, label, **options, **random)

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


def check(name: str, passed: Any, detail: str) -> dict:
    return {"name": f"audit.{name}", "passed": bool(passed), "detail": detail}


def _shares(what: str, *values: float) -> str:
    return f"{what}: {', '.join(f'{100 * v:.1f} %' for v in values)}"


def _right(logits: Float[np.ndarray, "S M N K"], label: np.ndarray) -> Right:
    return (logits.argmax(axis=-1) == label).mean(axis=1)


def gain(strong: Right, weak: Right) -> tuple[float, float]:
    """Mean of weak - strong over members and images, and twice its standard error over images."""
    each = (weak.astype(float) - strong).mean(axis=0)
    return float(each.mean()), float(2 * each.std() / len(each) ** 0.5)


def finds_more(ours: Right, theirs: Right, allowed: float) -> bool:
    """Whether a rival finds more than `allowed` more, of all members or of one, beyond chance.

    Beyond chance is a mean difference above twice its standard error over images (members' values of one image move
    together), of one member above three times its own, since the worst of several is looked at.
    """
    more, error = gain(theirs, ours)
    each = ours - theirs
    member, own = each.mean(axis=1), 3 * each.std(axis=1) / each.shape[1] ** 0.5
    return (more > allowed and more > error) or bool(((member > 2 * allowed) & (member > own)).any())


def _by_radius(own: str, right, mean, trial: Trial, epsilons, near: int, slack: float) -> list[dict]:
    """How robust accuracy falls with the radius, and which attack is stronger.

    own: name of the audited attack. right, mean: by attack and radius, of examples and of all. near: the most
    informative radius.
    """
    where, ours, single = f"at radius {epsilons[near]:.3g}", mean[own], mean["fgsm"]
    clean = trial.right(trial.x).mean(axis=1)
    zero = np.array_equal(right[own][0].mean(axis=1), clean)
    least, most = INFORMATIVE
    ranked = [name for name in (own, "transfer", "noise") if name in mean]
    # Over images, with twice its standard error: of few images, transfer and noise come in either order by chance.
    steps = [gain(right[a][near], right[b][near]) for a, b in itertools.pairwise(ranked)]
    whole, error = gain(right[own][near], right["noise"][near])
    in_order = whole > error and all(more >= -slack - error for more, error in steps)
    informative = f"robust accuracy {where}, where attacks are compared too"
    never_worse = f"at no radius worse than one step; {where} {own}, fgsm"
    each = [mean[name][near] for name in ranked]
    return [
        check("epsilon_zero", zero, _shares("robust accuracy at radius 0", ours[0], clean.mean())),
        check("monotone", (np.diff(ours) <= slack).all(), _shares("robust accuracy falls with the radius", *ours)),
        check("large_radius", ours[-1] <= 0.02, _shares(f"robust accuracy at radius {epsilons[-1]:.3g}", ours[-1])),
        check("informative_radius", least <= ours[near] <= most, _shares(informative, ours[near])),
        check(
            "iterative_beats_single_step",
            (ours <= single + slack).all(),
            _shares(never_worse, ours[near], single[near]),
        ),
        check("whitebox_beats_transfer_beats_noise", in_order, _shares(f"{where} {', '.join(ranked)}", *each)),
    ]


def _by_rivals(trial: Trial, pair: tuple[Found, Found], slack: float, *, random: bool) -> list[dict]:
    """Does anything find what the audited attack misses?"""
    found = {
        name: tuple(trial.right(trial.run(name, at.radius)) for at in pair) for name in RIVALS if name in trial.searches
    }
    # A restart is the attack again from other starts: an example is robust if no restart fools the member.
    starts = [fold(trial.keys, 1 + i) for i in range(RESTARTS)]
    again = [[trial.run("audited", at.radius, keys=start) for start in starts] for at in pair]
    both = list(zip(pair, again, strict=True))
    # An attack without starts of its own does the same again, which says nothing.
    if not any(all(bool(jnp.array_equal(z, at.images)) for z in images) for at, images in both):
        found["more_restarts"] = tuple(np.minimum.reduce([at.right, *map(trial.right, images)]) for at, images in both)
    checks = [compared(name, RIVALS[name], pair, theirs, slack, random=random) for name, theirs in found.items()]
    if not random:
        checks.append(without_gradients(pair[1], trial.right(trial.run("square", pair[1].radius))))
    return checks


def compared(
    name: str, rival: Rival, pair: tuple[Found, Found], theirs: tuple[Right, Right], slack: float, *, random: bool
) -> dict:
    """The check of one rival: at the radius itself by no more than `slack` a time, at the other one `finds_more`.

    random: of a random classifier the draws differ between attacks, so that both radii are compared in the second way.
    """
    few = [finds_more(at.right, other, rival.missed) for at, other in zip(pair, theirs, strict=True)]
    here = few[0] if random else gain(theirs[0], pair[0].right)[0] > rival.agreements * slack
    return check(name, not (here or few[1]), _at_both(rival.what, pair, theirs))


def _at_both(what: str, pair: tuple[Found, Found], theirs: tuple[Right, Right]) -> str:
    """Robust accuracy of the audited attack and of another one at two radii, in words."""
    words = [
        f"at radius {at.radius:.3g}: {100 * at.right.mean():.1f} % under the attack, {100 * other.mean():.1f} % {what}"
        for at, other in zip(pair, theirs, strict=True)
    ]
    return "robust accuracy " + "; ".join(words)


def without_gradients(at: Found, square: Right) -> dict:
    """No attack without gradients fools what the audited one does not: gradients that are masked on some images."""
    missed = at.right - np.minimum(at.right, square)
    return check(
        "gradient_free_finds_no_more",
        not finds_more(at.right, at.right - missed, MISSED_BY_GRADIENTS),
        f"at radius {at.radius:.3g} Square fools {100 * missed.mean():.1f} % of the examples that the "
        f"attack does not, of the worst member {100 * missed.mean(axis=1).max():.1f} %",
    )


def _in_float64(trial: Trial, pair: tuple[Found, Found]) -> tuple[Right, Right]:
    """Which examples stay right where the audited attack runs in double precision."""
    with jax.enable_x64(True):

        def wide(leaf):  # of real numbers; others, such as an order of pixels, stay as they are
            return jnp.asarray(np.asarray(leaf), jnp.float64 if jnp.issubdtype(leaf.dtype, jnp.inexact) else None)

        double = trial._replace(ensemble=jax.tree.map(wide, trial.ensemble), x=wide(trial.x))
        return tuple(double.right(double.run("audited", jnp.float64(at.radius))) for at in pair)


def float64_agrees(
    pair: tuple[Found, Found], theirs: tuple[Right, Right], slack: float, *, random: bool = False
) -> dict:
    """In double precision the attack finds neither more nor less.

    random: of a random classifier the draws of the two precisions differ: within three standard errors over images.
    """

    def agree(at: Found, other: Right) -> bool:
        more, error = gain(other, at.right)
        return abs(more) <= max(slack, 1.5 * error if random else 0.0)

    agreed = all(agree(at, other) for at, other in zip(pair, theirs, strict=True))
    return check("float64_agrees", agreed, _at_both("in float64", pair, theirs))


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
        used >= USED and not finds_more(at.right, fell, BEYOND),
        f"perturbations that fool nobody are {100 * used:.1f} % of radius {at.radius:.3g} long; "
        f"carried on to it {100 * (at.right - fell).mean():.1f} % of the examples fall",
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
    )


def _by_images(trial: Trial, at: Found, budget: Budget, slack: float) -> list[dict]:
    """What the images found are: in the ball and in [0, 1], good after rounding, the same in other company."""
    z = at.images
    furthest = max(float(jnp.max(LENGTH[budget.norm](member - trial.x))) for member in z)
    low, high = float(z.min()), float(z.max())
    inside = furthest <= budget.epsilon + BALL_SLACK and low >= 0.0 and high <= 1.0
    distance = f"largest distance {furthest:.4g} of {float(budget.epsilon):.4g} pixels"

    as_found = at.right.mean(axis=1).mean()
    rounded = float(trial.right(jnp.round(z * 255) / 255).mean())

    # Every other example again among other companions: the negatives of those that were there. They have other
    # labels too, or a loss that takes in their labels would pass.
    num_classes = trial.logits(trial.x).shape[-1]
    odd = np.arange(len(trial.label)) % 2
    label = np.where(odd, (trial.label + 1) % num_classes, trial.label)
    again = trial.run("audited", budget.epsilon, x=trial.x.at[1::2].set(1 - trial.x[1::2]), label=label)
    difference = float(jnp.max(jnp.abs(again[:, ::2] - z[:, ::2])))
    return [
        check("inside_ball", inside, f"{distance}; values in [{low:.3g}, {high:.3g}]"),
        check(
            "survives_8_bits",
            rounded <= as_found + 2 * slack,
            _shares("robust accuracy as found, rounded", as_found, rounded),
        ),
        check(
            "batch_independent",
            difference == 0.0,
            f"largest difference with other examples in the batch: {difference:.2g} pixels",
        ),
    ]


def _of_classifier(trial: Trial) -> list[dict]:
    """Is the classifier one that an attack can be trusted on? Three checks of all members.

    Faults in here leave an attack's own checks green: it is as strong as it can be, on another function than is meant.

    - logits_not_probabilities: of no member do all outputs lie in [0, 1]. Their loss takes a softmax: on outputs that
      are one already gradients vanish where the classifier is sure.
    - inputs_in_unit_box: images lie in [0, 1], and in no other range are they classified better by more than twice the
      standard error of the difference.
    - deterministic: logits do not jump where every pixel moves by its last bit. They do where a random classifier
      draws its noise from the image itself; hand its sampler to the audit, so that attacks can average.
    """
    x, label = trial.x, trial.label
    logits = trial.logits(x)
    outputs = logits.reshape(len(logits), -1)
    clean = _right(logits, label)
    better = [gain(clean, trial.right(read(x))) for _, read in RANGES]
    low, high = float(x.min()), float(x.max())
    in_box = low >= 0 and high <= 1 and all(more <= error for more, error in better)
    accuracies = [clean.mean(), *(clean.mean() + more for more, _ in better)]
    ranges = ", ".join(name for name, _ in RANGES)

    moved = np.abs(trial.logits(jnp.nextafter(x, jnp.full_like(x, 0.5))) - logits).max(axis=-1)
    jump = float((moved / np.maximum(np.ptp(logits, axis=-1), np.finfo(np.float32).tiny)).max())
    return [
        check(
            "logits_not_probabilities",
            ((outputs.min(axis=1) < 0) | (outputs.max(axis=1) > 1)).all(),
            f"outputs of all members in [{outputs.min():.3g}, {outputs.max():.3g}]",
        ),
        check(
            "inputs_in_unit_box",
            in_box,
            _shares(f"pixels in [{low:.3g}, {high:.3g}]; accuracy as they are, read {ranges}", *accuracies),
        ),
        check(
            "deterministic",
            jump <= LAST_BIT,
            f"logits move by at most {jump:.2g} of their spread where pixels move by their last bit",
        ),
    ]
