"""The check of a finished config: values that would run but mean something else are refused in one line."""

import math
import re
from collections.abc import Iterator
from typing import Any

from ml_collections import ConfigDict

from landscape.files import UserError
from landscape.presets.names import (
    ACTIVATIONS,
    ALL,
    AVERAGES,
    CODED,
    FAMILIES,
    GUIDES,
    INPUT_NOISES,
    KERNELS,
    LAYERS,
    MATCHINGS,
    MEASURES,
    MODEL_NORMS,
    MODELS,
    NETWORKS,
    NOISE_ARMS,
    NOISE_CLAIMED,
    NOISE_SEARCHES,
    NORMS,
    RULES,
    VALUES,
    WEIGHT_NOISES,
    did_you_mean,
)
from landscape.presets.values import DATASETS

NAMES = {  # by field
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
    "maps.value": VALUES,
    "ascent.value": VALUES,
    "ascent.rule": RULES,
    "guided.value": VALUES,
    "guided.rule": RULES,
    "noise.searches": NOISE_SEARCHES,
    "noise.arms": NOISE_ARMS,
    "noise.kind": WEIGHT_NOISES,
    "noise.average": AVERAGES,
    "pixels.norm": NORMS,
    "manifold.family": FAMILIES,
}
FLAGS = ("smoke", "autoencoder.spatial", "noise.re_estimate")
READINGS = ("raw", "iso", "matched", "scale_free")
CLAIMED = ("input_flatness.probability_drop", "input_flatness.loss_rise", "input_flatness.margin_drop")
CLAIMED += ("input_flatness.scale_free",)
STEERED = ("adversarial", "boosted")  # have a twin of equal margin
POPULATIONS = ("genuine", "natural_error", "adversarial", "boosted", "boundary", "noise_linf", "noise_l2", "user")
# A standard error takes two.
LEAST = {
    "flatness.num_trials": 2,
    "weight.num_draws": 2,
    "curvature.num_probes": 2,
    "autoencoder.dim": 1,
    "trajectory.num_models": 2,
}
LEAST |= {"noise.num_sources": 2, "measure.num_trials": 2, "measure.num_probes": 2}
LEAST |= {"maps.num_trials": 2, "guided.num_trials": 2, "num_alone": 2}
# Largest radius that makes sense. An L2 radius is over the whole image, whose diagonal is sqrt(H W C).
LARGEST_EPSILON = {"linf": 1.0, "l2": 64.0}


def validate(config: ConfigDict) -> None:
    """Refuses values that would run but mean something else. Changes nothing.

    Raises:
      UserError: names the field, its value, what was expected and what to try.
    """
    fields = dict(leaves(config))
    for name, value in fields.items():
        if name in NAMES:
            _check_names(name, value, NAMES[name])
        elif isinstance(value, tuple) and not name.startswith(("claims.", "hidden.layers", "ascent.layers")):
            _check_numbers(name, value)
        elif isinstance(value, int | float) and name not in FLAGS:
            _check_numbers(name, (value,))
            least = LEAST.get(name, 1 if re.search(r"(^|\.)(num_\w+|batch_size)$", name) else 0)
            if value < least:
                raise UserError(f"{name}={value}: expected at least {least}; leave the field out to keep its default")
    _check_flatness(config, fields)
    if fields.get("inputs") and config.experiment != "flatness":
        raise UserError(f"inputs={fields['inputs']!r}: expected with configs/flatness.py alone; leave it out")
    if config.experiment in ("autoencoders", "latent", "gradients", "noise"):
        _check_autoencoders(fields)
    if config.experiment == "gradients":
        _check_gradients(fields)
    if config.experiment == "noise":
        _check_noise(config, fields)
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
    for field, words in (("hidden.layers", (*known, ALL)), ("ascent.layers", known)):
        for name in fields.get(field, ()):
            if name not in words:
                raise UserError(
                    f"{field}={name!r}: expected () for none, or some of {', '.join(words)}, which "
                    f"{fields['model.name']} has{did_you_mean(str(name), words)}"
                )
    if fields["autoencoder.spatial"] and fields["autoencoder.network"] != "conv":
        raise UserError("autoencoder.spatial=True: expected network=conv; add --config.autoencoder.network=conv")
    kernels = fields.get("mcmc.kernels", KERNELS)
    for family in fields.get("families", ()):
        if not any((kernel == "gibbs") == (family in CODED) for kernel in kernels):
            needed = (
                "gibbs, since its latents are codes, which have no gradients"
                if family in CODED
                else "mala, hmc or nuts"
            )
            raise UserError(f"mcmc.kernels={kernels} on {family}: expected {needed}; add it, or leave {family} out")
    swept = [name for name, value in fields.items() if name.startswith("autoencoder.sweep.") and value]
    if swept and fields.get("families"):
        raise UserError(
            f"{swept[0]}={fields[swept[0]]}: expected no sweep, since members are seeds here; set "
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
    least = 3 if fields.get("mcmc.guide") == "vote" else 2
    if fields["num_members"] < least:
        raise UserError(
            f"num_members={fields['num_members']}: expected at least {least}, since a classifier that guides nothing "
            f"judges{' (mcmc.guide=vote takes all others)' if least == 3 else ''}; try 4"
        )


def _check_gradients(fields: dict[str, Any]) -> None:
    sizes = fields["guided.sizes"]
    if not sizes or not all(isinstance(size, int) and size >= 1 for size in sizes) or list(sizes) != sorted(set(sizes)):
        raise UserError(f"guided.sizes={sizes}: expected rising whole numbers of at least 1, such as (1, 4, 16)")
    most = max(sizes)
    if fields["num_members"] <= most:
        raise UserError(
            f"num_members={fields['num_members']} with guided.sizes={sizes}: expected more than {most}, since those "
            f"beyond guide nothing and judge; try --config.num_members={most + 4}"
        )
    if fields["num_alone"] > most:
        raise UserError(f"num_alone={fields['num_alone']}: expected at most {most}, the largest of guided.sizes")
    for name in ("maps.num_examples", "ascent.num_starts", "guided.num_starts"):
        if fields[name] > fields["num_examples"]:
            raise UserError(f"{name}={fields[name]}: expected at most num_examples={fields['num_examples']}")
    if fields["maps.num_shown"] > fields["maps.num_examples"]:
        raise UserError(f"maps.num_shown={fields['maps.num_shown']}: expected at most maps.num_examples")
    frames = fields["ascent.num_frames"]
    if fields["ascent.num_steps"] % frames:
        raise UserError(
            f"ascent.num_steps={fields['ascent.num_steps']}: expected a multiple of ascent.num_frames={frames}; "
            f"try {frames * 6}"
        )


def _check_noise(config: ConfigDict, fields: dict[str, Any]) -> None:
    """What the experiment `noise` would find out late: guides, equal costs, chunks, radii, claims."""

    def refuse(name: str, expected: str) -> None:
        raise UserError(f"{name}={fields[name]}: expected {expected}")

    sources, draws, most = (fields[f"noise.{n}"] for n in ("num_sources", "num_draws", "num_evaluations"))
    if fields["num_members"] <= sources:
        refuse("num_members", f"more than noise.num_sources={sources}, since members behind the sources are the guides")
    for name in ("noise.radii", "noise.step_sizes", "grid.step_sizes"):
        if not fields[name] or min(fields[name]) <= 0:
            refuse(name, "one or more numbers above 0, such as (0.1, 0.3)")
        if len(set(fields[name])) < len(fields[name]) or list(fields[name]) != sorted(fields[name]):
            refuse(name, "growing numbers, each once")
    if most % draws:
        refuse("noise.num_draws", f"a divisor of noise.num_evaluations={most}, the gradients of every search; try 1")
    if not fields["grid.radii"]:
        refuse("grid.radii", "one or more numbers, 0 among them as the control")
    for each in fields["grid.num_draws"]:
        if not isinstance(each, int) or each < 1 or fields["grid.num_evaluations"] % each:
            refuse("grid.num_draws", f"divisors of grid.num_evaluations={fields['grid.num_evaluations']}")
    if fields["noise.num_examples"] % fields["noise.num_validation"]:
        refuse("noise.num_examples", f"a multiple of noise.num_validation={fields['noise.num_validation']}")
    for name in ("pixels.epsilon", "manifold.epsilon", "ascent.epsilon", "measure.level", "noise.equal_margin"):
        if fields[name] <= 0:
            refuse(name, "a number above 0")
    for name, norm in (("pixels.epsilon", fields["pixels.norm"]), ("ascent.epsilon", "l2")):
        if fields[name] > LARGEST_EPSILON[norm]:
            refuse(name, f"at most {LARGEST_EPSILON[norm]:g} in {norm}, since images are in [0, 1]")
    for name, claim in config.claims.items():
        if claim.measure not in NOISE_CLAIMED:
            refuse(f"claims.{name}.measure", f"one of {', '.join(NOISE_CLAIMED)}")
        if claim.matching not in MATCHINGS:
            refuse(f"claims.{name}.matching", f"one of {', '.join(MATCHINGS)}")
        if claim.direction not in ("greater", "less"):
            refuse(f"claims.{name}.direction", "greater or less")
        if claim.r not in fields["noise.radii"]:
            refuse(f"claims.{name}.r", f"one of noise.radii={fields['noise.radii']}")


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
