"""Figures of `shared`: are adversarial examples shared between classifiers, and can shared ones be found?"""

from landscape.reporting import (
    shared_ladder,
    shared_main,
    shared_matrix,
    shared_means,
    shared_pictures,
    shared_shapes,
)
from landscape.reporting.plate import Plate

MATRIX = ("share", "share_chance", "share_half", "role")
MEANS = ("mean", "mean_low", "mean_high", "kind", "epsilon")

PLATES = (
    Plate(
        "main",
        "How many members must guide a search, and who is fooled by whose examples",
        "Left: how often held-out members, which no search has seen, are fooled by searches that k members guide "
        "together (intervals over held-out members and images), beside searches guided by one member that is redrawn "
        "(dashed, with its band). Where a dashed line meets the black one is how many members that noise is worth. "
        "Right: a row is the classifier that examples are made on, a column one that judges them; orange is the "
        "source's own mistake, and beyond the tick it is more than chance.",
        ("ladder_told", "ladder_told_low", "ladder_told_high", "ladder_block", "rung_name", "size", *MATRIX),
        shared_main.main,
        narrow=shared_ladder.ladder_column,
        table=shared_ladder.ladder_table,
    ),
    Plate(
        "ladder",
        "The ladder, by search and budget",
        "Searches guided by k members together (points with 95 % intervals over held-out members and images; small "
        "dots: each disjoint block of k), beside searches guided by one member that is redrawn (dashed, with the "
        "band of its interval; where its symbol stands says nothing). Where a dashed line meets the black one is "
        "how many members that noise is worth. Upper row: every search takes as many steps; lower: spends as many "
        "gradients, so that k members take one k-th of the steps. Held-out members were seen by no search.",
        ("ladder_told", "ladder_told_low", "ladder_told_high", "ladder_block", "effective", "rung_name", "size"),
        shared_ladder.ladder,
    ),
    Plate(
        "matrix",
        "Who is fooled by whose examples",
        "A row is the classifier that examples are made on, a column one that judges them; each cell is split by what "
        "becomes of them: a bar that is all orange makes the source's mistake every time. The tick marks how many same "
        "mistakes there would be by chance, given the true class and how often each mistake is made: orange beyond the "
        "tick is shared. Framed: the source itself. Images that every trained member classifies rightly.",
        MATRIX,
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
        "tuning",
        "How step sizes of the ladder were chosen",
        "On validation images: the mean margin that the unperturbed guides have lost at the end, thicker lines for "
        "more of them. Ringed: what each rung took; a ring at an end of the grid might lie beyond it.",
        ("ladder_tuning", "ladder_step", "rung_name", "size"),
        shared_ladder.tuning,
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
    Plate(
        "shapes",
        "What shared examples look like to the classifier they fool",
        "Means with 95 % intervals over members and images. Orange and red come of the same attack and differ in "
        "whether held-out members are fooled, all or none; so they are of different images. Purple: found by the "
        "search that had all attackers to fool. Blue: the images themselves.",
        ("shape", "shape_low", "shape_high"),
        shared_shapes.means,
    ),
    Plate(
        "shape_differences",
        "Shared minus unshared examples",
        "Told raw, of points searched to one margin, of partners of equal margin in the same class, and free of scale: "
        "what a difference owes to confidence is gone in the latter three. Red: of the same attack. Purple: of the "
        "search that had all attackers to fool. Intervals that cross the line say nothing.",
        ("shape_difference", "shape_difference_low", "shape_difference_high"),
        shared_shapes.differences,
    ),
    Plate(
        "between",
        "Where members disagree between two classes",
        "Disagreement is what a prediction tells of the member that made it: 0 where all say the same, however unsure "
        "they are. Lines run between test images of two classes; bands: 95 % intervals over pairs, for these members.",
        ("between", "between_low", "between_high", "disagreement"),
        shared_shapes.between,
    ),
    Plate(
        "between_pictures",
        "Pictures between classes where members disagree most and least",
        "On the autoencoder's manifold: both ends of a line, and its place of largest disagreement. Above: that "
        "disagreement; beneath: how many members predict which class.",
        ("between_picture", "disagreement", "vote", "between_pair"),
        shared_shapes.between_pictures,
        kind="png",
    ),
)
