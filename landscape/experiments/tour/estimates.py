"""The table of a tour: the headline rows of its parts."""

from typing import TYPE_CHECKING

from landscape.experiments import joined
from landscape.experiments.base import Check
from landscape.stats.table import Table

if TYPE_CHECKING:
    import xarray as xr  # imported where it is used: half a second


def derive(data: "xr.Dataset") -> "xr.Dataset":
    """The parts as they are."""
    return data


def estimate(data: "xr.Dataset", config) -> Table:
    """The headline rows of all parts."""
    return joined.table(data)


def claims(table: Table, config) -> list[dict]:
    """None of its own: those of the parts are in their reports."""
    return []


def checks(data: "xr.Dataset", table: Table, config) -> list[Check]:
    """Of each part: whether all of its checks passed."""
    return joined.checks(data)


def headline(table: Table, config) -> str:
    """What the page holds."""
    names = ", ".join(name.replace("_", " ") for name in config.order)
    return f"A tour of {config.data.name}: {names}. The answers are below, each with its own report."
