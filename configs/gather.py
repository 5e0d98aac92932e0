r"""Many runs in one table and one figure: seeds, data sets, machines, values of a field.

    python -m landscape.main --config=configs/gather.py --config.runs="('runs/flatness/*',)"
    python -m landscape.main --config=configs/gather.py --config.runs="('runs/*/*',)" \
        --config.names="('accuracy.test',)"     these estimates of all runs too, beyond their headline tables
    python -m landscape.main --config=configs/gather.py --config.runs="('runs/noise/*',)" \
        --config.pages=landscape/experiments    writes the results tables of the experiments' pages
"""

from ml_collections import ConfigDict


def get_config(arg=""):
    return ConfigDict(
        dict(
            experiment="gather",
            seed=0,
            smoke=False,
            artifacts="runs/artifacts",
            data=dict(name="runs"),
            runs=(),  # directories of finished runs, or globs
            names=(),  # further estimates, beyond each run's headline table
            pages="",  # folder of the experiments' pages whose results tables are to be written
        )
    )
