"""The arrays of a flatness run with all populations on one example axis, and what each of them means."""

import numpy as np

from landscape import populations
from landscape.experiments.inputs import FIRST_ID
from landscape.experiments.setting import Examples, Setting, member_coords
from landscape.types import Arrays

NUM_SHOWN = 16  # examples pictured

UNITS = {
    "label": ("1", "true class; a control member's own clean prediction"),
    "prediction": ("1", "class the member predicts: the tracked class"),
    "valid": ("1", "whether the example belongs to the population, for this member"),
    "survives_8_bits": ("1", "whether the prediction is the same after rounding to 8 bits"),
    "noise_scale": ("1", "sigma of this kind of noise is sigma over this"),
    "margin": ("logits", "margin of the tracked class"),
    "true_margin": ("logits", "margin of the true class"),
    "loss": ("nats", "cross-entropy of the tracked class"),
    "error_probability": ("probability", "1 - probability of the tracked class"),
    "delta_l2": ("pixels", "L2 distance from the image"),
    "delta_linf": ("pixels", "L-inf distance from the image"),
    "probability_drop": ("probability", "mean fall of the tracked class's probability"),
    "loss_rise": ("nats", "mean rise of the tracked class's loss"),
    "margin_drop": ("logits", "mean fall of the tracked class's margin"),
    "kept": ("1", "share of draws with the tracked class predicted"),
    "returned": ("1", "share of draws predicted as the true class, which is not the tracked one"),
    "worst_loss_rise": ("nats", "largest rise of the loss found within rho"),
    "worst_margin_drop": ("logits", "largest fall of the margin found within rho"),
    "gradient_norm": ("nats / pixel", "L2 norm of the loss's input gradient"),
    "hessian_top": ("nats / pixel^2", "largest eigenvalue of the loss's input Hessian"),
    "hessian_bottom": ("nats / pixel^2", "smallest eigenvalue of the loss's input Hessian"),
    "hessian_trace": ("nats / pixel^2", "trace of the loss's input Hessian"),
    "probability_hessian_top": ("1 / pixel^2", "largest eigenvalue of the input Hessian of 1 - p"),
    "probability_hessian_bottom": ("1 / pixel^2", "smallest eigenvalue of the input Hessian of 1 - p"),
    "probability_hessian_trace": ("1 / pixel^2", "trace of the input Hessian of 1 - p"),
    "pictures": ("pixels", "inputs of the first trained member"),
    "picture_prediction": ("1", "what the first trained member predicts"),
    "picture_label": ("1", "true class of the pictured image"),
    "audit": ("1", "robust accuracy, mean over members"),
    "perturbation_norm": ("pixels", "mean L2 norm of adversarial perturbations on validation images"),
    "curve": ("as its reading", "mean drop of a cell: probability, or share of the margin (scale_free)"),
    "class_curve": ("probability", "mean fall of the probability by true class"),
    "noise_curve": ("probability", "mean fall of the probability under input noise"),
    "weight_curve": ("probability", "mean fall of the probability under weight noise"),
    "share_kept": ("1", "share of draws that keep the tracked class"),
    "share_returned": ("1", "share of draws that return to the true class"),
    "share_elsewhere": ("1", "share of draws predicted as a third class"),
    "match_share": ("1", "share of adversarial examples with a genuine partner"),
    "match_smd_before": ("1", "standardised margin difference before matching"),
    "match_smd_after": ("1", "standardised margin difference after matching"),
}
SUFFIXES = {
    "_sem": "standard error over draws",
    "_band_low": "simultaneous 95 % band, lower end",
    "_band_high": "simultaneous 95 % band, upper end",
    "_low": "95 % interval, lower end",
    "_high": "95 % interval, upper end",
}


def describe(name: str) -> dict[str, str]:
    """Units and long name of an array of this experiment."""
    base, note = name, ""
    for suffix, meaning in SUFFIXES.items():
        if name.endswith(suffix) and name not in UNITS:
            base, note = name.removesuffix(suffix), f", {meaning}"
            break
    about = ""
    for prefix, meaning in (("input_", " under input noise"), ("weight_", " under weight noise")):
        if base.startswith(prefix) and base not in UNITS:
            base, about = base.removeprefix(prefix), meaning
    units, text = UNITS[base]
    return {"units": units, "long_name": f"{text}{about}{note}"}


def assemble(config, prepared: Setting, test: Examples, parts: list[Arrays], levels: Arrays) -> tuple[Arrays, Arrays]:
    """All parts on common member, population and example axes.

    The clean inputs are told twice, as `genuine` and as `natural_error`; a user's inputs follow the test images on the
    example axis as the population `user`, valid nowhere else.

    Args:
      parts: the test images' arrays, and perhaps the user's, as `flatness.measured` returns them.

    Returns:
      (arrays, coords).
    """
    names = list(populations.POPULATIONS)
    source = [populations.INPUTS.index(populations.SOURCE[name]) for name in names]
    main, user = parts[0], (parts[1] if len(parts) > 1 else None)
    arrays: Arrays = {}
    for name, (dims, array) in main.items():
        if name in ("valid", "inputs_shown"):
            continue
        if "population" in dims:
            array = np.take(array, source, axis=dims.index("population"))
        arrays[name] = (dims, array)
    arrays["valid"] = (("member", "population", "example"), main["valid"][1])
    ids = test.ids
    if user is not None:
        valid_user = np.ones_like(user["prediction"][1], bool)
        extra = user | {"valid": (("member", "population", "example"), valid_user)}
        arrays = {name: _append(value, extra[name][1]) for name, value in arrays.items()}
        names.append("user")
        ids = np.concatenate([ids, FIRST_ID + np.arange(valid_user.shape[-1])])
    arrays |= _pictures(prepared, test, main, source, arrays)
    arrays["perturbation_norm"] = levels["perturbation_norm"]

    coords = member_coords(prepared) | {
        "population": (("population",), np.asarray(names)),
        "example": (("example",), np.asarray(ids, np.int64)),
        "shown": (("shown",), arrays.pop("shown")[1]),
        "class": (("class",), np.asarray(prepared.dataset.class_names)),
        "r": levels["r"],
        "sigma": levels["sigma"],
    }
    if "flatness" in config.measures:
        coords["noise"] = (("noise",), np.asarray(config.flatness.noises))
        coords["noise_scale"] = levels["noise_scale"]
    if "weight" in config.measures:
        coords["weight_noise"] = (("weight_noise",), np.asarray(config.weight.noises))
        coords["xi"] = (("xi",), np.asarray(config.weight.xi, np.float32))
    return arrays, coords


def _append(value: tuple, extra: np.ndarray) -> tuple:
    """`value` with the user's block behind it on the example axis and, where it has one, on the population axis."""
    dims, array = value
    empty = {"f": np.nan, "b": False}.get(array.dtype.kind, -1)
    shape = list(array.shape)
    at = dims.index("example")
    count = shape[at]
    shape[at] += extra.shape[at]
    if "population" in dims:
        shape[dims.index("population")] += 1
    out = np.full(shape, empty, array.dtype)
    before = [slice(None)] * len(shape)
    before[at] = slice(count)
    after = [slice(None)] * len(shape)
    after[at] = slice(count, None)
    if "population" in dims:
        p = dims.index("population")
        before[p], after[p] = slice(-1), slice(-1, None)
    out[tuple(before)] = array
    out[tuple(after)] = extra
    return dims, out


def _pictures(prepared: Setting, test: Examples, main: Arrays, source: list[int], arrays: Arrays) -> Arrays:
    """The first examples that are adversarial and boosted for the first trained member, in all populations."""
    first = int(np.flatnonzero(prepared.trained)[0])
    valid = arrays["valid"][1][first]
    at = populations.POPULATIONS.index
    good = (valid[at("adversarial")] & valid[at("boosted")])[: len(test.ids)]  # behind them stand a user's inputs
    chosen = np.argsort(~good, kind="stable")[:NUM_SHOWN]
    pictures = main["inputs_shown"][1][source][:, chosen]
    last = populations.POPULATIONS.index("boosted_iso") + 1
    out: Arrays = {
        "shown": (("shown",), test.ids[chosen]),
        "pictures": (("population", "shown", "height", "width", "channel"), pictures),
        "picture_prediction": (("population", "shown"), arrays["prediction"][1][first][:last, chosen]),
        "picture_label": (("shown",), test.label[chosen]),
    }
    if arrays["prediction"][1].shape[1] > last:  # the user's inputs have no counterpart among the pictured images
        dims, picture = out["pictures"]
        out["pictures"] = (dims, np.concatenate([picture, np.full_like(picture[:1], np.nan)]))
        dims, predicted = out["picture_prediction"]
        out["picture_prediction"] = (dims, np.concatenate([predicted, np.full_like(predicted[:1], -1)]))
    return out
