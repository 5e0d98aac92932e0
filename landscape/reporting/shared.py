"""Figures of `shared`: are adversarial examples shared between classifiers, and can shared ones be found?"""

from landscape.reporting import shared_matrix, shared_means, shared_pictures
from landscape.reporting.plate import Plate

MEANS = ("mean", "mean_low", "mean_high", "kind", "epsilon")

PLATES = (
    Plate(
        "matrix",
        "Who is fooled by whose examples",
        "A row is the classifier that examples are made on, a column one that judges them; each cell is split by what "
        "becomes of them: a bar that is all orange makes the source's mistake every time. The tick marks how many same "
        "mistakes there would be by chance, given the true class and how often each mistake is made: orange beyond the "
        "tick is shared. Framed: the source itself. Images that every trained member classifies rightly.",
        ("share", "share_chance", "share_half", "role"),
        shared_matrix.matrix,
        narrow=shared_matrix.matrix_column,
        table=shared_matrix.matrix_table,
    ),
    Plate(
        "means",
        "Attack by attack",
        "Means over pairs with 95 % intervals over members and images. Noise of the same norm is the zero line. First "
        "flips stop at the source's own boundary and are read where all sources are fooled; all others where all "
        "members were right before. In targeted attacks all sources aim at one class, so that sharing it is no wonder.",
        MEANS,
        shared_means.means,
    ),
    Plate(
        "counts",
        "How many members does one example fool?",
        "Bars: share of examples that fool so many held-out members, mean over sources. Black: what it would be if "
        "members were fooled independently, each as its margin on the clean image says. More at both ends than black "
        "means that members are fooled together, beyond what is easy for all.",
        ("count_seen", "count_expected"),
        shared_means.counts,
    ),
    Plate(
        "directions",
        "Do they point the same way?",
        "Each tick is a pair of attackers, the dot their mean: cosine between gradients, and between perturbations.",
        ("gradient_cosine", "perturbation_cosine", "picture"),
        shared_means.directions,
    ),
    Plate(
        "joint",
        "Searches that have all attackers to fool",
        "Left: share of images on which the search, which keeps its best step, fools every attacker at once. Right: "
        "what members that no search has seen make of it. Intervals on the left are over images, on the right over "
        "members and images.",
        ("joint_all", "joint_held_out"),
        shared_means.joint,
    ),
    Plate(
        "nearest",
        "The nearest image that fools every attacker",
        "Beneath: its L∞ distance, by bisection, an upper bound. The first test images, not chosen.",
        ("smallest_radius", "joint_picture", "picture_start"),
        shared_pictures.nearest,
        kind="png",
    ),
    Plate(
        "universal",
        "One perturbation for all images",
        "Made from training images, put on test images and clipped; bars are 95 % intervals over members and images.",
        ("universal_attackers", "universal_held_out"),
        shared_means.universal,
    ),
    Plate(
        "universals",
        "What universal perturbations look like",
        "Mid-grey is no change; each column is scaled to its own radius.",
        ("universal",),
        shared_pictures.universals,
        kind="png",
    ),
    Plate(
        "examples",
        "Shared and unshared examples",
        "Adversarial examples of the first attacker: those that fool fewest held-out members, and those that fool "
        "most. Beneath: the true class, the class it takes them for, and how many held-out members are fooled.",
        ("picture", "picture_start", "prediction", "clean_prediction", "label"),
        shared_pictures.examples,
        kind="png",
    ),
)
