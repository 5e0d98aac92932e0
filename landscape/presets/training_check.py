"""Values of a config that training would stumble over, or read as something else."""

from typing import Any

from ml_collections import ConfigDict

from landscape.files import UserError
from landscape.presets.names import SWEPT, largest_epsilon

FIELDS = {name: (f"train.{name}", f"sweep.{name}") for name in SWEPT}
FIELDS["adversarial_epsilon"] = ("train.adversarial.epsilon", "sweep.adversarial_epsilon")


def check(config: ConfigDict, fields: dict[str, Any]) -> None:
    """Shares of 1 and more, a warm-up without end, crops by parts of pixels, momentum of an optimiser without one."""
    num_epochs, norm = config.train.num_epochs, config.train.adversarial.norm
    for name, both in FIELDS.items():
        for field in both:
            value = fields.get(field, ())
            for one in value if isinstance(value, tuple) else (value,):
                if name in ("momentum", "ema") and not one < 1:
                    raise UserError(f"{field}={one}: expected less than 1, such as 0.9")
                if name == "flip" and one > 1:
                    raise UserError(f"{field}={one}: expected a probability; 0.5 mirrors every other image")
                if name == "crop" and one != int(one):
                    raise UserError(f"{field}={one}: expected whole pixels, such as {round(one)}")
                if name == "warmup_epochs" and one and not one < num_epochs:
                    raise UserError(f"{field}={one}: expected less than train.num_epochs={num_epochs}; try 1")
                if name == "adversarial_epsilon":
                    refuse_large(field, norm, one, config.data.name)
    _check_sweep(config)
    if config.sweep.get("momentum") and config.train.optimizer != "sgd":
        raise UserError(
            f"sweep.momentum={config.sweep.momentum}: expected with --config.train.optimizer=sgd; "
            f"{config.train.optimizer} does not read it"
        )


def _check_sweep(config: ConfigDict) -> None:
    """Values come once, and every trained member has one of them."""
    for name, values in config.sweep.items():
        if len({*values}) < len(values):
            raise UserError(f"sweep.{name}={values}: expected each value once; leave out the copies")
        if values and config.model.checkpoints and not config.model.finetune:
            raise UserError(
                f"sweep.{name}={values}: expected none with model.checkpoints, whose members were trained elsewhere; "
                "train the sweep in a run of its own"
            )


def refuse_large(field: str, norm: str, epsilon: float, dataset: str) -> None:
    """Refuses a radius beyond any image, such as one in 8-bit units."""
    most = largest_epsilon(norm, dataset)
    if epsilon > most:
        whole = "" if norm == "linf" else " (the L2 norm over a whole image)"
        raise UserError(
            f"{field}={epsilon:g}: expected 0 <= epsilon <= {most:.4g}{whole}, since images are in [0, 1]; "
            f"did you mean {epsilon:g}/255 = {epsilon / 255:.3g}?"
        )
