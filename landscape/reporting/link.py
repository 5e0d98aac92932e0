"""A link from one report to another."""

from pathlib import Path
from typing import NamedTuple


class Link(NamedTuple):
    """Another run: its name, question and headline, the address of its report, its main figure where it has one."""

    name: str
    question: str
    headline: str
    address: str
    figure: Path | None
