"""Are adversarial examples shared between classifiers that differ only in their seed, and can shared ones be found?"""

from landscape.experiments.base import SCHEMA, TRAINED, Experiment, Quantity
from landscape.experiments.quantities import AROUND_INPUT, OF_INPUT, measured_schema, noisy
from landscape.experiments.transfer.config import FIELDS, check

IMAGE = ("height", "width", "channel")
PAIR = ("attack", "source", "target", "example")
SETS = ("guide_set", "budget")
INPUTS = ("source", "input", "geometry_example")
MEASURED = ("margin", "log_odds", "delta_l2", "input_probability_drop", "input_margin_drop", "worst_margin_drop")
MEASURED += ("gradient_norm", "hessian_top")

CLEAN = {
    "clean_prediction": Quantity(("target", "example"), "1", "class that the target predicts for the clean image"),
    "clean_margin": Quantity(("target", "example"), "logits", "the target's margin of the true class there"),
    "validation_margin": Quantity(
        ("target", "validation_example"), "logits", "the target's margin of the true class on validation images"
    ),
}
TRANSFER = {
    "prediction": Quantity(PAIR, "1", "class that the target predicts for the source's adversarial example"),
    "noise_wrong": Quantity(PAIR, "1", "whether the target errs on noise of the norm of the source's perturbation"),
    "perturbation_norm": Quantity(
        ("attack", "source", "example"), "pixels", "norm of the source's perturbation, in the attack's norm"
    ),
    "picture": Quantity(("shown", *IMAGE), "pixels", "adversarial examples of the first attack and source"),
}
JOINT = {
    "joint_wrong": Quantity(
        ("objective", "ball", "target", "joint_example"), "1", "whether the target errs on what the joint search found"
    ),
    "smallest_radius": Quantity(
        ("joint_example",), "pixels", "smallest L-inf radius that fools all attackers, inf where none does"
    ),
    "own_radius": Quantity(("source", "joint_example"), "pixels", "smallest L-inf radius that fools the source alone"),
    "joint_picture": Quantity(("joint_shown", *IMAGE), "pixels", "what fools all attackers at the smallest radius"),
}
GUIDES = {
    "tuning": Quantity(
        ("guide_set", "step_size", "budget"),
        "logits",
        "minus the mean margin that the label keeps with the unperturbed guides, validation images",
    ),
    "guided_wrong": Quantity(
        (*SETS, "held_out", "guided_example"),
        "1",
        "share of blocks of guides with whose result the held-out classifier errs",
    ),
    "block_wrong": Quantity(
        (*SETS, "block", "guided_example"), "1", "share of held-out classifiers that err on the result of each block"
    ),
}
GEOMETRY = {
    **{f"geometry_{name}": Quantity(INPUTS, *(OF_INPUT | AROUND_INPUT | noisy("input"))[name]) for name in MEASURED},
    "geometry_prediction": Quantity(INPUTS, "1", "class that the source predicts there: the tracked class"),
    "geometry_manifold": Quantity(INPUTS, "pixels", "L2 distance from its reconstruction by the autoencoder"),
    "geometry_nearest": Quantity(INPUTS, "pixels", "L2 distance from the nearest training image"),
    "geometry_nearest_true": Quantity(INPUTS, "1", "share of the nearest training images of the true class"),
    "geometry_nearest_taken": Quantity(INPUTS, "1", "share of the nearest training images of the predicted class"),
    "geometry_wrong": Quantity(("held_out", *INPUTS), "1", "whether the held-out classifier errs"),
    **{name: one for name, one in measured_schema(INPUTS).items() if "source" in one.dims},
}
BETWEEN = {
    "disagreement": Quantity(("space", "step", "pair"), "nats", "mutual information of class and classifier"),
    "vote": Quantity(("space", "step", "pair", "class"), "1", "how many classifiers predict the class"),
    "pictured": Quantity(("pair_shown",), "1", "number of the pair pictured"),
    "between_picture": Quantity(
        ("pair_shown", "point", *IMAGE), "pixels", "one end, point of the largest disagreement, and other end"
    ),
}
BY_TRAINING = CLEAN | TRANSFER | JOINT | GUIDES | GEOMETRY | BETWEEN  # what each kind of training has of its own
COMMON = {
    name: one for name, one in (measured_schema(INPUTS) | SCHEMA).items() if not {"member", "source"} & {*one.dims}
} | {
    **{name: SCHEMA[name]._replace(dims=("training",)) for name in TRAINED},
    "label": Quantity(("example",), "1", "true class"),
    "picture_start": Quantity(("shown", *IMAGE), "pixels", "the images that adversarial examples are made from"),
    "target": Quantity(("target",), "1", "number of the classifier: attackers, then held-out ones, then controls"),
    "role": Quantity(("target",), "1", "attacker, held_out, or the kind of control"),
    "held_out": Quantity(("held_out",), "1", "number of the held-out classifier, on the axis of targets"),
    "source": Quantity(("source",), "1", "base seed of the attacked classifier"),
    "kind": Quantity(("attack",), "1", "kind of attack: full or first_flip"),
    "norm": Quantity(("attack",), "1", "norm of its ball"),
    "epsilon": Quantity(("attack",), "pixels", "radius of its ball"),
    "objective": Quantity(("objective",), "1", "what joint searches raise"),
    "ball": Quantity(("ball",), "pixels", "L-inf radius of joint searches"),
    "joint_example": Quantity(("joint_example",), "1", "id of the image"),
    "guidance": Quantity(("guide_set",), "1", "how a search is guided"),
    "size": Quantity(("guide_set",), "1", "classifiers in a block of guides"),
    "budget": Quantity(("budget",), "1", "what guide sets have in common: gradients, or steps"),
    "step_size": Quantity(("step_size",), "1", "step sizes tried, share of the ball's radius"),
    "guided_example": Quantity(("guided_example",), "1", "id of the image"),
    "input": Quantity(("input",), "1", "what is measured at"),
    "geometry_example": Quantity(("geometry_example",), "1", "id of the image"),
    "space": Quantity(("space",), "1", "where lines run: on the autoencoder's manifold, or in pixels"),
    "step": Quantity(("step",), "1", "share of the line"),
}

OF_ONE_TRAINING = COMMON | BY_TRAINING  # what stages write of one kind of training

EXPERIMENT = Experiment(
    package=__name__,
    question="Are adversarial examples shared between classifiers that differ in their seed alone, and can shared ones "
    "be found?",
    schema=COMMON | {name: one._replace(dims=("training", *one.dims)) for name, one in BY_TRAINING.items()},
    check=check,
    fields=FIELDS,
    controls=True,
)
