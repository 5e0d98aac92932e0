"""Estimates and intervals from values per member and per example. NumPy and SciPy only; one file a subject.

The road from values to an interval: `influence` turns masked means and ratios, `matching` matched differences, into
influence arrays u [S, N] whose row means are the members' estimates; contrasts are plain sums and differences of those
arrays; `intervals.interval(u)` and `bands.simultaneous(u)` then serve them all. What is no mean takes `resampling`.
"""
