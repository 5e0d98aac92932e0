"""The matching figure of `flatness`: are matched margins alike, and how many examples found a partner?"""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from landscape.reporting import style

BALANCED = 0.1  # standardised differences within it count as alike


def matching(data: xr.Dataset) -> Figure | None:
    """Standardised margin differences before and after matching, and the share kept; one line or dot a member."""
    before, after, share = (data[f"match_{name}"].values for name in ("smd_before", "smd_after", "share"))
    if not np.isfinite([before, after]).any():
        return None
    figure, (left, right) = style.panels(2, columns=2, height=1.4, top=0.25, gap=(0.65, 0.0))
    color = style.look("adversarial").color
    left.axhspan(-BALANCED, BALANCED, color="#e9e9e9", linewidth=0, zorder=0)
    left.axhline(0, color="#888888", linewidth=0.6)
    left.plot([0, 1], np.stack([before, after]), color=color, marker="o", alpha=0.7)
    left.set_xticks([0, 1], ["before matching", "after"])
    left.set(xlim=(-0.2, 1.2), ylabel="margin difference (SDs)", title="adversarial − genuine")
    spots = np.arange(len(share))
    right.bar(spots, share, color=color, alpha=0.75, width=0.7)
    right.set(ylim=(0, 1), xlabel="classifier", ylabel="share kept", title="adversarial inputs with a partner")
    right.set_xticks(spots[:: -(-len(spots) // 8)])
    right.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    return figure
