"""Figures of `flatness` that show single inputs: histograms, individual curves, curvature."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from landscape.reporting import plate, style
from landscape.reporting.flatness import CELLS, LOCAL, RADIUS, additive, in_order, nearest, shade

CURVATURE = {
    "gradient_norm": "gradient norm, loss\n(nats per pixel unit)",
    "hessian_top": "top eigenvalue, loss\n(nats per pixel unit²)",
    "hessian_trace": "Hessian trace, loss\n(nats per pixel unit²)",
    "probability_hessian_top": "top eigenvalue, 1 − p\n(per pixel unit²)",
    "probability_hessian_trace": "Hessian trace, 1 − p\n(per pixel unit²)",
}
WORST = {
    "worst_loss_rise": "worst-case loss rise\n(nats)",
    "worst_margin_drop": "worst-case margin drop\n(logits)",
}


def _pooled(data: xr.Dataset, values: xr.DataArray, population: str) -> np.ndarray:
    """All finite values of one population over trained members and valid inputs, flat."""
    here = values.sel(population=population).transpose("member", "example").values
    valid = data["valid"].sel(population=population).transpose("member", "example").values
    return here[valid & np.isfinite(here)]


def histograms(data: xr.Dataset) -> Figure | None:
    """Per-input flatness at r near 0.3, one row a population."""
    data = additive(plate.trained(data))
    at = nearest(data["r"].values, LOCAL)
    drop = data["input_probability_drop"].isel(sigma=at)
    pooled = {name: _pooled(data, drop, name) for name in in_order(plate.names(data, "population"))}
    pooled = {name: values for name, values in pooled.items() if len(values)}
    if not pooled:
        return None
    together = np.concatenate(list(pooled.values()))
    low, high = min(0.0, float(np.quantile(together, 0.001))), float(np.quantile(together, 0.999))
    edges = np.linspace(low, max(high, low + 1e-6), 49)
    figure, (axes,) = style.panels(1, columns=1, height=0.4 * len(pooled), left=2.0, top=0.1)
    bases = -np.arange(len(pooled), dtype=float)
    for base, (name, values) in zip(bases, pooled.items(), strict=True):
        counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), edges)
        heights = base + 0.85 * counts / counts.max()
        axes.stairs(heights, edges, baseline=base, fill=True, color=style.look(name).color, alpha=0.75)
        axes.plot([np.median(values)] * 2, [base, base + 0.85], color="#111111", linewidth=1.3)
        axes.axhline(base, color="#aaaaaa", linewidth=0.5)
    labels = [f"{style.look(name).label} (n = {len(values)})" for name, values in pooled.items()]
    axes.set_yticks(bases + 0.3, labels)
    axes.tick_params(axis="y", length=0)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.set_ylim(bases[-1] - 0.05, 0.95)
    kind = style.plain(data["noise"].item())
    axes.set_xlabel(f"probability drop of one input at r = {data['r'].values[at]:.2g}, {kind} noise")
    return figure


def individuals(data: xr.Dataset) -> Figure | None:
    """Single inputs' curves of the first trained member, with the population's mean curve on top."""
    data = additive(plate.trained(data))
    drop = data["input_probability_drop"].isel(member=0)
    cells = [name for name in CELLS if name in plate.names(data, "population")]
    valid = {name: np.flatnonzero(data["valid"].sel(population=name).isel(member=0).values)[:40] for name in cells}
    cells = [name for name in cells if len(valid[name])]
    if not cells:
        return None
    figure, panels = style.panels(len(cells), columns=4, height=1.5, top=0.25, sharey=True)
    r = data["r"].values
    keep = np.isfinite(r) & (r > 0)
    for axes, name in zip(panels, cells, strict=True):
        style.log_x(axes, r)
        values = drop.sel(population=name).transpose("example", "sigma").values[valid[name]]
        style.thin_lines(axes, r[keep], values[:, keep], style.look(name).color, alpha=0.5)
        if "curve" in data and name in plate.names(data, "cell") and "raw" in plate.names(data, "reading"):
            mean = data["curve"].sel(reading="raw", cell=name).values
            axes.plot(r[keep], mean[keep], color="#111111", linewidth=1.6, marker="." if keep.sum() == 1 else "")
        axes.set(title=f"{style.look(name).label}, {len(valid[name])} inputs")
        axes.grid(axis="y")
        shade(axes)
    style.shared_labels(figure, RADIUS, "probability drop")
    return figure


def curvature(data: xr.Dataset) -> Figure | None:
    """Gradient norm and curvature at the inputs, by population."""
    return _spreads(data, CURVATURE)


def worst(data: xr.Dataset) -> Figure | None:
    """Worst-case change found near the inputs, by population."""
    return _spreads(data, WORST)


def _spreads(data: xr.Dataset, measures: dict[str, str]) -> Figure | None:
    """Spread over inputs of each measure, one row a population: 5-95 %, 25-75 %, median."""
    data = plate.trained(data)
    populations = in_order(plate.names(data, "population"))
    room = {"left": 1.5, "top": 0.1, "bottom": 0.55, "gap": (0.16, 0.6)}
    figure, panels = style.panels(len(measures), columns=3, height=0.15 * len(populations), sharey=True, **room)
    drawn = False
    for axes, measure in zip(panels, measures, strict=True):
        pooled = [_pooled(data, data[measure], name) for name in populations]
        rows = np.array([i for i, values in enumerate(pooled) if len(values)], int)
        if len(rows):
            q = np.array([np.quantile(pooled[i], [0.05, 0.25, 0.5, 0.75, 0.95]) for i in rows])
            colors = [style.look(populations[i]).color for i in rows]
            axes.hlines(rows, q[:, 0], q[:, 4], colors=colors, linewidth=1)
            axes.hlines(rows, q[:, 1], q[:, 3], colors=colors, linewidth=4.5)
            axes.plot(q[:, 2], rows, "|", color="#111111", markersize=6, markeredgewidth=1.3)
            _spread_axis(axes, q)
            drawn = True
        axes.set_xlabel(measures[measure])
        axes.set_yticks(range(len(populations)), [style.look(name).label for name in populations])
        axes.set_ylim(len(populations) - 0.4, -0.6)
        axes.grid(axis="x")
    return figure if drawn else None


def _spread_axis(axes: Axes, quantiles: np.ndarray) -> None:
    """Log where all is positive, else linear near zero and log outside, with few ticks."""
    low, high = quantiles.min(), quantiles.max()
    if low > 0 and high / low > 20:
        axes.set_xscale("log")
        style.log_axis(axes.xaxis, low, high, small=True)
        return
    size = np.abs(quantiles)
    if low <= 0 and high > 0 and size.max() > 0:
        threshold = max(float(np.quantile(size, 0.25)), float(size.max()) * 1e-5)
        if size.max() / threshold > 30:
            axes.set_xscale("symlog", linthresh=threshold)
            decades = 10.0 ** np.arange(np.ceil(np.log10(threshold)), np.floor(np.log10(size.max())) + 1)
            decades = decades[:: max(1, -(-len(decades) // 3))]
            ticks = np.concatenate([-decades[::-1] if low < -threshold else [], [0], decades])
            axes.set_xticks(
                ticks, [f"{tick:.0e}".replace("e-0", "e-").replace("e+0", "e") if tick else "0" for tick in ticks]
            )
            axes.minorticks_off()
