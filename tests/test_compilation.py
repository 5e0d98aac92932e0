"""A new radius, step size or batch of the same shape compiles nothing; a new number of steps compiles one program.

Counted are all programs that XLA compiles, those of stray operations outside `jit` as well.
"""

import contextlib
from functools import partial

import jax
import jax.numpy as jnp
import optax
import pytest
from jax import monitoring

from landscape import objectives, samplers, spaces
from landscape.attacks.recipes import RECIPES, best_of
from landscape.search import search, steepest

SHAPE = (4, 3, 1)
COMPILED = "/jax/core/compile/backend_compile_duration"
STEPS = (2, 3)


@contextlib.contextmanager
def counted():
    """A list that grows with the name of every program compiled, such as "jit(program)"."""
    programs = []

    def listen(event, _, **about):
        if event == COMPILED:
            programs.append(about["fun_name"])

    monitoring.register_event_duration_secs_listener(listen)
    try:
        yield programs
    finally:
        monitoring.unregister_event_duration_listener(listen)


def smooth(variables, x):
    return jnp.tanh(3 * (x.reshape(x.shape[0], -1) - 0.5) @ variables["w"]) @ variables["v"]


def inputs(seed):
    """Keys, variables, images, labels: of one shape, all values new."""
    keys = jax.random.split(jax.random.key(seed), 5)
    variables = {"w": jax.random.normal(keys[0], (12, 8)), "v": jax.random.normal(keys[1], (8, 4))}
    x = jax.random.uniform(keys[2], (3, *SHAPE))
    label = jax.random.randint(keys[3], (3,), 0, 4)
    return jax.block_until_ready((jax.random.split(keys[4], 3), variables, x, label, jnp.float32(0.1 * seed)))


def recipe(name, num_steps, keys, variables, x, label, size):
    found, options = RECIPES[name], {}
    if found.kind != "minimum_norm":
        options["epsilon"] = 2 * size
    given = {"num_steps": num_steps, "step_size": size, "key": keys[0]}
    # Weight noise whose radius is new as well; a plane of four pixels.
    given["sampler"] = lambda variables: samplers.ball(variables, size, kind="multiplicative")
    given["space"] = spaces.latent(lambda x: x.reshape(len(x), -1)[:, :4], lambda z: jnp.tile(z, 3).reshape(-1, *SHAPE))
    options |= {argument: given[argument] for argument in (*found.takes, *found.needs)}
    return found.fn(keys, variables, x, label, apply=smooth, norm=found.norms[-1], **options)


def best(num_steps, keys, variables, x, label, size):
    options = {"norm": "linf", "epsilon": size, "num_steps": num_steps}
    return best_of(("pgd", "apgd-ce"), keys, variables, x, label, apply=smooth, **options)


def searched(rule, num_steps, keys, variables, x, label, size):
    return search(
        keys[0],
        x,
        label,
        objective=objectives.descend(smooth, objectives.log_odds),
        space=spaces.pixels("linf"),
        sampler=samplers.fixed(variables),
        optimizer=rule(size),
        epsilon=size,
        num_steps=num_steps,
        stop_value=size,
    ).z


ATTACKS = {name: partial(recipe, name) for name in RECIPES}
ATTACKS |= {"best_of": best}
ATTACKS |= {"search": partial(searched, partial(steepest, "linf")), "search, adam": partial(searched, optax.adam)}


# One of each kind of program; the others are these with other parts.
QUICK = ("apgd-dlr-targeted", "fmn", "eot", "search")


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in ATTACKS]
)
def test_new_numbers_compile_nothing_and_a_new_step_count_one_program(name):
    program = jax.jit(ATTACKS[name], static_argnums=0)
    one, other = inputs(1), inputs(2)
    with counted() as programs:
        first = program(STEPS[0], *one)
        assert len(programs) == 1
        again = program(STEPS[0], *other)
        assert len(programs) == 1, "a new radius, step size or batch"
        if "num_steps" in getattr(RECIPES.get(name), "takes", ("num_steps",)):
            program(STEPS[1], *other)
            assert len(programs) == 2, "a new number of steps"
            program(STEPS[0], *one)
            assert len(programs) == 2, "a number of steps known before"
    assert first.shape == again.shape and not bool(jnp.array_equal(first, again))
