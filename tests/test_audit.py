"""The audit is green on honest attacks and flags every planted fault by a check that is green without it."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from landscape import ensembles, objectives, samplers
from landscape.attacks import audit, projected
from landscape.attacks.expectation import on_the_mean
from landscape.attacks.projected import Budget, pgd

NUM_EXAMPLES = 32
SHAPE = (4, 3, 1)
BUDGET = Budget("linf", epsilon=0.4, step_size=0.04, num_steps=20)
HOW = ensembles.Mapping("map")


# Logits: of some hundreds, and of tens of thousands, where a softmax in double precision has no gradients left.
SURE, SURER = 50.0, 5e3


def smooth(variables, x):
    """A small classifier with curvature: two dense layers and tanh, of images that it scales and shifts first."""
    flat = x.reshape(x.shape[0], -1) * variables["gain"] + variables["shift"]
    return jnp.tanh(4 * (flat - 0.5) @ variables["w"]) @ variables["v"]


def make(seed):
    key_w, key_v = jax.random.split(jax.random.fold_in(jax.random.key(0), seed))
    weights = {"w": jax.random.normal(key_w, (12, 16)), "v": jax.random.normal(key_v, (16, 3))}
    return weights | {"gain": jnp.float32(1), "shift": jnp.float32(0), "number": jnp.float32(seed)}


def audited(apply=smooth, scale=1.0, change=None, read=lambda x: x, num_members=2, budget=BUDGET, **options):
    """Checks by name, of unlike members on images whose labels are the first one's predictions.

    scale: of the logits. change: leaves of the variables that the audited members have instead. read: of the images.
    """
    members = [make(2), jax.tree.map(lambda a, b: 0.7 * a + 0.7 * b, make(2), make(3)) | {"gain": jnp.float32(1)}]
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


def batch_normalised(variables, x):
    hidden = (x.reshape(x.shape[0], -1) - 0.5) @ variables["w"]
    hidden = (hidden - jnp.mean(hidden, axis=0)[None]) / (jnp.std(hidden, axis=0)[None] + 1e-3)
    return jnp.tanh(2 * hidden) @ variables["v"]


def probabilities(variables, x):
    return jax.nn.softmax(smooth(variables, x))


def without_gradients(variables, x):
    logits = smooth(variables, x)
    return jax.lax.stop_gradient(logits) + 0.0 * logits


def without_gradients_on_some(variables, x):
    """Rounded where the first pixel is bright, as by a layer that not every image passes."""
    return jnp.where(x[:, 0, 0] > 0.67, without_gradients(variables, x), smooth(variables, x))


def without_gradients_of_one(variables, x):
    return jnp.where(variables["number"] > 2, without_gradients(variables, x), smooth(variables, x))


def misleading_on_some(variables, x):
    """There is a gradient everywhere, but where the first pixel is bright it tells nothing."""
    aside = 1e-3 * jnp.sum((x - jax.lax.stop_gradient(x)).reshape(len(x), -1), axis=1, keepdims=True)
    return jnp.where(x[:, 0, 0] > 0.67, without_gradients(variables, x) + aside * jnp.eye(3)[:1], smooth(variables, x))


# ---- faults in an attack; each takes what `pgd` takes ----


def in_a_box_from_minus_one(keys, variables, x, label, *, apply, epsilon, step_size, **budget):
    half = {"epsilon": epsilon / 2, "step_size": step_size / 2}
    turned = lambda variables, z: apply(variables, 2 * z - 1)  # noqa: E731
    return 2 * pgd(keys, variables, (x + 1) / 2, label, apply=turned, **half, **budget) - 1


def radius_of_the_other_box(keys, variables, x, label, *, epsilon, step_size, **budget):
    return pgd(keys, variables, x, label, epsilon=epsilon / 2, step_size=step_size / 2, **budget)


def a_tenth_of_the_steps(keys, variables, x, label, *, num_steps, **budget):
    return pgd(keys, variables, x, label, num_steps=num_steps // 10, **budget)


def two_steps_whatever(keys, variables, x, label, *, num_steps, **budget):
    return pgd(keys, variables, x, label, num_steps=2, **budget)


def half_of_the_steps(keys, variables, x, label, *, num_steps, **budget):
    return pgd(keys, variables, x, label, num_steps=num_steps // 2, **budget)


def within(share, keys, variables, x, label, *, epsilon, **budget):
    """A ball that is too small; steps as they are."""
    return pgd(keys, variables, x, label, epsilon=share * epsilon, **budget)


def but_one_class(keys, variables, x, label, **budget):
    """A third of the images is left where it starts."""
    return jnp.where(label[:, None, None, None] == 0, x, pgd(keys, variables, x, label, **budget))


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
    return objectives.gap(jax.nn.softmax(logits), label)


# How the audit is called where nothing is wrong.
HONEST = {
    "plain": {},
    "sure": {"scale": SURE},
    "surer": {"scale": SURER},
    "random": {"sampler": masked, "attack": on_the_mean},
}
UNIT_BOX = {"gain": jnp.float32(0.5), "shift": jnp.float32(0.5)}  # what makes [0, 1] of [-1, 1]
# Fault: the honest call it is planted in, what is changed there, the check that must fail. In the order of classifiers,
# whose programs are compiled once.
FAULTS = {
    "softmax twice: in the loss": ("sure", {"attack": partial(pgd, value_fn=softmax_twice)}, "margin_loss_agrees"),
    "gradients lost to rounding": ("sure", {"attack": partial(pgd, value_fn=cross_entropy)}, "float64_agrees"),
    "gradients lost in any precision": (
        "surer",
        {"attack": partial(pgd, value_fn=cross_entropy)},
        "margin_loss_agrees",
    ),
    "bounds [-1, 1]: of the attack's box": ("plain", {"attack": in_a_box_from_minus_one}, "inside_ball"),
    "bounds [-1, 1]: of the radius": ("plain", {"attack": radius_of_the_other_box}, "margin_loss_agrees"),
    "bounds [-1, 1]: of the classifier": ("plain", {"change": UNIT_BOX}, "inputs_in_unit_box"),
    "bounds [-1, 1]: of the images": ("plain", {"change": UNIT_BOX, "read": lambda x: 2 * x - 1}, "inputs_in_unit_box"),
    "a loop that stops early": ("plain", {"attack": a_tenth_of_the_steps}, "double_steps"),
    "a loop that always stops at two steps": ("plain", {"attack": two_steps_whatever}, "margin_loss_agrees"),
    "a loop that stops halfway": ("plain", {"attack": half_of_the_steps}, "double_steps"),
    "a ball too small: four fifths": ("plain", {"attack": partial(within, 0.8)}, "radius_is_used"),
    "a ball too small: nine tenths": ("plain", {"attack": partial(within, 0.9)}, "radius_is_used"),
    "images left out: of one class": ("plain", {"attack": but_one_class}, "radius_is_used"),
    "no gradient: on a third of the images": (
        "plain",
        {"apply": without_gradients_on_some},
        "gradients_reach_every_image",
    ),
    "no gradient: of one member": ("plain", {"apply": without_gradients_of_one}, "gradients_reach_every_image"),
    "gradients that mislead: on a third of the images": (
        "plain",
        {"apply": misleading_on_some},
        "gradient_free_finds_no_more",
    ),
    "a loss over the batch's other targets": ("plain", {"attack": over_other_targets}, "batch_independent"),
    "a random classifier attacked on one draw": ("random", {"attack": on_one_draw}, "expectation_agrees"),
    "a random classifier taken for a fixed one": ("plain", {"apply": drawn_from_the_image}, "deterministic"),
    "BatchNorm in training mode": ("plain", {"apply": batch_normalised}, "batch_independent"),
    "softmax twice: outputs are probabilities": ("sure", {"apply": probabilities}, "logits_not_probabilities"),
    "no gradient: anywhere": ("plain", {"apply": without_gradients}, "large_radius"),
}


# The others are second ways to make one of these faults; each compiles programs of its own.
QUICK = (
    "softmax twice: outputs are probabilities",
    "gradients lost to rounding",
    "bounds [-1, 1]: of the attack's box",
    "bounds [-1, 1]: of the classifier",
    "a loop that stops early",
    "a ball too small: nine tenths",
    "gradients that mislead: on a third of the images",
    "no gradient: of one member",
    "a loss over the batch's other targets",
    "a random classifier attacked on one draw",
)


def marked(names, quick):
    """All of the names, those that are not among the quick ones behind the slow marker."""
    assert set(quick) <= set(names)
    return [name if name in quick else pytest.param(name, marks=pytest.mark.slow) for name in names]


@pytest.mark.parametrize("name", marked(HONEST, ("plain", "sure")))
def test_an_honest_attack_passes(name):
    arrays, checks = honest(name)
    failed = {name: check["detail"] for name, check in checks.items() if not check["passed"]}
    assert not failed
    assert arrays["audit"][1].shape == (4, 6)
    robust = dict(zip(arrays["audit_attack"][1].tolist(), arrays["audit"][1], strict=True))
    assert robust["noise"][3] > robust["audited" if "attack" in HONEST[name] else "pgd"][3] + 0.2


@pytest.mark.parametrize("fault", marked(FAULTS, QUICK))
def test_a_planted_fault_is_flagged(fault):
    honest, planted, expected = FAULTS[fault]
    _, checks = audited(**HONEST[honest] | planted)  # without it all are green: test_an_honest_attack_passes
    assert not checks[expected]["passed"], {name: c["detail"] for name, c in checks.items() if not c["passed"]}


def test_restarts_are_told_of_attacks_that_start_anywhere():
    assert "more_restarts" in honest("plain")[1] and "more_restarts" not in audited(attack=projected.bim)[1]


@pytest.mark.parametrize("name", ["plain", "random"])
def test_progress_counts_every_search(name):
    done = []
    audited(**HONEST[name], advance=done.append)
    assert sum(done) == audit.num_searches(HONEST[name].get("sampler", samplers.fixed))


def test_epsilon_zero_gives_clean_accuracy_and_transfer_is_weaker():
    arrays, _ = honest("plain")
    robust = dict(zip(arrays["audit_attack"][1].tolist(), arrays["audit"][1], strict=True))
    assert len({float(values[0]) for values in robust.values()}) == 1 and robust["pgd"][0] < 1
    assert robust["transfer"][3] > robust["pgd"][3]


@pytest.mark.slow
def test_one_member_tells_of_no_transfer():
    arrays, checks = audited(num_members=1)
    assert arrays["audit_attack"][1].tolist() == ["noise", "fgsm", "pgd"] and arrays["audit"][1].shape == (3, 6)
    assert all("transfer" not in check["detail"] for check in checks.values())


def test_a_radius_that_tells_nothing_is_said_to(monkeypatch):
    """No image falls at any radius: attacks that agree there may be as weak as they like."""
    monkeypatch.setattr(audit, "LARGE", {"linf": 1e-5})
    _, checks = audited(num_members=1, budget=BUDGET._replace(epsilon=1e-6, step_size=1e-7))
    assert not checks["informative_radius"]["passed"] and checks["margin_loss_agrees"]["passed"]
