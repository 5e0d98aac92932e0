"""Frozen runs of earlier code: for each experiment, how they differ from what it writes now."""
