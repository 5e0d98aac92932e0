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
        "Dotted: what is wrong before any search. Right: a row is the classifier that examples are made on, a column "
        "one that judges them; red is the source's own mistake, and beyond the tick it is more than chance.",
        ("ladder_told", "ladder_told_low", "ladder_told_high", "ladder_block_told", "rung_name", "size", *MATRIX),
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
        ("ladder_told", "ladder_told_low", "ladder_told_high", "ladder_block_told", "effective", "rung_name", "size"),
        shared_ladder.ladder,
    ),
    Plate(
        "matrix",
        "Who is fooled by whose examples",
        "A row is the classifier that examples are made on, a column one that judges them; each cell is split by what "
        "becomes of them: a bar that is all red makes the source's mistake every time. The tick marks how many same "
        "mistakes there would be by chance, given the true class and how often each mistake is made: red beyond the "
        "tick is shared. Framed: the source itself. Images that every trained member classifies rightly; what controls "
        "get wrong, they mostly get wrong on the image itself.",
        MATRIX,
        shared_matrix.matrix,
        narrow=shared_matrix.matrix_column,
        table=shared_matrix.matrix_table,
    ),
    Plate(
        "means",
        "Attack by attack",
        "Means over pairs with 95 % intervals over members and images. Triangles: noise of the same norm. First "
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
        "means that members are fooled together, beyond what is easy for all. Images on which every attacker fools "
        "itself.",
        ("count_seen", "count_expected"),
        shared_means.counts,
    ),
    Plate(
        "directions",
        "Do they point the same way?",
        "Each tick is a pair of attackers, the dot their mean: cosine between gradients, and between perturbations. "
        "The triangle is the zero line: noise of the same norms, which agrees with other noise where both are clipped "
        "at the same pixels.",
        ("gradient_cosine", "perturbation_cosine", "random_cosine"),
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
        "Beneath: its L∞ distance, by bisection, an upper bound. The first images it is found for.",
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
        "On validation images: minus the mean margin that the label keeps with the unperturbed guides, thicker lines "
        "for more of them. Ringed: what each rung took; a ring at an end of the grid might lie beyond it.",
        ("ladder_tuning", "ladder_step", "rung_name", "size"),
        shared_ladder.tuning,
    ),
    Plate(
        "examples",
        "Shared and unshared examples",
        "Adversarial examples of the first attacker, on the first test images: those that fool fewest held-out "
        "members, and those that fool most. Beneath: the true class, the class it takes them for, and how many "
        "held-out members are fooled.",
        ("picture", "picture_start", "prediction", "clean_prediction", "label"),
        shared_pictures.examples,
        kind="png",
    ),
    Plate(
        "beside",
        "One attacker's examples beside those of all",
        "The same images in one ball: the example of the first attacker, and what the search finds that has all "
        "attackers to fool. Beneath: how many held-out members are fooled. The images on which that number rises most.",
        ("picture", "picture_start", "shape_picture", "shape_wrong"),
        shared_pictures.beside,
        kind="png",
    ),
    Plate(
        "shapes",
        "What shared examples look like to the classifier they fool",
        "Means with 95 % intervals over members and images. Gold and red come of the same attack and differ in "
        "whether held-out members are fooled, none or all; so they are of different images, and the next figure tells "
        "what is of the images alone. Purple: found by the search that had all attackers to fool. Blue: the images.",
        ("shape", "shape_low", "shape_high"),
        shared_shapes.means,
    ),
    Plate(
        "shape_differences",
        "Shared minus unshared examples",
        "Told raw; of what the attack has changed, each example less its own image; of the same examples steered to "
        "one margin; of partners of equal margin, in the same class where there are enough; and free of scale. Red: of "
        "the same attack. Purple: of the search that had all attackers to fool. Where raw and changed differ in sign, "
        "the images differ, not the examples.",
        ("shape_difference", "shape_difference_low", "shape_difference_high"),
        shared_shapes.differences,
    ),
    Plate(
        "between",
        "Where members disagree between two classes",
        "Disagreement, H(mean p) - mean H(p), is 0 where all members say the same, however unsure they are. Lines run "
        "between test images of two classes; bands are 95 % intervals over pairs, for these members.",
        ("between", "between_low", "between_high", "disagreement"),
        shared_shapes.between,
    ),
    Plate(
        "between_pictures",
        "Pictures between classes where members disagree most and least",
        "On the autoencoder's manifold: both ends of a line, and its place of largest disagreement between them. "
        "Above: that disagreement; beneath: how many of all trained members predict which class. Least: where the "
        "largest on a line is smallest.",
        ("between_picture", "disagreement", "vote", "between_pair"),
        shared_shapes.between_pictures,
        kind="png",
    ),
)
