"""Fooling many classifiers at once: linear members, where the nearest point that all lose is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

from landscape import objectives, spaces
from landscape.attacks import joint, projected
from landscape.ensembles import over_examples
from landscape.objectives import JOINT

SHAPE = (8, 8, 1)
D = 64


def linear(variables, x):
    """Two classes; the label 0 is lost where w . x + b > 0."""
    score = x.reshape(x.shape[0], -1) @ variables["w"] + variables["b"]
    return jnp.stack([jnp.zeros_like(score), score], axis=1)


def members(count, seed=0, shift=-0.4):
    """Members whose scores rise along much the same pixels, so that all can be fooled; images in the box's middle."""
    key_common, key_own = jax.random.split(jax.random.key(seed))
    w = jax.random.normal(key_common, (1, D)) + 0.7 * jax.random.normal(key_own, (count, D))
    ensemble = {"w": w, "b": shift - 0.5 * jnp.sum(w, axis=1)}
    x = jnp.full((4, *SHAPE), 0.5) + 0.02 * jax.random.normal(jax.random.key(seed + 1), (4, *SHAPE))
    return ensemble, x, jnp.zeros(4, jnp.int32)


def nearest(ensemble, x, norm):
    """The smallest ||delta|| with w_s . (x + delta) + b_s >= 0 for all s, by convex programming."""
    w, b = np.asarray(ensemble["w"], float), np.asarray(ensemble["b"], float)
    short = -(w @ np.asarray(x, float).ravel() + b)  # w . delta >= short
    if norm == "linf":
        # minimise r with -w . delta <= -short, |delta_i| <= r
        eye, ones = np.eye(D), np.ones((D, 1))
        rows = np.block([[-w, np.zeros((len(w), 1))], [eye, -ones], [-eye, -ones]])
        found = optimize.linprog(np.eye(D + 1)[-1], rows, np.r_[-short, np.zeros(2 * D)], bounds=(None, None))
        return found.x[-1]
    found = optimize.minimize(
        lambda d: d @ d,
        np.linalg.lstsq(w, short, rcond=None)[0],
        jac=lambda d: 2 * d,
        constraints={"type": "ineq", "fun": lambda d: w @ d - short, "jac": lambda d: w},
        options={"ftol": 1e-12, "maxiter": 500},
    )
    return np.sqrt(found.fun)


KEYS = jax.random.split(jax.random.key(5), 4)
# One program for all kinds, radii and labels of a test.
fool_all = jax.jit(joint.fool_all, static_argnames=("apply", "norm", "num_steps", "start", "keep_best"))
smallest_radius = jax.jit(joint.smallest_radius, static_argnames=("apply", "norm", "num_steps"))
pgd = jax.jit(projected.pgd, static_argnames=("apply", "norm", "num_steps"))


def logits_of(ensemble, x):
    return jax.vmap(linear, (0, None))(ensemble, x)


@pytest.mark.parametrize("name", JOINT)
def test_objectives_by_hand(name):
    ensemble, x, label = members(3)
    logits = np.asarray(logits_of(ensemble, x), float)
    margin = logits[..., 0] - logits[..., 1]
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    expected = {"loss": -np.log(p[..., 0]).mean(0), "hardmin": -margin.max(0)}[name]
    objective = objectives.jointly(linear)
    np.testing.assert_allclose(objective((ensemble, JOINT.index(name)), x, label), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", JOINT)
def test_copies_are_one_member(name):
    """k copies give the search of one, in every bit but those of a mean over k."""
    ensemble, x, label = members(1)
    copies = jax.tree.map(lambda leaf: jnp.repeat(leaf, 4, axis=0), ensemble)
    budget = {"apply": linear, "norm": "l2", "epsilon": 0.3, "step_size": 0.05, "num_steps": 8}
    found = [fool_all(KEYS, e, x, label, kind=JOINT.index(name), **budget) for e in (ensemble, copies)]
    np.testing.assert_allclose(*found, atol=1e-6)
    one = pgd(KEYS, jax.tree.map(lambda leaf: leaf[0], ensemble), x, label, **budget)
    np.testing.assert_allclose(found[0], one, atol=1e-6)  # on a line uphill the best step is the last one


def test_the_best_step_is_the_one_nearest_to_fooling_all():
    """Whatever is raised: with many steps of the mean loss a sure member may be given up again."""
    ensemble, x, label = members(4, seed=3)
    budget = {"apply": linear, "norm": "linf", "epsilon": 0.3, "step_size": 0.2, "num_steps": 7, "start": "image"}
    kind = JOINT.index("loss")
    best, last = (fool_all(KEYS, ensemble, x, label, kind=kind, keep_best=k, **budget) for k in (True, False))
    lost = joint.all_lost(linear)
    assert np.all(lost((ensemble, 0), best, label) >= lost((ensemble, 0), last, label))
    assert np.all(lost((ensemble, 0), best, label) >= lost((ensemble, 0), x, label))


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("count", [1, 3])
def test_the_smallest_radius_is_that_of_the_convex_programme(norm, count):
    ensemble, x, label = members(count)
    largest = {"linf": 0.08, "l2": 0.6}[norm]
    options = {"apply": linear, "kind": JOINT.index("hardmin"), "norm": norm, "largest": largest}
    radius, images = smallest_radius(KEYS, ensemble, x, label, **options)
    expected = np.array([nearest(ensemble, image, norm) for image in x])
    # Sign steps cannot follow the edge where two members are equally hard: up to 13 % above over two seeds and 8
    # members; L2 steps up to 1.1 %. Eight halvings leave the last interval.
    assert np.all(radius >= expected - 1e-6)
    assert np.all(radius <= {"linf": 1.15, "l2": 1.02}[norm] * expected + largest / 2**8)
    lengths = {"linf": spaces.linf_norm, "l2": spaces.l2_norm}[norm](images - x)
    np.testing.assert_allclose(lengths, radius, rtol=1e-5)
    assert np.all(joint.all_lost(linear)((ensemble, 0), images, label) > 0)


def test_what_is_lost_already_and_what_cannot_be():
    ensemble, x, _ = members(3)
    options = {"apply": linear, "kind": 0, "norm": "linf", "num_steps": 5}
    lost = jnp.argmin(linear(jax.tree.map(lambda leaf: leaf[0], ensemble), x), axis=1).astype(jnp.int32)
    wrong = joint.all_lost(linear)((ensemble, 0), x, lost) > 0
    assert wrong.any()  # all members say the other class
    radius, images = smallest_radius(KEYS, ensemble, x, lost, largest=0.5, **options)
    np.testing.assert_array_equal(radius[wrong], 0.0)
    np.testing.assert_array_equal(images[wrong], x[wrong])
    radius, images = smallest_radius(KEYS, ensemble, x, 0 * lost, largest=1e-4, **options)
    assert np.all(np.isinf(radius))
    np.testing.assert_array_equal(images, x)


def test_searches_split_over_two_devices_find_what_one_finds():
    ensemble, x, label = members(3)
    rows = (KEYS[:3], x[:3], label[:3])
    budget = {"apply": linear, "norm": "l2", "num_steps": 8, "num_halvings": 3, "largest": 2.0, "kind": 0}

    def search(keys, x, label, ensemble):
        return joint.smallest_radius(keys, ensemble, x, label, **budget)

    radius, images = jax.jit(lambda e, *rows: over_examples(search, *rows, shared=(e,)))(ensemble, *rows)
    alone = jax.jit(search)(*rows, ensemble)
    assert np.isfinite(radius).all() and len(radius.devices()) == 2
    np.testing.assert_allclose(radius, alone[0], rtol=1e-5)
    np.testing.assert_allclose(images, alone[1], atol=1e-5)
