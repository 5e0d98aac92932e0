"""Units and long names of what the experiment `shared` saves."""

MEAN = "mean over pairs on the images that all have in common"
END = {"": "", "_low": ", lower end of its 95 % interval", "_high": ", upper end of its 95 % interval"}
ABOUT = {  # array: (units, long_name)
    "label": ("1", "true class"),
    "clean_prediction": ("1", "class that the target predicts for the clean image"),
    "clean_margin": ("logits", "the target's margin of the true class on the clean image"),
    "validation_margin": ("logits", "the same on validation images"),
    "prediction": ("1", "class that the target predicts for the source's adversarial example"),
    "noise_wrong": ("1", "whether the target errs on noise of the norm of the source's perturbation"),
    "perturbation_norm": ("pixels", "norm of the source's perturbation, in the attack's norm"),
    "perturbation_cosine": ("1", "cosine between the perturbations of two sources"),
    "gradient_cosine": ("1", "cosine between two sources' gradients of the label's log-odds at the clean image"),
    "aim": ("1", "class that targeted attacks aim at"),
    "picture": ("1", "adversarial examples of the first attack and source, in [0, 1]"),
    "picture_start": ("1", "the images they are made from"),
    "share": ("1", "share of each outcome over the source's images"),
    "share_chance": ("1", "share of same mistakes by chance, given the true class and how often each mistake is made"),
    "share_half": ("1", "half the 95 % interval of the share of mistakes, over images"),
    "count_seen": ("1", "share of examples that fool so many held-out members"),
    "count_expected": ("1", "the same if they were fooled independently given their clean margins"),
    "joint_wrong": ("1", "whether the target errs on what the joint search found"),
    "smallest_radius": ("pixels", "smallest L-inf radius that fools all attackers, inf where none does"),
    "own_radius": ("pixels", "smallest L-inf radius that fools the source alone"),
    "smallest_wrong": ("1", "whether the target errs on what fools all attackers at the smallest radius"),
    "joint_picture": ("1", "what fools all attackers at the smallest radius, in [0, 1]"),
    "universal": ("pixels", "perturbation for all images"),
    "universal_wrong": ("1", "whether the target errs on the image with the universal perturbation"),
    "ladder_tuning": ("logits", "margin that the unperturbed guides have lost at the end, validation images"),
    "ladder_step": ("1", "step size taken, share of the ball's radius"),
    "ladder_wrong": ("1", "share of blocks of guides with whose result the held-out member errs"),
    "ladder_block": ("1", "the same for each block, mean over held-out members and images"),
    "ladder_own": ("1", "share of blocks whose guides have lost the label, in the mean of their margins"),
    "ladder_picture": ("1", "results of the first block at equal steps, in [0, 1]"),
    "effective": ("1", "effective number of members and its 95 % interval; 0: fewer than one, inf: more than all"),
    "audit": ("1", "robust accuracy, mean over the audited attackers"),
    "source": ("1", "seed of the attacked member"),
    "other": ("1", "seed of another attacked member"),
    "target": ("1", "number of the judging member: attackers, held-out members, controls"),
    "target_seed": ("1", "seed of the judging member"),
    "role": ("1", "what statistics take the judging member for"),
    "attack": ("1", "kind, norm and radius of the attack"),
    "kind": ("1", "kind of attack"),
    "norm": ("1", "norm of its ball"),
    "epsilon": ("pixels", "radius of its ball"),
    "condition": ("1", "which images count"),
    "outcome": ("1", "what becomes of an example"),
    "targets": ("1", "who judges in a mean over pairs"),
    "quantity": ("1", "what a mean over pairs is of"),
    "search": ("1", "where the ladder's searches move"),
    "rung": ("1", "how a search is guided, and by how many members"),
    "rung_name": ("1", "how a search is guided"),
    "size": ("1", "members of a block of guides"),
    "budget": ("1", "what rungs have in common: gradients, or steps"),
    "step_size": ("1", "step sizes tried, share of the ball's radius"),
    "objective": ("1", "what joint searches climb"),
    "ball": ("pixels", "L-inf radius of joint searches and universal perturbations"),
    "made_by": ("1", "what a universal perturbation is made by"),
}
TOLD = {
    "mean": f"share, {MEAN}",
    "ladder_told": "share of held-out members and images fooled",
    "joint_all": "share of images on which all attackers are fooled",
    "joint_held_out": "share of held-out members and images that the joint search fools",
    "universal_attackers": "share of attackers and images that the universal perturbation fools",
    "universal_held_out": "share of held-out members and images that it fools",
}
ABOUT |= {f"{name}{end}": ("1", f"{told}{words}") for name, told in TOLD.items() for end, words in END.items()}


def describe(name: str) -> dict[str, str]:
    """{"units", "long_name"} of an array; nothing where all is said by its name."""
    units, long_name = ABOUT.get(name, ("", ""))
    return {"units": units, "long_name": long_name} if units else {}
