"""Which class do an input's nearest training images have, layer by layer, and what does that say of the input?"""

from landscape.experiments.base import SCHEMA, Experiment, Quantity
from landscape.experiments.neighbors.config import FIELDS, check
from landscape.experiments.quantities import measured_schema

INPUT = ("member", "population", "example")
SEEN = ("member", "population", "layer", "example")
MOVED = ("member", "move", "step", "layer", "moved")
IMAGE = ("height", "width", "channel")
COMPUTED = {
    # searched
    "inputs": Quantity(("member", "input", "example", *IMAGE), "pixels", "the inputs, in [0, 1]"),
    "latent": Quantity(
        ("member", "end", "example", "latent_entry"), "1", "start and end of the search on the manifold"
    ),
    "decoded_right": Quantity(("member", "example"), "1", "whether that search begins at the right class"),
    # seen at layers
    "near": Quantity(("member", "layer", "example", "place"), "1", "rows of the reference set nearest to clean images"),
    "share_true": Quantity(SEEN, "1", "share of the neighbours of the true class"),
    "share_predicted": Quantity(SEEN, "1", "share of the neighbours of the predicted class"),
    "purity": Quantity(SEEN, "1", "share of the neighbours of their most frequent class"),
    "majority": Quantity(SEEN, "1", "most frequent class of the neighbours"),
    "far": Quantity(SEEN, "1", "distance to the k-th neighbour over its median for calibration images"),
    "p_value": Quantity(
        ("member", "over", *INPUT[1:], "class"), "1", "conformal p-value of each class over some layers"
    ),
    "prediction": Quantity(INPUT, "1", "class the member predicts"),
    "confidence": Quantity(INPUT, "probability", "probability of the predicted class"),
    "delta": Quantity(INPUT, "pixels", "distance from the image in the norm of the search"),
    "valid": Quantity(INPUT, "1", "whether the example belongs to the population"),
    "label": Quantity(("example",), "1", "true class"),
    "typical": Quantity(("member", "layer"), "unit of the layer", "median distance of calibration images to the k-th"),
    # members
    "cka": Quantity(("layer", "member", "target"), "1", "linear CKA of two members on clean test images"),
    "mutual": Quantity(("layer", "member", "target", "example"), "1", "Jaccard index of the neighbours of two members"),
    "seen": Quantity(("member", "target", "example"), "1", "class that the target predicts for adversarial inputs"),
    # along moves
    "move_true": Quantity(MOVED, "1", "share of the neighbours of the true class"),
    "move_aim": Quantity(MOVED, "1", "share of the neighbours of the class moved to"),
    "move_purity": Quantity(MOVED, "1", "share of the neighbours of their most frequent class"),
    "move_majority": Quantity(MOVED, "1", "most frequent class of the neighbours"),
    "move_rank": Quantity(MOVED, "1", "reference points nearer than the start is"),
    "move_length": Quantity(MOVED, "1", "distance from the start over the typical distance"),
    "move_far": Quantity(MOVED, "1", "distance to the k-th neighbour over the typical distance"),
    "move_prediction": Quantity(("member", "move", "step", "moved"), "1", "class the member predicts"),
    "move_counts": Quantity(
        ("member", "move", "moved"), "1", "whether the start is right and the class moved to another"
    ),
    "aim": Quantity(("member", "move", "moved"), "1", "class moved to"),
    # pictures, of the first member
    "shown_near": Quantity(("move", "shown", "step", "layer", "place"), "1", "pictured neighbours, rows of picture"),
    "shown_class": Quantity(("move", "shown", "step", "layer", "place"), "1", "classes of the pictured neighbours"),
    "shown_path": Quantity(("move", "shown", "step", *IMAGE), "pixels", "images along the move; NaN in hidden layers"),
    "shown_prediction": Quantity(("move", "shown", "step"), "1", "class predicted along the move"),
    "shown_label": Quantity(("shown",), "1", "true class of the pictured moves"),
    "picture": Quantity(("picture", *IMAGE), "pixels", "pictured training images"),
    "population": Quantity(("population",), "1", "set of inputs compared with others"),
    "layer": Quantity(("layer",), "1", "layer of the classifier, image being the pixels"),
    "over": Quantity(("over",), "1", "layers that credibility is taken over: all, the image, or those behind it"),
    "move": Quantity(("move",), "1", "kind of move"),
    "moved_layer": Quantity(("move",), "1", "layer that the move is in"),
    "step": Quantity(("step",), "1", "share of the way from the start to the end"),
    **SCHEMA,
}

EXPERIMENT = Experiment(
    package=__name__,
    question="Which class do an input's nearest training images have, layer by layer and along a move; and do they "
    "give adversarial inputs away?",
    schema=COMPUTED | measured_schema(INPUT),
    check=check,
    fields=FIELDS,
)
