"""How fast is all this beside the alternatives, on this machine, and are its attacks as strong?"""

from landscape.experiments.base import SCHEMA, Experiment, Quantity
from landscape.experiments.benchmark.config import FIELDS, check

OF_A_NORM = ("norm", "member", "example")
# What a stage of one race, of one number of classifiers, or of the attacks of one origin computes; arrays.nc has the
# dims named here in front.
STAGES = {
    ("race", "model"): {
        "seconds": Quantity(("way", "round"), "s", "time that one round took; NaN where a way took no part"),
        "images": Quantity((), "1", "images that pass through a classifier in one round"),
        "classifiers": Quantity((), "1", "classifiers that take part"),
        "examples": Quantity((), "1", "images that take part"),
        "left_out": Quantity(("way",), "1", "why a way took no part, empty where it did"),
        "logit_difference": Quantity(
            (), "1", "largest difference between logits here and in PyTorch, relative above 1"
        ),
    },
    ("model", "count"): {
        "member_seconds": Quantity(("race", "round"), "s", "time that one round took, of generated images"),
        "flops": Quantity(("race",), "1", "floating-point operations of one round, counted with the plain convolution"),
    },
    ("attacker",): {
        "robust": Quantity(OF_A_NORM, "1", "whether no attack in the ball fools the classifier"),
        "distance": Quantity(
            OF_A_NORM,
            "pixels",
            "to the nearest image found that is not given the class, 0 where the image itself is not",
        ),
    },
}
OF_ONE = {name: one for stage in STAGES.values() for name, one in stage.items()}
OTHERS = {
    "radius": Quantity(("norm",), "pixels", "of the ball: median distance that FMN finds on validation images"),
    "passes": Quantity(("norm", "member"), "1", "images through the classifier for each one that Foolbox attacks"),
    "product_rate": Quantity((), "1 / s", "floating-point operations of a product of large matrices"),
    "attacker": Quantity(("attacker",), "1", "whose attacks"),
    "norm": Quantity(("norm",), "1", "norm of the perturbation"),
    "race": Quantity(("race",), "1", "the work that is timed"),
    "model": Quantity(("model",), "1", "kind of classifier"),
    "way": Quantity(("way",), "1", "how the work is done"),
    "round": Quantity(("round",), "1", "number of the round"),
    "count": Quantity(("count",), "1", "number of classifiers"),
    **SCHEMA,
}
EXPERIMENT = Experiment(
    package=__name__,
    question="How fast are flatness, weight noise and attacks on this machine beside PyTorch and Foolbox, and are the "
    "attacks as strong?",
    schema=OTHERS
    | {n: one._replace(dims=(*dims, *one.dims)) for dims, stage in STAGES.items() for n, one in stage.items()},
    check=check,
    fields=FIELDS,
)
