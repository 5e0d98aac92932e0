"""Figures of `train`."""

from landscape.reporting.plate import Plate

PLATES: tuple[Plate, ...] = ()
