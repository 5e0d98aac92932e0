"""Inputs that take the place of test images, or stand beside them: a population by name, or a user's own file."""

from functools import partial
from pathlib import Path

import jax
import numpy as np

from landscape import ensembles
from landscape.data import Dataset
from landscape.experiments.setting import Examples, Setting
from landscape.files import DAMAGED, UserError
from landscape.populations import augmented

# Ids of a user's inputs start here, beyond those of any data set, so that their noise is their own.
FIRST_ID = 1 << 30


def of_population(config, prepared: Setting, test: Examples) -> Examples:
    """The test images as they are, or as the population `config.population`, made by the first trained classifier."""
    if config.population == "genuine":
        return test
    first = ensembles.take(prepared.ensemble, int(np.flatnonzero(prepared.trained)[0]))
    program = jax.jit(partial(augmented, apply=prepared.classifier.apply))
    return test._replace(x=np.asarray(program(first, test.x, config.augmented.epsilon)))


def read_inputs(path: str, dataset: Dataset) -> tuple[Examples, np.ndarray]:
    """Reads FILE.npz for a data set's classifiers.

    Arrays: x [N, H, W, C] float in [0, 1]; label [N] integers, the true classes; origin, as x, optional: the images
    that x was made from, whose envelope the "envelope" noise follows (x itself without it).

    Returns:
      The inputs as Examples, and the origins [N, H, W, C].

    Raises:
      UserError: no such file, a missing array, a wrong shape, values outside [0, 1], labels out of range.
    """
    if not Path(path).is_file():
        raise UserError(f"inputs={path}: no such file; expected an .npz with arrays x and label")
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as saved:
            arrays = {name: saved[name] for name in saved.files}
    except DAMAGED as error:  # a .npy file is an array, which cannot be entered: TypeError
        raise UserError(f"inputs={path}: not readable ({error}); expected an .npz made by numpy.savez") from error
    missing = {"x", "label"} - arrays.keys()
    if missing:
        raise UserError(f"inputs={path}: arrays {sorted(arrays)}; expected x and label, missing {sorted(missing)}")
    label = np.atleast_1d(arrays["label"])
    image = dataset.images.shape[1:]
    for name in {"x", "origin"} & arrays.keys():
        array = arrays[name]
        if array.shape != (len(label), *image) or len(label) == 0:
            shape = f"[{len(label) or 'N'}, {', '.join(map(str, image))}]"
            raise UserError(f"inputs={path}: {name} has shape {array.shape}; expected {shape} as {dataset.name} has")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            bad = int((~np.isfinite(array)).sum())
            raise UserError(
                f"inputs={path}: {name} holds {bad} values that are NaN or infinite; expected none; drop them"
            )
        if array.dtype.kind != "f" or array.min() < 0 or array.max() > 1:
            raise UserError(
                f"inputs={path}: {name} is {array.dtype} from {array.min():.4g} to {array.max():.4g}; "
                "expected floats in [0, 1]; divide 8-bit images by 255"
            )
    num_classes = len(dataset.class_names)
    if label.ndim != 1 or label.dtype.kind not in "iu" or label.min() < 0 or label.max() >= num_classes:
        raise UserError(
            f"inputs={path}: label has dtype {label.dtype}, shape {label.shape}, from {label.min()} to {label.max()}; "
            f"expected [N] integers in 0..{num_classes - 1}"
        )
    x = arrays["x"].astype(np.float32)
    ids = FIRST_ID + np.arange(len(label), dtype=np.int64)
    return Examples(x, label.astype(np.int32), ids), arrays.get("origin", x).astype(np.float32)
