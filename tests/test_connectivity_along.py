"""Paths of `connectivity` and edges of its graphs, of two members whose hills stand at known places of a plane.

Images are points (u, v) of the plane. A member says the other class on its hill alone; the line from (0.1, 0.5) to
(0.9, 0.5) runs over the first member's hill, and its way around, to smaller v, over the second's.
"""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from landscape.experiments.connectivity_along import ALWAYS, TOGETHER, teller
from landscape.experiments.connectivity_paths import _profiles
from landscape.experiments.connectivity_setting import NONE, Connected
from ml_collections import ConfigDict

from landscape.ensembles import Mapping
from landscape.experiments import connectivity_graph
from landscape.presets.names import PATHS

HILLS = {"hill": jnp.asarray([[0.5, 0.52], [0.5, 0.36]])}  # of each member
CONFIG = ConfigDict(
    {
        "bypass": {"num_steps": 256, "learning_rate": 0.005, "depth": 2, "num_points": 33, "tolerance": 0.01},
        "curves": {"num_bends": 1, "num_steps": 256, "num_draws": 4, "learning_rate": 0.005},
        "noise": {"kind": "layer_relative", "radius": 0.02},
        "graph": {"num_steps": 256},
    }
)
A, B = (jnp.asarray([[u, 0.5], [u, 0.49]]).reshape(2, 1, 2, 1) for u in (0.1, 0.9))
LABEL = jnp.zeros(2, jnp.int32)
# Of further paths one of each way to search them: the others take minutes to compile.
OWN = ("manifold_line", "chain", "noisy", "bezier_noisy", "manifold_bypass")
SHARED = ("all", "bezier_all")


def apply(variables, x):
    """Two logits: the first one leads by 4, on the hill it is behind by 4."""
    off = jnp.sum(jnp.square(x.reshape(-1, 2) - variables["hill"][None]), axis=1)
    lead = 4.0 - 8.0 * jnp.exp(-off / (2 * 0.06**2))
    return jnp.stack([lead, jnp.zeros_like(lead)], axis=1)


def loss(s, points):
    """Of member s along points [..., 2], by the definition."""
    lead = 4.0 - 8.0 * np.exp(-np.square(points - np.asarray(HILLS["hill"][s])).sum(axis=-1) / (2 * 0.06**2))
    return np.log1p(np.exp(-lead))


def connected():
    """The plane is its own latent, twice as large."""
    autoencoder = SimpleNamespace(
        encode=lambda v, x: 2 * x, decode=lambda v, z: jnp.clip(z / 2, 0, 1), project=lambda v, z: z
    )
    cell = SimpleNamespace(autoencoder=autoencoder, ensemble={"v": jnp.zeros(1)}, reconstruct=lambda v, x, label: x)
    return Connected(None, SimpleNamespace(apply=apply), HILLS, cell, 1.0, None, None, Mapping())


@pytest.fixture(scope="module")
def told():
    """Everything told of OWN and SHARED, "path.name" -> [member, ..., pair]."""
    ends = [jnp.repeat(x[None], 2, axis=0) for x in (A, B)]
    found = {}
    for chosen in (ALWAYS, OWN, SHARED):
        program = jax.jit(teller(CONFIG, connected(), chosen))
        found |= program(HILLS, {}, *ends, LABEL, jax.random.key(0))
    return {name: np.asarray(value) for name, value in found.items()}


def test_lines_are_those_of_the_definition(told):
    t = np.linspace(0, 1, 2001)[:, None]
    for s in (0, 1):
        for q in (0, 1):
            along = loss(s, (1 - t) * np.asarray(A[q]).ravel() + t * np.asarray(B[q]).ravel())
            assert told["line.barrier"][s, q] == pytest.approx(along.max() - max(along[0], along[-1]), rel=1e-3)
            assert told["line.left"][s, q] == (along.max() > np.log(2))
    np.testing.assert_allclose(told["manifold_line.barrier"], told["line.barrier"], rtol=1e-4)


def test_every_path_of_one_member_leads_around_its_hill(told):
    high = told["line.barrier"][0]
    assert np.all(high > 3.0)
    for path in ("bypass", *OWN[1:]):
        assert np.all(told[f"{path}.barrier"][0] < 0.1 * high), path
        assert np.all(told[f"{path}.length"][0] > 1.01) and np.all(told[f"{path}.deviation_l2"][0] > 0.05), path
        assert not told[f"{path}.left"][0].any()


@pytest.mark.parametrize("path", SHARED)
def test_paths_of_all_members_are_low_for_the_one_they_are_worst_for(told, path):
    worst = told[f"{path}.barrier"].max(axis=0)
    assert np.all(worst < 0.3 * told["line.barrier"].max(axis=0)), worst


def test_they_are_paths_of_configs():
    assert {*ALWAYS, *OWN, *SHARED} <= set(PATHS) and set(SHARED) <= set(TOGETHER) and not set(OWN) & set(TOGETHER)


def test_a_bend_stays_in_its_plane_and_its_barrier_falls(told):
    assert told["bypass.plane"].max() < 1e-5
    after = told["bypass.after"][0]
    assert after.shape == (9, 2) and np.all(after[-1] < 0.1 * after[0])


def test_few_pairs_that_are_lacking_have_no_profile():
    whole = np.arange(2 * 3 * 1 * 5 * 4, dtype=np.float32).reshape(2, 3, 1, 5, 4)
    found = _profiles(whole, np.asarray([[0, 1], [3, NONE]]), (*ALWAYS, "bezier"))
    np.testing.assert_array_equal(found["line_profile"][1], whole[:, 0])
    np.testing.assert_array_equal(found["bypass_profile"][1], whole[:, 1])
    few = found["few_profile"][1]
    np.testing.assert_array_equal(few[0], whole[0][..., :2])
    np.testing.assert_array_equal(few[1, ..., 0], whole[1, ..., 3])
    assert np.isnan(few[1, ..., 1]).all()
    assert set(_profiles(whole[:, :2], np.zeros((2, 1), int), ALWAYS)) == {"line_profile", "bypass_profile"}


# ---- edges ----


@pytest.mark.parametrize("together", [False, True])
def test_edges_are_as_high_as_the_better_of_line_and_bypass(together):
    """Between nodes that a hill parts a bypass is lower than the line; of all members, for the one it is worst for."""
    nodes = jnp.asarray([[0.1, 0.5], [0.9, 0.5], [0.1, 0.9], [0.9, 0.9]]).reshape(4, 1, 2, 1)
    program = connectivity_graph._program(CONFIG, connected(), together=together)
    given = nodes if together else jnp.repeat(nodes[None], 2, axis=0)
    peak, own, left = (np.asarray(part) for part in program(HILLS, given, 0, jax.random.key(0)))
    assert not left.any()
    plain = np.stack([loss(s, np.asarray(nodes).reshape(4, 2)) for s in (0, 1)])
    np.testing.assert_allclose(own, plain.max(axis=0) if together else plain, rtol=1e-4)
    over, clear = peak[..., 0], peak[..., 5]  # the edges (0, 1) and (2, 3)
    np.testing.assert_allclose(
        clear, plain[:, 2:].max(axis=1).max() if together else plain[:, 2:].max(axis=1), rtol=1e-2
    )
    # The best chain of two pieces, its bend in the middle and between the hills, where both are to be passed.
    t, bends = np.linspace(0, 1, 401)[:, None], [np.asarray([0.5, v]) for v in np.linspace(0.36, 0.52, 81)]
    first, last = np.asarray(nodes[:2]).reshape(2, 2)
    pieces = [np.concatenate([first + t * (bend - first), bend + t * (last - bend)]) for bend in bends]
    saddle = min(max(loss(s, way).max() for s in (0, 1)) for way in pieces)
    assert 0.3 < saddle < 0.5  # over either hill the line rises by more than 3 nats, around one alone there is no rise
    if together:
        assert over == pytest.approx(saddle, rel=0.05)
    else:
        assert np.all(over < 0.2 * saddle)
