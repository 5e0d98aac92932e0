"""scikit-learn's handwritten digits, inside its wheel: 1797 grey images of 8 x 8."""

from importlib import metadata

import numpy as np

from landscape.data.dataset import Raw, Source

ABOUT = "scikit-learn's handwritten digits, published as one set"
VALIDATION, TEST, TOTAL = 200, 400, 1797


def source() -> Source:
    """The digits as a source. Published as one set: 200 validation and 400 test images are carved out."""
    version = metadata.version("scikit-learn")
    return Source("digits", "scikit-learn", ABOUT, version, _read, validation=VALIDATION / TOTAL, test=TEST / TOTAL)


def _read() -> Raw:
    """Byte = round(255 v / 16) for the published v in 0 .. 16; id = row in scikit-learn's file."""
    from sklearn.datasets import load_digits  # takes a second: only where there is no cache

    values, labels = load_digits(return_X_y=True)
    images = np.rint(values * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
    ids = np.arange(len(labels), dtype=np.int64)
    return Raw(images, labels.astype(np.int32), ids, tuple("0123456789"), {"train": ids})
