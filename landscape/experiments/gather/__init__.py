"""Many runs in one table and one figure: seeds, data sets, machines, values of a field."""

from landscape.experiments import joined
from landscape.experiments.base import SCHEMA, Experiment
from landscape.experiments.gather.config import check

EXPERIMENT = Experiment(
    package=__name__,
    question="What do several runs say together?",
    schema=joined.SCHEMA | {name: SCHEMA[name] for name in ("check", "check_passed", "check_detail")},
    check=check,
)
