"""environment.json: what a run was made with."""

import datetime
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from landscape import files

PACKAGES = (
    *("landscape", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "scipy", "scikit-learn"),
    *("xarray", "h5netcdf", "h5py", "ml-collections", "tensorflow-datasets", "matplotlib"),
)


def write(path: Path, *, seed: int) -> bool:
    """Versions, host, seed and commit. Where a run goes on in another environment, the earlier ones are kept too.

    Returns whether this one differs from the last one.
    """
    values = {
        **versions(),
        "platform": platform.platform(),
        "host": platform.node(),
        "processors": os.cpu_count(),
        "seed": seed,
    }
    earlier, changed = [], False
    if path.exists():
        last = files.read_json(path)
        earlier = last.pop("earlier")
        changed = any(last[name] != values[name] for name in values)
        earlier += [last] if changed else []
    began = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    files.write_json(path, {**values, "began": began, "earlier": earlier})
    return changed


def versions() -> dict[str, Any]:
    """What the results may depend on: Python, packages and the commit."""
    return {
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
        "git_commit": _commit(Path(__file__).parents[2]),
    }


def add(path: Path, **values: Any) -> None:
    """Sets entries that are known later, such as the devices once JAX has started."""
    files.write_json(path, {**files.read_json(path), **values})


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _commit(source: Path) -> str | None:
    """The commit of the checkout that landscape runs from, with '+changes' if edited; None for a plain install."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(source), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")) != source.resolve():
            return None  # installed into somebody else's repository
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None
