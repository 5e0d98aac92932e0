"""Every mapping equals a loop, and a member does not depend on its companions."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from landscape import ensembles
from landscape.ensembles import Mapping, Rows

ROOT = Path(__file__).parents[1]


def logits_fn(variables, scale, x):
    return {"logits": jnp.tanh(x @ variables["w"]) * scale, "size": jnp.sum(variables["b"])}


def make(num_members):
    members = [
        {"w": jax.random.normal(jax.random.key(i), (5, 3)), "b": jnp.arange(2.0) + i} for i in range(num_members)
    ]
    return members, ensembles.stack(members), jnp.arange(1.0, num_members + 1)


@pytest.mark.parametrize("devices", [1, 2])
def test_first_two_of_four_members_are_the_two_alone(devices):
    _, ensemble, scale = make(4)
    x = jax.random.normal(jax.random.key(9), (7, 5))
    gradient = jax.grad(lambda x, v, s: jnp.sum(logits_fn(v, s, x)["logits"] ** 2))

    def run(ensemble, scale):
        how = Mapping("map", devices=devices)
        return jax.jit(
            lambda e, s, x: ensembles.map_members(lambda v, s, x: gradient(x, v, s), e, s, shared=(x,), how=how)
        )(ensemble, scale, x)

    four, two = run(ensemble, scale), run(ensembles.take(ensemble, slice(2)), scale[:2])
    np.testing.assert_array_equal(four[:2], two)


def meshes():
    """Every mesh of the devices at hand, and the one of a single device."""
    count = len(jax.devices())
    return [
        Mapping("map", devices=1),
        Mapping("map", chunk=2),
        *(Mapping("map", devices=d, examples=count // d) for d in (1, 2, 4) if d <= count),
    ]


@pytest.mark.parametrize("num_members", [1, pytest.param(2, marks=pytest.mark.slow), 3])
@pytest.mark.parametrize("kind", ["map", "vmap"])
def test_every_mesh_of_members_and_examples_equals_a_loop(kind, num_members):
    """Shared and own examples, on another axis than the first one too, keys and a gradient; 7 is divided by no mesh."""
    members, ensemble, scale = make(num_members)
    x = jax.random.normal(jax.random.key(9), (7, 5))
    keys = jax.random.split(jax.random.key(8), 7)
    start = jax.random.normal(jax.random.key(7), (num_members, 2, 7, 5))  # [S, P, N, D]
    label = jnp.arange(num_members * 7).reshape(num_members, 7) % 3

    def ascend(variables, scale, start, label, x, keys, slope):
        assert start.shape[1] == label.shape[0] == x.shape[0] == keys.shape[0]

        def raised(z):
            logits = logits_fn(variables, scale, z)["logits"]
            return slope * jnp.sum(jnp.take_along_axis(logits, label[:, None], axis=-1))

        noise = jax.vmap(lambda key: jax.random.normal(key, (5,)))(keys)
        ends = jax.vmap(lambda z: z + x + noise + jax.grad(raised)(z))(start)
        return {"ends": jnp.moveaxis(ends, 1, 0), "length": jnp.abs(ends).sum((0, 2))}

    arguments = (scale, start, label)
    expected = [ascend(v, *(a[i] for a in arguments), x, keys, 2.0) for i, v in enumerate(members)]
    for how in meshes():
        how = how._replace(kind=kind)

        def run(ensemble, scale, start, label, x, keys, slope, how=how):
            own = (scale, Rows(start, 1), Rows(label))
            return ensembles.map_members(ascend, ensemble, *own, shared=(Rows(x), Rows(keys), slope), how=how)

        found = jax.jit(run)(ensemble, *arguments, x, keys, 2.0)
        assert found["ends"].shape == (num_members, 7, 2, 5)
        for name, value in found.items():
            np.testing.assert_allclose(value, np.stack([one[name] for one in expected]), rtol=1e-5, atol=1e-5)


def test_the_mesh_splits_what_is_marked_and_nothing_else():
    """One member on two devices: each gets half of the examples; without marks, and of many members, all are there."""
    seen = []

    def fn(w, x, y):
        seen.append((x.shape, y.shape))
        return w * x

    x, y = jnp.arange(8.0), jnp.arange(5.0)
    ensembles.map_members(fn, jnp.ones(1), shared=(Rows(x), y))
    ensembles.map_members(fn, jnp.ones(1), shared=(x, y))
    ensembles.map_members(fn, jnp.ones(8), shared=(Rows(x), y))
    count = len(jax.devices())
    assert seen == [((8 // count,), (5,)), ((8,), (5,)), ((8,), (5,))]


def test_marks_leave_a_program_of_one_device_as_it_is():
    def program(mark):
        def run(w, x):
            return ensembles.map_members(jnp.multiply, w, shared=(mark(x),), how=Mapping())

        return jax.jit(run).lower(jnp.ones(3), jnp.ones(8)).as_text()

    assert program(Rows) == program(lambda x: x) != program(jnp.sin)


@pytest.mark.parametrize("how", [Mapping("map"), None])
def test_results_without_their_examples_are_refused(how):
    x = jnp.ones((8, 5))
    with pytest.raises(ValueError, match=r"a result \[\] of a member: expected [248] examples first"):
        ensembles.map_members(lambda w, x: jnp.sum(w * x), jnp.ones(1), shared=(Rows(x),), how=how)
    with pytest.raises(ValueError, match=r"Rows of \[7, 8\] examples"):
        ensembles.map_members(lambda w, x, y: x, jnp.ones(1), shared=(Rows(x), Rows(x[:7])), how=how)


@pytest.mark.slow
def test_meshes_of_four_devices():
    """The tests of meshes again, in a process of its own: the number of devices stands before JAX starts."""
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=4", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-k", "mesh_", __file__]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "8 passed" in done.stdout, done.stdout


def test_mapping_is_read_from_text():
    assert ensembles.parse("map4", 8) == Mapping("map", 4, 2)
    assert ensembles.parse("vmap", 8) == Mapping("vmap", 1, 2)
    assert ensembles.parse("auto", 8) == ensembles.auto(8) == Mapping("map", 1, 2)
    assert ensembles.auto(1) == Mapping("map", devices=1, examples=2)
    # As many ways as members go evenly; examples over the rest, so that all devices are named.
    meshes = [ensembles.auto(s, devices=jax.devices() * 2)[2:] for s in (1, 2, 3, 4, 6)]
    assert meshes == [(1, 4), (2, 2), (1, 4), (4, 1), (4, 1)]
    for wrong in ("pmap", "map0", "vmap3"):
        with pytest.raises(ValueError, match=r"expected auto, map, mapN"):
            ensembles.parse(wrong, 8)


@pytest.mark.parametrize("block", [1, 3, 4, 7, 20, None])
def test_examples_in_blocks_equal_all_at_once(block):
    """Seven rows in even, uneven and single blocks, of several arguments and results."""
    x = jax.random.normal(jax.random.key(0), (7, 5))
    target = {"label": jnp.arange(7), "scale": jnp.linspace(1.0, 2.0, 7)}
    seen = []

    def fn(x, target, w):
        seen.append(x.shape[0])
        return x @ w * target["scale"][:, None], target["label"] + 1

    w = jax.random.normal(jax.random.key(1), (5, 3))
    mapped = ensembles.map_examples(fn, x, target, shared=(w,), block=block)
    assert max(seen) <= (block or 7)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), mapped, fn(x, target, w))


def test_large_batches_of_images_are_cut_on_cpu_only(monkeypatch):
    seen = []
    fn = lambda x: seen.append(x.shape[0]) or x  # noqa: E731
    images = jnp.zeros((33, 28, 28, 1))
    ensembles.map_examples(fn, images)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    ensembles.map_examples(fn, images)
    assert seen == [11, 33]


def test_ensembles_of_unlike_sizes_share_a_program_on_four_devices():
    """In a process of its own: the number of devices stands before JAX starts."""
    code = """
import jax, jax.numpy as jnp
from landscape.ensembles import map_members

def both(*ensembles):
    return [map_members(lambda w, x: w * x, e, shared=(jnp.arange(3.0),)) for e in ensembles]

found = jax.jit(both)(*(jnp.arange(float(n)) + 1 for n in (4, 2, 3, 1)))
assert [f.shape for f in found] == [(4, 3), (2, 3), (3, 3), (1, 3)]
assert found[1].tolist() == [[0.0, 1.0, 2.0], [0.0, 2.0, 4.0]]
assert len(jax.devices()) == 4
"""
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=4", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_only_needed_rows_are_computed_and_rows_stay_in_place():
    rows = jnp.arange(20.0)
    needed = jnp.asarray([i in (3, 4, 11, 19) for i in range(20)])
    found = jax.jit(
        lambda needed, rows, one: ensembles.map_needed(
            lambda x, one: {"a": x + one, "blocks": jnp.full_like(x, 1.0)},
            lambda x, one: {"a": -x, "blocks": jnp.zeros_like(x)},
            needed, rows, shared=(one,), block=2,
        )
    )(needed, rows, jnp.float32(100.0))  # fmt: skip
    np.testing.assert_array_equal(found["a"], jnp.where(needed, rows + 100, -rows))
    np.testing.assert_array_equal(found["blocks"], needed)


def test_blocks_without_a_needed_row_are_not_computed():
    seen = []

    def noted(x):
        jax.debug.callback(lambda x: seen.append(x.tolist()), x)
        return x

    needed = jnp.asarray([False, True, False, False, True, False])
    jax.block_until_ready(ensembles.map_needed(noted, lambda x: x, needed, jnp.arange(6), block=2))
    jax.effects_barrier()
    assert sorted(row for rows in seen for row in rows) == [1, 4]


def test_chunks_grow_with_the_device_s_memory(monkeypatch):
    """1 on CPU; elsewhere by memory, and 1 where the device says nothing of it."""

    def device(memory):
        return type("Device", (), {"platform": "gpu", "memory_stats": lambda self: memory})()

    assert ensembles.roominess() == 1
    for memory, expected in (({"bytes_limit": 80 << 30}, 40), ({"bytes_limit": 1 << 30}, 1), (None, 1)):
        monkeypatch.setattr(jax, "local_devices", lambda: [device(memory)])
        assert ensembles.roominess() == expected
