"""The stages of a train run: members, restored or trained, and what they say of the whole test split."""

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from landscape import ensembles, objectives, runs, tree
from landscape.ensembles import map_members
from landscape.experiments import setting
from landscape.experiments.base import Stage, run_stage
from landscape.experiments.setting import Setting
from landscape.experiments.train import EXPERIMENT
from landscape.training import classifier_members

CHUNK_PIXELS = 1024 * 28 * 28  # of one call: about a second for 8 default classifiers on two cores


def compute(config, run: runs.Run) -> xr.Dataset:
    """Every array of a run; what is on disk is not computed again."""
    prepared = setting.prepare(config, run)
    total = len(prepared.dataset.splits["test"])
    images = setting.as_dataset(setting.examples(prepared.dataset, "test", total, config.seed))[["x", "true_label"]]
    num_chunks = -(-images.x.size // (ensembles.roominess() * CHUNK_PIXELS))
    stage = Stage("predictions", predict(prepared), images, -(-total // num_chunks), {"ensemble": prepared.ensemble})
    data = run_stage(run, stage, EXPERIMENT.schema)
    curves = classifier_members.curves(run, config, prepared.dataset, prepared.classifier)
    data = data.assign({name: (("member", "epoch"), values) for name, values in curves.items()})
    data = data.assign(label=images.true_label).assign_coords(setting.coordinates(prepared))
    data = data.assign_coords(epoch=np.arange(1, config.train.num_epochs + 1))
    return data.assign_attrs(num_parameters=tree.size(prepared.ensemble["params"]) // len(prepared.members))


def predict(prepared: Setting):
    """chunk -> what every member says of its images."""

    def member(variables, x, label):
        logits = prepared.classifier.apply(variables, x)
        probabilities = jax.nn.softmax(logits)
        own = jnp.take_along_axis(probabilities, label[:, None], axis=-1)[:, 0]
        return {
            "prediction": logits.argmax(axis=-1),
            "confidence": probabilities.max(axis=-1),
            "loss": objectives.loss(logits, label),
            "brier": jnp.square(probabilities).sum(axis=-1) - 2 * own + 1,
        }

    def work(chunk, ensemble) -> dict[str, jax.Array]:
        return map_members(member, ensemble, shared=(chunk["x"], chunk["true_label"]), how=prepared.how)

    return work
