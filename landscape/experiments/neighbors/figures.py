"""Figures of a neighbors run."""

FIGURES = ()
