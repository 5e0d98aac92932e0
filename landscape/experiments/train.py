"""Train S classifier seeds at once: how good are they, and how different?

Stages: members (restored or trained) -> predictions on the whole test split -> estimates -> report.
"""

import jax
import numpy as np

from landscape import ensembles, objectives, runs, tree
from landscape.ensembles import map_members
from landscape.experiments import setting, train_estimates
from landscape.experiments.setting import Setting
from landscape.training import classifier_members
from landscape.types import Arrays

CHUNK_PIXELS = 1024 * 28 * 28  # of one call: about a second for 8 default classifiers on two cores

ABOUT = {  # name: (units, long_name)
    "label": ("1", "true class"),
    "prediction": ("1", "predicted class"),
    "confidence": ("1", "largest class probability"),
    "loss": ("nats", "cross-entropy of the true class"),
    "margin": ("logits", "logit of the true class minus the largest other one"),
    "accuracy": ("1", "share of test images classified correctly"),
    "nll": ("nats", "mean cross-entropy on test images"),
    "brier": ("1", "mean squared distance of the probabilities from the true class"),
    "ece": ("1", "expected calibration error"),
    "class_accuracy": ("1", "share classified correctly, by true class"),
    "bin_accuracy": ("1", "share classified correctly, by confidence"),
    "bin_confidence": ("1", "mean confidence, by confidence"),
    "bin_count": ("images", "images in a bin of confidence"),
    "disagreement": ("1", "share of test images that two members predict differently"),
    "disagreement_expected": ("1", "that share if their errors were unrelated, given the true class"),
    "train_loss": ("nats", "mean training loss over the epoch"),
    "validation_accuracy": ("1", "share of validation images classified correctly"),
    "seed": ("1", "seed number of the member"),
    "file": ("1", "file that the member is, or that its training started from"),
    "learning_rate": ("1", "learning rate at its highest"),
    "weight_decay": ("1", "weight decay of kernels"),
    "label_smoothing": ("1", "share of the target spread over all classes"),
    "input_noise": ("pixels", "standard deviation of training noise on images in [0, 1]"),
    "weight_noise": ("1", "standard deviation of multiplicative training noise on weights"),
    "momentum": ("1", "Nesterov momentum, of SGD alone"),
    "warmup_epochs": ("epochs", "in which the learning rate rises"),
    "ema": ("1", "decay of the averaged weights, over steps; 0: the last weights"),
    "crop": ("pixels", "of zeros on each side, of which a random crop is taken"),
    "flip": ("1", "probability of a mirrored training image"),
    "adversarial_epsilon": ("pixels", "radius of adversarial training on images in [0, 1]; 0: none"),
    "epoch": ("epochs", "epochs trained"),
    "bin": ("1", "confidence in the middle of the bin"),
}


def run(config, run: runs.Run) -> None:
    """Runs every stage that is not on disk yet and writes arrays.nc and summary.json."""
    prepared = setting.prepare(config, run)
    test = setting.examples(prepared.dataset, "test", len(prepared.dataset.splits["test"]), config.seed)
    total = len(test.label)
    num_chunks = -(-total * test.x[0].size // (ensembles.roominess() * CHUNK_PIXELS))
    size = -(-total // num_chunks)  # equal chunks, or all but the last: another length compiles again
    seen = runs.chunks(run, "predictions", predictions(prepared, test), total, size)
    logits = seen.pop("logits")[1]
    tables = train_estimates.tables(logits, test.label, num_bins=config.calibration.num_bins)
    curves = classifier_members.curves(run, config, prepared.dataset, prepared.classifier)
    arrays: Arrays = {
        **seen,
        **tables,
        "label": (("example",), test.label),
        **{name: (("member", "epoch"), values) for name, values in curves.items()},
    }
    edges = np.linspace(0, 1, config.calibration.num_bins + 1)
    coords = setting.member_coords(prepared) | {
        "example": (("example",), test.ids),
        "class": (("class",), np.asarray(prepared.dataset.class_names)),
        "epoch": (("epoch",), np.arange(1, config.train.num_epochs + 1)),
        "bin": (("bin",), 0.5 * (edges[1:] + edges[:-1])),
    }
    attrs = {name: dict(zip(("units", "long_name"), told, strict=True)) for name, told in ABOUT.items()}
    num_parameters = tree.size(prepared.ensemble["params"]) // len(prepared.members)
    runs.write_arrays(run, arrays, coords, attrs, num_parameters=num_parameters)
    swept = [name for name in config.sweep if len(config.sweep[name]) > 0]
    estimates, checks = train_estimates.estimate(
        logits,
        test.label,
        prepared.members,
        swept,
        class_names=prepared.dataset.class_names,
        num_bins=config.calibration.num_bins,
    )
    told = f"{config.model.name} on {config.data.name}"
    runs.write_summary(
        run, headline=train_estimates.headline(estimates, told, swept), estimates=estimates, checks=checks
    )


def predictions(prepared: Setting, test: setting.Examples):
    """(start, stop) -> logits, prediction, confidence, loss and margin of every member on those test images."""

    def member(variables, x, label):
        logits = prepared.classifier.apply(variables, x)
        return {
            "logits": logits,
            "prediction": logits.argmax(axis=-1),
            "confidence": jax.nn.softmax(logits).max(axis=-1),
            "loss": objectives.loss(logits, label),
            "margin": objectives.margin(logits, label),
        }

    program = jax.jit(lambda e, *s: map_members(member, e, shared=s, how=prepared.how))

    def work(start: int, stop: int) -> Arrays:
        out = program(prepared.ensemble, test.x[start:stop], test.label[start:stop])
        dims = {"logits": ("member", "example", "class")}
        return {name: (dims.get(name, ("member", "example")), np.asarray(value)) for name, value in out.items()}

    return work
