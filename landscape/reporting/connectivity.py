"""Figures of `connectivity`: are inputs of one prediction joined by low-loss paths, and do adversarial ones differ?"""

from landscape.reporting import (
    connectivity_barriers,
    connectivity_graph,
    connectivity_pictures,
    connectivity_weights,
)
from landscape.reporting.plate import Plate

PLATES = (
    Plate(
        "main",
        "How much has to be climbed between two inputs of one prediction, and who is told by it",
        "The barrier of a path is how far the loss of the pair's class, nats, rises above that of its worse end. "
        "Left: share of pairs whose barrier is at most so high, mean over members; solid on the straight line, "
        "dashed after the bypass. Curves further right climb higher. Right: how well the barrier of the line tells "
        "adversarial from genuine pairs, from boosted ones (the same attack, toward the image's own class), from "
        "natural errors of equal margin and distance, and what is left under an attack that knows the detector. "
        "Bands are 95 % intervals over members and pairs, at the left of the line, at the right for all rates "
        "together. The diagonal is guessing.",
        ("below", "barrier_height", "barrier", "valid"),
        connectivity_barriers.main,
        narrow=connectivity_barriers.main_column,
        table=connectivity_barriers.main_table,
    ),
    Plate(
        "kinds",
        "Every kind of pair",
        "Mean barrier with its 95 % interval over members and pairs, between a genuine image of a class and: another"
        " one (genuine), one that an attack made surer of it (boosted), one of another class that is taken for it by"
        " itself (natural error), or is attacked (adversarial), to margins that natural errors have (adversarial "
        "iso; in tables: adversarial, equal margin), by all members together (joint), so that lines rise as those of"
        " genuine pairs do (adaptive; unseen: without knowing the image it is joined with), on the autoencoder's "
        "manifold (manifold), or what an attack makes of random pixels (dreamed). Two adversarial: from two images; "
        "same, both: two results from one image, from two starts, for two members, by two attacks, one or both "
        "against noisy classifiers. Kinds of which members have too few pairs are left out. Paths found are upper "
        "bounds: others may be lower.",
        ("mean_barrier", "mean_barrier_low", "mean_barrier_high"),
        connectivity_barriers.kinds,
    ),
    Plate(
        "paths",
        "Every kind of path",
        "The same on other ways: trained chains and Bezier curves, ways that noisy classifiers find, ways that are low "
        "for all members at once where these share both ends, line and bypass on the autoencoder's manifold.",
        ("mean_barrier", "mean_barrier_low", "mean_barrier_high"),
        connectivity_barriers.paths,
        optional=True,
    ),
    Plate(
        "profiles",
        "The loss along the way",
        "Median over members and pairs, band from the lower to the upper quarter; solid the straight line, dashed the "
        "bypass. The clean carrier (grey) is read with the class of the pair: what its own contents have in the way.",
        ("line_profile", "bypass_profile", "valid"),
        connectivity_barriers.profiles,
    ),
    Plate(
        "steps",
        "How many steps the first bend of a bypass needs",
        "Share of the pairs whose line rises by more than the tolerance (0.01 nats where not said otherwise) of which "
        "the first bend has taken 95 % away.",
        ("gone",),
        connectivity_barriers.steps,
    ),
    Plate(
        "pictures",
        "What lies between",
        "Genuine image, highest point of the line between its ends, where the bypass takes it, other end; beneath, the "
        "first member's loss of the class, nats. Of each kind the pairs whose lines are highest for that member, which "
        "may have no barrier all the same.",
        ("picture", "picture_loss"),
        connectivity_pictures.pictures,
        kind="png",
    ),
    Plate(
        "components",
        "The graph of inputs of one class",
        "Inputs (genuine, boosted, adversarial, on the manifold, noisy) are there from their own loss on, and joined "
        "where the better of line and bypass stays below. Where the two curves part, inputs have been joined; at 1 "
        "all are connected. Shared inputs (genuine, and those that fool all members) are the same for every member: "
        "at the right a path has to stay low for all of them. Paths found are upper bounds, so the number of "
        "components is one too.",
        ("components", "components_nodes", "shared_components", "alone_components", "threshold"),
        connectivity_graph.components,
        optional=True,
    ),
    Plate(
        "tuning",
        "How the attack that knows the detector was tuned",
        "On validation images: how well the barrier tells its results from genuine pairs (0.5: not at all), and how "
        "often they reach the class. The weight is that of how unlike the rise of its line is to one of genuine pairs, "
        "against logits; at 0 it does not care. Ringed, the weight that was taken.",
        ("tuning_auroc", "tuning_share", "weight", "adaptive_weight"),
        connectivity_graph.tuning,
        optional=True,
    ),
    *connectivity_weights.PLATES,
)
