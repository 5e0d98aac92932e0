"""What frozen runs of one experiment are held against, in what they differ."""

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

import xarray as xr
from ml_collections import ConfigDict

from landscape.presets.names import SWEPT


class Frozen(NamedTuple):
    """How frozen runs of an experiment differ from what it writes now.

    adapt: old arrays -> as they are saved now. row: an old estimate's coordinates -> the new ones, None where gone.
    close: estimates that are equal to a relative tolerance, and why not to 1e-9. gone: estimates that are not compared,
    and why. words: whether headline and checks have the same words, or the same numbers alone. said: the numbers of an
    old headline that the new one has, beside others, where they are not all. config: changes an old config to what it
    is now. old: the experiment's name then, "" where it is the same. summary: what an old summary says of this one.
    check: an old check -> its name and detail now, None where gone; a detail of None is not compared.
    new: checks that earlier code did not make.
    """

    adapt: Callable[[xr.Dataset], xr.Dataset]
    row: Callable[[dict], dict | None] = lambda row: row
    close: Mapping[str, tuple[float, str]] = {}
    gone: Mapping[str, str] = {}
    words: bool = True
    said: Callable[[str], list[str]] | None = None
    config: Callable[[ConfigDict], None] = lambda config: None
    old: str = ""
    summary: Callable[[dict], dict] = lambda old: old
    check: Callable[[dict], dict | None] = lambda check: check
    new: tuple[str, ...] = ()


SPREAD = ("low", "high", "sem", "df", "var_member", "var_example", "var_residual")


def of_pairs(row: dict) -> dict:
    """Without its interval, which for pairs of members is of pseudo-values now: it sees images and is wide enough."""
    return {name: value for name, value in row.items() if name not in SPREAD}


def members(old: xr.Dataset) -> xr.Dataset:
    """Hyperparameters of members have names of their own now."""
    own = [name for name in SWEPT if name in old.coords and old[name].dims == ("member",)]
    return old.rename({name: f"train_{name}" for name in own})


def numbers(text: str) -> list[str]:
    """Values with their intervals."""
    return re.findall(r"-?[\d.]+ \[[^\]]*\]", text)


def digits(detail: str) -> list[float]:
    """All numbers in a text."""
    return [float(number) for number in re.findall(r"\d+(?:\.\d+)?(?:e[-+]?\d+)?", detail)]
