"""Are inputs of one prediction joined by low-loss paths, and do adversarial ones differ?"""

from landscape.experiments.base import SCHEMA, Experiment, Quantity
from landscape.experiments.connectivity.config import FIELDS, check
from landscape.experiments.quantities import measured_schema

IMAGE = ("height", "width", "channel")
PAIR, ALONG = ("kind", "member", "pair"), ("kind", "path", "member", "pair")
MEASURED = ("member", "kind", "pair")
PROFILE, TUNED, PICTURE = ("kind", "t", "member", "pair"), ("weight", "member", "tuning_pair"), ("shown", "point")
NODES, EDGES = ("graph_class", "member", "node"), ("graph_class", "member", "edge")

SAVED = {
    "valid": Quantity(ALONG, "1", "whether the member predicts the pair's class at both endpoints of the path"),
    "barrier": Quantity(ALONG, "nats", "largest loss along the path beyond that of its worse endpoint"),
    "left": Quantity(ALONG, "1", "whether another class is predicted somewhere on the path"),
    "fine": Quantity(ALONG, "nats", "barrier on twice as many points, and those of barrier"),
    "line_profile": Quantity(PROFILE, "nats", "loss along the line"),
    "bypass_profile": Quantity(PROFILE, "nats", "loss along the bypass"),
    "end_log_odds": Quantity(PAIR, "nats", "log-odds of the pair's class at the second endpoint"),
    "end_loss": Quantity(PAIR, "nats", "loss at the second endpoint"),
    "after": Quantity(
        ("kind", "steps", "member", "pair"), "nats", "barrier with the first waypoint alone, by steps of its search"
    ),
    "out_of_plane": Quantity(PAIR, "1", "how far out of its hyperplane the first waypoint is, over the line's length"),
    "pair_class": Quantity(("pair",), "1", "class that both endpoints are predicted as"),
    "source_distance": Quantity(
        ("pair",), "1", "distance of the source image from the reference image in the autoencoder's latent"
    ),
    "reference_id": Quantity(("pair",), "1", "id of the reference image, a genuine image of the class"),
    "partner_id": Quantity(("pair",), "1", "id of the other genuine image, -1 for natural errors"),
    "source_id": Quantity(("pair",), "1", "id of the source image, or of the natural error"),
    "tuning_barrier": Quantity(TUNED, "nats", "barrier of the line to that weight's attack, validation images"),
    "tuning_reached": Quantity(TUNED, "1", "whether that attack reached the class"),
    "tuning_genuine": Quantity(TUNED[1:], "nats", "barrier of the line between genuine validation images"),
    "tuning_rise": Quantity(
        TUNED[1:], "nats", "largest loss between them less that of the worse endpoint, on the attack's grid"
    ),
    "tuning_right": Quantity(TUNED[1:], "1", "whether both genuine endpoints are predicted as the class"),
    "adaptive_weight": Quantity((), "logits / nat", "weight of the detector in the adaptive attack"),
    "graph_peak": Quantity(EDGES, "nats", "largest loss on the better of line and bypass"),
    "graph_loss": Quantity(NODES, "nats", "loss of a node"),
    "graph_left": Quantity(NODES, "1", "whether a node is predicted as another class"),
    "picture": Quantity(
        (*PICTURE, *IMAGE), "pixels", "endpoints of a line, its highest point and the waypoint of its bypass"
    ),
    "picture_loss": Quantity(PICTURE, "nats", "the first member's loss of the pair's class there"),
    "kind": Quantity(("kind",), "1", "what is joined with the reference image"),
    "path": Quantity(("path",), "1", "how it is joined"),
    "steps": Quantity(("steps",), "1", "steps of the first waypoint's search"),
    "t": Quantity(("t",), "1", "share of the path"),
    "weight": Quantity(("weight",), "logits / nat", "weight of the detector that was tried"),
    "graph_class": Quantity(("graph_class",), "1", "class of the graph's nodes"),
    "node_kind": Quantity(("node",), "1", "population of a node"),
    "picture_kind": Quantity(("shown",), "1", "kind of the pair that is pictured"),
    "point": Quantity(("point",), "1", "where on the path"),
    **SCHEMA,
}


def _computed(quantity: Quantity) -> Quantity:
    """A saved quantity as stages compute it, of one path at a time: `case` is a pair of one kind."""
    if not {"kind", "pair"} <= {*quantity.dims}:
        return quantity
    return quantity._replace(dims=("member", *(dim for dim in quantity.dims if dim in ("steps", "t")), "case"))


COMPUTED = {name: _computed(quantity) for name, quantity in SAVED.items()} | {
    "profile": Quantity(("member", "t", "case"), "nats", "loss along the path"),
    "clean_prediction": Quantity(("member", "example"), "1", "predicted class of an image"),
    "clean_log_odds": Quantity(("member", "example"), "nats", "its log-odds"),
    "clean_probability": Quantity(("member", "example", "class"), "probability", "of each class"),
    "latent": Quantity(("example", "latent"), "1", "the image in the autoencoder's latent"),
    "endpoint": Quantity(("member", "pair", *IMAGE), "pixels", "second endpoint of a pair"),
}
EXPERIMENT = Experiment(
    package=__name__,
    question="Are inputs of one prediction joined by paths of low loss, and do adversarial ones differ?",
    schema=SAVED | measured_schema(MEASURED),
    check=check,
    fields=FIELDS,
)
