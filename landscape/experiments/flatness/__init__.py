"""Is the landscape flatter around genuine or around adversarial examples, in input and in weight space?"""

from landscape.experiments.base import SCHEMA, Experiment, Quantity
from landscape.experiments.flatness.config import FIELDS, check
from landscape.experiments.quantities import AROUND_INPUT, OF_INPUT, UNDER_NOISE, noisy

# Dims as computed; arrays.nc has `population` for `input`, of which two share the clean input.
VALUES = ("member", "input", "example")
COMPUTED = {
    "inputs": Quantity((*VALUES, "height", "width", "channel"), "pixels", "the inputs, in [0, 1]"),
    "label": Quantity(("member", "example"), "1", "true class; a control member's own clean prediction"),
    "valid": Quantity(("member", "population", "example"), "1", "whether the example belongs to the population"),
    "survives_8_bits": Quantity(VALUES, "1", "whether the prediction is the same after rounding to 8 bits"),
    **{name: Quantity(VALUES, *about) for name, about in (OF_INPUT | AROUND_INPUT).items()},
    **{name: Quantity(("noise", "r", *VALUES), *about) for name, about in noisy("input").items()},
    **{
        f"linear_{name}": Quantity(("r", *VALUES), unit, f"{text} under the same input noise, classifier linearised")
        for name, (unit, text) in UNDER_NOISE.items()
        if name in ("probability_drop", "margin_drop")
    },
    **{
        f"lanczos_{name}": Quantity(
            ("probe", "step", *VALUES), "nats / pixel^2", f"{name} of Lanczos' tridiagonal matrix"
        )
        for name in ("diagonal", "coupling")
    },
    "hessian_eigenvalues": Quantity(("rank", *VALUES), "nats / pixel^2", "largest eigenvalues of the loss's Hessian"),
    "spectral_density": Quantity(("bin", *VALUES), "1", "share of the eigenvalues of the loss's Hessian in each bin"),
    **{
        name: Quantity(("member", "population"), "nats / weight^2", f"{text} of the mean loss's Hessian in the weights")
        for name, text in {
            "weight_hessian_top": "largest eigenvalue",
            "weight_hessian_trace": "trace",
            "weight_hessian_trace_sem": "standard error of the trace",
        }.items()
    },
    "tangent": Quantity(("example", "direction", "pixel"), "1", "directions of the training images near an image"),
    "along_valid": Quantity(("member", "example"), "1", "whether the image is right and its attack flips the class"),
    "across_valid": Quantity(
        ("member", "at_log_odds", "example"), "1", "whether moreover both sides of the flip reach the log-odds"
    ),
    "nearest_other": Quantity(("example",), "pixels", "L2 distance to the nearest training image of another class"),
    "nearest_taken": Quantity(
        ("member", "example"), "1", "whether the training image nearest to the adversarial input is of the class taken"
    ),
    **{name: Quantity(("weight_noise", "xi", *VALUES), *about) for name, about in noisy("weight").items()},
    "noise": Quantity(("noise",), "1", "kind of input noise"),
    "r": Quantity(("r",), "1", "noise level sigma sqrt(D) / ||delta||"),
    "sigma": Quantity(("noise", "r"), "pixels", "standard deviation of the noise; of multiplicative kinds, relative"),
    "rank": Quantity(("rank",), "1", "number of the eigenvalue, the largest first"),
    "bin": Quantity(("bin",), "nats / pixel^2", "middle of the bin on the log scale, 0 of the one around 0"),
    "weight_noise": Quantity(("weight_noise",), "1", "kind of weight noise"),
    "xi": Quantity(("xi",), "1", "size of the weight noise relative to the weights"),
    "perturbation_norm": Quantity((), "pixels", "mean L2 norm of adversarial perturbations on validation images"),
    "iso_log_odds": Quantity((), "nats", "log-odds that steered inputs aim at; NaN: those of their own clean image"),
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
