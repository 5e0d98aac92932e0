"""Arguments of the library that would give numbers without meaning are refused in one line, where they are at hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from landscape import arguments
from landscape.attacks import audit, recipes
from landscape.attacks.projected import Budget
from landscape.ensembles import Mapping, map_members
from landscape.files import UserError
from landscape.measures import barrier, curvature, flatness, linearity, paths, weight_sharpness, worst_case

KEYS = jax.random.split(jax.random.key(0), 3)
W = jax.random.normal(jax.random.key(1), (4, 5))
X = jax.random.uniform(jax.random.key(2), (3, 2, 2, 1))
LABEL = jnp.array([0, 4, 2])


def linear(w, x):
    return x.reshape(x.shape[0], -1) @ w


def softmax(w, x):
    return jax.nn.softmax(linear(w, x))


GIVEN = {"x": X, "label": LABEL, "apply": linear}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label": LABEL + 1}, r"label runs from 1 to 5: expected 0\.\.4.*do they begin at 1\? try label - 1"),
        ({"label": LABEL - 1}, r"label runs from -1 to 3: expected 0\.\.4, as apply gives 5 logits$"),
        ({"label": jnp.ones(3)}, r"label is float32: expected integers.*astype"),
        ({"label": jax.nn.one_hot(LABEL, 5)}, r"label has shape \[3, 5\]: expected \[3\].*argmax"),
        ({"x": X[0], "label": LABEL[:1]}, r"label has shape \[1\]: expected \[2\].*x\[None\]"),
        ({"x": (255 * X).astype(np.uint8)}, r"x is uint8: expected floats in \[0, 1\]; try .*/ 255"),
        ({"x": 255 * X}, r"x has pixels from .* expected \[0, 1\]; divide by 255"),
        ({"x": 2 * X - 1}, r"x has pixels from -.* expected \[0, 1\]; undo the normalisation"),
        ({"x": X.at[0, 0, 0, 0].set(jnp.nan)}, "x has pixels that are NaN"),
        ({"x": X[:0], "label": LABEL[:0]}, r"x has shape \[0, 2, 2, 1\]: expected at least one image"),
        (
            {"apply": lambda w, x: (linear(w, x), w)},
            r"a tuple of 2; expected logits \[3, K\].*lambda v, x: f\(v, x\)\[0\]",
        ),
        ({"apply": lambda w, x: {"out": linear(w, x)}}, r"a dict of out; .*lambda v, x: f\(v, x\)\['out'\]"),
        (
            {"apply": lambda w, x: linear(w, x)[:, 0]},
            r"shape \[3\]; expected logits \[3, K\] of two classes.*jnp\.stack",
        ),
        ({"apply": lambda w, x: linear(w, x)[:, :1]}, r"shape \[3, 1\]; expected .* of two classes or more"),
        ({"apply": lambda w, x: linear(w, x).T}, r"shape \[5, 3\]; .* one row an image"),
        (
            {"apply": lambda w, x: linear(w, x - x.mean(axis=0, keepdims=True))},
            r"rest of the batch; .* module\.eval\(\)",
        ),
        ({"apply": softmax}, "these are probabilities; expected logits; leave out the softmax"),
        ({"apply": lambda w, x: linear(w, x) / 0}, "3 of 3 images have logits that are not finite"),
        ({"apply": lambda w, x: linear(w, x).astype(jnp.bfloat16)}, r"dtype bfloat16; expected float32"),
        ({"keys": KEYS[0]}, r"keys: one key came, expected 3 keys, .*try jax.random.split\(jax.random.key\(0\), 3\)"),
        ({"keys": KEYS[:2]}, r"keys of shape \[2\] came, expected 3 keys"),
        ({"keys": 0}, r"keys: 0 came, expected 3 keys"),
    ],
)
def test_what_gives_numbers_without_meaning_is_refused(changes, message):
    with pytest.raises(ValueError, match=message) as error:
        arguments.check(W, **GIVEN | changes)
    assert "\n" not in str(error.value)


def test_good_arguments_pass_and_so_do_rounding_points_of_a_layer_and_numpy():
    arguments.check(W, **GIVEN)
    arguments.check(np.asarray(W), np.asarray(X) * 1.000001, np.asarray(LABEL), apply=linear)
    arguments.check(W, 9 * X.reshape(3, 4), LABEL, apply=linear)
    for keys in (KEYS, jax.random.split(jax.random.PRNGKey(0), 3)):
        arguments.check(W, **GIVEN, keys=keys)
    arguments.check_keys(KEYS[0], None)
    arguments.check_levels("sigmas", [0.1])


def test_nothing_is_looked_at_under_transformations_but_labels_that_are_at_hand():
    """What a compiled program is given may be anything; labels and images in a closure are looked at once."""
    wrong, others = functools.partial(arguments.check, apply=linear), LABEL + 9
    jax.jit(lambda w, x, label: wrong(w, x, label))(W, 255 * X, LABEL + 9)
    jax.jit(lambda w, x: wrong(w, x, LABEL))(W, 255 * X)
    with pytest.raises(UserError, match="label runs from 9"):
        jax.jit(lambda w: wrong(w, X, others))(W)
    with pytest.raises(UserError, match="these are probabilities"):  # all of it at hand, though under jit
        arguments.check(W, X, LABEL, apply=softmax)
    jax.jit(lambda unused: arguments.check(W, X, LABEL, apply=linear))(0.0)


@pytest.mark.parametrize(
    ("epsilon", "norm", "message"),
    [
        (8, "linf", r"epsilon=8: expected 0 <= epsilon <= 1 \(linf\).*did you mean 8/255\?"),
        (-0.1, "linf", "epsilon=-0.1: .*drop the minus sign"),
        (np.array([0.1, 2.1, 0.1]), "l2", r"epsilon=2.1: expected 0 <= epsilon <= 2 \(l2\)"),
        (float("nan"), "linf", "epsilon=nan"),
    ],
)
def test_radii_beyond_any_image_are_refused(epsilon, norm, message):
    with pytest.raises(UserError, match=message):
        arguments.check_radius(epsilon, norm, X)
    arguments.check_radius(jnp.array([0.0, 0.5, 1.0]), norm, X)


def test_members_that_are_not_stacked_are_refused():
    with pytest.raises(UserError, match=r"a list of leaves \[\[4, 5\], \[5\]\]: expected members stacked"):
        map_members(lambda w: w, [W, W[0]])
    with pytest.raises(UserError, match="a dict of leaves"):
        map_members(lambda w: w, {})


BALL = {"norm": "linf", "epsilon": 0.1}
CALLS = {
    "flatness": lambda x, label: flatness.flatness(KEYS, W, x, label, apply=linear, sigmas=jnp.ones(1), num_trials=2),
    "worst_case": lambda x, label: worst_case.worst_case(KEYS, W, x, label, apply=linear, norm="linf", rho=0.1),
    "linearity": lambda x, label: linearity.linearity(KEYS, W, x, label, apply=linear, norm="linf", rho=0.1),
    "curvature": lambda x, label: curvature.curvature(KEYS, W, x, label, apply=linear),
    "weight_sharpness": lambda x, label: weight_sharpness.weight_sharpness(
        KEYS[0], W, x, label, apply=linear, sigmas=jnp.ones(1), num_draws=4
    ),
    "profile": lambda x, label: barrier.profile(W, paths.line(x, x[::-1]), label, paths.grid(3), apply=linear),
    "run": lambda x, label: recipes.run("fgsm", KEYS, W, x, label, apply=linear, **BALL),
    "audit": lambda x, label: audit.audit(
        KEYS,
        W[None],
        np.asarray(x),
        np.asarray(label),
        apply=linear,
        budget=Budget(**BALL, step_size=0.1, num_steps=1),
        how=Mapping(),
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_what_a_notebook_calls_looks_at_its_arguments(name):
    with pytest.raises(UserError, match="label runs from 1 to 5"):
        CALLS[name](X, LABEL + 1)
    with pytest.raises(UserError, match="x has pixels"):
        CALLS[name](3 * X - 1, LABEL)
    if name not in ("weight_sharpness", "profile"):  # these draw nothing of their own for each image
        with pytest.raises(UserError, match=r"keys of shape \[3\] came, expected 2 keys"):
            CALLS[name](X[:2], LABEL[:2])


def test_levels_are_a_list_one_key_is_one_and_a_misspelt_word_is_answered():
    for levels in (0.1, jnp.array(0.1), jnp.zeros((2, 2)), ()):
        with pytest.raises(UserError, match=r"sigmas.*: expected levels \[L\].*jnp.array"):
            arguments.check_levels("sigmas", levels)
    with pytest.raises(UserError, match=r"keys of shape \[3\] came, expected one key"):
        weight_sharpness.weight_sharpness(KEYS, W, X, LABEL, apply=linear, sigmas=jnp.ones(1), num_draws=4)
    with pytest.raises(UserError, match=r"pgd with eps=: .*; did you mean epsilon\?"):
        recipes.run("pgd", KEYS, W, X, LABEL, apply=linear, norm="linf", eps=0.1)


def test_radii_are_looked_at_where_they_are_given():
    for name in ("pgd", "fgsm"):
        with pytest.raises(UserError, match="did you mean 8/255"):
            recipes.run(name, KEYS, W, X, LABEL, apply=linear, norm="linf", epsilon=8)
    with pytest.raises(UserError, match="drop the minus sign"):
        worst_case.worst_case(KEYS, W, X, LABEL, apply=linear, norm="linf", rho=-0.1)
