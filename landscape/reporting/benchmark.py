"""Figure of `benchmark`: how many times the time of landscape the others take for the same work."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from landscape.reporting import plate, style

OURS = "landscape"
RACES = {
    "input_noise": "Flatness under input noise",
    "weight_noise": "Sharpness under weight noise",
    "pgd": "PGD attack",
    "bypass": "Bypass of a line",
    "forward": "Forward pass of all members",
    "gradient": "Input gradient of all members",
}
PEERS = {
    "one_device": "landscape, one device",
    "map": "members one at a time",
    "vmap": "members at once (vmap)",
    "loop": "Python loop over members",
    "pytorch": "PyTorch",
    "pytorch_channels_last": "PyTorch, channels last",
    "pytorch_one_by_one": "PyTorch, pair by pair",
    "foolbox": "Foolbox on PyTorch",
}


def ratios(data: xr.Dataset) -> Figure | None:
    """Bars of median time ratios by race, peer and model; a dot a round."""
    seconds = data["seconds"].transpose("race", "model", "peer", "round").values
    races, models, peers = (plate.names(data, dim) for dim in ("race", "model", "peer"))
    if OURS not in peers:
        return None
    ratio = seconds / seconds[:, :, [peers.index(OURS)]]
    # (race, peer) pairs that anybody ran, one row for each, with a free row for the name of each race.
    rows: list[tuple[int, int | None]] = []
    for race in range(len(races)):
        ran = [p for p, name in enumerate(peers) if name != OURS and np.isfinite(ratio[race, :, p]).any()]
        rows += [(race, None), *((race, p) for p in ran)] if ran else []
    if not rows:
        return None
    figure, (axes,) = style.panels(1, columns=1, height=0.21 * len(rows), left=1.75, top=0.35, right=0.45)
    values = ratio[np.isfinite(ratio)]
    low, high = min(0.8, float(values.min()) / 1.1), max(1.25, float(values.max()) * 1.1)
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    style.log_axis(axes.xaxis, low, high)
    labels, thick = [], 0.8 / len(models)
    for row, (race, peer) in enumerate(rows):
        if peer is None:
            labels.append("")
            name = RACES.get(races[race], style.plain(races[race]))
            axes.annotate(name, (0, row), (-124, -3), ("axes fraction", "data"), "offset points", fontweight="bold")
            continue
        labels.append(PEERS.get(peers[peer], style.plain(peers[peer])))
        for index in range(len(models)):
            place = row + (index - (len(models) - 1) / 2) * thick
            _bar(axes, ratio[race, index, peer], place, thick, style.EXTRA_COLORS[index % 8])
    axes.axvline(1, color="#333333", linewidth=0.8)
    axes.set_yticks(range(len(rows)), labels)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    axes.set_xlabel("time for the same work / time of landscape (to the right of 1: landscape is faster)")
    handles = [axes.barh([0], [0], color=style.EXTRA_COLORS[i % 8]) for i in range(len(models))]
    style.legend_above(figure, handles, [style.plain(model) for model in models], columns=6)
    return figure


def _bar(axes: Axes, rounds: np.ndarray, place: float, thick: float, color: str) -> None:
    """One bar from 1 to the median, a dot a round, and the median in figures."""
    rounds = rounds[np.isfinite(rounds)]
    if not len(rounds):
        return
    median = float(np.median(rounds))
    axes.barh(place, median - 1, left=1, height=0.85 * thick, color=color, alpha=0.8)
    axes.plot(rounds, np.full(len(rounds), place), ".", color="#222222", markersize=2, alpha=0.7)
    at = max(median, rounds.max(), 1.0)
    axes.annotate(f"{median:.2f}×", (at, place), (4, 0), textcoords="offset points", va="center", fontsize=6.5)


def seconds_table(data: xr.Dataset) -> list[tuple]:
    """Wall times as they are in arrays.nc; contestants that did not run are left out."""
    rows: list[tuple] = [("race", "model", "peer", "round", "seconds")]
    seconds = data["seconds"].transpose("race", "model", "peer", "round").values
    named = [plate.names(data, dim) for dim in ("race", "model", "peer", "round")]
    for place in np.argwhere(np.isfinite(seconds)):
        labels = (known[i] for known, i in zip(named, place, strict=True))
        rows.append((*labels, seconds[tuple(place)]))
    return rows


PLATES = (
    plate.Plate(
        "ratios",
        "How long the others take",
        "Bars are medians over rounds of the time a contestant takes, divided by the time landscape takes in the same "
        "round; dots are the rounds, so their spread is the noise of the machine.",
        ("seconds",),
        ratios,
        table=seconds_table,
    ),
)
