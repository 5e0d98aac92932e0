"""What a config of `latent` may not say, though it would run, or stop after hours of work. Imports no JAX."""

from typing import Any

from ml_collections import ConfigDict

from landscape.files import UserError
from landscape.presets import POPULATIONS, Field
from landscape.presets.names import CODED
from landscape.stats import convergence

KERNELS = ("mala", "hmc", "nuts", "gibbs")  # the last one for codes, the others for real latents
FEWEST_CHAINS = 8  # of a group: chance leaves all of them in one of two equal modes once in 128 times
FIELDS = {"population": POPULATIONS, "mcmc.kernels": Field(KERNELS), "mcmc.guide": Field(("member", "vote"))}


def check(config: ConfigDict, fields: dict[str, Any]) -> None:
    """UserError for samplers, radii and numbers of steps that do not fit each other or the families."""
    kernels = fields["mcmc.kernels"]
    for family in fields["families"]:
        if not any((kernel == "gibbs") == (family in CODED) for kernel in kernels):
            needed = "gibbs, since its latents are codes, which have no gradients"
            needed = needed if family in CODED else "mala, hmc or nuts"
            raise UserError(f"mcmc.kernels={kernels} on {family}: expected {needed}; add it, or leave {family} out")
    if not fields["mcmc.radii"] or min(fields["mcmc.radii"]) <= 0:
        raise UserError(f"mcmc.radii={fields['mcmc.radii']}: expected one or more numbers above 0, such as (0.3, 1.0)")
    if fields["mcmc.temperature"] <= 0:
        raise UserError(f"mcmc.temperature={fields['mcmc.temperature']}: expected a number above 0, such as 1.0")
    for name, least in (("num_chains", FEWEST_CHAINS), ("num_frames", convergence.FEWEST)):
        if fields[f"mcmc.{name}"] < least:
            given = f"mcmc.{name}={fields[f'mcmc.{name}']}"
            raise UserError(f"{given}: expected {least} or more, or nothing tells whether chains have converged")
    frames = fields["mcmc.num_frames"]
    for name, steps in fields.items():
        if name.startswith("mcmc.num_steps.") and steps % frames:
            raise UserError(f"{name}={steps}: expected a multiple of mcmc.num_frames={frames}; try {frames * 8}")
    if fields["mcmc.guide"] == "vote" and fields["num_members"] < 3:
        raise UserError(
            f"num_members={fields['num_members']}: expected at least 3, since a classifier that guides nothing "
            "evaluates (mcmc.guide=vote takes all others); try 4"
        )
