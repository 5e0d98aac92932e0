"""What configs share: values that go with a data set, and the check of a finished config. Imports no JAX.

A config file shows only what it changes:

    dataset, smoke = presets.parse(arg)
    config = presets.base(dataset, smoke)
    config.experiment = "flatness"
"""

import difflib
import math
import re
from collections.abc import Iterable, Iterator
from typing import Any

from ml_collections import ConfigDict

from landscape.files import UserError

# Training values, and epsilon: the L-inf radius of an attack, in pixels of [0, 1].
# Label smoothing (digits: two points of accuracy) and weight decay (fashion_mnist: 0.3 points) were chosen on
# validation images; epsilon is large enough that the attack takes every image. Those of `folder` are only a start.
ADAMW = dict(learning_rate=3e-3, weight_decay=1e-4, label_smoothing=0.0)
DATASETS = {
    "digits": ADAMW | dict(num_epochs=40, batch_size=64, label_smoothing=0.1, epsilon=0.25),
    "fashion_mnist": ADAMW | dict(num_epochs=8, batch_size=128, weight_decay=0.2, epsilon=0.1),
    "folder": ADAMW | dict(num_epochs=8, batch_size=32, epsilon=0.03),
}

# Autoencoders: numbers that go with the size of the images. `dim` is where families are compared, `dims` the ladder of
# some; vq and fsq have places x codes instead.
AUTOENCODERS = {
    "digits": dict(
        dim=8, dims=(4, 8, 16, 32), widths=(256, 128), places=4, code_dim=16, num_codes=64, levels=(5, 5, 5)
    ),
    "fashion_mnist": dict(
        dim=32, dims=(8, 16, 32, 64), widths=(512, 256), places=16, code_dim=64, num_codes=512, levels=(8, 5, 5, 5)
    ),
}
AUTOENCODERS["folder"] = AUTOENCODERS["fashion_mnist"]
AUTOENCODER_EPOCHS = {"digits": 60, "fashion_mnist": 20, "folder": 20}
LONG = 2  # times the epochs in a long run

# The names that a config may hold, by field. Rooms further down have the same; tests compare them.
LAYERS = {  # hidden layers of the classifiers, in order
    "mlp": ("dense1", "dense2"),
    "cnn": ("conv1", "conv2", "conv3"),
    "cnn_wide": ("conv1", "conv2", "conv3", "pool"),
    "resnet18": ("stem", *(f"block{stage}_{block}" for stage in (1, 2, 3, 4) for block in (1, 2)), "pool"),
}
ALL = "all"  # in the place of the names of layers
MODELS = tuple(LAYERS)
MODEL_NORMS = ("none", "group", "batch")
ACTIVATIONS = ("relu", "gelu", "softplus", "tanh", "silu")
NORMS = ("linf", "l2")
INPUT_NOISES = ("additive", "multiplicative", "envelope", "sphere", "linf_ball", "additive_clipped")
WEIGHT_NOISES = ("multiplicative", "layer_relative", "filter_normalised", "additive")
FAMILIES = ("ae", "denoising", "contractive", "sparse", "sphere", "vae", "vq", "fsq")
NETWORKS = ("dense", "conv")
KERNELS = ("mala", "hmc", "nuts", "gibbs")  # the last one for codes, the others for real latents
GUIDES = ("member", "vote")
MEASURES = ("flatness", "worst", "curvature", "weight")
NAMES = {
    "data.name": tuple(DATASETS),
    "model.name": MODELS,
    "model.norm": MODEL_NORMS,
    "model.activation": ACTIVATIONS,
    "search.norm": NORMS,
    "flatness.noises": INPUT_NOISES,
    "weight.noises": WEIGHT_NOISES,
    "benchmark.models": MODELS,
    "measures": MEASURES,
    "autoencoder.families": FAMILIES,
    "autoencoder.ladder": FAMILIES,
    "autoencoder.network": NETWORKS,
    "hidden.families": FAMILIES,
    "families": FAMILIES,
    "mcmc.kernels": KERNELS,
    "mcmc.guide": GUIDES,
}
READINGS = ("raw", "iso", "matched", "scale_free")
CLAIMED = ("input_flatness.probability_drop", "input_flatness.loss_rise", "input_flatness.margin_drop")
CLAIMED += ("input_flatness.scale_free",)
STEERED = ("adversarial", "boosted")  # have a twin of equal margin
POPULATIONS = ("genuine", "natural_error", "adversarial", "boosted", "boundary", "noise_linf", "noise_l2", "user")
# A standard error takes two.
LEAST = {"flatness.num_trials": 2, "weight.num_draws": 2, "curvature.num_probes": 2, "autoencoder.dim": 1}
# Largest radius that makes sense. An L2 radius is over the whole image, whose diagonal is sqrt(H W C).
LARGEST_EPSILON = {"linf": 1.0, "l2": 64.0}


def parse(arg: str, *switches: str) -> tuple:
    """The data set, whether it is a smoke run, and each switch, from what follows the colon of `FILE:digits,smoke`."""
    dataset, found = "digits", dict.fromkeys(("smoke", *switches), False)
    named = []
    for word in filter(None, (part.strip() for part in arg.split(","))):
        if word in found:
            found[word] = True
        elif word in DATASETS:
            dataset = word
            named.append(word)
        else:
            raise UserError(
                f"config word {word!r}: expected a data set ({', '.join(DATASETS)}) and perhaps {' or '.join(found)}"
                + did_you_mean(word, [*DATASETS, *found])
            )
    if len(named) > 1:
        raise UserError(f"config words {arg!r}: expected one data set; run the command once for each")
    return dataset, *found.values()


def base(dataset: str, smoke: bool) -> ConfigDict:
    """The fields that every experiment has, with the data set's values; `smoke` makes them small."""
    preset = DATASETS[dataset]
    config = ConfigDict()
    config.experiment = ""
    config.seed = 0
    config.smoke = smoke  # compiled without optimisation, which a few examples do not repay
    config.data = dict(name=dataset, dir="", cache="runs/cache/data")
    config.model = dict(name="cnn", norm="none", activation="relu")
    config.num_members = 4 if smoke else 8  # below 4 no interval over seeds is given
    config.control_members = dict(untrained=1 if smoke else 2, shuffled=0)
    config.train = dict(
        num_epochs=2 if smoke else preset["num_epochs"],
        batch_size=preset["batch_size"],
        learning_rate=preset["learning_rate"],
        weight_decay=preset["weight_decay"],
        label_smoothing=preset["label_smoothing"],
        input_noise=0.0,  # standard deviation, pixels in [0, 1]
        weight_noise=0.0,  # standard deviation of the multiplicative noise on weights
    )
    # Each value here is trained for every seed: --config.sweep.learning_rate='(1e-3,3e-3)'.
    config.sweep = dict(learning_rate=(), weight_decay=(), label_smoothing=(), input_noise=(), weight_noise=())
    config.artifacts = "runs/artifacts"
    config.mapping = "auto"  # auto, map, mapN (blocks of N members) or vmap
    config.inputs = ""  # an .npz file with arrays x, label and perhaps origin: a further population
    config.claims = ConfigDict()  # name -> statement; at most three
    return config


def search(dataset: str, smoke: bool) -> ConfigDict:
    """How adversarial, boosted, boundary and iso inputs are searched. Radii and steps in pixels of [0, 1]."""
    found = ConfigDict(
        dict(
            norm="linf",
            epsilon=DATASETS[dataset]["epsilon"],
            num_steps=5 if smoke else 40,
            num_restarts=1,
            iso_margin="4.0",  # logits, or "clean": the margin of the image's own clean version
            iso_steps=10 if smoke else 60,
        )
    )
    # Follows an epsilon given on the command line; a few steps must still cross the ball.
    found.step_size = found.get_ref("epsilon") / (2 if smoke else 10)
    return found


def autoencoder(dataset: str, smoke: bool, long: bool) -> ConfigDict:
    """Which autoencoders of images are trained, and how."""
    epochs = AUTOENCODER_EPOCHS[dataset] * (LONG if long else 1)
    config = ConfigDict(
        dict(
            families=FAMILIES if long or dataset == "digits" else ("ae", "vae", "vq", "fsq"),  # at dim
            ladder=("ae", "vae") if long or dataset == "digits" else ("ae",),  # at each of dims
            **AUTOENCODERS[dataset],
            network="dense",  # or conv
            channels=(16, 32),  # conv: of each halving; `widths` are units of dense layers
            spatial=False,  # conv: latents of ae, denoising, contractive are maps, as those of vq and fsq always are
            num_epochs=2 if smoke else epochs,
            batch_size=64 if dataset == "digits" else 256,
            learning_rate=2e-3,
            weight_decay=0.0,
            noise=0.1,  # denoising: standard deviation, pixels (hidden layers: in units of their spread)
            contraction=1e-5,  # contractive
            # vae; chosen on validation images of Fashion-MNIST: the error of the posterior mean is 4 % above that of
            # `ae`, with beta = 1 it is 12 %.
            beta=0.5,
            free_bits=0.0,  # vae: nats a dimension
            commitment=0.25,  # vq
        )
    )
    names = ("learning_rate", "weight_decay", "noise", "contraction", "beta", "free_bits", "commitment")
    config.sweep = {name: () for name in names}
    return config


def validate(config: ConfigDict) -> None:
    """Refuses values that would run but mean something else. Changes nothing.

    Raises:
      UserError: names the field, its value, what was expected and what to try.
    """
    fields = dict(leaves(config))
    for name, value in fields.items():
        if name in NAMES:
            _check_names(name, value, NAMES[name])
        elif isinstance(value, tuple) and not name.startswith(("claims.", "hidden.layers")):
            _check_numbers(name, value)
        elif isinstance(value, int | float) and name not in ("smoke", "autoencoder.spatial"):
            _check_numbers(name, (value,))
            least = LEAST.get(name, 1 if re.search(r"(^|\.)(num_\w+|batch_size)$", name) else 0)
            if value < least:
                raise UserError(f"{name}={value}: expected at least {least}; leave the field out to keep its default")
    _check_flatness(config, fields)
    if fields.get("inputs") and config.experiment != "flatness":
        raise UserError(f"inputs={fields['inputs']!r}: expected with configs/flatness.py alone; leave it out")
    if config.experiment in ("autoencoders", "latent"):
        _check_autoencoders(fields)
    norm, epsilon = fields.get("search.norm", "linf"), fields.get("search.epsilon", 0.0)
    if epsilon > LARGEST_EPSILON[norm]:
        most = "1" if norm == "linf" else "64 (the L2 norm over a whole image)"
        raise UserError(
            f"epsilon={epsilon:g}: expected 0 <= epsilon <= {most}, since images are in [0, 1]; "
            f"did you mean {epsilon:g}/255 = {epsilon / 255:.3g}?"
        )
    if fields.get("worst.rho_fraction", 0.0) >= 0.5:
        raise UserError(
            f"worst.rho_fraction={fields['worst.rho_fraction']:g}: expected less than 0.5, since balls of half epsilon "
            "around an adversarial input and its genuine image meet; try 0.25"
        )
    if fields.get("data.name") == "folder" and not fields["data.dir"]:
        raise UserError("data.dir='': expected DIR holding <split>/<class>/*.png; try --config.data.dir=DIR")
    if not re.fullmatch(r"auto|vmap|map([1-9]\d*)?", fields.get("mapping", "auto")):
        raise UserError(
            f"mapping={fields['mapping']!r}: expected auto, map, mapN (blocks of N members) or vmap; try auto"
        )
    if len(config.get("claims", ())) > 3:
        raise UserError(f"claims: {len(config.claims)} came, expected at most three primary statements; drop some")


def _check_flatness(config: ConfigDict, fields: dict[str, Any]) -> None:
    """What the flatness experiment would find out after hours of work."""
    if config.experiment != "flatness":
        return
    swept = [name for name, values in config.sweep.items() if len(values)]
    if swept:
        raise UserError(
            f"sweep.{swept[0]}={config.sweep[swept[0]]}: expected no sweep, since members of unlike training are no "
            f"sample of seeds; run flatness once for each value with --config.train.{swept[0]}=VALUE"
        )
    for name in ("flatness.levels", "weight.xi"):
        if not fields[name] or min(fields[name]) <= 0:
            raise UserError(f"{name}={fields[name]}: expected one or more numbers above 0, such as (0.1, 0.3, 1.0)")
    epsilon = fields["search.epsilon"]
    if epsilon <= 0:
        raise UserError(f"search.epsilon={epsilon}: expected a radius above 0, in pixels of [0, 1]; try 0.1")
    if fields["search.norm"] == "l2" and epsilon == DATASETS[fields["data.name"]]["epsilon"]:
        raise UserError(
            f"search.norm=l2 with epsilon={epsilon:g}, the L-inf preset: expected an L2 radius over the whole image; "
            "try --config.search.epsilon=1.5"
        )
    margin = fields["search.iso_margin"]
    if margin != "clean" and not re.fullmatch(r"\d+(\.\d*)?", margin):
        raise UserError(f"search.iso_margin={margin!r}: expected a number of logits or clean; try 4.0")
    known = POPULATIONS if fields["inputs"] else POPULATIONS[:-1]
    for name, claim in config.claims.items():
        _check_claim(name, claim, config, known)


def _check_autoencoders(fields: dict[str, Any]) -> None:
    for name in ("autoencoder.widths", "autoencoder.channels", "autoencoder.dims", "autoencoder.levels", "hidden.dims"):
        least = 2 if name.endswith("levels") else 1
        values = fields.get(name, (least,))
        if not values or not all(isinstance(value, int) and value >= least for value in values):
            raise UserError(f"{name}={values}: expected one or more whole numbers of at least {least}, such as (8, 32)")
    known = LAYERS[fields["model.name"]]
    for name in fields.get("hidden.layers", ()):
        if name not in (*known, ALL):
            raise UserError(
                f"hidden.layers={name!r}: expected {ALL}, () for images alone, or some of {', '.join(known)}, which "
                f"{fields['model.name']} has{did_you_mean(str(name), known)}"
            )
    if fields["autoencoder.spatial"] and fields["autoencoder.network"] != "conv":
        raise UserError("autoencoder.spatial=True: expected network=conv; add --config.autoencoder.network=conv")
    kernels = fields.get("mcmc.kernels", KERNELS)
    for family in fields.get("families", ()):
        if not any((kernel == "gibbs") == (family in ("vq", "fsq")) for kernel in kernels):
            needed = "gibbs, since its latents are codes" if family in ("vq", "fsq") else "mala, hmc or nuts"
            raise UserError(f"mcmc.kernels={kernels} on {family}: expected {needed}; add it, or leave {family} out")
    swept = [name for name, value in fields.items() if name.startswith("autoencoder.sweep.") and value]
    if swept and fields.get("families"):
        raise UserError(
            f"{swept[0]}={fields[swept[0]]}: expected no sweep, since member s of latent is seed s; set "
            f"--config.{swept[0].replace('sweep.', '')}=VALUE and run once for each"
        )
    levels, codes = fields["autoencoder.levels"], math.prod(fields["autoencoder.levels"])
    if codes > 2**16:
        raise UserError(
            f"autoencoder.levels={levels}: {codes} codes; expected at most 65536; take fewer or lower levels"
        )
    frames = fields.get("mcmc.num_frames", 1)
    for name, steps in fields.items():
        if name.startswith("mcmc.num_steps.") and steps % frames:
            raise UserError(f"{name}={steps}: expected a multiple of mcmc.num_frames={frames}; try {frames * 8}")
    if fields["num_members"] < 2:
        raise UserError(f"num_members={fields['num_members']}: expected at least 2, since another seed judges; try 4")


def _check_claim(name: str, claim: ConfigDict, config: ConfigDict, known: tuple[str, ...]) -> None:
    def refuse(field: str, expected: str) -> None:
        raise UserError(f"claims.{name}.{field}={claim[field]}: expected {expected}")

    if claim.measure not in CLAIMED:
        refuse("measure", f"one of {', '.join(CLAIMED)}")
    if len(claim.populations) != 2 or not set(claim.populations) <= set(known):
        refuse("populations", f"two of {', '.join(known)}")
    readings = ("scale_free",) if claim.measure.endswith("scale_free") else READINGS[:3]
    if claim.matching not in readings:
        refuse("matching", f"one of {', '.join(readings)} with the measure {claim.measure}")
    if claim.matching == "iso" and not set(claim.populations) <= set(STEERED):
        refuse("matching", f"iso with populations among {', '.join(STEERED)}, which are searched to one margin")
    if claim.direction not in ("greater", "less"):
        refuse("direction", "greater or less")
    if claim.smallest_effect < 0:
        refuse("smallest_effect", "a number of at least 0, in the unit of the measure")
    if not any(abs(level / claim.r - 1) < 0.01 for level in config.flatness.levels):
        refuse("r", f"one of flatness.levels, {config.flatness.levels}")
    if "flatness" not in config.measures or "additive" not in config.flatness.noises:
        refuse("measure", "flatness among the measures and additive among flatness.noises; or drop the claim")


def leaves(config: ConfigDict, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted name, value) of every field."""
    for name, value in config.items():
        if isinstance(value, ConfigDict):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """'; did you mean X?' where one of the known words is close, else nothing."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _check_names(name: str, value: Any, known: tuple[str, ...]) -> None:
    for word in value if isinstance(value, tuple) else (value,):
        if word not in known:
            raise UserError(f"{name}={word!r}: expected one of {', '.join(known)}{did_you_mean(str(word), known)}")
    if value == ():
        raise UserError(f"{name}=(): expected at least one of {', '.join(known)}")


def _check_numbers(name: str, values: tuple) -> None:
    for value in values:
        # ml_collections reads '(8/255,)' as the text itself rather than as a number.
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise UserError(f"{name}={value!r}: expected finite numbers; write 8/255 as {8 / 255:.4f}")
        if value < 0:
            raise UserError(f"{name}={value!r}: expected numbers of at least 0; drop the minus sign")
