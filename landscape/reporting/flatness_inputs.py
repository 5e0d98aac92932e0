"""Figures of `flatness` that show single inputs: histograms, individual curves, curvature."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from landscape.reporting import plate, style
from landscape.reporting.flatness import CELLS, LOCAL, additive, nearest, shade

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


def _populations(data: xr.Dataset) -> list[str]:
    present = plate.names(data, "population")
    return [name for name in style.LOOKS if name in present] + [name for name in present if name not in style.LOOKS]


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
    pooled = {name: _pooled(data, drop, name) for name in _populations(data)}
    pooled = {name: values for name, values in pooled.items() if len(values)}
    if not pooled:
        return None
    together = np.concatenate(list(pooled.values()))
    low, high = min(0.0, float(np.quantile(together, 0.001))), float(np.quantile(together, 0.999))
    edges = np.linspace(low, max(high, low + 1e-6), 49)
    figure, grid = style.panels(len(pooled), 1, width=style.PAGE, height=0.5 + 0.48 * len(pooled), sharex=True)
    for axes, (name, values) in zip(grid.flat, pooled.items(), strict=True):
        counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), edges)
        axes.stairs(counts / len(values), edges, fill=True, color=style.look(name).color, alpha=0.75)
        axes.axvline(np.median(values), color="#111111", linewidth=1.2)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.set_ylabel(
            f"{style.look(name).label}\n(n = {len(values)})", rotation=0, ha="right", va="center", fontsize=7
        )
    grid[-1, 0].set_xlabel(
        f"probability drop of one input at r = {data['r'].values[at]:.2g}, {style.plain(data['noise'].item())} noise"
    )
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
    figure, grid = style.panels(1, len(cells), width=style.PAGE, height=2.1, sharey=True)
    r = data["r"].values
    keep = np.isfinite(r) & (r > 0)
    for axes, name in zip(grid.flat, cells, strict=True):
        style.log_x(axes, r)
        values = drop.sel(population=name).transpose("sigma", "example").values[:, valid[name]]
        one = "." if keep.sum() == 1 else ""
        axes.plot(r[keep], values[keep], color=style.look(name).color, linewidth=0.5, alpha=0.5, marker=one)
        if "curve" in data and name in plate.names(data, "cell") and "raw" in plate.names(data, "reading"):
            mean = data["curve"].sel(reading="raw", cell=name).values
            axes.plot(r[keep], mean[keep], color="#111111", linewidth=1.6, marker=one)
        axes.set(title=f"{style.look(name).label}, {len(valid[name])} inputs", xlabel="r = σ√D / ‖δ‖")
        axes.grid(axis="y")
        shade(axes)
    grid[0, 0].set_ylabel("probability drop")
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
    populations = _populations(data)
    rows, columns = style.grid_shape(len(measures), columns=3)
    figure, grid = style.panels(
        rows, columns, width=style.PAGE, height=0.3 + rows * (0.65 + 0.15 * len(populations)), sharey=True
    )
    drawn = False
    for axes, measure in zip(grid.flat, measures, strict=False):
        quantiles = []
        for height, name in enumerate(populations):
            values = _pooled(data, data[measure], name)
            if not len(values):
                continue
            q = np.quantile(values, [0.05, 0.25, 0.5, 0.75, 0.95])
            quantiles.append(q)
            color = style.look(name).color
            axes.plot(q[[0, 4]], [height, height], color=color, linewidth=1)
            axes.plot(q[[1, 3]], [height, height], color=color, linewidth=4.5, solid_capstyle="butt")
            axes.plot(q[2], height, marker="|", color="#111111", markersize=6, markeredgewidth=1.3)
            drawn = True
        axes.set_xlabel(measures[measure])
        axes.set_yticks(range(len(populations)), [style.look(name).label for name in populations])
        axes.set_ylim(len(populations) - 0.4, -0.6)
        axes.grid(axis="x")
        if quantiles:
            _spread_axis(axes, np.array(quantiles))
    for axes in list(grid.flat)[len(measures) :]:
        axes.remove()
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
