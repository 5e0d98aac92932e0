"""Figures of `benchmark`."""

from landscape.reporting.plate import Plate

PLATES: tuple[Plate, ...] = ()
