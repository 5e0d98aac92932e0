"""Labelled images from several places, all through `load`."""

from landscape.data.dataset import Dataset, level_index, levels, moments, pixels
from landscape.data.load import load

__all__ = ["Dataset", "level_index", "levels", "load", "moments", "pixels"]
