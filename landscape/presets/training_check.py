"""Values of a config that training would stumble over, or read as something else."""

from typing import Any

from ml_collections import ConfigDict

from landscape.files import UserError
from landscape.presets.names import SWEPT

BELOW_ONE = ("momentum", "ema")


def check(config: ConfigDict, fields: dict[str, Any]) -> None:
    """Shares of 1 and more, a warm-up without end, crops by parts of pixels, momentum of an optimiser without one."""
    num_epochs = config.train.num_epochs
    for name in SWEPT:
        for field in (f"train.{name}", f"sweep.{name}"):
            value = fields.get(field, ())
            for one in value if isinstance(value, tuple) else (value,):
                if name in BELOW_ONE and not one < 1:
                    raise UserError(f"{field}={one}: expected less than 1, such as 0.9")
                if name == "flip" and one > 1:
                    raise UserError(f"{field}={one}: expected a probability; 0.5 mirrors every other image")
                if name == "crop" and one != int(one):
                    raise UserError(f"{field}={one}: expected whole pixels, such as {round(one)}")
                if name == "warmup_epochs" and one and not one < num_epochs:
                    raise UserError(f"{field}={one}: expected less than train.num_epochs={num_epochs}; try 1")
    if config.sweep.get("momentum") and config.train.optimizer != "sgd":
        raise UserError(
            f"sweep.momentum={config.sweep.momentum}: expected with --config.train.optimizer=sgd; "
            f"{config.train.optimizer} does not read it"
        )
