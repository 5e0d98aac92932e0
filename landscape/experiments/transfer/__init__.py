"""Are adversarial examples shared between classifiers that differ only in their seed, and can shared ones be found?"""

from landscape.experiments.base import SCHEMA, Experiment, Quantity
from landscape.experiments.quantities import AROUND_INPUT, OF_INPUT, noisy
from landscape.experiments.transfer.config import check

IMAGE = ("height", "width", "channel")
PAIR = ("attack", "source", "target", "example")
SETS = ("search", "guide_set", "budget")
INPUTS = ("source", "input", "geometry_example")
BY_NAME = OF_INPUT | AROUND_INPUT | noisy("input")
MEASURED = ("margin", "delta_l2", "input_probability_drop", "input_margin_drop", "worst_margin_drop")
MEASURED += ("gradient_norm", "hessian_top")

CLEAN = {
    "label": Quantity(("example",), "1", "true class"),
    "clean_prediction": Quantity(("target", "example"), "1", "class that the target predicts for the clean image"),
    "clean_margin": Quantity(("target", "example"), "logits", "the target's margin of the true class there"),
    "validation_margin": Quantity(
        ("target", "validation_example"), "logits", "the target's margin of the true class on validation images"
    ),
    "target": Quantity(("target",), "1", "number of the classifier: attackers, then held-out ones, then controls"),
    "role": Quantity(("target",), "1", "attacker, held_out, or the kind of control"),
    "target_seed": Quantity(("target",), "1", "base seed of the classifier"),
}
TRANSFER = {
    "prediction": Quantity(PAIR, "1", "class that the target predicts for the source's adversarial example"),
    "noise_wrong": Quantity(PAIR, "1", "whether the target errs on noise of the norm of the source's perturbation"),
    "perturbation_norm": Quantity(
        ("attack", "source", "example"), "pixels", "norm of the source's perturbation, in the attack's norm"
    ),
    "perturbation_cosine": Quantity(
        ("attack", "source", "other", "example"), "1", "cosine between the perturbations of two sources"
    ),
    "random_cosine": Quantity(
        ("attack", "example"), "1", "cosine between two draws of noise of the first source's norm, clipped to the box"
    ),
    "gradient_cosine": Quantity(
        ("source", "other", "example"), "1", "cosine between two sources' gradients of the label's log-odds"
    ),
    "aim": Quantity(("example",), "1", "class that targeted attacks aim at"),
    "picture": Quantity(("shown", *IMAGE), "pixels", "adversarial examples of the first attack and source"),
    "picture_start": Quantity(("shown", *IMAGE), "pixels", "the images they are made from"),
    "attack": Quantity(("attack",), "1", "kind, norm and radius of the attack"),
    "kind": Quantity(("attack",), "1", "kind of attack: full, first_flip or targeted"),
    "norm": Quantity(("attack",), "1", "norm of its ball"),
    "epsilon": Quantity(("attack",), "pixels", "radius of its ball"),
    "source": Quantity(("source",), "1", "base seed of the attacked classifier"),
    "other": Quantity(("other",), "1", "base seed of another attacked classifier"),
}
JOINT = {
    "joint_wrong": Quantity(
        ("objective", "ball", "target", "joint_example"), "1", "whether the target errs on what the joint search found"
    ),
    "smallest_radius": Quantity(
        ("joint_example",), "pixels", "smallest L-inf radius that fools all attackers, inf where none does"
    ),
    "own_radius": Quantity(("source", "joint_example"), "pixels", "smallest L-inf radius that fools the source alone"),
    "smallest_wrong": Quantity(
        ("target", "joint_example"), "1", "whether the target errs on what fools all attackers at the smallest radius"
    ),
    "joint_picture": Quantity(("joint_shown", *IMAGE), "pixels", "what fools all attackers at the smallest radius"),
    "objective": Quantity(("objective",), "1", "what joint searches raise"),
    "ball": Quantity(("ball",), "pixels", "L-inf radius of joint searches"),
    "joint_example": Quantity(("joint_example",), "1", "id of the image"),
}
GUIDES = {
    "tuning": Quantity(
        ("search", "guide_set", "step_size", "budget"),
        "logits",
        "minus the mean margin that the label keeps with the unperturbed guides, validation images",
    ),
    "chosen_step": Quantity(SETS, "1", "step size taken, share of the ball's radius"),
    "guided_wrong": Quantity(
        (*SETS, "held_out", "guided_example"),
        "1",
        "share of blocks of guides with whose result the held-out classifier errs",
    ),
    "block_wrong": Quantity(
        (*SETS, "block", "guided_example"), "1", "share of held-out classifiers that err on the result of each block"
    ),
    "start_wrong": Quantity(
        ("search", "held_out", "guided_example"), "1", "whether the held-out classifier errs where searches start"
    ),
    "search": Quantity(("search",), "1", "space that guided searches move in"),
    "guide_set": Quantity(("guide_set",), "1", "how a search is guided, and by how many classifiers"),
    "guidance": Quantity(("guide_set",), "1", "how a search is guided"),
    "size": Quantity(("guide_set",), "1", "classifiers in a block of guides"),
    "budget": Quantity(("budget",), "1", "what guide sets have in common: gradients, or steps"),
    "step_size": Quantity(("step_size",), "1", "step sizes tried, share of the ball's radius"),
    "held_out": Quantity(("held_out",), "1", "number of the held-out classifier, on the axis of targets"),
    "guided_example": Quantity(("guided_example",), "1", "id of the image"),
}
GEOMETRY = {
    **{f"geometry_{name}": Quantity(INPUTS, *BY_NAME[name]) for name in MEASURED},
    "geometry_prediction": Quantity(INPUTS, "1", "class that the source predicts there: the tracked class"),
    "geometry_manifold": Quantity(INPUTS, "pixels", "L2 distance from its reconstruction by the autoencoder"),
    "geometry_nearest": Quantity(INPUTS, "pixels", "L2 distance from the nearest training image"),
    "geometry_nearest_true": Quantity(INPUTS, "1", "share of the nearest training images of the true class"),
    "geometry_nearest_taken": Quantity(INPUTS, "1", "share of the nearest training images of the predicted class"),
    "geometry_wrong": Quantity(("held_out", *INPUTS), "1", "whether the held-out classifier errs"),
    "input": Quantity(("input",), "1", "what is measured at"),
    "geometry_example": Quantity(("geometry_example",), "1", "id of the image"),
}
BETWEEN = {
    "disagreement": Quantity(("space", "step", "pair"), "nats", "mutual information of class and classifier"),
    "vote": Quantity(("space", "step", "pair", "class"), "1", "how many classifiers predict the class"),
    "endpoints": Quantity(("pair", "end"), "1", "places of both images on the axis of examples"),
    "between_picture": Quantity(
        ("pair_shown", "place", *IMAGE), "pixels", "one end, place of the largest disagreement, and other end"
    ),
    "pair_shown": Quantity(("pair_shown",), "1", "number of the pair pictured"),
    "space": Quantity(("space",), "1", "where lines run: on the autoencoder's manifold, or in pixels"),
    "step": Quantity(("step",), "1", "share of the line"),
}
AUDIT = {
    "audit": Quantity(("audit_attack", "audit_epsilon"), "1", "robust accuracy, mean over the audited attackers"),
    "audit_attack": Quantity(("audit_attack",), "1", "attack tried by the audit"),
    "audit_epsilon": Quantity(("audit_epsilon",), "pixels", "radius tried by the audit"),
}
COMMON = {name: SCHEMA[name] for name in ("example", "class", "check", "check_passed", "check_detail")}

EXPERIMENT = Experiment(
    package=__name__,
    question="Are adversarial examples shared between classifiers that differ in their seed alone, and can shared ones "
    "be found?",
    schema=CLEAN | TRANSFER | JOINT | GUIDES | GEOMETRY | BETWEEN | AUDIT | COMMON,
    check=check,
)
