"""How much of the area where a classifier errs is common to all seeds, in planes through an image?"""

from landscape.experiments.base import SCHEMA, Experiment, Quantity
from landscape.experiments.surfaces.config import FIELDS, check

IMAGE = ("height", "width", "channel")
MAP, WEIGHT_MAP = ("map", "member", "row", "column"), ("weight_map", "weight_row", "weight_column")

SAVED = {
    "wrong": Quantity(
        ("plane", "ring", "member", "count"), "1", "grid points on which the member errs and so many members do"
    ),
    "both": Quantity(("plane", "ring"), "1", "grid points on which both members err whose examples span the plane"),
    "radius": Quantity(("plane",), "pixels", "of the disc: the longer of the two perturbations that span the plane"),
    "kind": Quantity(("plane",), "1", "what spans the plane beside the image"),
    "image": Quantity(("plane",), "1", "number of the plane's image on the axis of examples"),
    "first": Quantity(("plane",), "1", "member whose example or gradient spans the plane, -1 without one"),
    "second": Quantity(("plane",), "1", "member whose example spans it too, -1 without one"),
    "ring": Quantity(("ring",), "1", "distance from the image in steps of the grid"),
    "points": Quantity(("ring",), "1", "grid points of the ring"),
    "count": Quantity(("count",), "1", "members that err on a point"),
    "line_log_odds": Quantity(
        ("direction", "t", "target", "member", "example"),
        "nats",
        "log-odds of the true class, of the target, on the line from the image (t = 0) to the point of the member",
    ),
    "direction": Quantity(("direction",), "1", "what the line leads to at t = 1"),
    "t": Quantity(("t",), "1", "share of the way"),
    "clean_log_odds": Quantity(("member", "example"), "nats", "log-odds of the true class on the image"),
    "num_candidates": Quantity((), "1", "images attacked, of which the examples are some"),
    "decision": Quantity(MAP, "1", "class predicted at a point of a map"),
    "log_odds": Quantity(MAP, "nats", "log-odds of the map's class there"),
    "margin": Quantity(MAP, "logits", "margin of the map's class there"),
    "mark": Quantity(("map", "member", "input", "axis"), "pixels", "coordinates of the three inputs in the plane"),
    "reach": Quantity(("map", "member"), "pixels", "half the side of the map"),
    "map_kind": Quantity(("map",), "1", "what spans the plane of the map"),
    "map_class": Quantity(("map",), "1", "class of its first input"),
    "map_example": Quantity(("map",), "1", "id of its first input"),
    "weight_loss": Quantity(WEIGHT_MAP, "nats", "mean test loss of the classifier at a point"),
    "weight_error": Quantity(WEIGHT_MAP, "1", "share of test images that it gets wrong"),
    "weight_mark": Quantity(
        ("weight_map", "weight_mark_number", "axis"), "1", "coordinates of the classifiers that the plane is of"
    ),
    "weight_reach": Quantity(("weight_map",), "1", "half the side of the map, in the unit of its coordinates"),
    "weight_captured": Quantity(("weight_map",), "1", "share of the trajectory's squared length in the plane"),
    "weight_kind": Quantity(("weight_map",), "1", "what spans the plane in weight space"),
    "weight_member": Quantity(("weight_map",), "1", "member that the plane is of"),
    **SCHEMA,
}
COMPUTED = SAVED | {
    "adversarial": Quantity(("member", "example", *IMAGE), "pixels", "a member's own adversarial example"),
    "usable": Quantity(("member", "example"), "1", "whether the member is right on the image and wrong on its example"),
    "point": Quantity(("point", "example", *IMAGE), "pixels", "what planes go through beside the image"),
    "line": Quantity(("target", "point", "t", "example"), "nats", "log-odds of the true class on lines to them"),
}
EXPERIMENT = Experiment(
    package=__name__,
    question="How much of the area around an image where a classifier errs is common to all seeds?",
    schema=SAVED,
    check=check,
    fields=FIELDS,
)
