"""What a config of `tour` may say: all that its parts may."""

from collections.abc import Sequence
from typing import Any

from ml_collections import ConfigDict

from landscape import presets
from landscape.files import UserError


def check(config: ConfigDict, fields: dict[str, Any]) -> None:
    """UserError for what a part would refuse, before the first of them starts."""
    from landscape import experiments

    unknown = [name for name in config.order if name not in config.parts]
    if unknown or not config.order:
        raise UserError(f"order={config.order}: expected one or more of {', '.join(config.parts)}")
    for name, part in parts_of(config).items():
        try:
            experiments.validate(part)
        except UserError as error:
            raise UserError(f"parts.{name}.{error}") from error


def parts_of(config: ConfigDict) -> dict[str, ConfigDict]:
    """The config of each part, resolved, in the order in which they run."""
    return {name: presets.resolve(ConfigDict(config.parts[name].to_dict())) for name in config.order}


def arguments_of(name: str, part: ConfigDict, arguments: Sequence[str]) -> list[str]:
    """What runs a part alone, of the arguments of its tour: the config of that name, and the fields that the part has.

    Fields of the other parts are left out, and so is where the tour itself lies.
    """
    known, found = dict(presets.leaves(part)), []
    for argument in arguments:
        flag, _, value = argument.lstrip("-").partition("=")
        field = flag.removeprefix("config.").removeprefix(f"parts.{name}.")
        if flag == "config":
            found.append("--config=" + value.replace("tour.py", f"{name}.py"))
        elif flag.startswith("config.") and field in known:
            found.append(f"--config.{field}={value}")
    return found
