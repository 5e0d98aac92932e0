"""What a figure of a report is, and how the figures of an experiment are drawn into a folder."""

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from landscape.files import write_text
from landscape.reporting import style

Draw = Callable[..., Figure | None]  # of the dataset, or of the derived dataset and the table


class FigureSpec(NamedTuple):
    """One figure that an experiment defines.

    Attributes:
      name: file name without its ending.
      title: heading in the report.
      caption: one sentence that says how to read it.
      needs: variables of arrays.nc; where one is missing the report names the figure as absent.
      draw: arrays -> figure, or None when they hold nothing finite to draw.
      narrow: the same one column wide, for papers and phones (main figure).
      table: arrays -> rows with a header, the figure's data as CSV (main figure).
      kind: "svg" for lines, "png" for pictures.
      optional: left out silently when its arrays are absent, since the config may switch it off.
      when: of what is drawn from; left out silently where it says no.
    """

    name: str
    title: str
    caption: str
    needs: tuple[str, ...]
    draw: Draw
    narrow: Draw | None = None
    table: Callable[..., list[tuple]] | None = None
    kind: str = "svg"
    optional: bool = False
    when: Callable[..., bool] = lambda *content: True


def names(data: xr.Dataset, dim: str) -> list[str]:
    """Labels along a dimension as text; numbers counted from 0 where it has none."""
    if dim not in data.coords:
        return [str(i) for i in range(data.sizes[dim])]
    return [str(value) for value in data[dim].values]


class Drawn(NamedTuple):
    """A figure on disk: `paths` has the one to show first, then its narrow version where there is one.

    `share` is its width as a share of the page, so that letters keep one size.
    """

    spec: FigureSpec
    paths: tuple[Path, ...]
    share: float


class Absent(NamedTuple):
    """A figure that could not be drawn, and why."""

    spec: FigureSpec
    reason: str


def draw(figures: Sequence[FigureSpec], content: Sequence[Any], directory: Path) -> tuple[list[Drawn], list[Absent]]:
    """Draw every figure that an experiment defines into `directory`.

    Figures whose arrays are missing, or hold nothing finite, come back as absent; optional ones are left out.

    Args:
      content: what the figures are drawn from, the dataset first.
    """
    directory.mkdir(parents=True, exist_ok=True)
    drawn, absent = [], []
    with mpl.rc_context(style.RC):
        for spec in (one for one in figures if one.when(*content)):
            missing = [name for name in spec.needs if name not in content[0].variables]
            if missing:
                if not spec.optional:
                    absent.append(Absent(spec, f"arrays.nc has no {', '.join(missing)}"))
                continue
            figure = spec.draw(*content)
            if figure is None:
                absent.append(Absent(spec, "its values are missing, or too few to draw"))
                continue
            paths = [directory / f"{spec.name}.{spec.kind}"]
            style.save(figure, paths[0])
            if spec.table is not None:
                style.save(figure, directory / f"{spec.name}.pdf")
                _write_csv(spec.table(*content), directory / f"{spec.name}.csv")
            if spec.narrow is not None:
                narrow = spec.narrow(*content)
                paths.append(directory / f"{spec.name}_column.{spec.kind}")
                style.save(narrow, paths[1])
            drawn.append(Drawn(spec, tuple(paths), figure.get_figwidth() / style.PAGE))
    return drawn, absent


def _write_csv(rows: list[tuple], path: Path) -> None:
    """Rows as CSV; the shortest text that reads back as the same number, empty for NaN."""
    text = io.StringIO()
    numbers = float | np.floating
    known = [["" if isinstance(value, numbers) and np.isnan(value) else value for value in row] for row in rows]
    csv.writer(text, lineterminator="\n").writerows(known)
    write_text(path, text.getvalue())
