"""Labelled images from several places, all through `load`."""

from landscape.data.dataset import Dataset, moments, pixels
from landscape.data.load import load

__all__ = ["Dataset", "load", "moments", "pixels"]
