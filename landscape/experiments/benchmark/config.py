"""What a config of `benchmark` may say, and the names of races and of ways to do their work. Imports no JAX."""

from typing import Any

from ml_collections import ConfigDict

from landscape.files import UserError
from landscape.presets import OPPOSITE_PAIRS, Field
from landscape.presets.names import MODELS
from landscape.presets.resolve import is_own

OURS = "landscape"  # classifiers mapped as `config.mapping` says
ONE_BY_ONE = "pytorch_one_by_one"  # image by image
PEERS = ("pytorch", "pytorch_channels_last", "foolbox", ONE_BY_ONE)  # need the `peers` extra
WAYS = (OURS, "one_device", "map", "vmap", "loop", *PEERS)
# race -> who does the same work.
RACES = {
    "input_noise": ("pytorch", "pytorch_channels_last"),
    "weight_noise": ("pytorch", "pytorch_channels_last"),
    "surface": ("pytorch", "pytorch_channels_last"),
    "pgd": ("one_device", "pytorch", "pytorch_channels_last", "foolbox"),
    "gradient": ("map", "vmap", "loop"),
    "curvature": ("pytorch", ONE_BY_ONE),
    "train_step": ("loop",),
}
ATTACKERS = (OURS, "foolbox")
NORMS = ("linf", "l2")
COUNTED = ("pgd", "input_noise", "train_step")  # races whose operations are counted, by the number of classifiers
GENERATED = ("cnn", "resnet18")  # classifiers that have generated images
# Why a way takes no part in a race.
NOT_ASKED, NOT_INSTALLED, NO_PORT, DISAGREES = "not in this race", "not installed", "no port", "logits differ"
AGREEMENT = 1e-4  # largest difference of logits between a network and its port, relative where logits are above 1

FIELDS = {
    "benchmark.part": Field(("small", "resnet", "members")),
    "benchmark.models": Field(MODELS),
    "benchmark.races": Field(tuple(RACES)),
    "benchmark.ways": Field(WAYS[1:]),
    "benchmark.num_draws": OPPOSITE_PAIRS,
}


def num_members(config: ConfigDict, race: str) -> int:
    """Classifiers that take part in a race: fewer in those that take long."""
    few = race in ("pgd", "curvature")
    return min(config.num_members, config.benchmark.num_searched) if few else config.num_members


def ways_of(config: ConfigDict, race: str) -> tuple[str, ...]:
    """Who does the work of a race, OURS first."""
    return (OURS, *(way for way in RACES[race] if way in config.benchmark.ways))


def check(config: ConfigDict, fields: dict[str, Any]) -> None:
    """UserError for classifiers that are not built here, which cannot be rebuilt in PyTorch, for sweeps and counts."""

    def refuse(field: str, expected: str) -> None:
        raise UserError(f"{field}={fields[field]!r}: expected {expected}")

    for name, foreign in (("name", is_own(fields["model.name"])), ("checkpoints", fields["model.checkpoints"]),
                          ("mean", fields["model.mean"])):  # fmt: skip
        if foreign:
            refuse(f"model.{name}", "with other experiments, since benchmark races the classifiers that are built here")
    for name in (name for name, values in fields.items() if name.startswith("sweep.") and values):
        refuse(
            name, "no swept values: what arithmetic costs does not depend on them; set train.* and run once for each"
        )
    part = config.benchmark.part
    if part != "small" and not {*config.benchmark.models} <= {*GENERATED}:
        refuse("benchmark.models", f"some of {', '.join(GENERATED)} in the part {part}")
    if part == "members" and not {*config.benchmark.races} <= {*COUNTED}:
        refuse("benchmark.races", f"some of {', '.join(COUNTED)} in the part {part}")
    counts = config.benchmark.counts
    if not counts or any(not isinstance(one, int) or one < 1 for one in counts) or len(set(counts)) < len(counts):
        refuse("benchmark.counts", "one or more whole numbers of classifiers, each once")
