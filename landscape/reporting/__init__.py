"""Saved arrays -> figures -> report.html. Reads a run directory and computes nothing statistical; imports no JAX."""
