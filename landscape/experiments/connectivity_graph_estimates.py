"""Estimates of the graphs of `connectivity`: what a node has to climb to a genuine one, and components by threshold."""

import numpy as np

from landscape.experiments.connectivity_graph import joined
from landscape.experiments.connectivity_told import LEAST, Found
from landscape.stats.claims import estimate_dict
from landscape.stats.components import height_to, num_components
from landscape.stats.intervals import interval
from landscape.stats.linearise import masked_mean
from landscape.types import Arrays

THRESHOLDS = np.logspace(-4, 1.5, 45)  # nats


def graph(arrays: Arrays) -> Found:
    """barrier.to_genuine: the lowest loss at which a node and a genuine one are in one component, less its own loss;
    of genuine nodes, to another genuine one. The nodes of all classes are units, members see the same ones where they
    are made of the same images.

    components and shared_components [threshold]: mean number of components of a class; with suffix _nodes, of nodes.
    """
    if "graph_peak" not in arrays:
        return Found([], {})
    found: list[dict] = []
    curves: Arrays = {"threshold": (("threshold",), THRESHOLDS)}
    for prefix, name in (("graph", "node_kind"), ("shared", "shared_node_kind")):
        heights = joined(*(arrays[f"{prefix}_{one}"][1].astype(np.float64) for one in ("peak", "loss", "left")))
        heights = heights if prefix == "graph" else heights[:, None]  # [class, member, node, node]
        told = "components" if prefix == "graph" else "shared_components"
        counts = num_components(heights, THRESHOLDS).mean(axis=(0, 1))
        own = np.diagonal(heights, axis1=-2, axis2=-1)
        there = (own[..., None] <= THRESHOLDS).sum(axis=-2).mean(axis=(0, 1))
        curves |= {told: (("threshold",), counts), f"{told}_nodes": (("threshold",), there)}
        kinds = arrays[name][1].astype(str)
        climb = height_to(heights, kinds == "genuine") - np.where(np.isfinite(own), own, 0.0)
        for kind in dict.fromkeys(kinds.tolist()):
            values = np.moveaxis(climb[..., kinds == kind], 1, 0).reshape(climb.shape[1], -1)
            mask = np.isfinite(values)
            if np.any(mask.sum(axis=1) < LEAST):
                continue
            one = interval(masked_mean(np.where(mask, values, 0.0), mask))
            members = {"members_at_once": arrays["graph_loss"][1].shape[1]} if prefix == "shared" else {}
            about = {"population": kind, "unit": "nats", "examples": int(mask.any(axis=0).sum())} | members
            found.append(estimate_dict(one, "barrier.to_genuine", **about))
    return Found(found, curves)
