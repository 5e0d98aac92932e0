"""Is an attack to be trusted? The checklist of Carlini et al. 2019 (arXiv:1902.06705), measured on a trained ensemble.

Run on validation images. Robust accuracy is the share of examples that a member still gets right, [S] per setting.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from landscape import objectives
from landscape.attacks import recipes
from landscape.attacks.recipes import Budget, equal_norm_noise
from landscape.ensembles import Mapping, map_members, size
from landscape.spaces import l2_norm, linf_norm
from landscape.types import Apply, Arrays, Ensemble, Images, Labels, Mask, Variables

# Robust accuracy is told at these multiples of the radius, and at LARGE, where hardly anything may stay right.
MULTIPLES = (0.0, 0.25, 0.5, 1.0, 2.0)
LARGE = {"linf": 0.5, "l2": 0.5}  # pixels; times sqrt(D) for l2
BALL_SLACK = 1e-6  # pixels, relative to a radius of 1: float32 rounding of origin + delta

# How far two attacks that should agree may differ in robust accuracy: half a point, or one example if that is more.
AGREEMENT = 0.005


def _right(apply: Apply, variables: Variables, z: Images, label: Labels) -> Mask:
    return jnp.argmax(apply(variables, z), axis=-1) == label


def _programs(apply: Apply, budget: Budget, how: Mapping) -> dict[str, Any]:
    """Jitted (ensemble, keys, x, label, epsilon) -> images [S, N, H, W, C]; radius and step size are traced."""
    step = budget.step_size / budget.epsilon  # of the radius, so that a larger ball gets larger steps

    def whole(fn, **settings):
        def member(variables, keys, x, label, epsilon):
            if fn is recipes.fgsm:
                return fn(keys, variables, x, label, apply=apply, norm=budget.norm, epsilon=epsilon)
            ball = {"norm": budget.norm, "epsilon": epsilon, "step_size": step * epsilon}
            return fn(keys, variables, x, label, apply=apply, **ball, **settings)

        return jax.jit(lambda ensemble, *shared: map_members(member, ensemble, shared=shared, how=how))

    steps, restarts = {"num_steps": budget.num_steps}, {"num_restarts": budget.num_restarts}
    return {
        "fgsm": whole(recipes.fgsm),
        "pgd": whole(recipes.pgd, **steps, **restarts),
        "pgd_margin": whole(recipes.pgd, value_fn=objectives.margin, **steps, **restarts),
        "pgd_double_steps": whole(recipes.pgd, num_steps=2 * budget.num_steps, **restarts),
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
    # Every member is shown the examples made on its neighbour.
    found["transfer"] = [jnp.roll(z, 1, axis=0) for z in found["pgd"]]
    found["noise"] = [noise(keys, x, jnp.float32(e)) for e in epsilons]
    table = {name: np.stack([right(z).mean(axis=1) for z in zs]) for name, zs in found.items()}  # [E, S]
    clean = right(x).mean(axis=1)

    mean = {name: values.mean(axis=1) for name, values in table.items()}
    double, margin = (right(attack(name)).mean() for name in ("pgd_double_steps", "pgd_margin"))
    # A restart is the attack again from other starts: an example is robust if no restart fools the member.
    again = [right(attack("pgd", keys=jax.vmap(jax.random.fold_in, (0, None))(keys, i))) for i in (1, 2)]
    restarts = np.logical_and.reduce([right(found["pgd"][at]), *again]).mean()
    slack = max(AGREEMENT, 1.0 / (num_examples * clean.size))
    best = found["pgd"][at]
    pgd = mean["pgd"][at]

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
        _check("audit.double_steps", abs(double - pgd) <= 2 * slack, "as is, twice the steps", pgd, double),
        _check(
            "audit.more_restarts",
            abs(restarts - pgd) <= 2 * slack,
            "as is, two more restarts",
            pgd,
            restarts,
        ),
        _check(
            "audit.iterative_beats_single_step",
            bool((mean["pgd"] <= mean["fgsm"] + slack).all()),
            "pgd, fgsm",
            pgd,
            mean["fgsm"][at],
        ),
        _check(
            "audit.whitebox_beats_transfer_beats_noise",
            bool(pgd <= mean["transfer"][at] + slack and mean["transfer"][at] <= mean["noise"][at] + slack),
            "white-box, transfer, noise",
            pgd,
            mean["transfer"][at],
            mean["noise"][at],
        ),
        _check(
            "audit.margin_loss_agrees",
            abs(margin - pgd) <= slack,
            "cross-entropy, margin",
            pgd,
            margin,
        ),
        _float64(keys, ensemble, x, label, apply=apply, budget=budget, how=how, reference=pgd, slack=slack),
        *_verified(best, x, budget, right, pgd, slack),
        _batch_independent(programs["pgd"], ensemble, keys, x, label, budget, best),
    ]
    names = ("noise", "transfer", "fgsm", "pgd")
    arrays: Arrays = {
        "audit": (("audit_attack", "audit_epsilon"), np.stack([mean[n] for n in names]).astype(np.float32)),
        "audit_attack": (("audit_attack",), np.asarray(names)),
        "audit_epsilon": (("audit_epsilon",), np.asarray(epsilons, np.float32)),
    }
    return arrays, checks


def _check(name: str, passed, what: str, *values) -> dict:
    return {"name": name, "passed": bool(passed), "detail": f"{what}: {', '.join(f'{100 * v:.1f} %' for v in values)}"}


def _float64(keys, ensemble, x, label, *, apply, budget, how, reference, slack) -> dict:
    """The same attack in double precision; its random starts differ, since its random bits do."""
    with jax.enable_x64(True):
        wide = lambda tree: jax.tree.map(lambda a: jnp.asarray(np.asarray(a), jnp.float64), tree)  # noqa: E731
        ensemble64, x64, label64 = wide(ensemble), wide(x), jnp.asarray(np.asarray(label))
        run = _programs(apply, budget, how)["pgd"]
        z = run(ensemble64, keys, x64, label64, jnp.float64(budget.epsilon))
        kept = map_members(partial(_right, apply), ensemble64, z, shared=(label64,), how=how)
        robust = float(np.mean(np.asarray(kept)))
    return _check("audit.float64_agrees", abs(robust - reference) <= slack, "float32, float64", reference, robust)


def _verified(z, x, budget, right, reference, slack) -> list[dict]:
    """Every example inside its ball and in [0, 1]; success again after rounding to 8 bits."""
    distance = {"linf": linf_norm, "l2": l2_norm}[budget.norm]
    furthest = max(float(jnp.max(distance(member - x))) for member in z)
    inside = furthest <= budget.epsilon + BALL_SLACK and float(z.min()) >= 0.0 and float(z.max()) <= 1.0
    rounded = float(right(jnp.round(z * 255) / 255).mean())
    values = f"values in [{float(z.min()):.3g}, {float(z.max()):.3g}]"
    detail = f"largest distance {furthest:.4g} of {float(budget.epsilon):.4g} pixels; {values}"
    return [
        {"name": "audit.inside_ball", "passed": bool(inside), "detail": detail},
        _check(
            "audit.survives_8_bits",
            rounded <= reference + 2 * slack,
            "robust accuracy as found, rounded",
            reference,
            rounded,
        ),
    ]


def _batch_independent(run, ensemble, keys, x, label, budget, found) -> dict:
    """Every other example attacked in its place among other companions: those between are in reverse order."""
    order = np.arange(x.shape[0])
    order[1::2] = order[1::2][::-1]
    again = run(ensemble, keys[order], x[order], label[order], jnp.float32(budget.epsilon))
    difference = float(jnp.max(jnp.abs(again[:, ::2] - found[:, ::2])))
    return {
        "name": "audit.batch_independent",
        "passed": difference == 0.0,
        "detail": f"largest difference with other examples in the batch: {difference:.2g} pixels",
    }
