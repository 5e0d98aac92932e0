"""How frozen runs of benchmark differ from what it writes now."""

import json

import numpy as np
import xarray as xr
from ml_collections import ConfigDict

from frozen.runs import Frozen
from landscape.experiments.benchmark.config import NOT_ASKED, NOT_INSTALLED, OURS, RACES, num_members
from landscape.experiments.benchmark.estimates import LEVEL


def benchmark(old: xr.Dataset) -> xr.Dataset:
    """Whoever does the work is a way, and says why it is left out; attacked classifiers are members."""
    config = ConfigDict(json.loads(old.attrs["config"]))
    old = old.drop_vars(["attacked", "torch_threads"]).sel(race=[race for race in old.race.values if race in RACES])
    new = old.rename(peer="way", attacked="member")
    races = new.race.values.tolist()
    shape = ("race", "model", "way")
    why = np.array([
        [[NOT_ASKED if way not in (OURS, *RACES[race]) else NOT_INSTALLED if skipped else ""
          for way, skipped in zip(new.way.values, np.isnan(one[:, 0]), strict=True)] for one in new.seconds.values[r]]
        for r, race in enumerate(races)
    ])  # fmt: skip
    members = np.array([[num_members(config, race)] * new.sizes["model"] for race in races])
    new = new.assign(
        left_out=(shape, why),
        classifiers=(shape[:2], members),
        examples=(shape[:2], np.full_like(members, config.benchmark.num_examples)),
    )
    return new.assign_coords(control=("member", ["trained"] * new.sizes["member"]))


def benchmark_row(row: dict) -> dict | None:
    """Races, ways and whose attacks are columns."""
    way, note = row.pop("peer"), row.pop("note", "")
    row["headline"] = row["headline"] and row["value"] is not None
    first, name, *rest = row["name"].split(".")
    if name in ("forward", "bypass"):  # are not timed any more: no headline was of them
        return None
    if first == "attack":
        if rest[0] in ("excess", "ratio"):
            row |= {"population": OURS, "reference": "foolbox"} | ({"matching": "raw"} if rest[0] == "excess" else {})
        return row | {"name": f"attack.{name}"} | ({} if "reference" in row else {"population": rest[0]})
    if row["level"] and row["level"] < LEVEL:  # of two rounds there is no interval of 95 %
        row |= dict.fromkeys(("low", "high"))
    row |= {"name": f"throughput.{rest[0] if rest else 'images'}", "race": name, "way": way}
    return row | ({"left_out": note.removeprefix("skipped: ")} if note else {})


def benchmark_check(check: dict) -> dict:
    """Short names; details have other words."""
    name = check["name"].replace("peers compute the same network", "pytorch.same_network")
    if name.endswith("is that of Foolbox's best"):
        what, norm = name.removesuffix(" is that of Foolbox's best").split(" in ")
        name = f"{what.split()[-1] if 'distance' in what else what.replace(' ', '_')}.{norm}"
    return {**check, "name": name, "detail": check["detail"] if name.startswith("audit") else None}


def benchmark_config(config: ConfigDict) -> None:
    """There were three kinds of runs."""
    config.benchmark.part = "small"


FROZEN = {"benchmark": Frozen(benchmark, benchmark_row, words=False, config=benchmark_config, check=benchmark_check)}
