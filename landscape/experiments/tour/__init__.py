"""The first questions about a data set and its classifiers, in one command with one index page."""

from landscape.experiments import joined
from landscape.experiments.base import SCHEMA, Experiment
from landscape.experiments.tour.config import check

EXPERIMENT = Experiment(
    package=__name__,
    question="How good and how different are the classifiers, what do they look for, what do autoencoders and their "
    "latent spaces show, how do genuine inputs differ from adversarial ones, and whose neighbours are they?",
    schema=joined.SCHEMA | {name: SCHEMA[name] for name in ("check", "check_passed", "check_detail")},
    check=check,
)
