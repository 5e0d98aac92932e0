"""Are inputs of one prediction joined by low-loss paths, and do adversarial ones differ?"""

from landscape.experiments.base import SCHEMA, Experiment, Quantity
from landscape.experiments.connectivity.config import check

# Dims as computed; arrays.nc has `kind` and `pair` in the place of `case`, a pair of one kind.
ALONG = ("member", "path", "case")
ENDS = ("member", "case")
TUNED = ("weight", "member", "tuning_pair")
IMAGE = ("height", "width", "channel")
PATHS = {
    "valid": ("1", "whether the member predicts the pair's class at both endpoints of the path"),
    "barrier": ("nats", "largest loss along the path beyond that of its worse endpoint"),
    "above_line": ("nats", "largest loss along the path above the straight line between its endpoints' losses"),
    "probability": ("probability", "largest error probability along the path beyond that of its worse endpoint"),
    "left": ("1", "whether another class is predicted somewhere on the path"),
    "fine": ("nats", "barrier on twice as many points, and those of barrier"),
    "length": ("1", "length of the path over the distance of its endpoints"),
    "manifold": ("pixels", "mean L2 distance along the path from the autoencoder's reconstruction"),
}
PAIRS = {
    "pair_class": ("1", "class that both endpoints are predicted as"),
    "source_distance": ("1", "distance of the source image from the reference image in the autoencoder's latent"),
    "reference_id": ("1", "id of the reference image, a genuine image of the class"),
    "partner_id": ("1", "id of the other genuine image, -1 for natural errors"),
    "source_id": ("1", "id of the source image, or of the natural error"),
}
TUNING = {
    "tuning_genuine": ("nats", "barrier of the line between genuine validation images"),
    "tuning_rise": ("nats", "largest loss between them less that of the worse endpoint, on the attack's grid"),
    "tuning_right": ("1", "whether both genuine endpoints are predicted as the class"),
}
GRAPHS = {  # prefix: dims of nodes and of edges, of whom
    "graph": (("member", "node"), ("member", "edge"), "a member and its own inputs"),
    "shared": (("shared_node",), ("shared_edge",), "shared inputs, the worst member counts"),
    "alone": (("member", "shared_node"), ("member", "shared_edge"), "a member and the shared inputs"),
}


def _graph() -> dict[str, Quantity]:
    """Edges and nodes of the three graphs of each class."""
    found = {}
    for prefix, (nodes, edges, whose) in GRAPHS.items():
        nodes, edges = (("graph_class", *dims) for dims in (nodes, edges))
        found[f"{prefix}_peak"] = Quantity(edges, "nats", f"largest loss on the better of line and bypass; {whose}")
        found[f"{prefix}_loss"] = Quantity(nodes, "nats", f"loss of a node; {whose}")
        found[f"{prefix}_left"] = Quantity(nodes, "1", f"whether a node is predicted as another class; {whose}")
    return found


SAVED = {
    **{name: Quantity(ALONG, *about) for name, about in PATHS.items()},
    **{name: Quantity(("pair",), *about) for name, about in PAIRS.items()},
    "end_margin": Quantity(ENDS, "logits", "margin of the pair's class at the second endpoint"),
    "end_loss": Quantity(ENDS, "nats", "loss at the second endpoint"),
    "after": Quantity(
        ("member", "steps", "case"), "nats", "barrier with the first waypoint alone, by steps of its search"
    ),
    "out_of_plane": Quantity(ENDS, "1", "how far the first waypoint is out of its hyperplane, share of its move"),
    "line_profile": Quantity(("member", "t", "case"), "nats", "loss along the line"),
    "bypass_profile": Quantity(("member", "t", "case"), "nats", "loss along the bypass"),
    "tuning_barrier": Quantity(TUNED, "nats", "barrier of the line to that weight's attack, validation images"),
    "tuning_reached": Quantity(TUNED, "1", "whether that attack reached the class"),
    **{name: Quantity(("member", "tuning_pair"), *about) for name, about in TUNING.items()},
    "adaptive_weight": Quantity((), "logits / nat", "weight of the detector in the adaptive attack"),
    **_graph(),
    "picture": Quantity(
        ("picture_kind", "shown", "place", *IMAGE),
        "pixels",
        "endpoints of a line, its highest point and the waypoint of its bypass, first member",
    ),
    "picture_loss": Quantity(("picture_kind", "shown", "place"), "nats", "loss of the pair's class there"),
    "kind": Quantity(("kind",), "1", "what is joined with the reference image"),
    "path": Quantity(("path",), "1", "how it is joined"),
    "steps": Quantity(("steps",), "1", "steps of the first waypoint's search"),
    "t": Quantity(("t",), "1", "share of the path"),
    "weight": Quantity(("weight",), "logits / nat", "weight of the detector that was tried"),
    "graph_class": Quantity(("graph_class",), "1", "class of the graph's nodes"),
    "node_kind": Quantity(("node",), "1", "population of a node"),
    "shared_node_kind": Quantity(("shared_node",), "1", "population of a shared node"),
    "picture_kind": Quantity(("picture_kind",), "1", "what is joined with the reference image"),
    "place": Quantity(("place",), "1", "where on the path"),
    **SCHEMA,
}
COMPUTED = SAVED | {
    "clean_prediction": Quantity(("member", "example"), "1", "predicted class of an image"),
    "clean_margin": Quantity(("member", "example"), "logits", "its margin"),
    "clean_probability": Quantity(("member", "example", "class"), "probability", "of each class"),
    "latent": Quantity(("example", "latent"), "1", "the image in the autoencoder's latent"),
    "endpoint": Quantity(("member", "pair", *IMAGE), "pixels", "second endpoint of a pair"),
}


def _saved(quantity: Quantity) -> Quantity:
    """A computed quantity as arrays.nc has it."""
    if "case" not in quantity.dims:
        return quantity
    others = [dim for dim in quantity.dims if dim not in ("member", "case")]
    return quantity._replace(dims=("kind", *others, "member", "pair"))


EXPERIMENT = Experiment(
    package=__name__,
    question="Are inputs of one prediction joined by paths of low loss, and do adversarial ones differ?",
    schema={name: _saved(quantity) for name, quantity in SAVED.items()},
    check=check,
)
