"""What figures of `gradients` share: arrays and means where something may be missing."""

import numpy as np
import xarray as xr

from landscape.reporting import plate, style

DASHED = (0, (4, 1.5))


def read(data: xr.Dataset, name: str, *dims: str) -> np.ndarray | None:
    """An array as float64, dimensions in this order, others last; None where it is missing or holds nothing."""
    if name not in data.variables or not set(dims) <= set(data[name].dims):
        return None
    values = data[name].transpose(*dims, ...).values.astype(np.float64)
    return values if np.isfinite(values).any() else None


def mean(values: np.ndarray, axis: int | tuple[int, ...]) -> np.ndarray:
    """The mean of what is finite; NaN where nothing is."""
    finite = np.isfinite(values)
    count = finite.sum(axis=axis)
    return np.where(count > 0, np.where(finite, values, 0.0).sum(axis=axis) / np.maximum(count, 1), np.nan)


def class_names(data: xr.Dataset, *, limit: int = 10) -> list[str]:
    return [style.plain(name, limit=limit) for name in plate.names(data, "class")]
