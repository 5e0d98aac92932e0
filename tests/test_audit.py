"""The audit is green on honest attacks and flags every planted fault by a check that is green without it."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from landscape import ensembles, objectives, samplers
from landscape.attacks import audit, projected
from landscape.attacks.audit import Found, beyond
from landscape.attacks.projected import Budget, on_the_mean, pgd

NUM_EXAMPLES = 32
SHAPE = (4, 3, 1)
BUDGET = Budget("linf", epsilon=0.4, step_size=0.04, num_steps=20)
HOW = ensembles.Mapping("map")


FIXED = {"gain": np.float32(1), "order": np.arange(12, dtype=np.int32)}  # not all that a classifier has are weights
SURE = 50.0  # of logits: some hundreds


def smooth(variables, x):
    """Two dense layers and tanh, of pixels that it orders, scales and shifts, and a common part of all logits."""
    flat = x.reshape(x.shape[0], -1)[:, variables["order"]] * variables["gain"] + variables["shift"]
    return jnp.tanh(4 * (flat - 0.5) @ variables["w"]) @ variables["v"] + variables["common"]


def make(seed):
    key_w, key_v = jax.random.split(jax.random.fold_in(jax.random.key(0), seed))
    weights = {"w": jax.random.normal(key_w, (12, 16)), "v": jax.random.normal(key_v, (16, 3))}
    return weights | FIXED | {"shift": jnp.float32(0), "common": jnp.float32(0), "number": jnp.float32(seed)}


def audited(apply=smooth, scale=1.0, change=None, read=lambda x: x, num_members=2, budget=BUDGET, **options):
    """Checks by name, of unlike members on images whose labels are the first one's predictions.

    scale: of the logits. change: leaves of the variables that the audited members have instead. read: of the images.
    """
    members = [make(2), jax.tree.map(lambda a, b: 0.7 * a + 0.7 * b, make(2), make(3)) | FIXED]
    x = jax.random.uniform(jax.random.key(7), (NUM_EXAMPLES, *SHAPE))
    label = np.asarray(jnp.argmax(smooth(members[0], x), -1))
    members = [m | {"v": scale * m["v"]} | (change or {}) for m in members[:num_members]]
    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(8), jnp.arange(NUM_EXAMPLES))
    arrays, checks = audit.audit(
        keys, ensembles.stack(members), np.asarray(read(x)), label, apply=apply, budget=budget, how=HOW, **options
    )
    return arrays, {check["name"].removeprefix("audit."): check for check in checks}


@cache
def honest(name):
    """Nothing is wrong: (arrays, checks by name)."""
    return audited(**HONEST[name])


# ---- random classifiers ----


def masked(variables):
    """Sees a random half of the pixels: what is gained on one draw is lost on the next."""

    def draw(key, variables):
        seen = jax.random.bernoulli(key, 0.5, (12,)).astype(jnp.float32)
        return variables | {"w": variables["w"] * (2 * seen)[:, None]}

    return samplers.Sampler(draw, variables)


def on_one_draw(keys, variables, x, label, *, sampler, key, **budget):
    return pgd(keys, sampler(variables).draw(key, variables), x, label, **budget)


def drawn_from_the_image(variables, x):
    """A pure function, random all the same: noise on the weights from the image's bits."""

    def one(image):
        bits = jax.lax.bitcast_convert_type(jnp.sum(image).astype(jnp.float32), jnp.uint32)
        return smooth(samplers.perturb(jax.random.key(bits), variables, 0.5, kind="multiplicative"), image[None])[0]

    return jax.vmap(one)(x)


# ---- faults in a classifier or in its images ----


def probabilities(variables, x):
    return jax.nn.softmax(smooth(variables, x))


def without_gradients(variables, x):
    logits = smooth(variables, x)
    return jax.lax.stop_gradient(logits) + 0.0 * logits


def without_gradients_of_one(variables, x):
    return jnp.where(variables["number"] > 2, without_gradients(variables, x), smooth(variables, x))


def misleading_on_some(variables, x):
    """There is a gradient everywhere, but where the first pixel is bright it says nothing."""
    aside = 1e-3 * jnp.sum((x - jax.lax.stop_gradient(x)).reshape(len(x), -1), axis=1, keepdims=True)
    return jnp.where(x[:, 0, 0] > 0.67, without_gradients(variables, x) + aside * jnp.eye(3)[:1], smooth(variables, x))


# ---- faults in an attack; each takes what `pgd` takes ----


def in_a_box_from_minus_one(keys, variables, x, label, *, apply, epsilon, step_size, **budget):
    half = {"epsilon": epsilon / 2, "step_size": step_size / 2}
    turned = lambda variables, z: apply(variables, 2 * z - 1)  # noqa: E731
    return 2 * pgd(keys, variables, (x + 1) / 2, label, apply=turned, **half, **budget) - 1


def three_steps(keys, variables, x, label, *, num_steps, **budget):
    return pgd(keys, variables, x, label, num_steps=3 * num_steps // BUDGET.num_steps, **budget)


def thorough(keys, variables, x, label, *, num_steps, num_restarts, **budget):
    return pgd(keys, variables, x, label, num_steps=4 * num_steps, num_restarts=8, **budget)


def nine_tenths(keys, variables, x, label, *, epsilon, **budget):
    """A ball that is too small."""
    return pgd(keys, variables, x, label, epsilon=0.9 * epsilon, **budget)


def over_other_targets(keys, variables, x, label, *, apply, **budget):
    """The loss of image i summed over targets j != i, as where [N, 1] and [N] are broadcast."""

    def objective(variables, z, label):
        logits = apply(variables, z)
        every = jax.vmap(lambda own: objectives.loss(logits, jnp.full_like(label, own)))(label)  # [target, image]
        return jnp.sum(every * (1 - jnp.eye(len(label))), axis=0)

    return projected.attack(keys, variables, x, label, objective=objective, **budget)


def cross_entropy(logits, label):
    return jnp.take_along_axis(jax.nn.log_softmax(logits), label[:, None], axis=-1)[:, 0]


def softmax_twice(logits, label):
    return objectives.log_odds(jax.nn.softmax(logits), label)


# How the audit is called where nothing is wrong.
HONEST = {"plain": {}, "sure": {"scale": SURE}, "random": {"sampler": masked, "attack": on_the_mean}}
HONEST |= {"another attack": {"attack": thorough}}
UNIT_BOX = {"gain": jnp.float32(0.5), "shift": jnp.float32(0.5)}  # what makes [0, 1] of [-1, 1]
# Fault: the honest call it is planted in, what is changed there, the check that must fail. In the order of classifiers,
# whose programs are compiled once.
FAULTS = {
    "softmax twice: in the loss": (
        "sure",
        {"attack": partial(pgd, value_fn=softmax_twice)},
        "minimum_norm_finds_no_more",
    ),
    "gradients lost to rounding": ("sure", {"attack": partial(pgd, value_fn=cross_entropy)}, "float64_agrees"),
    "bounds [-1, 1]: of the attack's box": ("plain", {"attack": in_a_box_from_minus_one}, "inside_ball"),
    "bounds [-1, 1]: of the classifier": ("plain", {"change": UNIT_BOX}, "inputs_in_unit_box"),
    "three steps": ("plain", {"attack": three_steps}, "targeted_finds_no_more"),
    "a common part of all logits": ("plain", {"change": {"common": jnp.float32(1e6)}}, "logits_keep_their_digits"),
    "a ball too small: nine tenths": ("plain", {"attack": nine_tenths}, "radius_is_used"),
    "no gradient: of one member": ("plain", {"apply": without_gradients_of_one}, "gradients_reach_every_image"),
    "no gradient: anywhere": ("plain", {"apply": without_gradients}, "large_radius"),
    "gradients that mislead on a third of the images": (
        "plain",
        {"apply": misleading_on_some},
        "gradient_free_finds_no_more",
    ),
    "a loss over the batch's other targets": ("plain", {"attack": over_other_targets}, "batch_independent"),
    "a random classifier attacked on one draw": ("random", {"attack": on_one_draw}, "expectation_agrees"),
    "a random classifier taken for a fixed one": ("plain", {"apply": drawn_from_the_image}, "deterministic"),
    "softmax twice: outputs are probabilities": ("sure", {"apply": probabilities}, "logits_not_probabilities"),
}
# Compile programs of their own.
SLOW = ("random", "another attack", "softmax twice: in the loss", "no gradient: anywhere")
SLOW += ("a random classifier taken for a fixed one", "a loss over the batch's other targets")
SLOW += ("gradients that mislead on a third of the images", "no gradient: of one member")
SLOW += ("a random classifier attacked on one draw", "bounds [-1, 1]: of the attack's box")


def marked(names):
    return [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in names]


@pytest.mark.parametrize("name", marked(HONEST))
def test_an_honest_attack_passes(name):
    arrays, checks = honest(name)
    failed = {name: check["detail"] for name, check in checks.items() if not check["passed"]}
    assert not failed
    assert arrays["audit"][1].shape == (4, 7)
    robust = dict(zip(arrays["audit_attack"][1].tolist(), arrays["audit"][1], strict=True))
    own = robust["audited" if "attack" in HONEST[name] else "multi-targeted"]
    half = int(np.argmin(np.abs(own - own[0] / 2)))
    assert robust["noise"][half] > own[half] + 0.2 and robust["transfer"][half] > own[half]
    if name == "plain":
        assert len({float(values[0]) for values in robust.values()}) == 1 and own[0] < 1  # radius 0 is clean accuracy


@pytest.mark.parametrize("fault", marked(FAULTS))
def test_a_planted_fault_is_flagged(fault):
    honest, planted, expected = FAULTS[fault]
    _, checks = audited(**HONEST[honest] | planted)  # without it all are green: test_an_honest_attack_passes
    assert not checks[expected]["passed"], {name: c["detail"] for name, c in checks.items() if not c["passed"]}


@pytest.mark.slow
def test_restarts_are_compared_for_attacks_that_start_anywhere():
    assert "more_restarts" in honest("plain")[1] and "more_restarts" not in audited(attack=projected.bim)[1]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["plain", "random"])
def test_progress_counts_every_search(name):
    done = []
    audited(**HONEST[name], advance=done.append)
    assert sum(done) == audit.num_searches(HONEST[name].get("sampler", samplers.fixed))


@pytest.mark.slow
def test_one_member_has_no_transfer():
    arrays, checks = audited(num_members=1)
    assert arrays["audit_attack"][1].tolist() == ["noise", "fgsm", "multi-targeted"] and arrays["audit"][1].shape == (
        3,
        7,
    )
    assert all("transfer" not in check["detail"] for check in checks.values())


def test_a_radius_at_which_nothing_falls_is_reported(monkeypatch):
    """No image falls at any radius: attacks that agree there may be as weak as they like."""
    monkeypatch.setattr(audit, "LARGE", {"linf": 1e-5})
    _, checks = audited(budget=BUDGET._replace(epsilon=1e-6, step_size=1e-7))
    assert not checks["informative_radius"]["passed"] and checks["targeted_finds_no_more"]["passed"]


# ---- comparisons, on made-up results: members [S] of which the first so many images fall ----


def fallen(shares, num_examples):
    """Right [S, N] of members of which the first so many images fall."""
    return np.stack([(np.arange(num_examples) >= share * num_examples).astype(float) for share in shares])


def test_a_difference_is_beyond_the_tolerance_where_its_whole_interval_is():
    """Of two members only images vary: 4 of 100, or 1 of 20, may be chance; 7 of 100 are not."""
    for share, num_examples, expected in ((0.04, 100, False), (0.07, 100, True), (0.07, 1000, True), (0.05, 20, False)):
        fell = 1 - fallen([share, share], num_examples)
        assert beyond(fell) == expected and not beyond(-fell), (share, num_examples)
    assert not beyond(1 - fallen([0.012] * 8, 1000))  # 0.012 -+ 0.007


def test_how_often_chance_flags_what_is_as_good_as_allowed_and_what_is_not():
    """300 audits of 8 members and 128 images, each missed with a chance of its own: 1 and 8 % on average."""
    rng = np.random.default_rng(0)
    for mean, low, high in ((audit.TOLERANCE, 0.0, 0.025), (0.08, 0.95, 1.0)):
        chances = rng.beta(2 * mean, 2 * (1 - mean), (300, 1, 128))
        missed = (rng.random((300, 8, 128)) < chances).astype(float)
        assert low <= np.mean([beyond(one) for one in missed]) <= high, mean


def test_one_member_of_many_is_seen_where_the_mean_says_nothing():
    """The interval over 8 members is 0.0375 -+ 0.09; that of the one is 0.3 -+ 0.13."""
    fell = 1 - fallen([0.3] + [0] * 7, 100)
    assert beyond(fell) and not beyond(fell - 0.3)


def test_the_radius_that_leaves_half_is_between_two_that_were_tried():
    assert audit.half_robust([0.0, 1.0, 2.0, 4.0], [0.8, 0.8, 0.6, 0.2]) == pytest.approx(3.0)
    assert audit.half_robust([0.0, 1.0, 2.0], [0.8, 0.7, 0.6]) == 2
    assert audit.half_robust([0.0, 1.0, 2.0], [0.8, 0.2, 0.4]) == pytest.approx(2 / 3)  # a rise is for another check


@pytest.mark.parametrize(("share", "expected"), [(0.0, True), (0.04, True), (0.15, False)])
def test_precisions_agree_in_both_directions(share, expected):
    less, more = fallen([0, 0], 100), fallen([share, share], 100)
    for ours, theirs in ((less, more), (more, less)):
        pair = (Found(0.2, jnp.zeros(()), ours), Found(0.1, jnp.zeros(()), ours))
        assert audit.float64_agrees(pair, (ours, theirs))["passed"] == expected


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize(("share", "expected"), [(1.0, True), (0.9, False)])
def test_the_radius_is_used_where_nobody_is_fooled(norm, share, expected):
    """Perturbations of one pixel by 0.2 of two members. Images whose first pixel passes 0.69 fall."""
    x = jnp.full((10, 2, 2, 1), 0.5)
    delta = jnp.zeros((2, 10, 2, 2, 1)).at[:, :, 0, 0, 0].set(0.2)
    right = lambda z: np.asarray(z[:, :, 0, 0, 0] <= 0.69).astype(float)  # noqa: E731
    found = x[None] + share * delta
    check = audit.radius_used(x, Found(0.2, found, right(found)), right, norm)
    assert check["passed"] == expected
    fell = 0.0 if share == 1 else 100.0
    assert f"carried on to it {fell:.1f} %" in check["detail"], check
    # Whoever is fooled already needs no more of it.
    check = audit.radius_used(x, Found(0.2, found, np.zeros((2, 10))), right, norm)
    assert check["passed"]


def test_one_image_of_one_member_without_a_gradient_is_found():
    """One pixel that moves is a gradient."""
    x = jnp.full((50, 2, 2, 1), 0.5)
    stepped = jnp.stack([x, x]).at[:, :, 0, 1, 0].set(0.6)
    assert audit.gradients_reach(x, stepped)["passed"]
    check = audit.gradients_reach(x, stepped.at[1, 7].set(0.5))
    assert not check["passed"] and "1.0 % of the examples, of the worst member 2.0 %" in check["detail"]
