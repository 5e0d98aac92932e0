"""Sparse dictionaries: activations, atoms, training, and how features of two of them are matched."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import nnls

from landscape import ensembles
from landscape.measures import feature_agreement
from landscape.models import dictionaries
from landscape.models.dictionaries import BANDWIDTH, Hull
from landscape.training import dictionary_members
from landscape.training.dictionary_members import Course, State

RNG = np.random.default_rng(0)
NO_HULL = Hull(jnp.zeros((1, 3)), jnp.float32(0))


def normal(*shape):
    return jnp.asarray(np.random.default_rng([*shape]).standard_normal(shape), jnp.float32)


def test_the_largest_k_are_kept_where_positive_and_k_may_be_traced():
    e = normal(20, 7) - 0.5
    program = jax.jit(lambda e, k: dictionaries.largest(e, k, 5))
    for k in (1, 3, 5):
        own = np.asarray(e)
        order = np.argsort(-own, axis=1)[:, :k]
        expected = np.zeros_like(own)
        np.put_along_axis(expected, order, np.maximum(np.take_along_axis(own, order, 1), 0), 1)
        np.testing.assert_array_equal(program(e, k), expected)
    assert np.count_nonzero(program(jnp.ones((2, 7)), 3), axis=1).tolist() == [3, 3]  # ties
    with pytest.raises(ValueError, match="most=8"):
        dictionaries.largest(e, 2, 8)


def test_jumps_have_the_gradients_of_their_estimates():
    theta, g = jnp.asarray([0.5, 1.0]), jnp.asarray([[2.0, 3.0], [5.0, 7.0]])
    e = jnp.asarray([[0.5 + BANDWIDTH / 4, 0.2], [0.1, 1.0 - BANDWIDTH / 4]])
    np.testing.assert_allclose(dictionaries.jump(e, theta), [[e[0, 0], 0], [0, 0]])
    of_e, of_theta = jax.grad(lambda e, t: jnp.sum(g * dictionaries.jump(e, t)), (0, 1))(e, theta)
    np.testing.assert_allclose(of_e, [[2, 0], [0, 0]])
    np.testing.assert_allclose(of_theta, [-0.5 / BANDWIDTH * 2, -1.0 / BANDWIDTH * 7], rtol=1e-6)
    np.testing.assert_array_equal(dictionaries.count_above(e, theta), [1, 0])
    of_e, of_theta = jax.grad(lambda e, t: jnp.sum(jnp.asarray([2.0, 5.0]) * dictionaries.count_above(e, t)), (0, 1))(
        e, theta
    )
    np.testing.assert_array_equal(of_e, 0)
    np.testing.assert_allclose(of_theta, [-2 / BANDWIDTH, -5 / BANDWIDTH], rtol=1e-6)


def test_archetypal_atoms_lie_in_the_cone_of_the_points_up_to_the_relaxation():
    points = jnp.abs(normal(6, 4))
    hull = Hull(points, jnp.float32(0.1))
    params = dictionaries.start("archetypal", normal(5, 4), hull, 3 * normal(5, 6))

    def furthest(params):
        mixed = np.asarray(jax.nn.softmax(params["mixing"], axis=1) @ points)
        atoms = np.asarray(dictionaries.atoms_of("archetypal", params, hull))
        np.testing.assert_allclose(np.linalg.norm(atoms, axis=1), 1, rtol=1e-5)
        scaled = [nnls(np.asarray(points).T, atom)[1] for atom in atoms]  # distance of an atom from the cone
        return max(scaled), mixed, atoms

    assert furthest(params)[0] < 1e-5
    far = params | {"relaxation": 100 * normal(5, 4)}
    _, mixed, atoms = furthest(far)
    direction = np.asarray(far["relaxation"]) / np.linalg.norm(far["relaxation"], axis=1, keepdims=True)
    np.testing.assert_allclose(atoms, np.asarray(dictionaries.unit(jnp.asarray(mixed + 0.1 * direction))), rtol=1e-4)


@pytest.mark.parametrize("kind", dictionaries.KINDS)
def test_dictionaries_start_at_the_given_atoms_with_their_transpose_as_encoder(kind):
    points = jnp.eye(4)[:3]
    params = dictionaries.start(kind, 5 * jnp.eye(4)[:2], Hull(points, jnp.float32(0)))
    own = dictionaries.dictionary_of(kind, params, Hull(points, jnp.float32(0)))
    np.testing.assert_array_equal(own.encoder, own.atoms.T)
    expected = np.eye(4)[:2]
    if kind == "archetypal":  # 0.9 of the nearest point and 0.05 of each other one
        expected = np.array([[0.9, 0.05, 0.05, 0], [0.05, 0.9, 0.05, 0]]) / np.linalg.norm([0.9, 0.05, 0.05])
    np.testing.assert_allclose(own.atoms, expected, rtol=1e-5)
    with pytest.raises(ValueError, match="expected one of topk"):
        dictionaries.start("tok", points, NO_HULL)


def planted(width, dim, count, k=2):
    """Points of k active atoms each: (atoms, points)."""
    rng = np.random.default_rng(3)
    atoms = rng.standard_normal((width, dim))
    atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
    z = np.zeros((count, width))
    for row in z:
        row[rng.permutation(width)[:k]] = rng.uniform(1, 2, k)
    return atoms, jnp.asarray(z @ atoms, jnp.float32)


COURSE = Course("topk", 60, 64, 1e-2, 2, 0.75)


def test_training_finds_planted_atoms_and_members_do_not_depend_on_their_number():
    atoms, h = planted(6, 8, 512)
    hull, k = Hull(h[:1], jnp.float32(0)), jnp.full(3, 2.0)
    start = [
        dictionaries.start("topk", jnp.asarray(atoms, jnp.float32) + (0.15 + 0.02 * i) * normal(6, 8), hull)
        for i in range(3)
    ]
    keys = jax.random.split(jax.random.key(0), 3)
    program = dictionary_members.program_of(COURSE, ensembles.Mapping())
    found = program(ensembles.stack(start), keys, k, hull, h)
    before, after = (
        [feature_agreement.matched(feature_agreement.cosines(atoms, own)) for own in np.asarray(of.atoms)]
        for of in (found.before, found.after)
    )
    assert max(before) < 0.9 and min(after) > 0.95, (before, after)
    fewer = program(ensembles.stack(start[:2]), keys[:2], k[:2], hull, h)
    np.testing.assert_array_equal(fewer.after.atoms, found.after.atoms[:2])
    np.testing.assert_allclose(found.before.atoms[1], dictionaries.unit(start[1]["atoms"]), rtol=1e-6)


@pytest.mark.parametrize("kind", dictionaries.KINDS)
def test_idle_features_begin_anew_at_different_points_and_others_stay(kind):
    h, hull = normal(16, 3), Hull(normal(5, 3), jnp.float32(0))
    params = dictionaries.start(kind, normal(8, 3), hull)
    tx = dictionary_members.optimizer(COURSE._replace(kind=kind), 10)
    opt_state = tx.init(params)
    ones = jax.tree.map(jnp.ones_like, opt_state[0].mu)
    opt_state = (opt_state[0]._replace(mu=ones, nu=ones), *opt_state[1:])
    idle = jnp.arange(8) < 3
    state = State(params, opt_state, jnp.zeros(8, bool), jnp.int32(4))
    h = jnp.where((jnp.arange(16) < 3)[:, None], h, 1e-6 * h)  # the first three points alone are badly reconstructed
    found = dictionary_members.revived(jax.random.key(1), state, idle, h, kind, hull)
    assert found.revivals == 7
    for name in params:
        moved = np.asarray(found.params[name] != params[name])
        moved = moved.T if name == "encoder" else moved
        assert name == "bias" or not moved[3:].any()
        moment = np.asarray(found.opt_state[0].mu[name])
        moment = moment.T if name == "encoder" else moment
        assert name == "bias" or (not moment[:3].any() and moment[3:].all())
    if kind == "topk":
        cosine = feature_agreement.cosines(np.asarray(found.params["atoms"][:3]), np.asarray(h[:3]))
        np.testing.assert_allclose(feature_agreement.matched(cosine), 1, rtol=1e-5)


def test_a_matching_is_the_best_one_and_of_the_smaller_dictionary():
    similarity = RNG.standard_normal((3, 5))
    best = max(np.mean([similarity[i, p[i]] for i in range(3)]) for p in itertools.permutations(range(5), 3))
    assert feature_agreement.matched(similarity) == pytest.approx(best)
    assert feature_agreement.matched(similarity.T) == pytest.approx(best)
    assert np.isnan(feature_agreement.matched(np.zeros((0, 4))))


def test_a_permuted_copy_agrees_wholly_by_atoms_and_by_activations():
    atoms, z = RNG.standard_normal((6, 4)), RNG.random((50, 6))
    order = RNG.permutation(6)
    assert feature_agreement.matched(feature_agreement.cosines(atoms, 3 * atoms[order])) == pytest.approx(1)
    correlations = feature_agreement.correlations(z, 2 * z[:, order] + 1)
    np.testing.assert_allclose(correlations, np.corrcoef(z.T, z[:, order].T)[:6, 6:], atol=1e-12)
    assert feature_agreement.matched(correlations) == pytest.approx(1)
    assert not feature_agreement.correlations(np.ones((50, 2)), z).any()
