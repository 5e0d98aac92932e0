"""Estimates of the graphs of `connectivity`: what a node has to climb to a genuine one, and components by threshold."""

import numpy as np
from jaxtyping import Bool, Float

from landscape.experiments.connectivity_graph import joined
from landscape.experiments.connectivity_told import LEAST, Found
from landscape.stats.bands import simultaneous
from landscape.stats.claims import estimate_dict
from landscape.stats.components import height_to, num_components
from landscape.stats.influence import masked_mean
from landscape.stats.intervals import MIN_MEMBERS, interval
from landscape.types import Arrays

THRESHOLDS = np.logspace(-4, 1.5, 45)  # nats


GRAPHS = {  # prefix of its arrays: (what its nodes are, name of its curve)
    "graph": ("node_kind", "components"),
    "shared": ("shared_node_kind", "shared_components"),
    "alone": ("shared_node_kind", "alone_components"),
}


def graph(arrays: Arrays) -> Found:
    """path.climb_to_genuine: the lowest loss at which a node and a genuine one are in one component, less its own loss.

    A genuine node has one genuine node fewer to reach, itself, so that other nodes are told the mean over what is left
    when each one of these is out. Nodes of a class share what they reach: classes are the units.

    components, shared_components, alone_components [threshold]: mean number of components of a class; with suffixes
    _low and _high its simultaneous band, _member [member, threshold] of each member, _nodes the number of nodes.
    """
    if "graph_peak" not in arrays:
        return Found([], {})
    found: list[dict] = []
    curves: Arrays = {"threshold": (("threshold",), THRESHOLDS)}
    for prefix, (name, told) in GRAPHS.items():
        heights = joined(*(arrays[f"{prefix}_{one}"][1].astype(np.float64) for one in ("peak", "loss", "left")))
        heights = heights if heights.ndim == 4 else heights[:, None]  # [class, member, node, node]
        own = np.diagonal(heights, axis1=-2, axis2=-1)
        there = (own[..., None] <= THRESHOLDS).sum(axis=-2).mean(axis=(0, 1))
        curves |= _counted(told, num_components(heights, THRESHOLDS).swapaxes(0, 1))
        curves[f"{told}_nodes"] = (("threshold",), there)
        if prefix == "alone":
            continue
        kinds = arrays[name][1].astype(str)
        climb = to_genuine(heights, kinds == "genuine")
        for kind in dict.fromkeys(kinds.tolist()):
            values = climb[..., kinds == kind]
            mask = np.isfinite(values)
            count = mask.sum(axis=-1)
            mean = np.where(mask, values, 0.0).sum(axis=-1) / np.maximum(count, 1)
            mean, mask = mean.T, count.T > 0  # [member, class]
            if np.any(mask.sum(axis=1) < LEAST):
                continue
            one = interval(masked_mean(mean, mask))
            one = one._replace(low=max(one.low, 0.0))  # a node climbs nothing at the least
            members = {"members_at_once": arrays["graph_loss"][1].shape[1]} if prefix == "shared" else {}
            nodes = {"units": "classes", "nodes": int(count.max(axis=1).sum())}
            about = {"population": kind, "unit": "nats", "examples": int(mask.any(axis=0).sum())} | members | nodes
            found.append(estimate_dict(one, "path.climb_to_genuine", **about))
    return Found(found, curves)


def _counted(name: str, counts: Float[np.ndarray, "S B T"]) -> Arrays:
    """Curves of the number of components of members and classes."""
    curves: Arrays = {name: (("threshold",), counts.mean(axis=(0, 1)))}
    if len(counts) > 1:
        curves[f"{name}_member"] = (("member", "threshold"), counts.mean(axis=1))
    if counts.shape[1] > 1 or len(counts) >= MIN_MEMBERS:
        band = simultaneous(np.moveaxis(counts, -1, 0).astype(float))
        most = counts.max()
        for end, values in (("low", band.band_low), ("high", band.band_high)):
            curves[f"{name}_{end}"] = (("threshold",), np.clip(values, 0.0, most))
    return curves


def to_genuine(heights: Float[np.ndarray, "*B G G"], genuine: Bool[np.ndarray, " G"]) -> Float[np.ndarray, "*B G"]:
    """What each node climbs to the nearest of all genuine nodes but one, less its own height, mean over that one; inf
    or NaN where there is no way.

    Args:
      heights: minimax heights. genuine: which nodes are.
    """
    own = np.diagonal(heights, axis1=-2, axis2=-1)
    places = np.arange(len(genuine))
    fewer = [height_to(heights, genuine & (places != out)) for out in np.flatnonzero(genuine)]
    with np.errstate(invalid="ignore"):
        return np.where(genuine, height_to(heights, genuine), np.mean(fewer, axis=0)) - own
