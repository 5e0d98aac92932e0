"""Is the landscape flatter around genuine or around adversarial examples, in input and in weight space?"""

from landscape.experiments.base import SCHEMA, Experiment, Quantity
from landscape.experiments.flatness.config import FIELDS, check
from landscape.experiments.quantities import MEASURED, VALUES

# Dims as computed; arrays.nc has `population` for `input`, of which two share the clean input.
COMPUTED = {
    "inputs": Quantity((*VALUES, "height", "width", "channel"), "pixels", "the inputs, in [0, 1]"),
    "label": Quantity(("member", "example"), "1", "true class; a control member's own clean prediction"),
    "valid": Quantity(("member", "population", "example"), "1", "whether the example belongs to the population"),
    "survives_8_bits": Quantity(VALUES, "1", "whether the prediction is the same after rounding to 8 bits"),
    **MEASURED,
    **{
        name: Quantity(("member", "population"), "nats / weight^2", f"{text} of the mean loss's Hessian in the weights")
        for name, text in {
            "weight_hessian_top": "largest eigenvalue",
            "weight_hessian_trace": "trace",
            "weight_hessian_trace_sem": "standard error of the trace",
        }.items()
    },
    "along_valid": Quantity(("member", "example"), "1", "whether the image is right and its attack flips the class"),
    "across_valid": Quantity(
        ("member", "at_log_odds", "example"), "1", "whether moreover both sides of the flip reach the log-odds"
    ),
    "nearest_other": Quantity(("example",), "pixels", "L2 distance to the nearest training image of another class"),
    "nearest_taken": Quantity(
        ("member", "example"), "1", "whether the training image nearest to the adversarial input is of the class taken"
    ),
    "pictures": Quantity(
        ("population", "shown", "height", "width", "channel"), "pixels", "inputs of the first trained member"
    ),
    "shown": Quantity(("shown",), "1", "id of the pictured image"),
    "way": Quantity(("way",), "1", "search away from the true class, or toward it"),
    "position": Quantity(("position",), "1", "share of the steps from the image (-1) to the flip (0) to the end (1)"),
    "side": Quantity(("side",), "1", "side of the flip"),
    "at_log_odds": Quantity(("at_log_odds",), "nats", "log-odds of the tracked class"),
    "population": Quantity(("population",), "1", "set of inputs compared with others"),
    **SCHEMA,
}
# Measures along the way of an attack; under noise, those of one kind and level.
ALONG = ("log_odds", "input_probability_drop", "worst_loss_rise", "worst_margin_drop", "gradient_norm", "hessian_top")
ALONG += ("hessian_trace", "weight_probability_drop", "relative_flatness", "linearity_loss", "linearity_margin")
ALONG += ("certified_radius", "tangent_curvature", "linear_probability_drop")
PLACES = {"along": ("way", "position"), "across": ("side", "at_log_odds")}


def _at(prefix: str, name: str) -> Quantity:
    """A measure by position along the way, or by confidence across the flip."""
    place = {"along": "along the attack", "across": "on either side of the flip"}[prefix]
    return COMPUTED[name]._replace(
        dims=("member", *PLACES[prefix], "example"), about=f"{COMPUTED[name].about}, {place}"
    )


def _saved(quantity: Quantity) -> Quantity:
    """A computed quantity as arrays.nc has it: by population instead of by input."""
    return quantity._replace(dims=tuple("population" if dim == "input" else dim for dim in quantity.dims))


EXPERIMENT = Experiment(
    package=__name__,
    question="Is the landscape flatter around genuine or around adversarial examples, when the input moves and when "
    "the weights move?",
    schema={name: _saved(quantity) for name, quantity in COMPUTED.items()}
    | {f"{prefix}_{name}": _at(prefix, name) for prefix in PLACES for name in ALONG},
    check=check,
    fields=FIELDS,
    controls=True,
)
