"""Stage of `shared`: what sources make of shared adversarial examples, beside unshared ones of the same attack.

Inputs, all in one L-inf ball: the image (`clean`), each source's own attack (`own`), the search that has all attackers
to fool (`joint`), and the last two steered, for each source, to one margin (`own_iso`, `joint_iso`). Which of them are
shared is what the held-out members say.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from landscape import ensembles, populations, runs
from landscape.attacks import joint, projected
from landscape.ensembles import map_members
from landscape.experiments.autoencoder_cells import Cell, Layer
from landscape.experiments.setting import example_keys
from landscape.experiments.shared_setting import HELD_OUT, Judges, SharedSetting
from landscape.measures import neighbors
from landscape.measures.curvature import curvature
from landscape.measures.flatness import ensemble_flatness
from landscape.measures.mapping import ensemble_measure
from landscape.measures.worst_case import worst_case
from landscape.objectives import JOINT
from landscape.spaces import l2_norm
from landscape.types import Arrays

NORM = "linf"
INPUTS = ("clean", "own", "joint", "own_iso", "joint_iso")
CELLS = ("source", "input", "shape_example")
KEPT = ("gradient_norm", "hessian_top")
PICTURED = 48  # images


def epsilon_of(config) -> float:
    """The ball of the headline, pixels."""
    radii = config.transfer[NORM]
    return float(radii[len(radii) // 2])


def shapes(config, run: runs.Run, shared: SharedSetting, layer: Layer, cell: Cell) -> Arrays:
    """Every input of every source, with what the source and held-out members say of it and what is measured there.

    shape_prediction and MEASURES of `shared_shape_estimates` [source, input, shape_example]; shape_wrong [judge,
    source, input, shape_example]: whether each held-out member errs. shape_picture [shape_shown, ...]: of the joint
    search.
    """
    chosen, count = shared.test, min(config.shapes.num_examples, len(shared.test.label))
    keys = {name: example_keys(config.seed, name, chosen.ids) for name in ("transfer", "joint", "shapes")}
    held_out = shared.judges.take(np.flatnonzero(shared.names == HELD_OUT))
    made, measured = _searches(config, shared, held_out), _measures(config, shared, cell)
    bank, autoencoder = jnp.asarray(layer.bank.x), ensembles.take(cell.ensemble, 0)

    def work(start: int, stop: int) -> Arrays:
        rows = slice(start, stop)
        x, label = jnp.asarray(chosen.x[rows]), jnp.asarray(chosen.label[rows])
        own_keys = (keys["transfer"][rows], keys["joint"][rows])
        inputs, judged, wrong = made(shared.attackers, held_out.groups, x, label, *own_keys)
        told = measured(keys["shapes"][rows], shared.attackers, autoencoder, inputs, judged["prediction"], label, x)
        told = {name: np.asarray(value) for name, value in (judged | told).items()}
        told |= _neighbours(config, inputs, told["prediction"], np.asarray(label), bank, layer.bank.label)
        return {
            **{f"shape_{name}": (CELLS, value) for name, value in told.items()},
            "shape_wrong": (("judge", *CELLS), np.asarray(wrong)),
            "shape_picture": ((CELLS[-1], "height", "width", "channel"), np.asarray(inputs[0, INPUTS.index("joint")])),
        }

    found = runs.chunks(run, "shapes", work, count, config.chunk, dim=CELLS[-1])
    dims, pictures = found.pop("shape_picture")
    return found | {"shape_picture": (("shape_shown", *dims[1:]), pictures[:PICTURED])}


def _searches(config, shared: SharedSetting, held_out: Judges):
    """program(attackers, judges, x, label, keys, joint_keys) -> inputs [S, P, N, ...], judged, wrong [J, S, P, N]."""
    apply, section = shared.classifier.apply, config.shapes
    epsilon = epsilon_of(config)
    ball = {"apply": apply, "norm": NORM, "epsilon": epsilon, "step_size": config.transfer.step * epsilon}
    full = ball | {"num_steps": config.transfer.num_steps}

    def member(variables, x, label, keys, together):
        own = projected.pgd(keys, variables, x, label, num_restarts=config.transfer.num_restarts, **full)

        def steered(start):
            ended = jnp.argmax(apply(variables, start), axis=-1).astype(label.dtype)
            wanted = jnp.full(label.shape, section.iso_margin)
            key = jax.vmap(jax.random.fold_in, (0, None))(keys, 1)
            return projected.steered(key, variables, x, ended, wanted, num_steps=section.iso_steps, start=start, **ball)

        ends = jnp.stack([own, together])
        inputs = jnp.concatenate([x[None], ends, jax.lax.map(steered, ends)])
        return inputs, populations.judge(variables, inputs, x, label, apply=apply)._asdict()

    def errs(apply, variables, flat, label):
        return jax.lax.map(lambda x: jnp.argmax(apply(variables, x), axis=-1) != label, flat)

    @jax.jit
    def program(attackers, judges, x, label, keys, joint_keys):
        kind = JOINT.index(config.joint.radius_objective)
        together = joint.fool_all(joint_keys, attackers, x, label, kind=kind, start="image", **full)
        inputs, judged = map_members(member, attackers, shared=(x, label, keys, together), how=shared.how)
        flat = inputs.reshape(-1, *x.shape)
        wrong = held_out.map(errs, judges, flat, label)
        return inputs, judged, wrong.reshape(wrong.shape[0], *inputs.shape[:3])

    return program


def _measures(config, shared: SharedSetting, cell: Cell):
    """program(keys, attackers, autoencoder, inputs, tracked, label, x) -> measures, each [S, P, N]."""
    apply, section, how = shared.classifier.apply, config.shapes, shared.how
    epsilon = epsilon_of(config)
    sigmas = jnp.asarray([section.noise * epsilon], jnp.float32)
    worst = partial(
        worst_case, apply=apply, norm=NORM, rho=section.rho * epsilon, num_steps=section.num_worst, num_restarts=1
    )
    bent = partial(curvature, apply=apply, num_steps=section.num_lanczos, num_probes=section.num_probes)

    @jax.jit
    def program(keys, attackers, autoencoder, inputs, tracked, label, x):
        labels = jnp.broadcast_to(label[None], (inputs.shape[0], *label.shape))
        options = {"apply": apply, "sigmas": sigmas, "num_trials": section.num_trials, "how": how}
        flat = ensemble_flatness(keys, attackers, inputs, tracked, labels, x, **options)
        told = {f"input_{name}": flat[name][0, 0] for name in ("probability_drop", "loss_rise", "margin_drop")}
        told |= ensemble_measure(worst, keys, attackers, inputs, tracked, how=how)
        curved = ensemble_measure(bent, keys, attackers, inputs, tracked, how=how)
        told |= {name: curved[name] for name in KEPT}

        def off(x):
            return l2_norm(cell.reconstruct(autoencoder, x, label) - x)

        told["manifold"] = jax.lax.map(off, inputs.reshape(-1, *x.shape)).reshape(tracked.shape)
        return told

    return program


def _neighbours(config, inputs, prediction, label, bank, bank_label) -> dict[str, np.ndarray]:
    """Distance to the nearest training image, and shares of the nearest ones of the true and of the predicted class."""
    shape = prediction.shape
    far, index = neighbors.nearest(inputs.reshape(-1, *inputs.shape[3:]), bank, config.shapes.num_neighbors)
    near = bank_label[np.asarray(index)].reshape(*shape, -1)
    return {
        "nearest": np.asarray(far[:, 0]).reshape(shape),
        "nearest_true": (near == label[:, None]).mean(axis=-1, dtype=np.float32),
        "nearest_taken": (near == prediction[..., None]).mean(axis=-1, dtype=np.float32),
    }
