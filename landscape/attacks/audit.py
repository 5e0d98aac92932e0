"""Is an attack to be trusted? The checklist of Carlini et al. 2019 (arXiv:1902.06705), measured on a trained ensemble.

Run on validation images. Robust accuracy is the share of examples that a member still gets right, [S] per setting.
"""

import functools
import itertools
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from landscape import objectives
from landscape.attacks import projected
from landscape.attacks.projected import Budget, equal_norm_noise
from landscape.ensembles import Mapping, map_members, size
from landscape.spaces import l2_norm, linf_norm
from landscape.types import Apply, Arrays, Ensemble, Images, Labels, Mask, Variables

# Robust accuracy is told at these multiples of the radius, and at LARGE, where hardly anything may stay right.
MULTIPLES = (0.0, 0.25, 0.5, 1.0, 2.0)
LARGE = {"linf": 0.5, "l2": 0.5}  # pixels; times sqrt(D) for l2
BALL_SLACK = 1e-6  # pixels, relative to a radius of 1: float32 rounding of origin + delta

# How far two attacks that should agree may differ in robust accuracy: half a point, or one example if that is more.
AGREEMENT = 0.005
# Attacks are compared as well at the radius that leaves nearest to half robust; outside these shares it tells nothing.
INFORMATIVE = (0.05, 0.95)
# There one start misses some maxima: 0.2 points on Fashion-MNIST, 6 on digits, measured against two more restarts.
# An attack that is broken (no gradients, a tenth of the steps) misses dozens.
MISSED = 0.1
# Attacks that should find hardly more: name of the check, words, and AGREEMENTs by which they may differ.
RIVALS = (
    ("double_steps", "with twice the steps", 2),
    ("more_restarts", "with two more restarts", 2),
    ("margin_loss_agrees", "with the margin loss", 1),
)


def _right(apply: Apply, variables: Variables, z: Images, label: Labels) -> Mask:
    return jnp.argmax(apply(variables, z), axis=-1) == label


@functools.lru_cache(maxsize=4)  # used again in double precision
def _programs(apply: Apply, budget: Budget, how: Mapping) -> dict[str, Any]:
    """Jitted (ensemble, keys, x, label, epsilon) -> images [S, N, H, W, C]; radius and step size are traced."""
    step = budget.step_size / budget.epsilon  # of the radius, so that a larger ball gets larger steps

    def whole(fn, **settings):
        def member(variables, keys, x, label, epsilon):
            if fn is projected.fgsm:
                return fn(keys, variables, x, label, apply=apply, norm=budget.norm, epsilon=epsilon)
            ball = {"norm": budget.norm, "epsilon": epsilon, "step_size": step * epsilon}
            return fn(keys, variables, x, label, apply=apply, **ball, **settings)

        return jax.jit(lambda ensemble, *shared: map_members(member, ensemble, shared=shared, how=how))

    steps, restarts = {"num_steps": budget.num_steps}, {"num_restarts": budget.num_restarts}
    return {
        "fgsm": whole(projected.fgsm),
        "pgd": whole(projected.pgd, **steps, **restarts),
        "pgd_margin": whole(projected.pgd, value_fn=objectives.margin, **steps, **restarts),
        "pgd_double_steps": whole(projected.pgd, num_steps=2 * budget.num_steps, **restarts),
    }


def audit(
    keys: jax.Array,
    ensemble: Ensemble,
    x: np.ndarray,
    label: np.ndarray,
    *,
    apply: Apply,
    budget: Budget,
    how: Mapping,
) -> tuple[Arrays, list[dict]]:
    """Robust accuracy by attack and radius, and the checks.

    Args:
      keys: [N], one an example. ensemble: trained members. x: [N, H, W, C] float32. label: [N].
      budget: the attack that is audited.

    Returns:
      arrays: audit [audit_attack, audit_epsilon], mean robust accuracy over members; coords of both dims.
      checks: dicts {"name", "passed", "detail"}.
    """
    x, label = jnp.asarray(x), jnp.asarray(label)
    num_examples, dim = x.shape[0], x[0].size
    programs = _programs(apply, budget, how)
    judge = jax.jit(lambda e, z, y: map_members(partial(_right, apply), e, z, shared=(y,), how=how))
    noise = jax.jit(partial(equal_norm_noise, norm=budget.norm))

    def right(z):
        """Which examples [S, N] members still get right, each on its own images z [S, N, ...] or on common ones."""
        z = jnp.broadcast_to(z[None], (size(ensemble), *z.shape)) if z.ndim == x.ndim else z
        return np.asarray(judge(ensemble, z, label))

    def attack(name, epsilon=budget.epsilon, keys=keys):
        return programs[name](ensemble, keys, x, label, jnp.float32(epsilon))

    large = LARGE[budget.norm] * (dim**0.5 if budget.norm == "l2" else 1.0)
    epsilons = [m * budget.epsilon for m in MULTIPLES] + [large]
    at = MULTIPLES.index(1.0)
    found = {name: [attack(name, e) for e in epsilons] for name in ("fgsm", "pgd")}
    if size(ensemble) > 1:  # every member is shown the examples made on its neighbour
        found["transfer"] = [jnp.roll(z, 1, axis=0) for z in found["pgd"]]
    found["noise"] = [noise(keys, x, jnp.float32(e)) for e in epsilons]
    kept = {name: [right(z) for z in zs] for name, zs in found.items()}  # [S, N] for each radius
    table = {name: np.stack([r.mean(axis=1) for r in rights]) for name, rights in kept.items()}  # [E, S]
    clean = right(x).mean(axis=1)

    mean = {name: values.mean(axis=1) for name, values in table.items()}
    # Where everything falls all attacks agree: they are compared where about half of the examples stay right, too.
    near = 1 + int(np.argmin(np.abs(mean["pgd"][1:] - 0.5)))
    places = [(epsilons[i], found["pgd"][i]) for i in (at, near)]
    rivals = [_rivals(attack, right, keys, *place) for place in places]
    doubles = [_float64(keys, ensemble, x, label, radius, apply=apply, budget=budget, how=how) for radius, _ in places]
    pgd, hard = mean["pgd"][at], mean["pgd"][near]
    slack = max(AGREEMENT, 1.0 / (num_examples * clean.size))
    best = found["pgd"][at]
    where = f"at radius {epsilons[near]:.3g}"
    ranked = [name for name in ("pgd", "transfer", "noise") if name in mean]
    strength = [mean[name][near] for name in ranked]
    # Over images, with twice its standard error: of few images, transfer and noise come in either order by chance.
    steps = [_gain(kept[a][near], kept[b][near]) for a, b in itertools.pairwise(ranked)]
    whole = _gain(kept["pgd"][near], kept["noise"][near])

    checks = [
        _check(
            "audit.epsilon_zero",
            np.array_equal(table["pgd"][0], clean),
            "robust accuracy at radius 0",
            mean["pgd"][0],
            clean.mean(),
        ),
        _check(
            "audit.monotone",
            bool((np.diff(mean["pgd"]) <= slack).all()),
            "robust accuracy falls with the radius",
            *mean["pgd"],
        ),
        _check(
            "audit.large_radius", mean["pgd"][-1] <= 0.02, f"robust accuracy at radius {large:.3g}", mean["pgd"][-1]
        ),
        _check(
            "audit.informative_radius",
            INFORMATIVE[0] <= hard <= INFORMATIVE[1],
            f"robust accuracy {where}, where attacks are compared too",
            hard,
        ),
        *(
            _agreement(name, what, places, (pgd, hard), [rival[name] for rival in rivals], (allowed * slack, MISSED))
            for name, what, allowed in RIVALS
        ),
        _agreement("float64_agrees", "in float64", places, (pgd, hard), doubles, (slack, slack)),
        _check(
            "audit.iterative_beats_single_step",
            bool((mean["pgd"] <= mean["fgsm"] + slack).all()),
            f"at no radius worse than one step; {where} pgd, fgsm",
            hard,
            mean["fgsm"][near],
        ),
        _check(
            "audit.whitebox_beats_transfer_beats_noise",
            whole[0] > whole[1] and all(gain >= -slack - error for gain, error in steps),
            f"{where} " + ", ".join(ranked),
            *strength,
        ),
        _inside(best, x, budget),
        _rounded(best, right, pgd, slack),
        _batch_independent(programs["pgd"], ensemble, keys, x, label, budget, best),
    ]
    names = [name for name in ("noise", "transfer", "fgsm", "pgd") if name in mean]
    arrays: Arrays = {
        "audit": (("audit_attack", "audit_epsilon"), np.stack([mean[n] for n in names]).astype(np.float32)),
        "audit_attack": (("audit_attack",), np.asarray(names)),
        "audit_epsilon": (("audit_epsilon",), np.asarray(epsilons, np.float32)),
    }
    return arrays, checks


def _check(name: str, passed, what: str, *values) -> dict:
    return {"name": name, "passed": bool(passed), "detail": f"{what}: {', '.join(f'{100 * v:.1f} %' for v in values)}"}


def _gain(strong: np.ndarray, weak: np.ndarray) -> tuple[float, float]:
    """Robust accuracy under the weaker attack less that under the stronger one, and twice its standard error."""
    each = (weak.astype(float) - strong).mean(axis=0)
    return float(each.mean()), float(2 * each.std() / len(each) ** 0.5)


def _agreement(name: str, what: str, places, ours, theirs, allowed) -> dict:
    """Whether another attack finds as much as ours at each of the radii."""
    told = [
        f"at radius {radius:.3g}, {100 * own:.1f} %, {what} {100 * other:.1f} %"
        for (radius, _), own, other in zip(places, ours, theirs, strict=True)
    ]
    passed = all(abs(a - b) <= most for a, b, most in zip(ours, theirs, allowed, strict=True))
    return {"name": f"audit.{name}", "passed": passed, "detail": "robust accuracy " + "; ".join(told)}


def _rivals(attack, right, keys, radius: float, found: Array) -> dict[str, float]:
    """Robust accuracy under attacks that should find hardly more, by name of the check."""
    # A restart is the attack again from other starts: an example is robust if no restart fools the member.
    again = [right(attack("pgd", radius, jax.vmap(jax.random.fold_in, (0, None))(keys, i))) for i in (1, 2)]
    return {
        "double_steps": right(attack("pgd_double_steps", radius)).mean(),
        "more_restarts": np.logical_and.reduce([right(found), *again]).mean(),
        "margin_loss_agrees": right(attack("pgd_margin", radius)).mean(),
    }


def _float64(keys, ensemble, x, label, radius, *, apply, budget, how) -> float:
    """Robust accuracy under the same attack from the same starts in double precision."""
    with jax.enable_x64(True):
        wide = lambda tree: jax.tree.map(lambda a: jnp.asarray(np.asarray(a), jnp.float64), tree)  # noqa: E731
        ensemble64, x64, label64 = wide(ensemble), wide(x), jnp.asarray(np.asarray(label))
        run = _programs(apply, budget, how)["pgd"]
        z = run(ensemble64, keys, x64, label64, jnp.float64(radius))
        kept = map_members(partial(_right, apply), ensemble64, z, shared=(label64,), how=how)
        return float(np.mean(np.asarray(kept)))


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
    told = "robust accuracy as found, rounded"
    return _check("audit.survives_8_bits", rounded <= reference + 2 * slack, told, reference, rounded)


def _batch_independent(run, ensemble, keys, x, label, budget, found) -> dict:
    """Every other example attacked in its place among other companions: the negatives of those that were there."""
    companions = x.at[1::2].set(1 - x[1::2])
    again = run(ensemble, keys, companions, label, jnp.float32(budget.epsilon))
    difference = float(jnp.max(jnp.abs(again[:, ::2] - found[:, ::2])))
    return {
        "name": "audit.batch_independent",
        "passed": difference == 0.0,
        "detail": f"largest difference with other examples in the batch: {difference:.2g} pixels",
    }
