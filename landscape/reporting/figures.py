"""How the figures of an experiment are drawn into a folder."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np

from landscape.files import write_text
from landscape.reporting import style
from landscape.reporting.plate import Plate


class Drawn(NamedTuple):
    """A figure on disk: `paths` has the one to show first, then its narrow version where there is one.

    `share` is its width as a share of the page, so that letters keep one size.
    """

    plate: Plate
    paths: tuple[Path, ...]
    share: float


class Absent(NamedTuple):
    """A figure that could not be drawn, and why."""

    plate: Plate
    reason: str


def draw(figures: Sequence[Plate], content: Sequence[Any], directory: Path) -> tuple[list[Drawn], list[Absent]]:
    """Draw every figure that an experiment defines into `directory`.

    Figures whose arrays are missing, or hold nothing finite, come back as absent; optional ones are left out.

    Args:
      content: what the figures are drawn from, the dataset first.
    """
    directory.mkdir(parents=True, exist_ok=True)
    drawn, absent = [], []
    with mpl.rc_context(style.RC):
        for plate in (one for one in figures if one.when(*content)):
            missing = [name for name in plate.needs if name not in content[0].variables]
            if missing:
                if not plate.optional:
                    absent.append(Absent(plate, f"arrays.nc has no {', '.join(missing)}"))
                continue
            figure = plate.draw(*content)
            if figure is None:
                absent.append(Absent(plate, "its values are missing, or too few to draw"))
                continue
            paths = [directory / f"{plate.name}.{plate.kind}"]
            style.save(figure, paths[0])
            if plate.table is not None:
                style.save(figure, directory / f"{plate.name}.pdf")
                _write_csv(plate.table(*content), directory / f"{plate.name}.csv")
            if plate.narrow is not None:
                narrow = plate.narrow(*content)
                paths.append(directory / f"{plate.name}_column.{plate.kind}")
                style.save(narrow, paths[1])
            drawn.append(Drawn(plate, tuple(paths), figure.get_figwidth() / style.PAGE))
    return drawn, absent


def _write_csv(rows: list[tuple], path: Path) -> None:
    """Rows as CSV; the shortest text that reads back as the same number, empty for NaN."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([_cell(value) for value in row] for row in rows)
    write_text(path, text.getvalue())


def _cell(value: object) -> str:
    if isinstance(value, float | np.floating):
        return "" if np.isnan(value) else str(value)
    return str(value)
