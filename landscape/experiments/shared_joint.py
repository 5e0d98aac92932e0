"""Stages of `shared`: one input that all attackers take for something else, and one perturbation for all images.

What the held-out members, which no search sees, make of it is the answer to whether what is shared by the attackers is
shared by classifiers of other seeds.
"""

import jax
import jax.numpy as jnp
import numpy as np

from landscape import runs
from landscape.attacks import joint
from landscape.attacks.projected import equal_norm_noise
from landscape.data import Dataset
from landscape.ensembles import Rows, map_members, over_examples
from landscape.experiments import setting
from landscape.experiments.setting import example_keys, stage_key
from landscape.experiments.shared_setting import SharedSetting
from landscape.objectives import JOINT
from landscape.types import Arrays

NORM = "linf"
PICTURED = 24  # images
ONE = "one attacker"
MADE_BY = ("attackers", ONE, "random signs")  # what a universal perturbation is made by


def radii_of(config) -> np.ndarray:
    """The balls that joint searches are tried in, pixels."""
    return np.asarray(config.transfer[NORM], np.float64)


def together(config, run: runs.Run, shared: SharedSetting) -> Arrays:
    """Searches that have all attackers to fool, by every objective in every ball, and the smallest ball that does.

    joint_wrong [objective, ball, target, joint_example]: whether each member errs. smallest_radius [joint_example],
    pixels, inf where the largest ball does not do; smallest_wrong [target, joint_example] of what was found there.
    own_radius [source, joint_example]: the same for each attacker alone. joint_picture [shown, ...]: of the smallest.
    """
    section, apply, chosen = config.joint, shared.classifier.apply, shared.test
    radii, numbers = radii_of(config), np.asarray([JOINT.index(name) for name in section.objectives], np.int32)
    count = min(section.num_examples, len(chosen.label))
    keys = example_keys(config.seed, "joint", chosen.ids)
    search = {"apply": apply, "norm": NORM, "num_steps": section.num_steps}
    own = JOINT.index(section.radius_objective)
    smallest = {"kind": own, "largest": float(radii[-1]), "num_halvings": section.num_halvings}

    @jax.jit
    def program(attackers, judges, x, label, keys, numbers, radii):
        def balls(x, label, keys, attackers, numbers, radii):
            def ball(number, epsilon):
                step = {"epsilon": epsilon, "step_size": config.transfer.step * epsilon}
                return joint.fool_all(keys, attackers, x, label, kind=number, start="image", **step, **search)

            found = jax.lax.map(lambda i: jax.lax.map(lambda epsilon: ball(i, epsilon), radii), numbers)
            return jnp.moveaxis(found, 2, 0)

        found = over_examples(balls, x, label, keys, shared=(attackers, numbers, radii))
        return _errs(shared, judges, jnp.moveaxis(found, 0, 2), label)

    @jax.jit
    def nearest(attackers, judges, x, label, keys):
        def all_of(x, label, keys, members):
            return joint.smallest_radius(keys, members, x, label, **smallest, **search)

        def alone(variables, *images):
            return all_of(*images, jax.tree.map(lambda leaf: leaf[None], variables))[0]

        radius, images = over_examples(all_of, x, label, keys, shared=(attackers,))
        each = map_members(alone, attackers, shared=tuple(map(Rows, (x, label, keys))), how=shared.how)
        return radius, each, _errs(shared, judges, images, label), images

    def work(start: int, stop: int) -> Arrays:
        rows = slice(start, stop)
        images = (jnp.asarray(chosen.x[rows]), jnp.asarray(chosen.label[rows]), keys[rows])
        wrong = program(
            shared.attackers, shared.judges.groups, *images, jnp.asarray(numbers), jnp.asarray(radii, jnp.float32)
        )
        radius, each, there, found = nearest(shared.attackers, shared.judges.groups, *images)
        along = ("objective", "ball", "target", "joint_example")
        return {
            "joint_wrong": (along, np.moveaxis(np.asarray(wrong), 0, 2)),
            "smallest_radius": (along[-1:], np.asarray(radius)),
            "own_radius": (("source", along[-1]), np.asarray(each)),
            "smallest_wrong": (along[-2:], np.asarray(there)),
            "joint_picture": ((along[-1], "height", "width", "channel"), np.asarray(found)),
        }

    found = runs.chunks(run, "joint", work, count, config.chunk, dim="joint_example")
    shown = min(count, PICTURED)
    dims, pictures = found.pop("joint_picture")
    return found | {"joint_picture": (("joint_shown", *dims[1:]), pictures[:shown])}


def universal(config, run: runs.Run, shared: SharedSetting, dataset: Dataset) -> Arrays:
    """One perturbation for all images in every ball, made from training images, put on the test images.

    universal [made_by, ball, height, width, channel], pixels: by all attackers, by the first one alone, and signs drawn
    at random. universal_wrong [made_by, ball, target, example]: whether each member errs.
    """
    section, apply, chosen = config.universal, shared.classifier.apply, shared.test
    train = setting.examples(dataset, "train", section.num_images, config.seed)
    radii = radii_of(config)
    key = stage_key(config.seed, "universal")

    @jax.jit
    def program(attackers, judges, train_x, train_label, x, label, radii):
        def made(ensemble, epsilon):
            return joint.universal(
                key,
                ensemble,
                train_x,
                train_label,
                apply=apply,
                norm=NORM,
                epsilon=epsilon,
                step_size=section.step * epsilon,
                num_steps=section.num_steps,
                batch_size=min(section.batch_size, len(train.label)),
            )

        def signs(epsilon):
            # Around mid-grey no sign is clipped away.
            grey = jnp.full((1, *x.shape[1:]), 0.5)
            return equal_norm_noise(key[None], grey, epsilon, norm=NORM)[0] - 0.5

        first = jax.tree.map(lambda leaf: leaf[:1], attackers)
        ways = (lambda e: made(attackers, e), lambda e: made(first, e), signs)
        deltas = jnp.stack([jax.lax.map(way, radii) for way in ways])
        flat = deltas.reshape(-1, *deltas.shape[2:])

        def judge(apply, variables, flat):
            return jax.lax.map(lambda d: jnp.argmax(apply(variables, joint.put_on(x, d)), axis=-1) != label, flat)

        wrong = shared.judges.map(judge, judges, flat)
        return deltas, wrong.reshape(wrong.shape[0], *deltas.shape[:2], -1)

    def work() -> Arrays:
        images = (train.x, train.label, chosen.x, chosen.label, radii.astype(np.float32))
        deltas, wrong = program(shared.attackers, shared.judges.groups, *map(jnp.asarray, images))
        return {
            "universal": (("made_by", "ball", "height", "width", "channel"), np.asarray(deltas)),
            "universal_wrong": (("made_by", "ball", "target", "example"), np.moveaxis(np.asarray(wrong), 0, 2)),
        }

    return runs.once(run, "universal", work)


def _errs(shared: SharedSetting, judges, images, label):
    """Whether each member errs on images [..., N, H, W, C]: [T, ..., N]."""
    flat = images.reshape(-1, *images.shape[-4:])

    def judge(apply, variables, flat):
        return jax.lax.map(lambda x: jnp.argmax(apply(variables, x), axis=-1) != label, flat)

    found = shared.judges.map(judge, judges, flat)
    return found.reshape(found.shape[0], *images.shape[:-3])
