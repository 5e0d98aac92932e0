"""Units and long names of what the experiment `connectivity` saves."""

from landscape.experiments import connectivity_weights

END = {"": "", "_low": ", lower end of its 95 % interval", "_high": ", upper end of its 95 % interval"}
ABOUT = {  # array: (units, long_name)
    "valid": ("1", "whether the member predicts the pair's class at both ends of the path"),
    "barrier": ("nats", "largest loss along the path beyond that of its worse end"),
    "above_line": ("nats", "largest loss along the path above the straight line between its ends' values"),
    "peak": ("1", "share of the path at which the loss is largest"),
    "probability": ("probability", "largest error probability along the path beyond that of its worse end"),
    "left": ("1", "whether another class is predicted somewhere on the path"),
    "climb": ("nats", "largest loss along the path beyond that of the first end"),
    "fine": ("nats", "barrier on twice as many points, and those of barrier"),
    "line_profile": ("nats", "loss along the line"),
    "bypass_profile": ("nats", "loss along the bypass"),
    "few_profile": ("nats", "loss along the path, of the pairs few_pair"),
    "few_pair": ("1", "place on the axis pair, -1 where a kind has fewer"),
    "first_loss": ("nats", "loss at the first end"),
    "last_loss": ("nats", "loss at the last end"),
    "after": ("nats", "barrier with the first bend alone, by steps of its search"),
    "plane": ("1", "how far the first bend is out of its hyperplane, share of the way it went"),
    "length": ("1", "length of the path over the distance of its ends"),
    "manifold": ("pixels", "mean L2 distance along the path from the autoencoder's reconstruction"),
    "deviation_linf": ("pixels", "largest L-inf distance of the path from the line"),
    "deviation_l2": ("pixels", "largest L2 distance of the path from the line"),
    "deviation_total_variation": ("pixels", "largest total variation of what the path adds to the line"),
    "end_margin": ("logits", "margin of the pair's class at the second end"),
    "carrier_distance": ("1", "distance of the carrier from the anchor in the autoencoder's latent"),
    "pair_class": ("1", "class that both ends are predicted as"),
    "carrier_class": ("1", "true class of the carrier"),
    "anchor_id": ("1", "id of the anchor, a genuine image of the class"),
    "other_id": ("1", "id of the other genuine image, -1 for natural errors"),
    "carrier_id": ("1", "id of the carrier, or of the natural error"),
    "second_id": ("1", "id of the second carrier, -1 for natural errors"),
    "weight": ("logits / nat", "weight of the barrier in the adaptive attack"),
    "adaptive_weight": ("logits / nat", "the weight that was taken"),
    "tuning_barrier": ("nats", "barrier of the line to what the attack of that weight made, validation images"),
    "tuning_reached": ("1", "whether that attack reached the class"),
    "tuning_auroc": ("1", "AUROC of the line's barrier against that weight's attack, validation images"),
    "tuning_share": ("1", "share of its attacks that reach the class"),
    "picture": ("1", "ends of a line, its highest point and the bypass of it, in [0, 1]"),
    "picture_loss": ("nats", "loss of the class there, first member"),
    "picture_kind": ("1", "what is joined"),
    "place": ("1", "where on the way"),
    "tuning_genuine": ("nats", "barrier of the line between genuine validation images"),
    "tuning_rise": ("nats", "largest loss between genuine validation images less that of the worse end, attack's grid"),
    "tuning_right": ("1", "whether both genuine ends are predicted as the class"),
    "gone": ("1", "share of barriers taken away by the first bend, by steps"),
    "steps_needed": (
        "steps",
        "fewest after which the first bend has taken 95 % of the barrier away; inf: none, NaN: no barrier",
    ),
    "below": ("1", "share of pairs whose barrier is at most so high, mean over members, and its 95 % interval"),
    "below_path": ("1", "path of a distribution function"),
    "barrier_height": ("nats", "barrier at which a distribution function is taken"),
    "roc": ("1", "true-positive rate and its 95 % interval over members"),
    "roc_reading": ("1", "adversarial population, what it is told from, and how they are compared"),
    "rate": ("1", "false-positive rate"),
    "graph_peak": ("nats", "largest loss on the better of the line and its bypass, of each edge of a class's graph"),
    "graph_loss": ("nats", "loss of a node"),
    "graph_left": ("1", "whether a node is predicted as another class"),
    "shared_peak": ("nats", "largest loss, of any member, on the path that all members share"),
    "shared_loss": ("nats", "largest loss of any member at a node"),
    "shared_left": ("1", "whether any member predicts another class at a node"),
    "alone_peak": ("nats", "largest loss on the better of the line and its bypass, of shared nodes, member by member"),
    "alone_loss": ("nats", "loss of a shared node"),
    "alone_left": ("1", "whether a member predicts a shared node as another class"),
    "alone_components": ("1", "components of the shared nodes for one member by itself, mean over classes and members"),
    "alone_components_nodes": ("1", "mean number of shared nodes that are there for one member"),
    "components": ("1", "connected components of a class's graph, mean over classes and members"),
    "shared_components": ("1", "the same in the graph that all members share, mean over classes"),
    "components_nodes": ("1", "mean number of nodes that are there"),
    "shared_components_nodes": ("1", "mean number of nodes that are there in the graph that all members share"),
    "threshold": ("nats", "loss up to which nodes and edges are there"),
    "graph_class": ("1", "class of the graph's nodes"),
    "node_kind": ("1", "population of a node"),
    "shared_node_kind": ("1", "population of a node of the shared graph"),
    "exact_barrier": ("nats", "barrier of the line at its kinks, where its exact maximum lies, first member"),
    "num_kinks": ("1", "places looked at, all kinks of the line among them"),
    "exact_kind": ("1", "what the line joins"),
    "seed": ("1", "seed of the member"),
    "class": ("1", "class of images"),
    "kind": ("1", "what is joined"),
    "path": ("1", "how it is joined"),
    "t": ("1", "share of the path"),
    "frame": ("steps", "steps of the bend's search"),
}
ABOUT |= {
    f"{name}_{end}": ("1", f"{ABOUT[name][1]}, {words}")
    for name in ("components", "shared_components", "alone_components")
    for end, words in (
        ("low", "lower end of its simultaneous 95 % band"),
        ("high", "upper end of its simultaneous 95 % band"),
        ("member", "of each member"),
    )
}
ABOUT |= {f"mean_barrier{end}": ("nats", f"mean barrier{words}") for end, words in END.items()}


def describe(name: str) -> dict[str, str]:
    """{"units", "long_name"} of an array; nothing where all is said by its name."""
    if name.startswith("weight_order."):
        return {"units": "1", "long_name": "order that the second end's units are put in, of one group"}
    units, long_name = (ABOUT | connectivity_weights.ABOUT).get(name, ("", ""))
    return {"units": units, "long_name": long_name} if units else {}
