"""The page of a tour leads to the reports of its parts, and has no figures of its own."""

from landscape.experiments.joined import links

FIGURES = ()
__all__ = ["FIGURES", "links"]
