"""Units and meaning of what every input of a population and the measures have, for the schemas of experiments."""

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
