"""The table of a tour: the headline rows of its parts."""

from landscape.experiments.joined import checks, claims, derive, estimate
from landscape.stats.table import Table

__all__ = ["checks", "claims", "derive", "estimate", "headline"]


def headline(table: Table, config) -> str:
    """What the page holds."""
    names = ", ".join(name.replace("_", " ") for name in config.order)
    return f"A tour of {config.data.name}: {names}. The answers are below, each with its own report."
