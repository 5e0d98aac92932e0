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
from sklearn.neighbors import NearestNeighbors

from landscape import data, ensembles, objectives
from landscape.attacks import projected
from landscape.experiments.base import described
from landscape.experiments.benchmark import EXPERIMENT, attacks, estimates, races
from landscape.experiments.benchmark.config import ATTACKERS, NORMS
from landscape.experiments.setting import Examples
from landscape.measures import surface
from landscape.measures.curvature import curvature
from landscape.measures.flatness import flatness
from landscape.measures.neighbors import nearest
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
    torch.manual_seed(0)
    return peers


def arrays(x):
    """The way back from `peers.images`."""
    return np.ascontiguousarray(x.detach().numpy().transpose(0, 2, 3, 1)[:, ::-1, ::-1])


def classes(label):
    """As PyTorch has them."""
    import torch

    return torch.from_numpy(np.array(label)).long()


def port(peers, variables, name="cnn"):
    return peers.network(name, variables, mean=MEAN, std=STD)


def network_of(name, shape, num=10, spread=0.1, **architecture):
    """A classifier with random biases (and scales and running statistics) too, and images in [0, 1]."""
    classifier = classifiers.build(name, num_classes=10, mean=MEAN, std=STD, **architecture)
    x = jax.random.uniform(jax.random.key(0), (num, *shape))
    variables = classifier.init(jax.random.key(1), x)
    noise = jax.random.uniform(jax.random.key(2), (1000,))  # positive, as variances are
    variables = jax.tree.map(lambda w: w + spread * noise[: w.size] if w.ndim == 1 else w, variables)
    return classifier, variables, x


@pytest.mark.parametrize("name", ["cnn", "cnn_wide"])
@pytest.mark.parametrize("shape", [(28, 28, 1), (8, 8, 1), (12, 12, 3)])
def test_port_has_the_same_logits_and_gradients(peers, name, shape):
    import torch

    classifier, variables, x = network_of(name, shape)
    label = jnp.arange(10)
    net = port(peers, variables, name)
    expected = np.asarray(classifier.apply(variables, x))
    assert np.abs(expected).max() > 0.5  # the comparison is about something
    images = peers.images(x).requires_grad_(True)
    torch.nn.functional.cross_entropy(net(images), torch.arange(10), reduction="sum").backward()
    gradient = jax.grad(lambda x: jnp.sum(objectives.loss(classifier.apply(variables, x), label)))(x)
    np.testing.assert_allclose(arrays(images.grad), gradient, atol=1e-5)
    for module in (net, net.to(memory_format=torch.channels_last)):
        np.testing.assert_allclose(module(images).detach().numpy(), expected, atol=1e-4)


def test_residual_port_has_the_same_logits(peers):
    """With running statistics and scales that are not 0 and 1."""
    about = {"norm": "batch", "stem": "imagenet"}
    classifier, variables, x = network_of("resnet18", (37, 32, 3), num=3, spread=0.3, **about)
    expected = np.asarray(classifier.apply(variables, x))
    found = port(peers, variables, "resnet18")(peers.images(x, turned=False)).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())
    assert np.abs(expected).std() > 0.1


def test_noise_estimates_the_same_numbers_and_leaves_the_weights_as_they_were(peers):
    """Of 300 draws: means and their standard errors."""
    import torch

    classifier, variables, x = network_of("cnn", (8, 8, 1))
    label = jnp.argmax(classifier.apply(variables, x), -1)
    net, images, labels = port(peers, variables), peers.images(x), [classes(label)]
    before, about = net(images), {"apply": classifier.apply}
    theirs = peers.input_noise([net], images, labels, sigmas=(0.1, 0.3), num_trials=300).numpy()[0]
    keys, sigmas = jax.random.split(jax.random.key(5), len(x)), jnp.asarray((0.1, 0.3))
    ours = flatness(keys, variables, x, label, sigmas=sigmas, num_trials=300, **about)
    np.testing.assert_allclose(theirs[:, 6], ours["kept"], atol=0.2)  # 5 sd of a share of 300
    weight = peers.weight_noise([net], images, labels, sigmas=(0.05, 0.2), num_draws=300).numpy()[0]
    assert torch.equal(net(images), before)
    sigmas = jnp.asarray((0.05, 0.2))
    own = weight_sharpness(jax.random.key(5), variables, x, label, sigmas=sigmas, num_draws=300, **about)
    for kind, found, expected in (("input", theirs, ours), ("weight", weight, own)):
        for i, name in enumerate(("probability_drop", "loss_rise", "margin_drop")):
            sems = np.asarray(expected[f"{name}_sem"]), found[:, 3 + i]
            # Ours of weights are of opposite draws: at most 2^0.5 times those of independent ones, or far smaller.
            low, high = (0.5, np.inf) if kind == "weight" else (0.7, 1.4)
            assert low < (sems[1] / sems[0]).min() and (sems[1] / sems[0]).max() < high, (kind, name)
            # Draws of weights are shared by all images, so their errors move together: no check of the spread of z.
            z = (np.asarray(expected[name]) - found[:, i]) / np.hypot(*sems)
            assert np.abs(z).max() < 4 and (kind == "weight" or 0.7 < np.std(z) < 1.4), (kind, name)


def test_curvature_is_the_same(peers):
    """Twelve steps reach all eigenvalues of ReLU logits of ten classes, 64 probes of 64 pixels have the trace."""
    classifier, variables, x = network_of("cnn", (8, 8, 1))
    label = jnp.argmax(classifier.apply(variables, x), -1)
    options = {"num_steps": 12, "num_probes": 64}
    theirs = peers.curvature([port(peers, variables)], peers.images(x), [classes(label)], **options).numpy()[0]
    keys = jax.random.split(jax.random.key(5), len(x))
    about = {"apply": classifier.apply, "piecewise_linear": True}  # as the race has it
    ours = curvature(keys, variables, x, label, **about, **options)
    for i, prefix in enumerate(("", "probability_")):
        size = np.abs(ours[f"{prefix}hessian_top"]).max()
        assert size > 1e-3
        for j, part in enumerate(("top", "bottom", "trace")):
            np.testing.assert_allclose(theirs[3 * i + j], ours[f"{prefix}hessian_{part}"], atol=1e-3 * size, rtol=1e-3)


def test_surfaces_are_the_same_at_every_point(peers):
    import torch

    classifier, variables, x = network_of("cnn", (8, 8, 1), num=3)
    label, at = jnp.asarray([0, 3, 9]), surface.grid(5)
    planes = jax.vmap(surface.through)(x, x[::-1], jnp.roll(x, 1, axis=1))
    ours = surface.surfaces(variables, planes, jnp.asarray(at), label, apply=classifier.apply)
    directions = [peers.images(one) for one in (planes.first, planes.second)]
    plane = {"plane": directions, "radius": torch.from_numpy(np.array(jax.vmap(surface.radius)(planes)))}
    for how in (torch.contiguous_format, torch.channels_last):
        images, net = peers.images(x).contiguous(memory_format=how), port(peers, variables).to(memory_format=how)
        log_odds, decision = peers.surface([net], images, [classes(label)], at=torch.from_numpy(at), **plane)
        np.testing.assert_allclose(log_odds[0], ours.log_odds, atol=1e-3)
        assert np.mean(decision[0].numpy() == ours.decision) > 0.95


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


def robust(member, found):
    """Share of the images found that keep their label."""
    classifier, variables, _, label = member
    return float(jnp.mean(jnp.argmax(classifier.apply(variables, jnp.asarray(found)), -1) == label[: len(found)]))


@pytest.mark.parametrize(("norm", "epsilon"), [("linf", 0.1), ("l2", 0.45)])
def test_pgd_succeeds_as_often_as_foolbox_on_the_same_member(peers, member, norm, epsilon):
    import foolbox

    classifier, variables, x, label = member
    attack = {"linf": foolbox.attacks.LinfPGD, "l2": foolbox.attacks.L2PGD}[norm]
    budget = {"epsilon": epsilon, "step_size": epsilon / 10, "num_steps": NUM_STEPS}

    @partial(jax.jit, static_argnames="start")
    def ours(seed, start):
        keys = jax.random.split(jax.random.key(seed), len(x))
        return projected.pgd(keys, variables, x, label, apply=classifier.apply, norm=norm, start=start, **budget)

    def theirs(model, x, label, random_start):
        found = attack(abs_stepsize=epsilon / 10, steps=NUM_STEPS, random_start=random_start)
        return found.run(model, x, foolbox.criteria.Misclassification(label), epsilon=epsilon)

    # From the image itself, on the very same function: only rounding differs.
    model = foolbox.JAXModel(jax.jit(lambda x: classifier.apply(variables, x)), (0, 1), data_format="channels_last")
    from_image = robust(member, theirs(model, x, label, random_start=False))
    assert 0.3 < from_image < 0.7
    assert abs(robust(member, ours(0, start="image")) - from_image) <= 0.005

    # From random starts, whose luck moves a single run by about 0.4 points: means of three.
    model = foolbox.PyTorchModel(port(peers, variables), (0, 1), device="cpu")
    images, labels = peers.images(x), classes(label)
    runs = [robust(member, arrays(theirs(model, images, labels, random_start=True))) for _ in range(3)]
    own = [robust(member, ours(i, start="random")) for i in range(3)]
    assert abs(np.mean(own) - np.mean(runs)) <= 0.01, (own, runs)


def test_the_timed_attacks_succeed_as_often(peers, member):
    """The three ways of the benchmark's attack do the same work."""
    classifier, variables, x, label = member
    x, label = x[:300], label[:300]
    images, budget = peers.images(x), {"epsilon": 0.1, "step_size": 0.01, "num_steps": NUM_STEPS}
    keys, about = jax.random.split(jax.random.key(1), len(x)), {"apply": classifier.apply, "norm": "linf"}
    shares = [robust(member, projected.pgd(keys, variables, x, label, **about, **budget))]
    assert 0.1 < shares[0] < 0.9
    for run in (peers.pgd, peers.foolbox_pgd):
        (found,) = run([port(peers, variables)], images, [classes(label)], **budget)
        assert (found - images).abs().amax() <= 0.1 + 1e-6 and found.amin() >= 0 and found.amax() <= 1
        shares.append(robust(member, arrays(found)))
    assert max(shares) - min(shares) <= 0.02, shares


def test_attacks_find_as_much_as_the_best_of_foolbox(peers, member):
    """Per example best against per example best, at as many gradients; in share robust and in median distance."""
    classifier, variables, x, label = member
    images = Examples(np.asarray(x[:200]), np.asarray(label[:200]).astype(np.int32), np.arange(200))
    radius = {"linf": 0.1, "l2": 0.45}
    about = {"benchmark": {"attack_steps": 100, "part": "small"}, "model": {"name": "cnn"}}
    config = ml_collections.ConfigDict({"seed": 0, "mapping": "map"} | about)
    ensemble = ensembles.stack([variables])
    ours = attacks.ours(config, radius, classifier.apply, ensemble, images)({"member": np.arange(1)})
    theirs = attacks.theirs(config, radius, (MEAN, STD), ensemble, images, 0)
    # PGD leaves out what has fallen, and DeepFool stops when all have: fewer passes than if all went on.
    assert (theirs["passes"][:, 0] < [100 + 50 * 11 + 1000, 100 + 50 * 11 + 100 + 600 + 1000]).all()
    dims = ("attacker", "norm", "member", "example")
    found = {name: (dims, np.stack([np.asarray(ours[name]), theirs[name]])) for name in ("robust", "distance")}
    found["radius"] = ("norm", [radius[norm] for norm in NORMS])
    both = described(xr.Dataset(found, {"attacker": list(ATTACKERS), "norm": list(NORMS)}), EXPERIMENT.schema)
    assert (abs(both.robust.mean(["member", "example"]) - 0.5) < 0.2).all()
    checks = estimates.checks(both, estimates.estimate(both, config), config)
    assert len(checks) == 4 and all(check.passed for check in checks), checks


# ---- nearest neighbours ----


@pytest.fixture(scope="module")
def clouds():
    """60,000 points, 10,000 queries, and the 10 nearest points of the first 100 queries in float64."""
    rng = np.random.default_rng(0)
    points, queries = (rng.normal(size=(count, 512)).astype(np.float32) for count in (60_000, 10_000))
    wide = points.astype(np.float64)
    far = np.square(wide).sum(axis=1) - 2 * queries[:100].astype(np.float64) @ wide.T
    return points, queries, np.argsort(far, axis=1)[:, :10]


@pytest.fixture(params=["landscape", "faiss", "scikit-learn"])
def search(request, clouds):
    """() -> the neighbours of all queries by one library; it has run once."""
    points, queries, _ = clouds
    if request.param == "landscape":
        program = races.compiler(True)(partial(nearest, k=10))
        run = lambda: np.asarray(program(queries, points)[1])  # noqa: E731
    elif request.param == "faiss":
        index = pytest.importorskip("faiss").IndexFlatL2(512)
        index.add(points)
        run = lambda: index.search(queries, 10)[1]  # noqa: E731
    else:
        index = NearestNeighbors(n_neighbors=10, algorithm="brute").fit(points)
        run = lambda: index.kneighbors(queries, return_distance=False)  # noqa: E731
    run()
    return run


@pytest.mark.filterwarnings("ignore")  # of faiss
def test_neighbours_are_those_of_float64(search, clouds):
    """What --durations=0 shows as the time of the call is that of the search alone."""
    assert (search()[:100] == clouds[2]).mean() > 0.999
