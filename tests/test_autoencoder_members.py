"""Autoencoders are trained by the loop that trains classifiers: the same promises hold."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_training import DATASET, config_of, same

from landscape import ensembles, presets, runs
from landscape.models import autoencoders
from landscape.training import artifacts
from landscape.training import autoencoder_members as members
from landscape.training.autoencoder_members import Described, Hyper, Perception

SHAPE = (4, 4, 1)


def config(tmp_path, **changes):
    found = config_of(tmp_path)
    found.experiment = "autoencoders"
    found.autoencoder = presets.autoencoder("digits", smoke=True)
    found.autoencoder.batch_size = 16
    found.update_from_flattened_dict(changes)
    return found


def described(family="ae", *, num_epochs=3, sources=("", ""), **options):
    model = autoencoders.build(family, SHAPE, dim=3, widths=(8,), **options)
    about = {"family": family, "dim": 3, **options}
    return Described(f"image.{family}", about, model, SHAPE, observe, (), sources, num_epochs)


def observe(context, x):
    return x


def had(tmp_path, name, one, **changes):
    settings = config(tmp_path, **changes)
    with runs.open_run(settings, tmp_path / name) as run:
        return members.ensemble(run, settings, DATASET, one)


@pytest.mark.slow
def test_a_sweep_that_the_loss_does_not_have_trains_one_member(tmp_path, monkeypatch):
    trained = []
    whole = artifacts.train_together

    def counted(run, dataset, task, every, about, chosen, keep, **options):
        trained.append(list(chosen))
        return whole(run, dataset, task, every, about, chosen, keep, **options)

    monkeypatch.setattr(artifacts, "train_together", counted)
    both, curves = had(tmp_path, "run", described("ae"), **{"autoencoder.sweep.beta": (0.5, 4.0)})
    assert trained == [[0, 1]] and curves["train_loss"].shape[0] == 4
    same(ensembles.take(both, slice(0, 2)), ensembles.take(both, slice(2, 4)))
    had(tmp_path, "again", described("ae"), **{"autoencoder.beta": 7.0})
    assert len(trained) == 1  # found


@pytest.mark.slow
def test_a_codebook_is_carried_and_saved(tmp_path):
    one = described("vq", num_codes=8)
    trained, _ = had(tmp_path, "run", one)
    before = jax.vmap(one.autoencoder.init, (0, None))(jax.random.split(jax.random.key(0), 2), jnp.zeros((1, *SHAPE)))
    moved = jnp.abs(trained["codebook"].codes - before["codebook"].codes).max(axis=(1, 2))
    assert moved.min() > 1e-3
    assert isinstance(trained["codebook"], type(before["codebook"]))
    again, _ = had(tmp_path, "again", one)
    same(trained, again)


@pytest.mark.slow
def test_a_hidden_layer_is_seen_through_each_members_context(tmp_path):
    """Points are scaled by the context: members with other contexts get other weights, and see only their own."""
    model = autoencoders.build("ae", (16,), dim=3, widths=(8,), pixels=False)

    def stretched(context, x):
        return x.reshape(x.shape[0], -1) * context

    def at(scales):
        context = jnp.asarray(scales, jnp.float32)
        sources = tuple(str(scale) for scale in scales)
        return Described("h", {"family": "ae"}, model, (16,), stretched, context, sources, 3)

    (both, curves), (other, _) = (had(tmp_path / str(i), "run", at(s)) for i, s in enumerate(((1.0, 2.0), (1.0, 5.0))))
    same(ensembles.take(both, 0), ensembles.take(other, 0))
    kernels = [np.asarray(e["params"]["encoder"]["out"]["kernel"][1]) for e in (both, other)]
    assert np.abs(kernels[0] - kernels[1]).max() > 1e-4
    # The score is the mean squared error of the points, on validation images.
    x = jnp.asarray(DATASET.images[DATASET.splits["validation"]]) / 255
    points = stretched(2.0, x)
    variables = ensembles.take(both, 1)
    error = jnp.mean(jnp.square(model.decode(variables, model.encode(variables, points)) - points))
    np.testing.assert_allclose(curves["validation_mse"][1, -1], error, rtol=1e-5)


def test_hash_is_of_everything_the_weights_depend_on_and_nothing_else(tmp_path):
    def hash_of(one=None, number=0, **changes):
        settings = config(tmp_path, **changes)
        member = members.members_of(settings)[number]
        return artifacts.identity_hash(members.identity(settings, DATASET, one or described(), member))

    base = hash_of()
    assert hash_of(num_members=9) == hash_of(mapping="vmap") == base
    assert hash_of(**{"autoencoder.sweep.beta": (0.5,)}) == base  # the same value, swept or not
    swept = {"learning_rate": "ae", "weight_decay": "ae"}
    swept |= {name: family for family, names in autoencoders.WEIGHED.items() for name in names}
    assert set(swept) == set(Hyper._fields) - {"perceptual"}
    others = []
    for name, family in swept.items():
        one = described(family, num_codes=8) if family == "vq" else described(family)
        others += [hash_of(one), hash_of(one, **{f"autoencoder.{name}": 0.123})]
        idle = next(n for n in autoencoders.Penalties._fields if n not in autoencoders.WEIGHED.get(family, ()))
        assert hash_of(one, **{f"autoencoder.{idle}": 0.123}) == others[-2]
    assert len(set(others)) == len(swept) + len(set(swept.values()))
    others = [other for other in set(others) if other != base]
    others += [hash_of(number=1), hash_of(**{"autoencoder.batch_size": 8}), hash_of(described(num_epochs=4))]
    others += [hash_of(described(sources=("x", ""))), hash_of(seed=1)]
    assert len({base, *others}) == 1 + len(others)


def uneven(context, x):
    """Activations [N, 16] that see the first pixels more than the last ones, or less where `context` is negative."""
    return x.reshape(x.shape[0], -1) * jnp.exp(context * jnp.linspace(1.0, -1.0, 16))[None]


def perceived(sources=("a", "b"), layer="conv2", context=(3.0, -3.0)):
    perception = Perception(layer, uneven, sources)
    return described()._replace(perception=perception, context=jnp.asarray(context))


@pytest.mark.slow
def test_the_perceptual_term_belongs_to_members_that_have_a_weight(tmp_path):
    """Swept beside 0, the member without it is bit for bit the one of a run without; each sees its own classifier."""
    plain, _ = had(tmp_path / "a", "plain", described())
    swept, _ = had(
        tmp_path / "b",
        "swept",
        perceived(context=(3.0, -3.0, 3.0, -3.0)),
        **{"autoencoder.sweep.perceptual": (0.0, 0.5)},
    )
    same(ensembles.take(swept, slice(0, 2)), plain)
    kernels = np.asarray(swept["params"]["decoder"]["out"]["kernel"])
    assert np.abs(kernels[2:] - kernels[:2]).max() > 1e-3
    other, _ = had(tmp_path / "c", "other", perceived(context=(3.0, 3.0)), **{"autoencoder.perceptual": 0.5})
    same(ensembles.take(other, 0), ensembles.take(swept, 2))
    assert np.abs(np.asarray(other["params"]["decoder"]["out"]["kernel"][1]) - kernels[3]).max() > 1e-4


def test_identity_with_the_perceptual_term_has_the_classifiers(tmp_path):
    def hash_of(one, weight, number=0):
        settings = config(tmp_path, **{"autoencoder.perceptual": weight})
        return artifacts.identity_hash(members.identity(settings, DATASET, one, members.members_of(settings)[number]))

    base = hash_of(described(), 0.0)
    assert hash_of(perceived(), 0.0) == base  # off: what the classifiers are does not matter
    assert hash_of(described(), 0.5) == base  # of a hidden layer
    on = [perceived(), perceived(sources=("c", "b")), perceived(layer="conv3")]
    assert len({base, *(hash_of(one, 0.5) for one in on), hash_of(on[0], 0.6)}) == 5
    assert hash_of(perceived(sources=("a", "c")), 0.5) == hash_of(on[0], 0.5)
