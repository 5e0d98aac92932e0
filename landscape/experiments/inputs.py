"""Inputs that take the place of test images, or stand beside them: a population by name, or a user's own file."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import jax
import numpy as np

from landscape import ensembles
from landscape.arguments import SLACK
from landscape.data import Dataset
from landscape.data.dataset import class_mapping
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
    arrays = read_npz("inputs", path, ("x", "label"))
    label = np.atleast_1d(arrays["label"])
    image = dataset.images.shape[1:]
    for name in {"x", "origin"} & arrays.keys():
        array = arrays[name]
        if array.shape != (len(label), *image) or len(label) == 0:
            shape = f"[{len(label) or 'N'}, {', '.join(map(str, image))}]"
            raise UserError(f"inputs={path}: {name} has shape {array.shape}; expected {shape} as {dataset.name} has")
        if array.dtype.kind != "f":
            hint = "write bfloat16 as .astype('float32')" if array.dtype.kind == "V" else "divide 8-bit images by 255"
            raise UserError(f"inputs={path}: {name} is {array.dtype}; expected floats in [0, 1]; {hint}")
        if not np.isfinite(array).all():
            bad = int((~np.isfinite(array)).sum())
            raise UserError(
                f"inputs={path}: {name} holds {bad} values that are NaN or infinite; expected none; drop them"
            )
        if array.min() < -SLACK or array.max() > 1 + SLACK:
            raise UserError(
                f"inputs={path}: {name} is {array.dtype} from {array.min():.4g} to {array.max():.4g}; "
                "expected floats in [0, 1]; divide 8-bit images by 255"
            )
        arrays[name] = np.clip(array, 0, 1).astype(np.float32)  # rounding may leave the box by a last bit
    check_labels(f"inputs={path}", label, dataset.class_names)
    ids = FIRST_ID + np.arange(len(label), dtype=np.int64)
    return Examples(arrays["x"], label.astype(np.int32), ids), arrays.get("origin", arrays["x"])


def read_npz(field: str, path: str, needed: Sequence[str]) -> dict[str, np.ndarray]:
    """The arrays of a user's .npz; a UserError where there is none, it is damaged or holds objects, or lacks one."""
    if not Path(path).is_file():
        raise UserError(f"{field}={path}: no such file; expected an .npz with arrays {', '.join(needed)}")
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as saved:
            arrays = {name: saved[name] for name in saved.files}
    except DAMAGED as error:  # a .npy file is an array, which cannot be entered: TypeError
        raise UserError(f"{field}={path}: not readable ({error}); expected an .npz made by numpy.savez") from error
    missing = [name for name in needed if name not in arrays]
    if missing:
        raise UserError(
            f"{field}={path}: arrays {sorted(arrays)}; expected {', '.join(needed)}, missing {', '.join(missing)}"
        )
    return arrays


def check_labels(what: str, label: np.ndarray, class_names: Sequence[str]) -> None:
    """Refuses labels that are no integers [N] in 0 .. K-1; says which number is which class."""
    expected = f"expected [N] integers in 0..{len(class_names) - 1} ({class_mapping(class_names)})"
    if label.ndim != 1 or label.dtype.kind not in "iu" or len(label) == 0:
        raise UserError(f"{what}: label has dtype {label.dtype}, shape {label.shape}; {expected}; try .astype(int)")
    if label.min() < 0 or label.max() >= len(class_names):
        hint = "; do they begin at 1?" if label.min() == 1 and label.max() == len(class_names) else ""
        raise UserError(f"{what}: label runs from {label.min()} to {label.max()}; {expected}{hint}")
