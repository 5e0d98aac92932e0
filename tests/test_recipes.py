"""What every named attack keeps: ball, box, epsilon 0, monotony, jit, independence of its batch, a closed form."""

import itertools
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from landscape import objectives, samplers, spaces
from landscape.attacks import projected, recipes, rules, square
from landscape.attacks.projected import on_manifold
from landscape.attacks.recipes import RECIPES, best_of, run
from landscape.search import unit

SHAPE = (6, 5, 1)
LENGTH = {"linf": spaces.linf_norm, "l2": spaces.l2_norm}
EPSILON = {"linf": 0.05, "l2": 0.15}
STEPS = {"square": 400, "cw": 150, "fmn": 200, "rap": 10, "pgn": 10}
CASES = [(name, norm) for name, recipe in RECIPES.items() for norm in recipe.norms]
NEAREST = [(name, norm) for name, norm in CASES if RECIPES[name].kind == "minimum_norm"]
BALLS = [case for case in CASES if case not in NEAREST]


def marked(cases, quick):
    """Cases of which those that are not `quick` go to the slow suite."""
    return [case if case in quick else pytest.param(*case, marks=pytest.mark.slow) for case in cases]


# Of a recipe for both norms the second one compiles the same loop again.
FIRST = [(name, norm) for name, norm in CASES if norm == RECIPES[name].norms[0]]
# Each rule of a step in its second norm; other recipes take their steps by the same rules.
RULES = [(name, "l2") for name in ("fgsm", "pgd", "mi-fgsm", "apgd-ce", "square")]
# A plane of 4 dimensions through grey, with lengths as in pixels. Encodings lie nearer to grey, so that balls around
# what is decoded stay in [0, 1].
BASIS = jnp.linalg.qr(jax.random.normal(jax.random.key(5), (30, 4)))[0]
PLANE = spaces.latent(
    lambda x: 0.5 * (x.reshape(len(x), -1) - 0.5) @ BASIS, lambda z: (0.5 + z @ BASIS.T).reshape(-1, *SHAPE)
)
NEEDED = {
    # Too little noise to turn the sign of a weight, which leaves the closed form in place.
    "sampler": lambda variables: samplers.ball(variables, 0.05, kind="multiplicative"),
    "space": PLANE,
}
# Where gradients are taken elsewhere on purpose, the closed form needs the identity.
PLAIN = {"di-fgsm": {"smallest": 1.0}, "rap": {"num_inner": 3}, "pgn": {"num_near": 2}}


def linear(variables, x):
    return x.reshape(x.shape[0], -1) @ variables["w"] + variables["b"][None, :]


def smooth(variables, x):
    """Curved, with four classes."""
    return jnp.tanh(3 * (x.reshape(x.shape[0], -1) - 0.5) @ variables["w"]) @ variables["v"]


@cache
def make_linear(num_examples=5):
    """Two opposite classes, and two that are never predicted; images far from the edges of the box."""
    w = jax.random.normal(jax.random.key(0), (30,))
    variables = {"w": jnp.stack([w, -w, 0 * w, 0 * w], axis=1), "b": jnp.asarray([0.0, 0.0, -10.0, -11.0])}
    x = jax.random.uniform(jax.random.key(1), (num_examples, *SHAPE), minval=0.35, maxval=0.65)
    return variables, x, jnp.argmax(linear(variables, x), -1)


@cache
def make_smooth(num_examples=6):
    key_w, key_v, key_x = jax.random.split(jax.random.key(3), 3)
    variables = {"w": jax.random.normal(key_w, (30, 12)), "v": jax.random.normal(key_v, (12, 4))}
    x = jax.random.uniform(key_x, (num_examples, *SHAPE))
    return variables, x, jnp.argmax(smooth(variables, x), -1)


def keys_for(num_examples):
    return jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(7), jnp.arange(num_examples))


def attack(name, norm, variables, x, label, *, apply, epsilon=None, **more):
    ball = {"epsilon": EPSILON[norm] if epsilon is None else epsilon} if (name, norm) in BALLS else {}
    options = ball | {"num_steps": STEPS.get(name, 20), "norm": norm, "apply": apply} | more
    options |= {needed: NEEDED[needed] for needed in RECIPES[name].needs}
    return run(name, keys_for(len(x)), variables, x, label, **options)


FIXED = ("apply", "num_steps", "num_targets", "smallest", "num_inner", "num_near")
found_by = jax.jit(attack, static_argnums=(0, 1), static_argnames=FIXED)  # of every test, so that none compiles twice


def origin(name, x):
    """Where the ball of a recipe has its middle."""
    return PLANE.decode(PLANE.encode(x)) if RECIPES[name].kind == "latent" else x


@pytest.mark.parametrize(("name", "norm"), marked(CASES, FIRST))
def test_an_attack_stays_in_ball_and_box_whatever_its_batch(name, norm):
    variables, x, label = make_smooth()
    go = partial(found_by, name, norm, apply=smooth, num_steps=3)
    z = go(variables, x, label)
    assert z.dtype == x.dtype and 0 <= float(z.min()) and float(z.max()) <= 1
    if (name, norm) in BALLS:
        assert float(LENGTH[norm](z - origin(name, x)).max()) <= EPSILON[norm] + 1e-6
    assert not np.array_equal(z, x)
    others = go(variables, x.at[1::2].set(1 - x[1::2]), label.at[1::2].set((label[1::2] + 1) % 4))
    np.testing.assert_array_equal(others[::2], z[::2])


@pytest.mark.parametrize(("name", "norm"), marked(BALLS, FIRST + RULES))
def test_on_a_linear_classifier_the_end_is_known_at_every_radius(name, norm):
    """The margin falls by epsilon times the dual norm of its gradient. Square, without gradients, comes near."""
    variables, x, label = make_linear()
    more = PLAIN.get(name, {})
    go = lambda epsilon: found_by(name, norm, variables, x, label, apply=linear, epsilon=epsilon, **more)  # noqa: E731
    # A decoder's product rounds differently with and without jit.
    decoded = RECIPES[name].kind == "latent"
    np.testing.assert_allclose(go(0.0), origin(name, x), rtol=0, atol=1e-6 if decoded else 0)
    w = np.asarray(variables["w"][:, 0] - variables["w"][:, 1], np.float64)
    w = np.asarray(BASIS.T) @ w if decoded else w
    before, last = objectives.margin(linear(variables, origin(name, x)), label), 0.0
    for radius in (0.5 * EPSILON[norm], EPSILON[norm]):
        most = radius * (np.abs(w).sum() if norm == "linf" else np.linalg.norm(w))
        fell = before - objectives.margin(linear(variables, go(radius)), label)
        assert (fell > last).all()
        last = fell
        if name == "square":
            # L2: squares of at least 3 x 3 do not follow weights that are independent from pixel to pixel.
            assert (fell > {"linf": 0.8, "l2": 0.6}[norm] * most).all() and (fell <= 1.0001 * most).all()
        else:
            # Steps of 2.5 epsilon in all do not turn a random start on the sphere quite into the gradient's direction.
            np.testing.assert_allclose(fell, most, rtol=0.03 if norm == "l2" and name in ("pgd", "eot") else 1e-3)


@pytest.mark.parametrize(("name", "norm"), NEAREST)
def test_on_a_linear_classifier_the_nearest_is_known(name, norm):
    """The distance to the boundary is the margin over the dual norm of its gradient."""
    variables, x, label = make_linear()
    go = partial(found_by, name, norm, variables, x, apply=linear)
    z = go(label)
    w = np.asarray(variables["w"][:, 0] - variables["w"][:, 1], np.float64)
    margin = np.asarray(objectives.margin(linear(variables, x), label))
    expected = margin / (np.abs(w).sum() if norm == "linf" else np.linalg.norm(w))
    assert (objectives.margin(linear(variables, z), label) < 0).all()
    allowed = {"deepfool": 1.03, "fmn": 1.02, "cw": 1.05}[name]  # its overshoot is 2 %; steps that end; a weight's grid
    assert (LENGTH[norm](z - x) >= 0.9999 * expected).all() and (LENGTH[norm](z - x) <= allowed * expected).all()
    wrong = (label + 1) % 2  # never the class of its image: nothing is to be done
    np.testing.assert_array_equal(go(wrong), x)


ONE_TARGET = {"apgd-dlr-targeted": {"num_targets": 1}, "multi-targeted": {"num_steps": 9}}


@pytest.mark.parametrize("name", ONE_TARGET)
def test_of_few_targets_those_come_first_that_the_image_is_taken_for_next(name):
    """The second of four classes is near, the others far: one target finds what all of them would."""
    slopes = jnp.asarray([0.0, 1.0, 0.0, -1.0])  # what leads to the last class leads away from the second
    variables = {"w": jnp.ones((30, 4)) * slopes[None], "b": jnp.asarray([0.0, -15.5, -10.0, -5.0])}
    x, label = jnp.full((2, *SHAPE), 0.5), jnp.zeros(2, jnp.int32)
    np.testing.assert_allclose(linear(variables, x)[0], [0.0, -0.5, -10.0, -20.0], atol=1e-4)
    z = found_by(name, "linf", variables, x, label, apply=linear, **ONE_TARGET[name])
    assert (jnp.argmax(linear(variables, z), axis=-1) == 1).all()  # 30 pixels of 0.05 are 1.5 logits


@jax.jit
def smooth_ten(variables, x):
    """Ten smooth logits."""
    return jnp.sin(3 * x.reshape(len(x), -1) @ variables["w"]) @ variables["v"]


@pytest.mark.parametrize(
    ("num_steps", "planned", "toward_label"),
    [
        (50, [(9, 1), (4, 4), (2, 12)], False),
        (50, [(9, 1), (4, 4), (2, 12)], True),
        pytest.param(17, [(3, 2), (2, 5)], False, marks=pytest.mark.slow),
    ],
)
def test_each_image_goes_on_toward_the_classes_that_it_has_come_nearest_to(num_steps, planned, toward_label):
    """All targets of two restarts one by one, those that an image gives up no longer counted."""
    key_w, key_v, key_x = jax.random.split(jax.random.key(5), 3)
    variables = {"w": jax.random.normal(key_w, (30, 12)), "v": jax.random.normal(key_v, (12, 10))}
    x, keys, radius = jax.random.uniform(key_x, (24, *SHAPE)), keys_for(24), EPSILON["linf"]
    order = jnp.argsort(smooth_ten(variables, x), axis=-1)[:, ::-1]
    label, sign, n = order[:, 0], -1 if toward_label else 1, sum(steps for _, steps in planned)
    said = lambda z, t: objectives.logit(smooth_ten(variables, z), t)  # noqa: E731
    lost = lambda z: -sign * np.asarray(objectives.margin(smooth_ten(variables, z), label))  # noqa: E731

    @partial(jax.jit, static_argnames="steps")
    def ascend(own, start, target, first, steps):
        lead = lambda _, z, t: sign * (said(z, t) - said(z, label))  # noqa: E731
        step = lambda k: radius * (1 + jnp.cos(jnp.pi * (first + k) / n))  # noqa: E731
        ball = {"norm": "linf", "epsilon": radius, "step_size": step, "num_steps": steps}
        return projected.attack(own, variables, x, target, objective=lead, start=start, **ball)

    found = []  # (round, what is lost [T, N])
    for restart in range(2):
        own, count, first = spaces.fold(keys, restart), planned[0][0], 0
        z = [spaces.random_start(spaces.fold(own, i), x, radius, norm="linf") for i in range(count)]
        alive = np.ones((count, len(x)), dtype=bool)
        for number, (count, steps) in enumerate(planned):
            if number:
                alive = np.argsort(np.argsort(-found[-1][1], axis=0), axis=0) < count
            z = [ascend(own, start, order[:, 1 + i], first, steps) for i, start in enumerate(z)]
            found.append((number, np.where(alive, [lost(end) for end in z], -np.inf)))
            first += steps
    given = {"apply": smooth_ten, "norm": "linf", "epsilon": radius, "num_steps": num_steps, "num_restarts": 2}
    ended = jax.jit(partial(projected.multi_targeted, **given))(keys, variables, x, label, toward_label=toward_label)
    most = np.stack([values.max(axis=0) for _, values in found])
    np.testing.assert_allclose(lost(ended), most.max(axis=0), atol=1e-4)
    # Each of these decides about some image: a restart, a round, another target than the first.
    winners = most.argmax(axis=0)
    assert {*(winners // len(planned))} == {0, 1}
    assert len({*np.asarray([values.argmax(axis=0) for _, values in found])[winners, np.arange(len(x))]}) > 1


def test_a_schedule_of_noise_goes_on_from_round_to_round_and_no_draw_is_used_in_two_steps():
    """Rounds of 3 x 4 and 2 x 9 steps."""
    variables, x, label = make_smooth()
    steps, draws = [], []

    def counted(variables):
        def at(step, source):
            jax.debug.callback(lambda k: steps.append(int(k)), step)
            return source

        def draw(key, source):
            jax.debug.callback(lambda bits: draws.append(bits.tobytes()), jax.random.key_data(key))
            return source

        return samplers.Sampler(draw, variables, at)

    more = {"apply": smooth, "norm": "linf", "epsilon": 0.1, "num_steps": 31, "sampler": counted}
    jax.block_until_ready(projected.multi_targeted(keys_for(6), variables, x, label, **more))
    jax.effects_barrier()
    assert sorted(steps) == sorted([*range(4)] * 3 + [*range(4, 13)] * 2)
    assert len(draws) == len(steps) and len({*draws}) == 13  # shared by the targets of a round


def test_rounds_spend_what_they_may():
    assert projected.rounds(50, 9) == [(9, 1), (4, 4), (2, 12)] and projected.rounds(5, 9) == [(1, 5)]
    assert projected.rounds(100, 1) == [(1, 100)] and projected.rounds(31, 3) == [(3, 4), (2, 9)]
    for num_steps, others in itertools.product(range(1, 300), (1, 2, 3, 4, 9, 99, 199)):
        planned = projected.rounds(num_steps, others)
        spent = sum(count * steps for count, steps in planned)
        assert 0.9 * num_steps <= spent <= num_steps and min(steps for _, steps in planned) >= 1
        assert planned[-1][0] == min(2, planned[0][0]) and planned[0][0] <= others
    with pytest.raises(ValueError, match="num_steps=0: expected at least 1; try 50"):
        projected.rounds(0, 9)


@pytest.mark.parametrize(
    "name",
    [
        name if name in ("pgd", "multi-targeted", "pgn") else pytest.param(name, marks=pytest.mark.slow)
        for name in RECIPES
        if "key" in RECIPES[name].takes
    ],
)
def test_another_key_draws_anew(name):
    """Classifiers at random, where the attack has no draws of its own."""
    variables, x, label = make_smooth()
    own = name in ("di-fgsm", "pgn") or RECIPES[name].needs
    more = {"apply": smooth, "num_steps": 3} | ({} if own else {"sampler": NEEDED["sampler"]})
    one, same, other = (attack(name, "linf", variables, x, label, key=jax.random.key(k), **more) for k in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_momentum_sums_gradients_each_over_its_l1_norm(norm):
    """m <- m + g / |g|_1: a second gradient of a hundredth the size weighs as much as the first."""
    g = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 1, 1)), jnp.float32)
    rule = rules.momentum(norm, 0.1)
    first, state = rule.update(-g, rule.init(g))
    np.testing.assert_allclose(first, 0.1 * unit(g, norm), rtol=1e-5)
    other = -0.01 * jnp.roll(g, 1, axis=1)
    second, _ = rule.update(-other, state)
    size = jnp.sum(jnp.abs(g), axis=(1, 2, 3), keepdims=True)
    np.testing.assert_allclose(second, 0.1 * unit((g + 100 * other) / size, norm), rtol=1e-4, atol=1e-7)


def test_apgd_looks_back_where_the_paper_says():
    """p = 0, 0.22, 0.41, 0.57, 0.70, 0.80, 0.87, 0.93, 0.99 of 100 steps."""
    assert rules.looks(100) == [22, 41, 57, 70, 80, 87, 93, 99]


def by_hand(f, slope, z, steps, *, epsilon, project, norm):
    """Algorithm 1 of Croce & Hein 2020 for one example, in a plain loop: (points, step sizes)."""
    eta, previous, at, best, highest = 2 * epsilon, z, z, z, -np.inf
    value, rises, looked, last_highest, halved = -np.inf, 0, 0, -np.inf, False
    points, sizes = [], []
    for k in range(steps):
        now = f(at)
        rises += k > 0 and now > value
        value, last_highest = now, last_highest if k else now
        if now > highest:
            best, highest = at, now
        if k in rules.looks(steps):
            if rises < 0.75 * (k - looked) or (not halved and highest == last_highest):
                eta, at, value, halved = eta / 2, best, highest, True
            else:
                halved = False
            rises, looked, last_highest = 0, k, highest
        g = slope(at)
        ahead = project(at + eta * (np.sign(g) if norm == "linf" else g / np.linalg.norm(g)))
        alpha = 0.75 if k else 1.0
        previous, at = at, project(at + alpha * (ahead - at) + (1 - alpha) * (at - previous))
        points.append(at)
        sizes.append(eta)
    return np.stack(points), np.asarray(sizes)


# Norm, start, radius, and f(z) = sum of -w (z - c)^2 / 2 + a sin(8 z): some looks halve the step and some do not, and
# without the second condition the sizes would be others.
BUMPY = [
    ("linf", (0.26, 0.32), 0.22, (0.5, 5.3), (0.48, 0.21), 0.242),
    ("l2", (0.49, 0.61), 0.43, (0.3, 11.1), (0.82, 0.68), 0.284),
]


@pytest.mark.parametrize(("norm", "start", "epsilon", "weight", "centre", "height"), BUMPY)
def test_apgd_is_the_published_algorithm_step_by_step(norm, start, epsilon, weight, centre, height):
    """Points and step sizes of every step, in double precision."""
    with jax.enable_x64(True):
        start, weight, centre, steps = np.asarray(start), np.asarray(weight), np.asarray(centre), 60
        f = lambda z: np.sum(-0.5 * weight * (z - centre) ** 2 + height * np.sin(8 * z))  # noqa: E731
        slope = lambda z: -weight * (z - centre) + 8 * height * np.cos(8 * z)  # noqa: E731
        origin = jnp.asarray(start)[None]
        project = lambda z: np.asarray(spaces.pixels(norm).project(jnp.asarray(z)[None], origin, epsilon))[0]  # noqa: E731
        points, sizes = by_hand(f, slope, start, steps, epsilon=epsilon, project=project, norm=norm)
        rule = rules.apgd(norm, epsilon, steps, origin)
        update = jax.jit(lambda g, state, z, value: rule.update(g, state, z, value=value))
        z, state = origin, rule.init(origin)
        for k in range(steps):
            value, g = f(np.asarray(z[0])), slope(np.asarray(z[0]))
            moved, state = update(-jnp.asarray(g)[None], state, z, -jnp.asarray(value)[None])
            z = z + moved
            np.testing.assert_allclose(z[0], points[k], atol=1e-9, err_msg=f"step {k}")
            np.testing.assert_allclose(state.step_size[0], sizes[k], rtol=1e-12, err_msg=f"step {k}")
    kept = np.asarray([sizes[w] == sizes[w - 1] for w in rules.looks(steps) if w < steps])
    assert kept.any() and not kept.all()


def test_the_scaled_margin_does_not_move_with_the_logits():
    logits = jax.random.normal(jax.random.key(0), (5, 6))
    label, target = jnp.argmax(logits, -1), jnp.argmin(logits, -1)
    for value in (partial(objectives.scaled_margin, label=label), lambda z: objectives.scaled_lead(z, (label, target))):
        np.testing.assert_allclose(value(logits), value(7 * logits + 3), rtol=1e-4)
    ordered = jnp.sort(logits, axis=-1)[:, ::-1]
    np.testing.assert_allclose(
        objectives.scaled_margin(logits, label),
        (ordered[:, 0] - ordered[:, 1]) / (ordered[:, 0] - ordered[:, 2]),
        rtol=1e-5,
    )
    lead = (ordered[:, -1] - ordered[:, 0]) / (ordered[:, 0] - 0.5 * (ordered[:, 2] + ordered[:, 3]))
    np.testing.assert_allclose(objectives.scaled_lead(logits, (label, target)), lead, rtol=1e-5)


def test_squares_shrink_as_published():
    found = square.sides(28, 28, 10_000)
    assert found[0] == 25 and found[-1] == 1 and (np.diff(found) <= 0).all()
    assert found[5000] == max(1, round((0.8 / 2**7 * 784) ** 0.5))
    odd = square.sides(28, 28, 10_000, norm="l2")
    assert odd[0] == 25 and odd[-1] == 3 and all(side % 2 for side in odd)


def test_a_bump_is_nested_rectangles_of_opposite_signs():
    """n = 2: rings of 1/9, 1/9 + 1/4, 1/9 + 1/4 + 1 from the edge in; half as wide, the middle columns alone."""
    ring = np.cumsum([1 / 9, 1 / 4, 1])
    np.testing.assert_allclose(square.nested(5, 5)[2], ring[[0, 1, 2, 1, 0]])
    np.testing.assert_allclose(square.nested(5, 5), square.nested(5, 5).T)
    np.testing.assert_allclose(square.nested(5, 2)[:, 1], ring[[0, 1, 2, 1, 0]])
    bump = square.bump(5)
    assert (bump[:, :2] > 0).all() and (bump[:, 2:] < 0).all()
    np.testing.assert_allclose(np.linalg.norm(bump), 1.0)


def test_moved_mass_spends_the_radius_exactly_and_empties_one_window():
    """From a perturbation that is too short: the length asked for, 0 in one window, unchanged outside of both."""
    shape = (9, 7, 3)
    corner = jnp.zeros(shape[:2]).at[:3, :3].set(jnp.asarray(square.bump(3), jnp.float32))
    go = jax.jit(lambda key, delta, epsilon: square.moved_mass(key, delta, epsilon, corner, 3))
    for number in range(6):
        key, key_delta = jax.random.split(jax.random.key(number))
        delta = jax.random.normal(key_delta, shape)
        epsilon = 1.3 * jnp.linalg.norm(delta)
        moved = np.asarray(go(key, delta, epsilon))
        np.testing.assert_allclose(np.linalg.norm(moved), epsilon, rtol=1e-5)
        changed, emptied = (moved != delta).any(axis=-1), (moved == 0).all(axis=-1)
        assert 9 <= changed.sum() <= 18 and changed.sum() - emptied.sum() == 9


def test_the_best_of_several_is_never_worse_than_any():
    variables, x, label = make_smooth(24)
    options = {"apply": smooth, "norm": "linf", "epsilon": 0.03, "num_steps": 5}
    margin = lambda z: objectives.margin(smooth(variables, z), label)  # noqa: E731
    names = ("fgsm", "pgd")
    best = margin(jax.jit(lambda keys: best_of(names, keys, variables, x, label, **options))(keys_for(24)))
    each = [
        margin(run(name, spaces.fold(keys_for(24), i), variables, x, label, **options)) for i, name in enumerate(names)
    ]
    np.testing.assert_allclose(best, np.minimum(*each), atol=1e-5)


def test_what_is_refused():
    variables, x, label = make_linear()
    ask = partial(run, keys=keys_for(5), variables=variables, x=x, label=label, apply=linear)
    with pytest.raises(ValueError, match="attack='gpd': expected one of fgsm"):
        ask("gpd", norm="linf", epsilon=0.1)
    with pytest.raises(ValueError, match="norm='linf' with cw: expected l2"):
        ask("cw", norm="linf")
    for name in ("rap", "pgn"):  # whose radius and step are those of single pixels
        with pytest.raises(ValueError, match=f"norm='l2' with {name}: expected linf"):
            ask(name, norm="l2", epsilon=0.1)
    with pytest.raises(ValueError, match="expected a radius for attacks in a ball"):
        ask("pgd", norm="linf")
    with pytest.raises(ValueError, match="eot without sampler: expected one; give sampler="):
        ask("eot", norm="linf", epsilon=0.1)
    with pytest.raises(ValueError, match="on-manifold without space"):
        ask("on-manifold", norm="l2", epsilon=0.1)
    assert set(recipes.STRONG) <= set(RECIPES) and all(r.source for r in RECIPES.values())


def test_in_a_hidden_layer_the_head_is_what_is_searched():
    """h = tanh(3 (x - 1/2) w), logits h v: a step along the gradient of the logits with respect to h, whatever w."""
    variables, x, label = make_smooth()
    features = lambda x: jnp.tanh(3 * (x.reshape(len(x), -1) - 0.5) @ variables["w"])  # noqa: E731
    head = lambda variables, h: h @ variables["v"]  # noqa: E731
    options = {"apply": head, "space": spaces.hidden(features), "epsilon": 0.2, "step_size": 0.2, "num_steps": 1}
    found = on_manifold(keys_for(len(x)), variables, x, label, norm="l2", **options)
    gradient = jax.grad(lambda h: -jnp.sum(objectives.log_odds(head(variables, h), label)))(features(x))
    expected = 0.2 * gradient / jnp.linalg.norm(gradient, axis=1, keepdims=True)
    np.testing.assert_allclose(found - features(x), expected, atol=1e-5)
