"""Arguments of the library, looked at once where their values are at hand: one line instead of numbers without meaning.

What a notebook hands over is often nearly right: images of 0 .. 255, labels that begin at 1, a function that returns
(logits, state). Under `jit`, `grad` and `vmap` nothing is looked at and nothing is paid.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from landscape.files import UserError

TOLERANCE = 1e-3  # of the largest logit: rounding of float32 on its way through a deep network stays below
SLACK = 1e-5  # pixels: images that were computed in float32 may be this far outside [0, 1]


def check(
    variables: Any, x: Any, label: Any, *, apply: Callable[..., Any], keys: Any = None, slack: float = SLACK
) -> None:
    """Refuses what a measure or an attack would make a number of that means nothing.

    Args:
      variables: of one classifier. x: images [N, H, W, C], or points of a layer, which may lie anywhere.
      label: [N]. apply: (variables, x) -> logits [N, K]. keys: [N], one an image, of what draws at random.
      slack: pixels that images may be outside [0, 1].

    Raises:
      UserError (a ValueError): no images, of integers, not finite or outside [0, 1]; labels that are no integers in
        0 .. K-1, one an image; not one key an image; an output of `apply` that is no array of finite logits [N, K], K
        at least 2, row by row.
    """
    if not concrete(x, label):
        return
    check_images(x, slack)
    check_label_form(label, len(x))
    if keys is not None:
        check_keys(keys, len(x))
    out = apply(variables, x) if concrete(variables) else jax.eval_shape(apply, variables, x)
    check_form("apply", out, len(x))
    check_labels(label, out.shape[1])
    if concrete(variables, out):
        check_values("apply", np.asarray(out))
        check_rows("apply", apply, variables, x, out)


def concrete(*trees: Any) -> bool:
    """Whether all arrays are here, rather than stand for those that a compiled program will be given."""
    return not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(trees))


def check_images(x: Any, slack: float = SLACK) -> None:
    """Refuses images that are none, are no finite floats, or, with four axes, leave [0, 1] by more than `slack`."""
    x = np.asarray(x)
    if x.size == 0:
        raise UserError(f"x has shape {list(x.shape)}: expected at least one image [N, H, W, C]; give some")
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise UserError(f"x is {x.dtype}: expected floats in [0, 1]; try x.astype('float32') / 255")
    low, high = float(x.min()), float(x.max())
    if not math.isfinite(low + high):
        raise UserError("x has pixels that are NaN or infinite: expected numbers in [0, 1]; leave these images out")
    if x.ndim == 4 and (low < -slack or high > 1 + slack):
        hint = "divide by 255" if high > 3 else "undo the normalisation, and let apply do it"
        raise UserError(f"x has pixels from {low:.4g} to {high:.4g}: expected [0, 1]; {hint}")


def check_label_form(label: Any, count: int) -> None:
    """Refuses labels that are not `count` integers."""
    label = np.asarray(label)
    if label.shape != (count,):
        hint = "one-hot labels become integers by label.argmax(-1), and one image x a batch by x[None]"
        raise UserError(f"label has shape {list(label.shape)}: expected [{count}], one an image of x; {hint}")
    if label.dtype.kind not in "iu":
        raise UserError(f"label is {label.dtype}: expected integers, the numbers of classes; try label.astype(int)")


def check_labels(label: Any, num_classes: int) -> None:
    """Refuses labels that are not all in 0 .. num_classes - 1."""
    label = np.asarray(label)
    if label.min() < 0 or label.max() >= num_classes:
        hint = "; do they begin at 1? try label - 1" if label.min() == 1 and label.max() == num_classes else ""
        raise UserError(
            f"label runs from {label.min()} to {label.max()}: expected 0..{num_classes - 1}, as apply gives "
            f"{num_classes} logits{hint}"
        )


def check_keys(keys: Any, count: int | None) -> None:
    """Refuses what is not `count` PRNG keys [count]; where that is None, what is not one key."""
    dtype = getattr(keys, "dtype", None)
    if dtype is None:
        shape, came = None, f"{keys!r} came"
    else:  # of a key of the old style the last axis is its own
        shape = keys.shape if jnp.issubdtype(dtype, jax.dtypes.prng_key) else keys.shape[:-1]
        came = "one key came" if shape == () else f"keys of shape {list(shape)} came"
    if count is None and shape != ():
        raise UserError(f"key: {came}, expected one key; try jax.random.key(0)")
    if count is not None and shape != (count,):
        hint = f"try jax.random.split(jax.random.key(0), {count})"
        raise UserError(f"keys: {came}, expected {count} keys, one an image of x; {hint}")


def check_levels(name: str, levels: Any) -> None:
    """Refuses levels of noise that are no list [L] of numbers."""
    if np.ndim(levels) != 1 or not len(levels):
        came = f"{name} has shape {[*np.shape(levels)]}" if np.ndim(levels) else f"{name}={levels}"
        raise UserError(f"{came}: expected levels [L], at least one; try jnp.array([0.1, 0.3])")


def check_radius(epsilon: Any, norm: str, x: Any) -> None:
    """Refuses radii below 0, or beyond any image of [0, 1]: 1 in L-inf, sqrt(H W C) in L2."""
    if epsilon is None or not concrete(epsilon, x):
        return
    most = 1.0 if norm == "linf" else math.sqrt(np.asarray(x)[0].size)
    for worst in (float(np.min(epsilon)), float(np.max(epsilon))):
        if not 0 <= worst <= most:
            hint = f"did you mean {worst:g}/255?" if worst > most else "drop the minus sign"
            raise UserError(
                f"epsilon={worst:g}: expected 0 <= epsilon <= {most:.4g} ({norm}), since images are in [0, 1]; {hint}"
            )


def check_members(ensemble: Any) -> None:
    """Refuses an ensemble whose leaves have no common leading axis S: members that are not stacked."""
    shapes = [np.shape(leaf) for leaf in jax.tree.leaves(ensemble)]
    if not shapes or len({shape[:1] for shape in shapes}) > 1 or shapes[0] in ((), (0,)):
        raise UserError(
            f"ensemble: a {type(ensemble).__name__} of leaves {[*map(list, shapes[:4])]}: expected members stacked, "
            "one leading axis S for all leaves; try ensembles.stack([first, second, ..])"
        )


# ---- what a classifier gives ----


def check_form(name: str, out: Any, count: int, num_classes: int | None = None) -> None:
    """Refuses what is no float32 or float64 [N, K]; `name` is of the classifier and its function, K any above 1."""
    classes = "K" if num_classes is None else num_classes
    expected, two = f"expected logits [{count}, {classes}]", "jnp.stack([0 * z, z], axis=1)"
    if isinstance(out, Mapping):
        one = f"lambda v, x: f(v, x)[{next(iter(out), 'logits')!r}]"
        found = f"a dict of {', '.join(map(str, out))}; {expected}; return the entry that holds them, as {one}"
    elif isinstance(out, tuple | list):
        one = "lambda v, x: f(v, x)[0]"
        found = f"a {type(out).__name__} of {len(out)}; {expected}; return the one that holds them, as {one}"
    elif not hasattr(out, "shape"):
        found = f"{type(out).__name__}; {expected}; return an array"
    elif num_classes is None and out.shape in ((count,), (count, 1)):
        found = f"an output of shape {list(out.shape)}; {expected} of two classes or more; of one logit z return {two}"
    elif len(out.shape) == 2 and out.shape[0] == count and num_classes not in (None, out.shape[1]):
        hint = "; do labels begin at 1?" if out.shape[1] == num_classes + 1 else ""
        expected = f"expected {num_classes}, which the data has; take the head or the data of the other"
        found = f"logits of {out.shape[1]} classes; {expected}{hint}"
    elif len(out.shape) != 2 or out.shape[0] != count:
        found = f"an output of shape {list(out.shape)}; {expected}; one row an image, one column a class"
    elif out.dtype not in (jnp.float32, jnp.float64):
        found = f"an output of dtype {out.dtype}; expected float32; let apply end with .astype(jnp.float32)"
    else:
        return
    raise UserError(f"{name} gives {found}")


def check_rows(name: str, apply: Callable[..., Any], variables: Any, x: Any, logits: Any) -> None:
    """Refuses logits of an image that hang on the others of its batch: half of it stays, half is changed."""
    half = len(x) // 2
    other = apply(variables, jnp.concatenate([x[:half], 1 - x[half:] ** 2]))
    if np.max(np.abs(logits - other)[:half], initial=0) > TOLERANCE * np.max(np.abs(logits)):
        raise UserError(
            f"{name}: an image's logits depend on the rest of the batch; expected each row by itself; put batch "
            "normalisation in evaluation mode, with its running statistics (of nnx: module.eval())"
        )


def check_values(name: str, logits: np.ndarray) -> None:
    """Refuses logits [N, K] that are not finite, or are probabilities: rows of at least 0 that sum to 1."""
    if not np.isfinite(logits).all():
        bad = int(np.sum(~np.isfinite(logits).all(axis=1)))
        raise UserError(
            f"{name}: {bad} of {len(logits)} images have logits that are not finite; expected numbers; check the "
            "weights, and what it does with pixels of 0 and 1"
        )
    if logits.shape[1] > 1 and (logits >= 0).all() and np.allclose(logits.sum(axis=1), 1, atol=1e-3):
        raise UserError(
            f"{name}: rows are at least 0 and sum to 1, so these are probabilities; expected logits; leave out the "
            "softmax, or return its logarithm"
        )
