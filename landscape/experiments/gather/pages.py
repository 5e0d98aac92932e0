"""The results tables of the experiments' pages, between two marks that a page has."""

import re
import shlex
from pathlib import Path

import xarray as xr

from landscape import files
from landscape.files import UserError
from landscape.runs.progress import duration

BEGIN, END = "<!-- results -->", "<!-- end of results -->"
HEAD = "| command | machine | time | headline |\n|---|---|---|---|\n"
PLACES = ("--config.data.dir", "--config.data.cache", "--config.artifacts", "--workdir", "--force")


def write(folder: str, data: xr.Dataset) -> list[Path]:
    """Writes the table of each experiment that has runs into FOLDER/NAME/README.md; returns the pages.

    Raises:
      UserError: a page without the marks.
    """
    written = []
    for kind in dict.fromkeys(data.experiment.values.tolist()):
        path = Path(folder, kind, "README.md")
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        if text.count(BEGIN) != 1 or text.count(END) != 1:
            raise UserError(f"{path}: expected a page with one line {BEGIN} and one {END}; put them where results go")
        own = data.isel(run=(data.experiment.values == kind).nonzero()[0])
        before, after = text.split(BEGIN)[0], text.split(END)[1]
        files.write_text(path, f"{before}{BEGIN}\n{HEAD}{rows(own)}{END}{after}")
        written.append(path)
    return written


def rows(data: xr.Dataset) -> str:
    """One row a run, with bars escaped."""
    columns = (data[name].values.tolist() for name in ("command", "machine", "seconds", "headline"))
    found = []
    for command, machine, seconds, headline in zip(*columns, strict=True):
        cells = (f"`{short(command)}`", machine, duration(seconds), headline)
        found.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n")
    return "".join(found)


def short(command: str) -> str:
    """The command as a page has it: the config's file name, and no path of any machine."""
    words = [word for word in shlex.split(command)[3:] if not word.startswith(PLACES)]
    first = [re.sub(r"^--config=(?:.*/)?", "", word) for word in words if word.startswith("--config=")]
    return shlex.join(first + [word for word in words if not word.startswith("--config=")])
