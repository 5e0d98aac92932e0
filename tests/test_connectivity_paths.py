"""Paths of `connectivity`, edges of its graphs and attacked endpoints, of members that are known.

Images are points (u, v) of a plane. A member predicts the other class on its hill alone; the line from (0.1, 0.5) to
(0.9, 0.5) runs over the first member's hill, and its bypass, to smaller v, over the second's.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from landscape import objectives
from landscape.attacks import evading, projected
from landscape.ensembles import Mapping
from landscape.experiments.connectivity.config import PATHS, TOGETHER
from landscape.experiments.connectivity.pairs import attack
from landscape.experiments.connectivity.paths import Search, follow, graphs, out_of_plane
from landscape.models.autoencoders import Autoencoder
from landscape.stats.auroc import member_separation

HILLS = {"hill": jnp.asarray([[0.5, 0.52], [0.5, 0.36]])}  # of each member
CONFIG = ConfigDict(
    {
        "bypass": {"num_steps": 256, "learning_rate": 0.005, "depth": 2, "num_points": 33, "tolerance": 0.01},
        "curves": {"num_steps": 256, "learning_rate": 0.005},
        "graph": {"num_steps": 256},
    }
)
A, B = (jnp.asarray([[u, 0.5], [u, 0.49]]).reshape(2, 1, 2, 1) for u in (0.1, 0.9))


def apply(variables, x):
    """Two logits: the first one leads by 4, on the hill it is behind by 4."""
    off = jnp.sum(jnp.square(x.reshape(-1, 2) - variables["hill"][None]), axis=1)
    lead = 4.0 - 8.0 * jnp.exp(-off / (2 * 0.06**2))
    return jnp.stack([lead, jnp.zeros_like(lead)], axis=1)


def loss(s, points):
    """Of member s along points [..., 2], by the definition."""
    lead = 4.0 - 8.0 * np.exp(-np.square(points - np.asarray(HILLS["hill"][s])).sum(axis=-1) / (2 * 0.06**2))
    return np.log1p(np.exp(-lead))


BY = Search(CONFIG, apply, Mapping())


@pytest.fixture(scope="module")
def found():
    """What members predict along all paths, path -> name -> [member, ..., pair]; the plane is its own latent."""

    def decode(v, z):
        return jnp.clip(z / 2, 0, 1)

    coder = Autoencoder(None, lambda v, x: 2 * x, decode, None, None, None, lambda v, z: z, (2, 1, 1))
    chunk = {"reference": A, "endpoint": jnp.repeat(B[None], 2, axis=0), "label": jnp.zeros(2, jnp.int32)}
    chunk["other_class"] = jnp.asarray([False, True])
    made = {path: jax.jit(follow(BY, path, coder))(chunk, HILLS, {}, jax.random.key(0)) for path in PATHS}
    return jax.tree.map(np.asarray, made)


def test_lines_are_those_of_the_definition(found):
    t = np.linspace(0, 1, 2001)[:, None]
    for s in (0, 1):
        for q in (0, 1):
            along = loss(s, (1 - t) * np.asarray(A[q]).ravel() + t * np.asarray(B[q]).ravel())
            assert found["line"]["barrier"][s, q] == pytest.approx(along.max() - max(along[0], along[-1]), rel=1e-3)
            assert found["line"]["left"][s, q] == (along.max() > np.log(2))
            assert found["line"]["end_loss"][s, q] == pytest.approx(along[-1], rel=1e-4)


def test_every_path_leads_around_the_hills_of_whom_it_is_for(found):
    high = found["line"]["barrier"][0]
    assert np.all(high > 3.0)
    for path, one in found.items():
        # Both endpoints are of class 0, which the second pair says its endpoint is not.
        np.testing.assert_array_equal(one["valid"], [[True, False]] * 2)
        if path not in ("line", TOGETHER):
            assert np.all(one["barrier"][0] < 0.1 * high) and not one["left"][0].any(), path
    worst = found[TOGETHER]["barrier"].max(axis=0)
    assert np.all(worst < 0.3 * found["line"]["barrier"].max(axis=0)), worst


def test_a_waypoint_stays_in_its_plane_and_its_barrier_falls(found):
    assert found["bypass"]["out_of_plane"].max() < 1e-5
    after = found["bypass"]["after"][0]
    assert after.shape == (9, 2) and np.all(after[-1] < 0.1 * after[0])


def test_a_waypoint_out_of_its_plane_is_measured():
    a, b = jnp.zeros((3, 2, 1, 1)), jnp.zeros((3, 2, 1, 1)).at[:, 0].set(2.0)
    waypoint = jnp.asarray([[0.5, 0.5], [0.5 + 0.006, 0.4], [0.5 + 1e-7, 1e-7]]).reshape(3, 2, 1, 1)
    out = out_of_plane(a, b, waypoint, jnp.full(3, 0.25))
    np.testing.assert_allclose(out, [0.0, 0.003, 0.0], atol=1e-6)  # rounding is no way out
    np.testing.assert_array_equal(out_of_plane(a, a, a, jnp.zeros(3)), 0.0)


def test_edges_are_as_high_as_the_better_of_line_and_bypass():
    nodes = jnp.asarray([[0.1, 0.5], [0.9, 0.5], [0.1, 0.9], [0.9, 0.9]]).reshape(4, 1, 2, 1)
    chunk = {"nodes": jnp.repeat(nodes[None], 2, axis=0)[None], "graph_class": jnp.zeros(1, jnp.int32)}
    made = {name: np.asarray(value)[0] for name, value in jax.jit(graphs(BY))(chunk, HILLS).items()}
    own = np.stack([loss(s, np.asarray(nodes).reshape(4, 2)) for s in (0, 1)])
    assert not made["graph_left"].any()
    np.testing.assert_allclose(made["graph_loss"], own, rtol=1e-4)
    # No hill is between the last two; between the first two the line rises by over 3 nats, and a way around does not.
    np.testing.assert_allclose(made["graph_peak"][:, 5], own[:, 2:].max(axis=-1), rtol=1e-2)
    assert np.all(made["graph_peak"][:, 0] < 0.1)


# ---- endpoints ----


def linear(weights, x):
    """Two logits of an image of 16 pixels."""
    return x.reshape(x.shape[0], -1) @ weights


@pytest.mark.parametrize("kind", ["boosted", "adversarial", "adversarial_iso", "adaptive", "joint"])
def test_attacked_endpoints_lie_in_the_ball_and_reach_the_class(kind):
    rng = np.random.default_rng(0)
    search = {"norm": "linf", "epsilon": 0.2, "step_size": 0.05, "num_steps": 20, "num_restarts": 1}
    sections = {"adaptive": {"num_steps": 60, "num_points": 9}, "pairs": {"iso_steps": 60}}
    config = ConfigDict({"seed": 0, "search": search, **sections})
    names = ("reference", "partner", "source")
    chunk = {name: jnp.asarray(rng.uniform(0.3, 0.7, (6, 4, 4, 1)), jnp.float32) for name in names}
    origin = np.asarray(chunk["partner" if kind == "boosted" else "source"])
    chunk |= {"label": jnp.ones(6, jnp.int32), "source_id": jnp.arange(6)}
    chunk |= {"log_odds": jnp.full((3, 6), 0.3), "rise": jnp.full((3, 6), -0.1)}
    members = jnp.asarray(rng.normal(size=(3, 16, 2)), jnp.float32)
    work = jax.jit(attack(config, linear, Mapping(), kind))
    made = np.asarray(work(chunk, members, jnp.float32(1.0))["endpoint"])
    assert made.shape == (3, 6, 4, 4, 1) and made.min() >= 0 and made.max() <= 1
    assert np.abs(made - origin[None]).max() <= 0.2 + 1e-6
    ahead = np.asarray(members[..., 1] - members[..., 0])
    before, after = (np.einsum("snp,sp->sn", x.reshape(*x.shape[:-3], 16), ahead) for x in (0 * made + origin, made))
    if kind == "adversarial_iso":
        np.testing.assert_allclose(after[(before < 0.3) & (after > 0.2)], 0.3, atol=0.05)
    else:
        assert np.mean(np.minimum(after, 1) >= np.minimum(before, 1) - 0.01) > 0.9  # 1 logit is enough of adaptive ones
        assert kind != "joint" or np.all(made == made[:1])
    if kind in ("boosted", "adversarial"):  # of a linear model the optimum is known
        way = np.sign(ahead).reshape(3, 1, 4, 4, 1)
        np.testing.assert_allclose(made, np.clip(origin[None] + 0.2 * way, 0, 1), atol=1e-6)


def test_a_planted_feature_is_detected_until_the_attack_evades_it():
    """The norm of an image, which attacks raise, detects them, but not one that wants a typical norm."""
    rng = np.random.default_rng(0)
    clean = jnp.asarray(rng.uniform(0.3, 0.5, (64, 4, 4, 1)), jnp.float32)
    weights = jnp.asarray(np.abs(rng.normal(size=(16, 2))) * [-1.0, 1.0], jnp.float32)
    label, keys = jnp.ones(64, jnp.int32), jax.random.split(jax.random.key(0), 64)

    def apply(weights, x):
        return linear(weights, x) - jnp.asarray([[0.0, 6.0]])

    def norm(x):
        return jnp.sum(jnp.square(x), axis=(1, 2, 3))

    def score(variables, x, target):
        return jnp.abs(norm(x) - jnp.median(norm(clean)))

    ball = {"norm": "linf", "epsilon": 0.3, "step_size": 0.02, "num_steps": 200, "apply": apply}
    plain = projected.targeted_pgd(keys, weights, clean, label, **ball)
    evades = evading.evade(keys, weights, clean, label, None, weight=10.0, score=score, enough=0.05, **ball)
    reached = [np.asarray(objectives.margin(apply(weights, x), label)) > 0 for x in (plain, evades)]
    scores = [np.asarray(norm(x))[None] for x in (clean, plain, evades)]
    raw, adaptive = (member_separation(one, scores[0]).auroc[0] for one in scores[1:])
    # Of 64 images on either side the AUROC of equal scores has a standard error of 0.05.
    assert raw > 0.95 and adaptive == pytest.approx(0.5, abs=0.1) and reached[0].all() and reached[1].mean() > 0.95
