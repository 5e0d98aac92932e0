"""Are classifiers joined in weight space, before and after their units are matched?"""

from landscape.experiments.base import SCHEMA, Experiment, Quantity
from landscape.experiments.weight_connectivity.config import FIELDS, check

SAVED = {
    "loss": Quantity(("connection", "pair", "t", "example"), "nats", "loss of the label on the test image"),
    "wrong": Quantity(
        ("connection", "pair", "input", "t", "example"), "1", "whether another class than the label is predicted"
    ),
    "pair_member": Quantity(("pair", "end"), "1", "numbers of the pair's endpoints on the axis of members"),
    "planted": Quantity(("matching",), "nats", "barrier to a member's copy with permuted units, after matching"),
    "connection": Quantity(("connection",), "1", "path, what units are matched by, whether statistics are reset"),
    "t": Quantity(("t",), "1", "share of the path from the first endpoint to the second"),
    "input": Quantity(("input",), "1", "test images, or adversarial examples of the first or second endpoint"),
    "matching": Quantity(("matching",), "1", "by what the second endpoint's units are put in order"),
    **SCHEMA,
}
COMPUTED = SAVED | {
    "z": Quantity(("member", "example", "height", "width", "channel"), "pixels", "a member's own adversarial example")
}
EXPERIMENT = Experiment(
    package=__name__,
    question="Are classifiers joined by low-loss paths in weight space, before and after their units are matched?",
    schema=SAVED,
    check=check,
    fields=FIELDS,
)
