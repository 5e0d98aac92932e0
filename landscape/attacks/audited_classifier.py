"""Is a classifier one that an attack can be trusted on? Logits, pixels in [0, 1], one answer for one image.

Faults in here leave an attack's own checks green: it is as strong as it can be, on another function than is meant.
"""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from landscape.types import Images

# Images in another range: the name of the reading, and the images in it.
READINGS = (("as [-1, 1]", lambda x: 2 * x - 1), ("as [0, 1] from [-1, 1]", lambda x: (x + 1) / 2))
# Logits of an image, in units of their spread, may move by this where its pixels move by their last bit (6e-8): the
# slope of a classifier trained here moves them by 1e-5.
LAST_BIT = 1e-3


def finding(name: str, passed, what: str, *values) -> dict:
    """A check about shares."""
    return {"name": name, "passed": bool(passed), "detail": f"{what}: {', '.join(f'{100 * v:.1f} %' for v in values)}"}


def gain(strong: np.ndarray, weak: np.ndarray) -> tuple[float, float]:
    """Mean of weak - strong over members and images, values [S, N], and twice its standard error over images."""
    each = (weak.astype(float) - strong).mean(axis=0)
    return float(each.mean()), float(2 * each.std() / len(each) ** 0.5)


def classifier_checks(logits_fn: Callable[[Images], np.ndarray], x: Images, label: np.ndarray) -> list[dict]:
    """Three checks of all members.

    - logits_not_probabilities: of no member do all outputs lie in [0, 1]. Their loss takes a softmax: on outputs that
      are one already gradients vanish where the classifier is sure.
    - inputs_in_unit_box: images lie in [0, 1], and no other reading of their range is classified better by more than
      twice the standard error of the difference.
    - deterministic: logits do not jump where every pixel moves by its last bit. They do where a random classifier
      draws its noise from the image itself; hand its sampler to the audit, so that attacks can average.

    Args:
      logits_fn: images [N, H, W, C] -> logits [S, M, N, K] of M draws, the same draws at every call.
      x: images. label: [N].
    """
    logits = logits_fn(x)
    each = logits.reshape(len(logits), -1)
    clean = _right(logits, label)
    better = [gain(clean, _right(logits_fn(read(x)), label)) for _, read in READINGS]
    unit = float(x.min()) >= 0 and float(x.max()) <= 1
    others = ", ".join(name for name, _ in READINGS)

    moved = np.abs(logits_fn(jnp.nextafter(x, jnp.full_like(x, 0.5))) - logits).max(axis=-1)
    spread = np.ptp(logits, axis=-1)
    jump = float((moved / np.maximum(spread, np.finfo(np.float32).tiny)).max())
    return [
        {
            "name": "audit.logits_not_probabilities",
            "passed": bool(((each.min(axis=1) < 0) | (each.max(axis=1) > 1)).all()),
            "detail": f"outputs of all members in [{each.min():.3g}, {each.max():.3g}]",
        },
        finding(
            "audit.inputs_in_unit_box",
            unit and all(more <= error for more, error in better),
            f"pixels in [{float(x.min()):.3g}, {float(x.max()):.3g}]; accuracy as they are, read {others}",
            clean.mean(),
            *(clean.mean() + more for more, _ in better),
        ),
        {
            "name": "audit.deterministic",
            "passed": jump <= LAST_BIT,
            "detail": f"logits move by at most {jump:.2g} of their spread where pixels move by their last bit",
        },
    ]


def _right(logits: Float[np.ndarray, "S M N K"], label: np.ndarray) -> np.ndarray:
    return (logits.argmax(axis=-1) == label).mean(axis=1)
