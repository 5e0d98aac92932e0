"""Ascents on manifolds judged by use, where reconstruction errors and distances are known: who judges whom."""

import types

import jax.numpy as jnp
import numpy as np
from whole_runs import smoke_config

from landscape import ensembles, runs
from landscape.experiments import autoencoder_use as use
from landscape.experiments.autoencoder_cells import Cell, Layer
from landscape.experiments.setting import Examples, Setting
from landscape.models.autoencoders import Autoencoder
from landscape.runs import Run

SHAPE, S = (2, 2, 1), 4


def linear(variables, x):
    return x.reshape(len(x), -1) @ variables["w"]


def test_ends_are_judged_by_the_next_seed_of_the_same_swept_value(tmp_path, monkeypatch):
    """Member s gives back keep_s x: under another the error is (1 - keep)^2 of the mean square, keep the next seed's.

    Of two swept values four seeds each: the next of the last seed is the first one of the same value.
    """
    monkeypatch.setattr(runs, "once", lambda run, name, work: work())
    config = smoke_config("autoencoders", tmp_path, **{"autoencoder.sweep.beta": (0.5, 2.0), "use.num_steps": 5})
    keep = jnp.asarray([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2])
    identity = Autoencoder(
        None,
        lambda v, x: x.reshape(len(x), -1),
        lambda v, z: z.reshape(-1, *SHAPE),
        None,
        None,
        None,
        lambda v, z: z,
        (4,),
    )
    cell = Cell("image", "ae", 4, lambda v, x, label: v["keep"] * x, {"keep": keep}, identity)
    rng = np.random.default_rng(0)
    bank = Examples(rng.random((20, *SHAPE), np.float32), np.zeros(20, np.int32), np.arange(20))
    layer = Layer("image", SHAPE, None, None, None, {}, np.zeros(1), bank, bank.x[None], ("",) * S)
    ensemble = {"w": jnp.asarray(rng.normal(size=(S, 4, 3)), jnp.float32)}
    classifier = types.SimpleNamespace(apply=linear)
    dataset = types.SimpleNamespace(class_names=("a", "b", "c"))
    prepared = Setting(dataset, classifier, ensemble, [], np.ones(S, bool), ensembles.Mapping("map"))
    test = Examples(rng.random((3, *SHAPE), np.float32), np.array([0, 1, 2], np.int32), np.arange(3))
    radii = {cell.name: np.full(8, 0.4)}
    found = use.ascents(config, object.__new__(Run), prepared, layer, [cell], radii, test)
    ends = found[f"picture_use.{cell.name}"][1].astype(np.float64)  # of the first member
    square = np.square(ends).mean(axis=(1, 2, 3))
    told = found[f"error_under_another.{cell.name}"][1]  # [member, start]
    np.testing.assert_allclose(told[0], (1 - 0.8) ** 2 * square, rtol=1e-4)
    # The guide's ascent does not depend on the swept value here, so that members 0 and 4 end in one place.
    np.testing.assert_allclose(told[4] / told[0], (1 - 0.4) ** 2 / (1 - 0.8) ** 2, rtol=1e-4)
    np.testing.assert_allclose(told[3] / told[7], (1 - 0.9) ** 2 / (1 - 0.5) ** 2, rtol=1e-4)
    gaps = np.sqrt(np.square(ends[:, None] - bank.x[None]).sum(axis=(2, 3, 4))).min(axis=1)
    np.testing.assert_allclose(found[f"nearest_training.{cell.name}"][1][0], gaps, rtol=1e-4)
    for name, judge in (("guide_confidence", 0), ("held_out_confidence", 1)):
        logits = np.asarray(linear(ensembles.take(ensemble, judge), ends))
        probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        expected = probs[np.arange(3), found["target"][1]]
        np.testing.assert_allclose(found[f"{name}.{cell.name}"][1][0], expected, rtol=1e-4)
    # In pixels ascents go no further than the middle one of the cell's own, each member for itself.
    went = np.median(found[f"moved.{cell.name}"][1], axis=1)
    assert (found["moved.pixels"][1] <= went[:, None] + 1e-5).all()
    np.testing.assert_allclose(found[f"moved.{cell.name}"][1], 5 * use.STEP * 0.4, rtol=1e-2)  # steps in one direction
