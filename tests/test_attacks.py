"""Attacks in a ball on linear classifiers in closed form, and populations by their definitions."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from landscape import objectives, populations, samplers, spaces
from landscape.attacks import projected, rules
from landscape.attacks.projected import Budget

SHAPE = (4, 3, 1)


def linear(variables, x):
    return x.reshape(x.shape[0], -1) @ variables["w"] + variables["b"][None, :]


def smooth(variables, x):
    """A small classifier with curvature: two dense layers and tanh."""
    return jnp.tanh(4 * (x.reshape(x.shape[0], -1) - 0.5) @ variables["w"]) @ variables["v"]


def make_linear(num_examples=6, num_classes=3, seed=0):
    key_w, key_x = jax.random.split(jax.random.key(seed))
    variables = {"w": jax.random.normal(key_w, (12, num_classes)), "b": jnp.zeros(num_classes)}
    x = jax.random.uniform(key_x, (num_examples, *SHAPE), minval=0.3, maxval=0.7)
    return variables, x, jnp.argmax(linear(variables, x), -1)


def make_smooth(num_examples=16, seed=0):
    """A trained-like smooth classifier: labels are its own predictions, except for two examples."""
    key_w, key_v, key_x = jax.random.split(jax.random.key(seed), 3)
    variables = {"w": jax.random.normal(key_w, (12, 16)), "v": jax.random.normal(key_v, (16, 3))}
    x = jax.random.uniform(key_x, (num_examples, *SHAPE))
    label = jnp.argmax(smooth(variables, x), -1)
    return variables, x, label.at[:2].set((label[:2] + 1) % 3)


def keys_for(num_examples, seed=1):
    return jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(seed), jnp.arange(num_examples))


def two_class(seed=0):
    variables, x, _ = make_linear(num_classes=2, seed=seed)
    return variables, x, jnp.argmax(linear(variables, x), -1)


def rise(variables):
    """L1 norm of the gradient of the margin of a two-class linear model: logits lost per pixel of sign step."""
    return float(jnp.abs(variables["w"][:, 0] - variables["w"][:, 1]).sum())


def compiled(fn):
    return jax.jit(lambda *arrays, **options: fn(*arrays, **options), static_argnames=FIXED)


FIXED = ("apply", "norm", "num_steps", "num_restarts")
fgsm, pgd, targeted_pgd = compiled(projected.fgsm), compiled(projected.pgd), compiled(projected.targeted_pgd)
first_flip, steered = compiled(projected.first_flip), compiled(projected.steered)
BALL = {"apply": linear, "norm": "linf", "epsilon": 0.1, "step_size": 0.02}


@pytest.mark.parametrize("norm", spaces.NORMS)
def test_pgd_and_boosting_move_the_margin_both_ways_from_the_same_starts(norm):
    variables, x, label = two_class()
    ball = BALL | {"norm": norm, "num_steps": 40}
    away = pgd(keys_for(6), variables, x, label, **ball)
    toward = targeted_pgd(keys_for(6), variables, x, label, **ball)
    dual = rise(variables) if norm == "linf" else float(jnp.linalg.norm(variables["w"][:, 0] - variables["w"][:, 1]))
    clean = objectives.margin(linear(variables, x), label)
    np.testing.assert_allclose(clean - objectives.margin(linear(variables, away), label), 0.1 * dual, rtol=1e-4)
    np.testing.assert_allclose(objectives.margin(linear(variables, toward), label) - clean, 0.1 * dual, rtol=1e-4)


def test_attack_does_not_stall_where_the_probability_rounds_to_one():
    """At a gap of 200 the float32 gradient of -log p is exactly zero; the log-odds keep their slope."""
    variables, x, label = two_class()
    steep = jax.tree.map(lambda a: 200.0 * a, variables)
    gap = objectives.log_odds(linear(steep, x), label)
    assert float(gap.max()) > 120
    found = pgd(keys_for(6), steep, x, label, **BALL, num_steps=40)
    moved = objectives.margin(linear(variables, x), label) - objectives.margin(linear(variables, found), label)
    np.testing.assert_allclose(moved, 0.1 * rise(variables), rtol=1e-4)


def test_first_flip_stops_at_the_boundary():
    variables, x, label = two_class()
    found = first_flip(keys_for(6), variables, x, label, **BALL | {"epsilon": 1.0}, num_steps=200)
    margin = objectives.margin(linear(variables, found), label)
    overshoot = 0.02 * rise(variables)
    assert bool((margin <= -projected.FLIP_MARGIN).all())
    assert bool((margin > -projected.FLIP_MARGIN - overshoot - 1e-4).all())


@pytest.mark.parametrize("norm", spaces.NORMS)
def test_steered_search_reaches_its_log_odds(norm):
    variables, x, _ = make_smooth()
    own = jnp.argmax(smooth(variables, x), -1)
    ball = {"apply": smooth, "norm": norm, "epsilon": 0.5, "step_size": 0.05, "num_steps": 80}
    wanted = jnp.full(16, 0.5)
    found = steered(keys_for(16), variables, x, own, wanted, **ball)
    reached = objectives.log_odds(smooth(variables, found), own)
    # The last step is 1e-3 of the first: 5e-5 pixels times a slope below 100 nats a pixel.
    np.testing.assert_allclose(reached, wanted, atol=0.02)


def test_of_restarts_the_one_that_loses_the_class_most_is_kept():
    """By the margin, whatever is raised: lower log-odds of the class need not be nearer to another prediction."""
    variables, x, label = make_smooth()
    soft = lambda variables, x: 0.02 * smooth(variables, x)  # noqa: E731  all classes count
    ball = {"apply": soft, "norm": "linf", "epsilon": 0.3, "step_size": 0.1, "num_steps": 2}
    objective = objectives.descend(soft, objectives.log_odds)
    budget = {"objective": objective} | {name: value for name, value in ball.items() if name != "apply"}
    ascend = jax.jit(lambda keys, start: projected.attack(keys, variables, x, label, start=start, **budget))
    ends = []
    for r in range(8):
        keys = spaces.fold(keys_for(16), r)
        start = spaces.random_start(keys, x, 0.3, norm="linf")
        ends.append(ascend(keys, start))
    logits = [soft(variables, z) for z in ends]
    margins, gaps = (np.stack([fn(v, label) for v in logits]) for fn in (objectives.margin, objectives.log_odds))
    assert (margins.argmin(axis=0) != gaps.argmin(axis=0)).any()
    many = pgd(keys_for(16), variables, x, label, **ball, num_restarts=8)
    np.testing.assert_allclose(objectives.margin(soft(variables, many), label), margins.min(axis=0), atol=1e-6)


def test_wrong_starts_are_refused():
    variables, x, label = two_class()
    with pytest.raises(ValueError, match="expected random or image"):
        projected.pgd(keys_for(6), variables, x, label, **BALL, num_steps=2, start="noise")
    with pytest.raises(ValueError, match="they would be the same"):
        projected.pgd(keys_for(6), variables, x, label, **BALL, num_steps=2, start="image", num_restarts=2)


@pytest.mark.parametrize("norm", spaces.NORMS)
def test_noise_has_the_norm_asked_for(norm):
    x = jnp.full((6, *SHAPE), 0.5)
    radius = jnp.linspace(0.0, 0.2, 6)
    noise = projected.equal_norm_noise(keys_for(6), x, radius, norm=norm)
    size = {"linf": spaces.linf_norm, "l2": spaces.l2_norm}[norm]
    np.testing.assert_allclose(size(noise - x), radius, atol=1e-6)
    clipped = projected.equal_norm_noise(keys_for(6), jnp.zeros((6, *SHAPE)), radius, norm=norm)
    assert float(clipped.min()) >= 0


BUDGET = Budget("linf", epsilon=0.3, step_size=0.03, num_steps=20, iso_steps=80, iso_log_odds=0.5)


@pytest.mark.parametrize("aim", [pytest.param(0.5, marks=pytest.mark.slow), "clean"])
def test_populations_obey_their_definitions(aim):
    variables, x, label = make_smooth(num_examples=24)
    budget = BUDGET._replace(iso_log_odds=aim)
    made = jax.jit(partial(populations.make, apply=smooth, budget=budget))(keys_for(24), variables, x, label)
    inputs = dict(zip(populations.INPUTS, made, strict=True))
    said = populations.outcome(variables, made, x, label, apply=smooth)
    clean = objectives.log_odds(smooth(variables, x), label)
    wanted = clean if aim == "clean" else jnp.full(24, 0.5)
    masks = {k: np.asarray(v) for k, v in populations.valid(said, label, wanted, populations.INPUTS).items()}
    assert set(masks) == set(populations.POPULATIONS)

    predicted = {name: np.asarray(jnp.argmax(smooth(variables, z), -1)) for name, z in inputs.items()}
    right = predicted["clean"] == np.asarray(label)
    np.testing.assert_array_equal(masks["genuine"], right)
    np.testing.assert_array_equal(masks["natural_error"], ~right)
    assert right.sum() == 22
    for name, mask in masks.items():
        if name not in ("genuine", "natural_error"):
            assert mask.any() and not mask[~right].any(), name
    assert (predicted["adversarial"] != np.asarray(label))[masks["adversarial"]].all()
    assert (predicted["boosted"] == np.asarray(label))[masks["boosted"]].all()
    lost = objectives.margin(smooth(variables, inputs["boundary"]), label)
    assert (np.asarray(lost)[masks["boundary"]] <= -projected.FLIP_MARGIN).all()
    for name, same_class in (("adversarial_iso", False), ("boosted_iso", True)):
        tracked = objectives.log_odds(smooth(variables, inputs[name]), jnp.asarray(predicted[name]))
        assert (np.abs(np.asarray(tracked - wanted))[masks[name]] <= populations.ISO_TOLERANCE).all()
        assert ((predicted[name] == np.asarray(label))[masks[name]] == same_class).all()
        # Searched: no steered input is the image itself, even where the image has the wanted log-odds.
        assert float(jnp.min(spaces.linf_norm(inputs[name] - x))) > 0.01
    # Clipping can only shorten a noise of the attack's own norm; the L2 one may leave the L-inf ball.
    size = dict(zip(populations.INPUTS, said.delta_l2, strict=True))
    assert bool((size["noise_l2"] <= size["adversarial"] + 1e-5).all()) and float(size["noise_l2"].min()) > 0
    for name, z in inputs.items():
        assert 0 <= float(z.min()) <= float(z.max()) <= 1, name
        assert name == "noise_l2" or float(spaces.linf_norm(z - x).max()) <= 0.3 + 1e-6, name


def test_an_example_does_not_see_its_companions():
    variables, x, label = make_smooth(num_examples=6)
    make = jax.jit(partial(populations.make, apply=smooth, budget=BUDGET._replace(num_steps=5, iso_steps=5)))
    whole = make(keys_for(6), variables, x, label)
    others = make(keys_for(6), variables, jnp.concatenate([x[:2], 1 - x[2:]]), label)
    np.testing.assert_array_equal(whole[:, :2], others[:, :2])


def test_the_search_against_noisy_weights_is_the_adversarial_one_where_there_is_no_noise():
    variables, x, label = make_smooth(num_examples=6)
    budget, key = BUDGET._replace(num_steps=5), jax.random.key(4)
    noisy = jax.jit(partial(populations.noisy, apply=smooth, budget=budget))
    own = {"norm": "linf", "epsilon": budget.epsilon, "num_steps": 5}
    made = jax.jit(partial(projected.multi_targeted, apply=smooth, **own))(
        spaces.fold(keys_for(6), 0), variables, x, label
    )
    same, other = (noisy(keys_for(6), variables, x, label, key, radius) for radius in (0.0, 0.5))
    np.testing.assert_allclose(same, made, atol=1e-6)
    assert jnp.abs(other - same).max() > 1e-3 and jnp.abs(other - x).max() <= budget.epsilon + 1e-6


def odds(w, x):
    return jnp.stack([x.reshape(x.shape[0], -1) @ w, jnp.zeros(x.shape[0])], axis=1)


def test_a_step_goes_along_the_mean_gradient_of_its_draws():
    """Log-odds w x of class 0: the gradient is w, and the mean over draws of w (1 + e) that of the step's draws."""
    w, key = jax.random.normal(jax.random.key(0), (12,)), jax.random.key(1)
    x = jax.random.uniform(jax.random.key(2), (2, *SHAPE), minval=0.4, maxval=0.6)
    noisy = lambda w: samplers.ball(w, 1.0, kind="multiplicative")  # noqa: E731
    budget = {"norm": "l2", "epsilon": 1.0, "step_size": 0.1, "num_steps": 1, "start": "image"}
    keys = jax.random.split(jax.random.key(3), 2)
    z = projected.on_the_mean(keys, w, x, jnp.zeros(2, jnp.int32), apply=odds, sampler=noisy, key=key, **budget)
    first = jax.random.fold_in(jax.random.fold_in(key, 0), 0)  # of the first start, of the first step
    drawn = np.asarray(samplers.several(noisy(w), projected.DRAWS).draw(first, noisy(w).source), np.float64)
    assert drawn.shape == (projected.DRAWS, 12) and np.ptp(drawn, axis=0).min() > 0.1
    mean = drawn.mean(axis=0)
    expected = np.broadcast_to(-0.1 * mean / np.linalg.norm(mean), (2, 12))
    np.testing.assert_allclose((z - x).reshape(2, 12), expected, atol=1e-6)


@pytest.mark.parametrize("norm", spaces.NORMS)
def test_the_radius_of_fmn_follows_its_three_rules(norm):
    """Not lost yet: to the linear boundary. Lost: a little less, or the smallest that lost. Not lost again: more."""
    origin = jnp.full((1, 2), 0.5)
    rule, gradient = rules.fmn(norm, origin, num_steps=10), jnp.array([[3.0, 4.0]])
    length, dual = (0.1, 7.0) if norm == "linf" else (np.hypot(0.1, 0.1), 5.0)
    z = origin + 0.1
    first, gamma = rule.init(z), 0.05 * 0.5 * (1 + np.cos(np.pi / 10))  # of the second step

    def radius(state, margin, at=z):
        return rule.update(gradient, state, at, value=jnp.array([margin]))[1]

    state = radius(first, 2.0)
    np.testing.assert_allclose(state.radius, length + 2.0 / dual, rtol=1e-6)
    # A pixel at 0 that would go below counts for nothing: the boundary is as far as the other one alone says.
    at_an_end = radius(rule.init(z), 2.0, jnp.array([[0.0, 0.6]]))
    own = np.hypot(0.5, 0.1) if norm == "l2" else 0.5
    np.testing.assert_allclose(at_an_end.radius, own + 2.0 / 4.0, rtol=1e-6)
    lost = radius(state, -1.0)
    np.testing.assert_allclose(lost.radius, min((length + 2.0 / dual) * (1 - gamma), length), rtol=1e-6)
    np.testing.assert_allclose(
        radius(state._replace(radius=jnp.array([0.01])), -1.0).radius, 0.01 * (1 - gamma), rtol=1e-6
    )
    again = radius(lost._replace(step=jnp.int32(1)), 0.5, origin + 0.2)
    np.testing.assert_allclose(again.radius, lost.radius * (1 + gamma), rtol=1e-6)
    np.testing.assert_allclose(again.smallest, length, rtol=1e-6)
