"""What a flatness run will cost and how wide its primary intervals will be, told from a small pilot."""

import resource
import tempfile
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict
from rich import box
from rich.table import Table

from landscape import populations, runs
from landscape.experiments import flatness_stages as stages
from landscape.experiments import setting
from landscape.experiments.flatness_arrays import assemble
from landscape.experiments.flatness_contrasts import LEAST_CARRIED
from landscape.experiments.flatness_estimates import cells_of, claimed
from landscape.runs.progress import duration
from landscape.stats.intervals import Interval
from landscape.training import classifier_members

PILOT_CHUNK = 16  # examples; the pilot has two chunks, of which the first also compiles
PILOT_EPOCHS = 2  # of members that are not trained yet


def plan(config, run: runs.Run) -> None:
    """Prints stages with expected time, memory, and the expected width of the claims' intervals, and stops.

    The pilot runs every stage on two small chunks of *validation* images in a directory of its own. Members that do
    not exist yet are trained for two epochs there; the widths are then those of such members.
    """
    dataset, _ = setting.load(config)
    wanted = [classifier_members.folder(run, config, dataset, m) for m in classifier_members.members_of(config)]
    missing = sum(not folder.exists() for folder in wanted)
    with tempfile.TemporaryDirectory() as folder:
        pilot = ConfigDict(config.to_dict())
        pilot.flatness.num_examples = 2 * PILOT_CHUNK
        if missing:
            pilot.train.num_epochs = min(PILOT_EPOCHS, config.train.num_epochs)
            pilot.artifacts = str(Path(folder) / "artifacts")
        with runs.open_run(pilot, Path(folder) / "pilot") as trial:
            seconds, widths, stored = _pilot(config, trial, len(dataset.splits["test"]))
    table = Table("stage", "expected time", box=box.SIMPLE_HEAD)
    for name, value in seconds.items():
        table.add_row(name, duration(value))
    table.add_row("all", duration(sum(seconds.values())), style="bold")
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20 + stored / 2**30  # Linux counts in KiB
    show = run.console.print
    show(table)
    show(f"memory: about {memory:.1f} GiB at its peak", highlight=False)
    for line in widths:
        show(line, highlight=False, soft_wrap=True)
    if missing:
        told = f"{missing} of {len(wanted)} members are not trained yet; the pilot's had {PILOT_EPOCHS} epochs"
        show(f"{told}: its widths are rough", highlight=False, soft_wrap=True)


def _pilot(config, trial: runs.Run, num_test: int) -> tuple[dict[str, float], list[str], float]:
    """Expected seconds by stage, a line on each claim's interval, and bytes that more examples will add."""
    pilot = trial.config
    prepared = setting.prepare(pilot, trial)
    _, checks = stages.audit_stage(pilot, trial, prepared)
    levels = stages.levels_stage(pilot, trial, prepared)
    chosen = setting.examples(prepared.dataset, "validation", pilot.flatness.num_examples, pilot.seed)
    part = stages.measured(pilot, trial, prepared, chosen, chosen.x, populations.INPUTS, levels, size=PILOT_CHUNK)
    arrays, coords = assemble(pilot, prepared, chosen, [part], levels)
    num_examples = min(config.flatness.num_examples, num_test)

    seconds = runs.stage_seconds(trial)
    if "training" in seconds:
        seconds["training"] *= config.train.num_epochs / pilot.train.num_epochs
    for name, (first, second) in runs.chunk_seconds(trial).items():
        chunks = num_examples / PILOT_CHUNK
        seconds[name] = max(first - second, 0.0) + second * chunks
    lines = [f"audit on validation images: {sum(c['passed'] for c in checks)} of {len(checks)} checks passed"]
    if "flatness" in config.measures:
        cells = cells_of(pilot, arrays, coords, np.flatnonzero(prepared.trained))
        for claim, contrast in claimed(config, cells, coords):
            if contrast is None or contrast.carried < LEAST_CARRIED:
                lines.append(f"claim {claim['name']}: too few inputs of its populations in the pilot")
                continue
            width = expected_width(contrast.interval, num_examples * contrast.u.shape[1] / len(chosen.label))
            lines.append(
                f"claim {claim['name']}: expected width of its 95 % interval {width:.3g}, "
                f"smallest effect of interest {claim['smallest_effect']:.3g}"
            )
    # Joined arrays stand beside their chunks for a moment; the searched inputs are as large as they get.
    inputs = prepared.dataset.images[0].size * 4 * len(prepared.members) * len(populations.INPUTS)
    held = sum(array.nbytes for dims, array in arrays.values() if "example" in dims) / len(chosen.label)
    return seconds, lines, 2 * (held + inputs) * (num_examples - len(chosen.label))


def expected_width(pilot: Interval, num_examples: float) -> float:
    """Width of a 95 % interval over S members and N images from the variance components of a pilot.

    2 t sqrt(V_member / S + V_example / N + V_residual / (S N)), t at the pilot's degrees of freedom.
    """
    half = (pilot.high - pilot.value) / pilot.sem if pilot.sem > 0 else 0.0
    members = np.nan_to_num(pilot.var_member) / pilot.members if pilot.generalises_to == "both" else 0.0
    images = (np.nan_to_num(pilot.var_example) + np.nan_to_num(pilot.var_residual) / pilot.members) / num_examples
    return float(2 * half * np.sqrt(members + images))
