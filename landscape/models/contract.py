"""What a classifier from outside has to keep to, checked once at the start: each breach is refused in one line."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from scipy import special

from landscape.arguments import TOLERANCE, check_form, check_rows, check_values
from landscape.files import UserError
from landscape.models.classifiers import Classifier
from landscape.models.external import named
from landscape.types import Images, Logits, Variables

LEVEL = 0.01  # of the test that an accuracy is chance


def check(
    name: str, classifier: Classifier, variables: Variables, x: Images, num_classes: int, *, trained: bool = False
) -> None:
    """Refuses a classifier whose outputs are not logits of single images.

    Args:
      name: of the classifier, for errors. variables: of one member. num_classes: K of the data.
      x: some images of the data, at least two that differ.
      trained: whether members will be trained, so that train_apply has to keep to it as well.

    Raises:
      UserError: apply or train_apply fails; its output is no array, or has another shape or dtype than float32 [N, K];
        it is not finite, or probabilities, or depends on the rest of the batch; head(features(x)) is another output.
    """
    check_form(f"{name}: apply", _traced(name, "apply", classifier.apply, variables, x), len(x), num_classes)
    if trained:
        _check_training(name, classifier, variables, x, num_classes)
    logits = jax.jit(classifier.apply)(variables, x)
    check_values(name, np.asarray(logits))
    check_rows(name, jax.jit(classifier.apply), variables, x, logits)
    _check_layers(name, classifier, variables, x, logits)


def check_accuracy(name: str, predictions: np.ndarray, labels: np.ndarray) -> float:
    """The accuracy of predictions [N]; refused where it is no better than chance at the level of 1 %.

    By chance a prediction is right with probability sum_k p(prediction = k) p(label = k), which is 1 / K where labels
    are even, and the share of the class that a constant classifier says. The test is the exact binomial one.
    """
    count, right = len(labels), int(np.sum(predictions == labels))
    num_classes = int(max(predictions.max(), labels.max())) + 1
    shares = (np.bincount(values, minlength=num_classes) / count for values in (predictions, labels))
    chance = float(np.sum(np.prod(list(shares), axis=0)))
    if special.bdtrc(right - 1, count, min(chance, 1.0)) > LEVEL:
        raise UserError(
            f"{name}: right on {right} of {count} validation images, {right / count:.1%}, and {chance:.1%} would be by "
            "chance; expected a trained classifier of these classes; check the normalisation (--config.model.mean and "
            ".std), the order of channels (red, green, blue), the order of classes (sorted by name, whole numbers as "
            "numbers), and that labels begin at 0"
        )
    return right / count


def check_last_layer(field: str, name: str, classifier: Classifier, variables: Variables, x: Images) -> None:
    """Refuses a classifier whose last named layer is not the input of a last dense layer, whose weights are measured.

    Args:
      field: of the config, that asks for the measure. name: of the classifier. x: some images, at least two.

    Raises:
      UserError: what is behind the last layer (behind the pixels, where none is named) is not affine.
    """
    layer = classifier.layers[-1]
    h = classifier.features(variables, x, layer)
    at = jax.jit(lambda v, h: classifier.head(v, h, layer))
    logits, middle = at(variables, h), at(variables, (h + h[::-1]) / 2)
    if np.max(np.abs((logits + logits[::-1]) / 2 - middle)) > TOLERANCE * np.max(np.abs(logits)):
        found = f"what follows {layer!r}, the last of its layers, is not affine"
        found = found if len(classifier.layers) > 1 else "it names no hidden layer and is not affine itself"
        raise UserError(
            f"{field}: expected a classifier whose last named layer is the input of its last dense layer; of {name} "
            f"{found}; name that layer (external.of(.., layers=, features=, head=)), or leave {field} out"
        )


def _traced(name: str, function: str, call: Callable[..., Any], variables: Variables, x: Images) -> Any:
    """Shapes and dtypes of what a function gives; whatever it raises becomes one line."""
    remedy = "expected logits; call it on such images yourself"
    with named(f"{name}: {function} fails on images {list(x.shape)}", remedy):
        return jax.eval_shape(call, variables, x)


def _check_training(name: str, classifier: Classifier, variables: Variables, x: Images, num_classes: int) -> None:
    """train_apply must give (logits, changed statistics)."""
    out = _traced(name, "train_apply", classifier.train_apply, variables, x)
    if not (isinstance(out, tuple) and len(out) == 2 and isinstance(out[1], Mapping)):
        raise UserError(
            f"{name}: train_apply gives {type(out).__name__}; expected (logits, statistics), statistics a dict of "
            "batch_stats, {} where there are none"
        )
    check_form(f"{name}: train_apply", out[0], len(x), num_classes)


def _check_layers(name: str, classifier: Classifier, variables: Variables, x: Images, logits: Logits) -> None:
    """head(features(x, layer), layer) must be apply(x)."""
    for layer in classifier.layers:
        remedy = "expected both for each of layers; leave the layer out"
        with named(f"{name}: features or head fail at layer {layer!r}", remedy):
            again = jax.jit(lambda v, x, n=layer: classifier.head(v, classifier.features(v, x, n), n))(variables, x)
        if again.shape != logits.shape or np.max(np.abs(again - logits)) > TOLERANCE * max(1, np.max(np.abs(logits))):
            raise UserError(
                f"{name}: head(features(x)) at layer {layer!r} differs from apply(x); expected the same logits; let "
                "head begin where features ends"
            )
