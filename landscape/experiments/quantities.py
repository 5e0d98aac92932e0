"""Units and meaning of what every input of a population and the measures have, for the schemas of experiments."""

from landscape.experiments.base import Quantity, Schema

OF_INPUT = {
    "prediction": ("1", "class the member predicts: the tracked class"),
    "margin": ("logits", "margin of the tracked class"),
    "true_margin": ("logits", "margin of the true class"),
    "log_odds": ("nats", "log-odds of the tracked class"),
    "delta_l2": ("pixels", "L2 distance from the image"),
    "delta_linf": ("pixels", "L-inf distance from the image"),
}
UNDER_NOISE = {  # on the input or the weights
    "probability_drop": ("probability", "mean fall of the tracked class's probability"),
    "loss_rise": ("nats", "mean rise of the tracked class's loss"),
    "margin_drop": ("logits", "mean fall of the tracked class's margin"),
    "kept": ("1", "share of draws with the tracked class predicted"),
    "returned": ("1", "share of draws predicted as the true class, which is not the tracked one"),
}
AROUND_INPUT = {
    "worst_loss_rise": ("nats", "largest rise of the loss found within rho"),
    "worst_margin_drop": ("logits", "largest fall of the margin found within rho"),
    "relative_flatness": ("logits^2", "relative flatness of the last layer"),
    "linearity_loss": ("nats", "largest departure of the loss from its tangent found within rho"),
    "linearity_margin": ("logits", "largest departure of the margin from its tangent found within rho"),
    "certified_radius": ("pixels", "L2 radius that noisy copies certify, 0 where they certify none"),
    "certified_abstains": ("1", "whether noisy copies certify no class"),
    "certified_capped": ("1", "whether all draws agree, so that more of them would certify more"),
    "tangent_curvature": ("nats / pixel^2", "mean curvature of the loss along the nearest training images"),
    "normal_curvature": ("nats / pixel^2", "mean curvature of the loss in a random space across these"),
    "random_curvature": ("nats / pixel^2", "mean curvature of the loss in a random space"),
    "gradient_norm": ("nats / pixel", "L2 norm of the loss's input gradient"),
    **{
        f"{prefix}hessian_{part}": (unit, f"{about} of the input Hessian of {of}")
        for prefix, unit, of in (("", "nats / pixel^2", "the loss"), ("probability_", "1 / pixel^2", "1 - p"))
        for part, about in (
            ("top", "largest eigenvalue"),
            ("bottom", "smallest eigenvalue"),
            ("trace", "trace"),
            ("trace_sem", "standard error of the trace"),
        )
    },
}


def noisy(prefix: str) -> dict[str, tuple[str, str]]:
    """`prefix`_NAME and its standard error, of everything under noise on the "input" or the "weight"."""
    return {
        f"{prefix}_{name}{end}": (unit, f"{text} under {prefix} noise{more}")
        for name, (unit, text) in UNDER_NOISE.items()
        for end, more in (("", ""), ("_sem", ", standard error over draws"))
    }


# ---- as the stages of the measures have them ----

VALUES = ("member", "input", "example")  # dims of what is measured at inputs
MEASURED = {
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
    "tangent": Quantity(("example", "direction", "pixel"), "1", "directions of the training images near an image"),
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
    "example": Quantity(("example",), "1", "id of the image in its data set"),
}

# ---- as experiments have them that measure the inputs of their own populations: `measured_NAME`, along their dims ----

PREFIX = "measured_"


def in_place(dims: tuple[str, str, str]) -> dict[str, str]:
    """Names of MEASURED -> those in an experiment whose dims of members, populations and examples are `dims`."""
    return {name: f"{PREFIX}{name}" for name in MEASURED} | dict(zip(VALUES, dims, strict=True))


def measured_schema(dims: tuple[str, str, str]) -> Schema:
    """What the schema of such an experiment has in addition."""
    names = in_place(dims)
    return {
        names[name]: Quantity(tuple(names[dim] for dim in one.dims), one.unit, one.about)
        for name, one in MEASURED.items()
        if name not in VALUES and {*one.dims} <= {*names}
    }
