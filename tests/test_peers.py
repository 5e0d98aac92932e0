"""Beside PyTorch and Foolbox: the ports are the same networks, and equal attacks find equally much.

Needs the `peers` extra; run with -m peers.
"""

from functools import partial

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
import pytest
import xarray as xr

from landscape import data, objectives
from landscape.attacks import projected
from landscape.measures.flatness import flatness
from landscape.measures.weight_sharpness import weight_sharpness
from landscape.models import classifiers

pytestmark = pytest.mark.peers

NUM_STEPS = 40
MEAN, STD = (0.3,), (0.4,)  # of the normalisation


@pytest.fixture(scope="module")
def peers():
    """The module under test; imported late, since it takes seconds and may be missing."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("foolbox")
    from landscape.experiments.benchmark import peers

    torch.set_num_threads(1)  # threads that wait for each other crawl on a busy machine
    return peers


def network_of(name, shape, seed=0):
    """A classifier with random biases too, and ten images in [0, 1]."""
    classifier = classifiers.build(name, num_classes=10, mean=MEAN, std=STD)
    x = jax.random.uniform(jax.random.key(seed), (10, *shape))
    variables = classifier.init(jax.random.key(seed + 1), x)
    noise = jax.random.normal(jax.random.key(seed + 2), (1000,))
    variables = jax.tree.map(lambda w: w + 0.1 * noise[: w.size] if w.ndim == 1 else w, variables)
    return classifier, variables, x


@pytest.mark.parametrize("name", ["cnn", "cnn_wide"])
@pytest.mark.parametrize("shape", [(28, 28, 1), (8, 8, 1), (12, 12, 3)])
def test_port_has_the_same_logits_and_gradients(peers, name, shape):
    import torch

    classifier, variables, x = network_of(name, shape)
    label = jnp.arange(10)
    net = peers.network(name, variables, mean=MEAN, std=STD)
    (net_last,) = peers.channels_last([peers.network(name, variables, mean=MEAN, std=STD)])
    expected = np.asarray(classifier.apply(variables, x))
    assert np.abs(expected).max() > 0.5  # the comparison is about something
    for module in (net, net_last):
        np.testing.assert_allclose(module(peers.images(x)).numpy(), expected, atol=1e-4)
    images = peers.images(x).requires_grad_(True)
    torch.nn.functional.cross_entropy(net(images), torch.arange(10), reduction="sum").backward()
    gradient = jax.grad(lambda x: jnp.sum(objectives.loss(classifier.apply(variables, x), label)))(x)
    np.testing.assert_allclose(peers.arrays(images.grad), gradient, atol=1e-5)


def test_residual_port_has_the_same_logits(peers):
    """With running statistics and scales that are not 0 and 1."""
    import torch

    classifier = classifiers.build("resnet18", num_classes=10, mean=MEAN, std=STD, norm="batch", stem="imagenet")
    x = jax.random.uniform(jax.random.key(0), (3, 37, 32, 3))
    variables = classifier.init(jax.random.key(1), x)
    noise = jax.random.uniform(jax.random.key(2), (512,))
    variables = jax.tree.map(lambda w: w + 0.3 * noise[: w.size] if w.ndim == 1 else w, variables)
    net = peers.network("resnet18", variables, mean=MEAN, std=STD)
    expected = np.asarray(classifier.apply(variables, x))
    found = net(peers.images(x, turned=False)).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())
    assert np.abs(expected).std() > 0.1 and torch.is_tensor(net[1].weight)


def test_images_and_arrays_are_inverse(peers):
    x = np.random.default_rng(0).random((2, 4, 6, 3), np.float32)
    np.testing.assert_array_equal(peers.arrays(peers.images(x)), x)
    assert peers.images(x)[0, 2, 0, 0] == x[0, 3, 5, 2]  # turned by half a circle


def close_in_sems(means, other_means, sems, other_sems):
    """Two independent estimates of the same numbers: differences in units of their standard error, rarely above 4."""
    z = (means - other_means) / np.sqrt(np.square(sems) + np.square(other_sems))
    return np.mean(np.abs(z) < 4) == 1 and 0.7 < np.std(z) < 1.4


def test_input_noise_estimates_the_same_numbers(peers):
    import torch

    classifier, variables, x = network_of("cnn", (8, 8, 1))
    label = jnp.argmax(classifier.apply(variables, x), -1)
    net = peers.network("cnn", variables, mean=MEAN, std=STD)
    torch.manual_seed(0)
    theirs = peers.input_noise(
        [net], peers.images(x), [torch.from_numpy(np.array(label)).long()], sigmas=(0.1, 0.3), num_trials=300
    ).numpy()[0]
    keys = jax.random.split(jax.random.key(5), len(x))
    ours = flatness(keys, variables, x, label, apply=classifier.apply, sigmas=jnp.asarray((0.1, 0.3)), num_trials=300)
    for i, name in enumerate(("probability_drop", "loss_rise", "margin_drop")):
        sems = (np.asarray(ours[f"{name}_sem"]), theirs[:, 3 + i])
        assert close_in_sems(np.asarray(ours[name]), theirs[:, i], *sems), name
    np.testing.assert_allclose(theirs[:, 6], ours["kept"], atol=0.2)  # 5 sd of a share of 300


def test_weight_noise_estimates_the_same_numbers_and_leaves_the_weights_as_they_were(peers):
    import torch

    classifier, variables, x = network_of("cnn", (8, 8, 1))
    label = jnp.argmax(classifier.apply(variables, x), -1)
    net = peers.network("cnn", variables, mean=MEAN, std=STD)
    before = net(peers.images(x))
    torch.manual_seed(0)
    theirs = peers.weight_noise(
        [net], peers.images(x), [torch.from_numpy(np.array(label)).long()], sigmas=(0.05, 0.2), num_draws=300
    ).numpy()[0]
    assert torch.equal(net(peers.images(x)), before)
    ours = weight_sharpness(
        jax.random.key(5),
        variables,
        x,
        label,
        apply=classifier.apply,
        sigmas=jnp.asarray((0.05, 0.2)),
        num_draws=300,
    )
    for i, name in enumerate(("probability_drop", "loss_rise", "margin_drop")):
        ratio = theirs[:, 3 + i] / np.asarray(ours[f"{name}_sem"])
        assert 0.7 < ratio.min() and ratio.max() < 1.4, name
        # The draws are shared by all images, so their errors move together: no check of the spread of z.
        z = (np.asarray(ours[name]) - theirs[:, i]) / np.hypot(np.asarray(ours[f"{name}_sem"]), theirs[:, 3 + i])
        assert np.abs(z).max() < 4, name


# ---- attacks on one trained member ----


@pytest.fixture(scope="module")
def member(tmp_path_factory):
    """A `cnn` trained on the digits, and a thousand digits it gets right."""
    digits = data.load("digits", cache=tmp_path_factory.mktemp("cache"))
    classifier = classifiers.build("cnn", num_classes=10, mean=MEAN, std=STD)
    x, label = jnp.asarray(data.pixels(digits.images)), jnp.asarray(digits.labels)
    tx = optax.adam(3e-3)
    variables = classifier.init(jax.random.key(0), x[:1])

    def step(state, _):
        variables, opt_state = state
        total = lambda v: jnp.mean(objectives.loss(classifier.apply(v, x), label))  # noqa: E731
        updates, opt_state = tx.update(jax.grad(total)(variables), opt_state)
        return (optax.apply_updates(variables, updates), opt_state), None

    (variables, _), _ = jax.jit(lambda s: jax.lax.scan(step, s, None, 150))((variables, tx.init(variables)))
    right = np.flatnonzero(jnp.argmax(classifier.apply(variables, x), -1) == label)[:1000]
    assert len(right) == 1000
    return classifier, variables, x[right], label[right]


@pytest.mark.parametrize(("norm", "epsilon"), [("linf", 0.09), ("linf", 0.1), ("l2", 0.4), ("l2", 0.5)])
def test_pgd_succeeds_as_often_as_foolbox_on_the_same_member(peers, member, norm, epsilon):
    import foolbox
    import torch

    classifier, variables, x, label = member
    attack = {"linf": foolbox.attacks.LinfPGD, "l2": foolbox.attacks.L2PGD}[norm]
    budget = {"epsilon": epsilon, "step_size": epsilon / 10, "num_steps": NUM_STEPS}

    def robust(found):
        return float(jnp.mean(jnp.argmax(classifier.apply(variables, jnp.asarray(found)), -1) == label))

    @partial(jax.jit, static_argnames="start")
    def ours(keys, start):
        return projected.pgd(keys, variables, x, label, apply=classifier.apply, norm=norm, start=start, **budget)

    def theirs(model, x, label, random_start):
        found = attack(abs_stepsize=epsilon / 10, steps=NUM_STEPS, random_start=random_start)
        return found.run(model, x, foolbox.criteria.Misclassification(label), epsilon=epsilon)

    # From the image itself, on the very same function: only rounding differs.
    model = foolbox.JAXModel(jax.jit(lambda x: classifier.apply(variables, x)), (0, 1), data_format="channels_last")
    from_image = robust(theirs(model, x, label, random_start=False))
    assert 0.3 < from_image < 0.7
    assert abs(robust(ours(jax.random.split(jax.random.key(0), len(x)), start="image")) - from_image) <= 0.005

    # From random starts, whose luck moves a single run by about 0.4 points: means of three.
    torch.manual_seed(0)
    model = foolbox.PyTorchModel(peers.network("cnn", variables, mean=MEAN, std=STD), (0, 1), device="cpu")
    images, labels = peers.images(x), torch.from_numpy(np.array(label)).long()
    runs = [robust(peers.arrays(theirs(model, images, labels, random_start=True).detach())) for _ in range(3)]
    own = [robust(ours(jax.random.split(jax.random.key(i), len(x)), start="random")) for i in range(3)]
    assert abs(np.mean(own) - np.mean(runs)) <= 0.01, (own, runs)


def test_the_timed_attacks_succeed_as_often(peers, member):
    """The three ways of the benchmark's attack do the same work."""
    import torch

    classifier, variables, x, label = member
    x, label = x[:300], label[:300]
    net = peers.network("cnn", variables, mean=MEAN, std=STD)
    images, labels = peers.images(x), torch.from_numpy(np.array(label)).long()
    budget = {"epsilon": 0.1, "step_size": 0.01, "num_steps": NUM_STEPS}
    torch.manual_seed(0)
    robust = {}
    for name, run in (("loop", peers.pgd), ("foolbox", peers.foolbox_pgd)):
        (found,) = run([net], images, [labels], **budget)
        delta = (found - images).abs().amax()
        assert delta <= 0.1 + 1e-6 and found.amin() >= 0 and found.amax() <= 1
        robust[name] = float((net(found).argmax(1) == labels).float().mean())
    keys = jax.random.split(jax.random.key(1), len(x))
    ours = projected.pgd(keys, variables, x, label, apply=classifier.apply, norm="linf", **budget)
    robust["ours"] = float(jnp.mean(jnp.argmax(classifier.apply(variables, ours), -1) == label))
    assert 0.1 < robust["ours"] < 0.9
    assert max(robust.values()) - min(robust.values()) <= 0.02, robust


def test_attacks_find_as_much_as_the_best_of_foolbox(peers, member):
    """Per example best against per example best, at as many gradients; in share robust and in median distance."""

    from landscape import ensembles
    from landscape.experiments.base import described
    from landscape.experiments.benchmark import EXPERIMENT, attacks, estimates
    from landscape.experiments.benchmark.config import ATTACKERS, NORMS
    from landscape.experiments.setting import Examples

    classifier, variables, x, label = member
    images = Examples(np.asarray(x[:200]), np.asarray(label[:200]).astype(np.int32), np.arange(200))
    radius = {"linf": 0.1, "l2": 0.45}
    model = {"name": "cnn", "norm": "none", "activation": "relu"}
    own = {"attack_steps": 100, "part": "small"}
    config = ml_collections.ConfigDict({"seed": 0, "mapping": "map", "benchmark": own, "model": model})
    ensemble = ensembles.stack([variables])
    ours = attacks.ours(config, radius, classifier.apply, ensemble, images)({"member": np.arange(1)})
    theirs = attacks.theirs(config, radius, (MEAN, STD), ensemble, images, 0)
    # PGD leaves out what has fallen, and DeepFool stops when all have: fewer passes than if all went on.
    most = {"linf": 100 + 50 * 11 + 1000, "l2": 100 + 50 * 11 + 100 + 600 + 1000}
    assert (theirs["passes"] < list(most.values())).all()
    dims = ("attacker", "norm", "member", "example")
    arrays = {n: (dims, np.stack([np.asarray(ours[n]), theirs[n][:, None]])) for n in ("robust", "distance")}
    arrays["radius"] = ("norm", np.asarray([radius[norm] for norm in NORMS]))
    data = described(xr.Dataset(arrays, {"attacker": list(ATTACKERS), "norm": list(NORMS)}), EXPERIMENT.schema)
    assert (abs(data.robust.mean(["member", "example"]) - 0.5) < 0.2).all()
    table = estimates.estimate(data, config)
    checks = estimates.checks(data, table, config)
    assert len(checks) == 4 and all(check.passed for check in checks), checks


def test_the_timed_bypasses_end_in_the_same_place(peers, member):
    """Few steps of Adam, so that no pixel has met a kink on one side alone."""
    import torch

    from landscape.measures.bypass import Around, waypoints

    classifier, variables, x, _ = member
    a, b = x[:8], x[8:16]
    label = jnp.argmax(classifier.apply(variables, a), axis=-1)
    net = peers.network("cnn", variables, mean=MEAN, std=STD)
    labels = [torch.from_numpy(np.array(label)).long()]
    (theirs,) = peers.bypass([net], peers.images(a), peers.images(b), labels, num_steps=5)
    around = Around(lambda v, x, label: objectives.loss(classifier.apply(v, x), label), num_steps=5)
    ours = waypoints(variables, a, b, label, jnp.full(8, 0.5), around=around)[-1]
    gone = np.abs(np.asarray(ours) - 0.5 * (a + b))
    assert gone.max() > 0.005
    assert np.quantile(np.abs(peers.arrays(theirs) - np.asarray(ours)), 0.99) < 1e-4
