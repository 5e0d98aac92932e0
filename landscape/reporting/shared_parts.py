"""What figures of `shared` have in common: looks of outcomes, members and attacks."""

import numpy as np
import xarray as xr

INK, GREY = "#222222", "#8a8a8a"
OUTCOMES = {  # name -> (label, colour)
    "unfooled": ("not fooled", "#e3e3e3"),
    "same": ("same mistake", "#D55E00"),
    "different": ("different mistake", "#56B4E9"),
}
ROLES = {  # in the order of the axis
    "attacker": "attackers",
    "held_out": "held out",
    "unlearned": "not learned",
    "untrained": "un-\ntrained",
    "shuffled": "shuffled labels",
}
KINDS = {"full": "full budget", "first_flip": "first flip", "targeted": "targeted"}
NORMS = {"linf": "L∞", "l2": "L2"}
DEFAULT = "clean_correct"  # the condition that figures show


def attack_label(data: xr.Dataset, attack: int) -> str:
    """An attack in words."""
    kind, norm = (str(data[name].values[attack]) for name in ("kind", "norm"))
    return f"{KINDS.get(kind, kind)}, {NORMS.get(norm, norm)} {float(data['epsilon'].values[attack]):g}"


def in_order(data: xr.Dataset) -> list[int]:
    """Attacks by norm, kind and radius."""
    about = zip(*(data[name].values.tolist() for name in ("norm", "kind", "epsilon")), strict=True)
    key = [(norm != "linf", list(KINDS).index(kind) if kind in KINDS else 9, r) for norm, kind, r in about]
    return sorted(range(len(key)), key=key.__getitem__)


def condition_of(data: xr.Dataset, attack: int) -> str:
    """The condition an attack is read under: that of first flips is their own."""
    return "source_fooled" if str(data["kind"].values[attack]) == "first_flip" else DEFAULT


def finite(values: np.ndarray) -> bool:
    return bool(np.isfinite(values).any())
