"""Is an attack to be trusted? The checklist of Carlini et al. 2019 (arXiv:1902.06705), measured on a trained ensemble.

Run on validation images. Robust accuracy is the share of examples that a member still gets right, [S] per setting.
"""

import functools
import itertools
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from landscape import objectives
from landscape.attacks import audit_rivals, projected
from landscape.attacks.audit_rivals import QUERIES, RIVALS, Place, Right, compared
from landscape.attacks.audited_classifier import classifier_checks, finding, gain
from landscape.attacks.expectation import DRAWS, Drawn, on_the_mean
from landscape.attacks.projected import Budget, equal_norm_noise
from landscape.attacks.square import square
from landscape.ensembles import Mapping, Rows, map_members, size
from landscape.samplers import fixed, several
from landscape.spaces import l2_norm, linf_norm
from landscape.types import Apply, Arrays, Ensemble, Images

# Robust accuracy is measured at these multiples of the radius, and at LARGE, where hardly anything may stay right.
MULTIPLES = (0.0, 0.25, 0.5, 1.0, 2.0)
LARGE = {"linf": 0.5, "l2": 0.5}  # pixels; times sqrt(D) for l2
RESTARTS = 2  # the attack again from other starts
BALL_SLACK = 1e-6  # pixels, relative to a radius of 1: float32 rounding of origin + delta

# How far two attacks that should agree may differ in robust accuracy: half a point, or one example if that is more.
AGREEMENT = 0.005
# Attacks are compared as well at the radius that leaves nearest to half robust; outside these shares it tells nothing.
INFORMATIVE = (0.05, 0.95)

Attack = Callable[..., Images]

on_the_margin = partial(projected.pgd, value_fn=objectives.margin)  # which no scale of the logits weakens


@functools.lru_cache(maxsize=16)  # used again in double precision
def _program(fn: Attack, num_steps: int, apply: Apply, budget: Budget, how: Mapping, sampler: Drawn):
    """Jitted (ensemble, keys, x, label, key, epsilon) -> images [S, N, H, W, C]; radius and step size are traced."""
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
def _judge(apply: Apply, how: Mapping, sampler: Drawn):
    """Jitted (ensemble, images [S, N, H, W, C], key) -> logits [S, M, N, K] of M draws, 1 of a fixed classifier."""

    def logits(variables, z, key):
        own = sampler(variables)
        draws = several(own, 1 if sampler is fixed else DRAWS).draw(key, own.source)
        return jax.lax.map(lambda drawn: apply(drawn, z), draws)

    return jax.jit(lambda ensemble, z, key: map_members(logits, ensemble, z, shared=(key,), how=how))


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
    x, label = jnp.asarray(x), np.asarray(label)
    num_examples, dim = x.shape[0], x[0].size
    key = jax.random.key(0) if key is None else key  # of no matter where the classifier is fixed
    key_attack, key_judge = jax.random.split(key)
    program = partial(_program, apply=apply, budget=budget, how=how, sampler=sampler)
    programs = {
        "fgsm": program(projected.fgsm, 1),
        "audited": program(attack, budget.num_steps),
        "double_steps": program(attack, 2 * budget.num_steps),
        "margin_loss_agrees": program(on_the_margin, budget.num_steps),
    }
    if sampler is fixed:
        programs["square"] = program(square, QUERIES)
    else:
        programs["expectation_agrees"] = program(on_the_mean, budget.num_steps)
    judge = _judge(apply, how, sampler)
    noise = jax.jit(partial(equal_norm_noise, norm=budget.norm))

    def logits(z):
        """[S, M, N, K] of M draws of each member on its own images z [S, N, ...], or on common ones."""
        z = jnp.broadcast_to(z[None], (size(ensemble), *z.shape)) if z.ndim == x.ndim else z
        return np.asarray(judge(ensemble, z, key_judge))

    def right(z):
        """Whether members get examples right [S, N]: 0 or 1, of a random classifier the share of draws."""
        return (logits(z).argmax(axis=-1) == label).mean(axis=1)

    def run(name, epsilon=budget.epsilon, keys=keys, x=x, label=label, ensemble=ensemble):
        images = programs[name](ensemble, keys, x, label, key_attack, jnp.asarray(epsilon, x.dtype))
        jax.block_until_ready(images)
        advance(1)
        return images

    large = LARGE[budget.norm] * (dim**0.5 if budget.norm == "l2" else 1.0)
    epsilons = [m * budget.epsilon for m in MULTIPLES] + [large]
    at = MULTIPLES.index(1.0)
    own = "pgd" if attack is projected.pgd else "audited"
    found = {"fgsm": [run("fgsm", e) for e in epsilons], own: [run("audited", e) for e in epsilons]}
    if size(ensemble) > 1:  # every member is shown the examples made on its neighbour
        found["transfer"] = [jnp.roll(z, 1, axis=0) for z in found[own]]
    found["noise"] = [noise(keys, x, jnp.float32(e)) for e in epsilons]
    kept = {name: [right(z) for z in zs] for name, zs in found.items()}  # [S, N] for each radius
    table = {name: np.stack([r.mean(axis=1) for r in rights]) for name, rights in kept.items()}  # [E, S]
    clean = right(x).mean(axis=1)

    mean = {name: values.mean(axis=1) for name, values in table.items()}
    # Where everything falls all attacks agree: they are compared where about half of the examples stay right, too.
    near = 1 + int(np.argmin(np.abs(mean[own][1:] - 0.5)))
    places = tuple(Place(epsilons[i], found[own][i], kept[own][i]) for i in (at, near))
    rivals = tuple(_rivals(run, right, keys, place, tuple(programs)) for place in places)
    common = [name for name in rivals[0] if name in rivals[1]]
    with jax.enable_x64(True):
        wide = lambda tree: jax.tree.map(lambda a: jnp.asarray(np.asarray(a), jnp.float64), tree)  # noqa: E731
        ensemble64, x64 = wide(ensemble), wide(x)
        again = [run("audited", jnp.float64(p.radius), x=x64, ensemble=ensemble64) for p in places]
        doubles = tuple((np.asarray(judge(ensemble64, z, key_judge)).argmax(-1) == label).mean(axis=1) for z in again)
    ours = (mean[own][at], mean[own][near])
    slack = max(AGREEMENT, 1.0 / (num_examples * clean.size))
    best, hard = found[own][at], ours[1]
    where = f"at radius {epsilons[near]:.3g}"
    ranked = [name for name in (own, "transfer", "noise") if name in mean]
    strength = [mean[name][near] for name in ranked]
    # Over images, with twice its standard error: of few images, transfer and noise come in either order by chance.
    steps = [gain(kept[a][near], kept[b][near]) for a, b in itertools.pairwise(ranked)]
    whole = gain(kept[own][near], kept["noise"][near])

    random = sampler is not fixed
    beside = [
        compared(name, RIVALS[name], places, tuple(found[name] for found in rivals), slack, random=random)
        for name in common
    ]
    if not random:  # Square compares values, which a random classifier changes from query to query
        queried = right(run("square", places[1].radius))
        beside.append(audit_rivals.without_gradients(places[1], queried))
    checks = [
        finding(
            "audit.epsilon_zero",
            np.array_equal(table[own][0], clean),
            "robust accuracy at radius 0",
            mean[own][0],
            clean.mean(),
        ),
        finding(
            "audit.monotone",
            bool((np.diff(mean[own]) <= slack).all()),
            "robust accuracy falls with the radius",
            *mean[own],
        ),
        finding("audit.large_radius", mean[own][-1] <= 0.02, f"robust accuracy at radius {large:.3g}", mean[own][-1]),
        finding(
            "audit.informative_radius",
            INFORMATIVE[0] <= hard <= INFORMATIVE[1],
            f"robust accuracy {where}, where attacks are compared too",
            hard,
        ),
        *beside,
        audit_rivals.radius_used(x, places[1], right, budget.norm),
        audit_rivals.gradients_reach(x, found["fgsm"][near]),
        audit_rivals.float64_agrees(places, doubles, slack, random=random),
        finding(
            "audit.iterative_beats_single_step",
            bool((mean[own] <= mean["fgsm"] + slack).all()),
            f"at no radius worse than one step; {where} {own}, fgsm",
            hard,
            mean["fgsm"][near],
        ),
        finding(
            "audit.whitebox_beats_transfer_beats_noise",
            whole[0] > whole[1] and all(more >= -slack - error for more, error in steps),
            f"{where} " + ", ".join(ranked),
            *strength,
        ),
        _inside(best, x, budget),
        _rounded(best, right, ours[0], slack),
        _batch_independent(run, x, label, logits(x).shape[-1], best),
        *classifier_checks(logits, x, label),
    ]
    names = [name for name in ("noise", "transfer", "fgsm", own) if name in mean]
    arrays: Arrays = {
        "audit": (("audit_attack", "audit_epsilon"), np.stack([mean[n] for n in names]).astype(np.float32)),
        "audit_attack": (("audit_attack",), np.asarray(names)),
        "audit_epsilon": (("audit_epsilon",), np.asarray(epsilons, np.float32)),
    }
    return arrays, checks


def _rivals(run, right, keys, place: Place, programs: tuple[str, ...]) -> dict[str, Right]:
    """Which examples stay right under attacks that should find hardly more, by name of the check."""
    found = {name: right(run(name, place.radius)) for name in RIVALS if name in programs}
    # A restart is the attack again from other starts: an example is robust if no restart fools the member.
    starts = [jax.vmap(jax.random.fold_in, (0, None))(keys, 1 + i) for i in range(RESTARTS)]
    again = [run("audited", place.radius, start) for start in starts]
    if all(
        bool(jnp.array_equal(z, place.found)) for z in again
    ):  # an attack without starts of its own: nothing to tell
        return found
    return found | {"more_restarts": np.minimum.reduce([place.right, *map(right, again)])}


def _inside(z, x, budget) -> dict:
    """Every example inside its ball and in [0, 1]."""
    distance = {"linf": linf_norm, "l2": l2_norm}[budget.norm]
    furthest = max(float(jnp.max(distance(member - x))) for member in z)
    inside = furthest <= budget.epsilon + BALL_SLACK and float(z.min()) >= 0.0 and float(z.max()) <= 1.0
    values = f"values in [{float(z.min()):.3g}, {float(z.max()):.3g}]"
    detail = f"largest distance {furthest:.4g} of {float(budget.epsilon):.4g} pixels; {values}"
    return {"name": "audit.inside_ball", "passed": bool(inside), "detail": detail}


def _rounded(z, right, reference, slack) -> dict:
    """Success again after rounding to 8 bits."""
    rounded = float(right(jnp.round(z * 255) / 255).mean())
    what = "robust accuracy as found, rounded"
    return finding("audit.survives_8_bits", rounded <= reference + 2 * slack, what, reference, rounded)


def _batch_independent(run, x, label, num_classes: int, found) -> dict:
    """Every other example attacked in its place among other companions: the negatives of those that were there.

    The companions have other labels too, or a loss that takes in their labels would pass.
    """
    others = {
        "x": x.at[1::2].set(1 - x[1::2]),
        "label": np.where(np.arange(len(label)) % 2, (label + 1) % num_classes, label),
    }
    again = run("audited", **others)
    difference = float(jnp.max(jnp.abs(again[:, ::2] - found[:, ::2])))
    return {
        "name": "audit.batch_independent",
        "passed": difference == 0.0,
        "detail": f"largest difference with other examples in the batch: {difference:.2g} pixels",
    }
