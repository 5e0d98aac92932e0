"""What classifiers of somebody's own, and weights from files, cannot be used for."""

from typing import Any

from ml_collections import ConfigDict

from landscape.files import UserError
from landscape.presets.resolve import is_own


def check(config: ConfigDict, fields: dict[str, Any]) -> None:
    """Refuses parts of an experiment that take apart the networks that are built here."""
    name = fields["model.name"]
    if config.experiment == "benchmark" and (is_own(name) or fields["model.checkpoints"] or fields["model.mean"]):
        field = "name" if is_own(name) else "checkpoints" if fields["model.checkpoints"] else "mean"
        raise UserError(
            f"model.{field}={fields[f'model.{field}']!r}: expected with other experiments, since benchmark races the "
            "classifiers that are built here; leave it out"
        )
