"""A run: its directory, its stages that resume, and what the terminal shows. Knows no models and imports no JAX."""

from landscape.runs.chunks import Arrays, chunks, once, piece, stage_seconds
from landscape.runs.directory import Run, begin_on, finish, finished, open_run, read_arrays
from landscape.runs.progress import progress
from landscape.runs.signals import Interrupted, check, check_here
from landscape.runs.summary import damaged, print_summary, read_summary, write_summary

__all__ = [
    "Arrays",
    "Interrupted",
    "Run",
    "begin_on",
    "check",
    "check_here",
    "chunks",
    "damaged",
    "finish",
    "finished",
    "once",
    "open_run",
    "piece",
    "print_summary",
    "progress",
    "read_arrays",
    "read_summary",
    "stage_seconds",
    "write_summary",
]
