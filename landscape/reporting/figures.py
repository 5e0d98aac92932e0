"""Which figures each experiment defines, in the order of the report, and how they are drawn into a folder."""

import csv
import io
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
import xarray as xr

from landscape.files import write_text
from landscape.reporting import (
    autoencoders,
    benchmark,
    connectivity,
    flatness,
    flatness_inputs,
    flatness_matching,
    flatness_pictures,
    gradients,
    latent,
    noise,
    shared,
    style,
    train,
)
from landscape.reporting.plate import Plate

FIGURES: dict[str, tuple[Plate, ...]] = {
    "flatness": (
        Plate(
            "flatness",
            "How fast the prediction fades as the input moves",
            "A higher line is a sharper landscape: how much the tracked class loses under additive Gaussian noise of "
            "radius r, in units of the attack's own perturbation. Blues are classified rightly, warm colours wrongly; "
            "squares were searched for. Compare adversarial with boosted, which went through the same search; the "
            "panels with r up to 0.3 magnify the local part (a wide band of few natural errors may be cut off). "
            "Shaded: r above 0.3 is no longer local, and beyond about 1 (dashed) noise around an adversarial input "
            "reaches back to the genuine basin.",
            ("curve", "curve_band_low", "curve_band_high"),
            flatness.curves,
            narrow=flatness.curves_narrow,
            table=flatness.curves_table,
        ),
        Plate(
            "pictures",
            "The inputs themselves",
            "Above each picture its predicted class, blue where right and orange where wrong; the lower rows show what "
            "the search added, on one scale symmetric about no change (in colour images no change is mid-grey).",
            ("pictures", "picture_prediction", "picture_label"),
            flatness_pictures.pictures,
            kind="png",
        ),
        Plate(
            "classes",
            "Class by class",
            "The raw curves averaged within each true class: where the order of the lines is the same in every panel, "
            "no single class makes the result. Beyond 20 classes each is a thin line; the most and the least sensitive "
            "at r near 0.3 are named.",
            ("class_curve",),
            flatness.classes,
        ),
        Plate(
            "histograms",
            "Input by input",
            "Each row spreads the inputs of one population over their own drop near r = 0.3 (share of inputs; black: "
            "median); members and images are pooled, so n counts (member, image) pairs.",
            ("input_probability_drop", "valid"),
            flatness_inputs.histograms,
        ),
        Plate(
            "individuals",
            "Single inputs under growing noise",
            "Thin lines are up to 40 single inputs of the first trained member, the black line is the mean curve over "
            "all members: see whether the mean stands for many inputs or hides two kinds.",
            ("input_probability_drop", "valid"),
            flatness_inputs.individuals,
        ),
        Plate(
            "shares",
            "Where the noisy copies go",
            "Share of noisy copies that keep the tracked class, return to the true class, or go elsewhere: a fall by "
            "returning home is another geometry than a fall into a third class.",
            ("share_kept", "share_returned", "share_elsewhere"),
            flatness.shares,
        ),
        Plate(
            "noises",
            "Other kinds of input noise",
            "The same comparison under each kind of noise, pointwise 95 % intervals: the order of the lines should "
            "not hang on one kind.",
            ("noise_curve", "noise_curve_low", "noise_curve_high"),
            flatness.noises,
        ),
        Plate(
            "weights",
            "When the weights move instead",
            "Drop of the tracked class's probability as noise of size ξ is added to the weights, with pointwise 95 % "
            "intervals and a scale for each kind: a higher line is a prediction that hangs on the exact weights.",
            ("weight_curve", "weight_curve_low", "weight_curve_high"),
            flatness.weights,
        ),
        Plate(
            "curvature",
            "Gradient and curvature",
            "Spread over inputs (thin 5 to 95 %, thick 25 to 75 %, black tick the median); further right is steeper "
            "or sharper. Axes are logarithmic where the values span decades.",
            (*flatness_inputs.CURVATURE, "valid"),
            flatness_inputs.curvature,
        ),
        Plate(
            "worst",
            "The worst nearby input",
            "The largest change that projected ascent finds in a small ball around each input (thin 5 to 95 %, thick "
            "25 to 75 %, black tick the median); further right is a sharper place.",
            (*flatness_inputs.WORST, "valid"),
            flatness_inputs.worst,
        ),
        Plate(
            "matching",
            "How well adversarial inputs match genuine ones",
            "One line a classifier: the standardised margin difference before matching and after it should end within "
            "the grey band (0.1), and the share kept says for how many adversarial inputs the matched reading speaks.",
            ("match_smd_before", "match_smd_after", "match_share"),
            flatness_matching.matching,
            optional=True,
        ),
        Plate(
            "audit",
            "Is the attack sound?",
            "Accuracy left under each attack as its radius grows: every line should fall steadily, and the iterated "
            "attacks should lie below the single step, which lies below transfer and noise.",
            ("audit",),
            flatness.audit,
        ),
    ),
    "train": train.PLATES,
    "autoencoders": autoencoders.PLATES,
    "latent": latent.PLATES,
    "gradients": gradients.PLATES,
    "noise": noise.PLATES,
    "shared": shared.PLATES,
    "connectivity": connectivity.PLATES,
    "benchmark": benchmark.PLATES,
}


class Drawn(NamedTuple):
    """A figure on disk: `paths` has the one to show first, then its narrow version where there is one.

    `share` is its width as a share of the page, so that letters keep one size.
    """

    plate: Plate
    paths: tuple[Path, ...]
    share: float


class Absent(NamedTuple):
    """A figure that could not be drawn, and why."""

    plate: Plate
    reason: str


def draw(data: xr.Dataset, experiment: str, directory: Path) -> tuple[list[Drawn], list[Absent]]:
    """Draw every figure that the experiment defines into `directory`.

    Figures whose arrays are missing, or hold nothing finite, come back as absent; optional ones are left out.
    """
    directory.mkdir(parents=True, exist_ok=True)
    drawn, absent = [], []
    with mpl.rc_context(style.RC):
        for plate in FIGURES.get(experiment, ()):
            missing = [name for name in plate.needs if name not in data.variables]
            if missing:
                if not plate.optional:
                    absent.append(Absent(plate, f"arrays.nc has no {', '.join(missing)}"))
                continue
            figure = plate.draw(data)
            if figure is None:
                absent.append(Absent(plate, "its values are missing, or too few to draw"))
                continue
            paths = [directory / f"{plate.name}.{plate.kind}"]
            style.save(figure, paths[0])
            if plate.table is not None:
                style.save(figure, directory / f"{plate.name}.pdf")
                _write_csv(plate.table(data), directory / f"{plate.name}.csv")
            if plate.narrow is not None:
                narrow = plate.narrow(data)
                paths.append(directory / f"{plate.name}_column.{plate.kind}")
                style.save(narrow, paths[1])
            drawn.append(Drawn(plate, tuple(paths), figure.get_figwidth() / style.PAGE))
    return drawn, absent


def _write_csv(rows: list[tuple], path: Path) -> None:
    """Rows as CSV; the shortest text that reads back as the same number, empty for NaN."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([_cell(value) for value in row] for row in rows)
    write_text(path, text.getvalue())


def _cell(value: object) -> str:
    if isinstance(value, float | np.floating):
        return "" if np.isnan(value) else str(value)
    return str(value)
