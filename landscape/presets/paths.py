"""Paths a user gives are on this machine: `~` is the home directory, and an address (`gs://..`) is refused."""

import os
from typing import Any

from ml_collections import ConfigDict

from landscape.files import UserError
from landscape.presets.check import leaves

WRITTEN = "results reach a bucket by BUCKET=gs://NAME/FOLDER launch/tpu_vm.sh run"
READ = "copy it to this machine or mount it first"
# What to do about an address, by what is given: --workdir, or a field of the config, of a tour's parts as well.
PATHS = {
    "--workdir": WRITTEN,
    "artifacts": WRITTEN,
    "data.cache": WRITTEN,
    "data.dir": READ,
    "inputs": READ,
    "moves": READ,
    "pages": READ,
    "runs": READ,
    "model.name": READ,  # a file of an own classifier, perhaps
    "model.checkpoints": READ,
    "held_out_model.name": READ,
    "held_out_model.checkpoints": READ,
}


def local(name: str, path: Any) -> Any:
    """A path, or each of a tuple of paths, with `~` expanded.

    Raises:
      UserError: an address, which as a path would quietly become a folder named `gs:`; what is no text, or no UTF-8.
    """
    if isinstance(path, tuple):
        return tuple(local(name, each) for each in path)
    remedy = next(remedy for field, remedy in PATHS.items() if name.endswith(field))
    if not isinstance(path, str) or "://" in path:
        raise UserError(f"{name}={path}: expected a path on this machine, not an address; {remedy}")
    refuse_other_encoding(name, path)
    return os.path.expanduser(path)


def refuse_other_encoding(what: str, name: str) -> None:
    """Refuses a name of a file or folder that is no UTF-8, and that no report could be written with."""
    try:
        name.encode()
    except UnicodeEncodeError:
        raise UserError(f"{what}={os.fsencode(name)}: expected a name in UTF-8; rename it") from None


def set_local(config: ConfigDict) -> None:
    """Replaces the paths in a config by local ones."""
    fields = dict(leaves(config))
    given = {name: fields[name] for field in PATHS for name in fields if f".{name}".endswith(f".{field}")}
    config.update_from_flattened_dict({name: local(name, value) for name, value in given.items()})
