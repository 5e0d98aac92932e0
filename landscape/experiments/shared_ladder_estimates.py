"""What the ladder of `shared` says: held-out success of every rung, what more guides and noise add, effective members.

Held-out members are the units of what is paired: with J of them the smallest two-sided p of Wilcoxon's signed ranks is
2 / 2^J, which is told beside the difference with its interval. Images are those that every learned member classifies
rightly.
"""

from typing import NamedTuple

import numpy as np
from scipy import stats

from landscape.experiments.shared_ladder import BUDGETS, MEMBERS, Rung, rungs_of
from landscape.experiments.shared_values import LEAST, Members
from landscape.experiments.tuning import RISE, outside
from landscape.stats.claims import estimate_dict
from landscape.stats.effective import Effective, effective_interval
from landscape.stats.intervals import Interval, interval, of_share
from landscape.types import Arrays

POPULATIONS = {"pixels": "adversarial", "manifold": "manifold"}
CLAIMED = "shared.held_out_success"
EFFECTIVE = ("value", "low", "high")


class Ladder(NamedTuple):
    """The ladder's part of the results: arrays for the figures, estimates, checks."""

    curves: Arrays
    estimates: list[dict]
    checks: list[dict]


def right_of(arrays: Arrays, members: Members) -> np.ndarray:
    """The images of the ladder that every learned member classifies rightly."""
    count = arrays["ladder_wrong"][1].shape[-1]
    right = arrays["clean_prediction"][1][members.all] == arrays["label"][1]
    return right.all(axis=0)[:count]


def judged(arrays: Arrays, members: Members) -> np.ndarray:
    """Held-out success [search, rung, budget, judge, image] on those images, of judges that have learned."""
    return arrays["ladder_wrong"][1][:, :, :, _learned(arrays, members)][..., right_of(arrays, members)].astype(float)


def judged_start(arrays: Arrays, members: Members) -> np.ndarray:
    """The same of where searches start, [search, judge, image]: the zero line."""
    return arrays["ladder_start"][1][:, _learned(arrays, members)][..., right_of(arrays, members)].astype(float)


def _learned(arrays: Arrays, members: Members) -> np.ndarray:
    """Which of the ladder's judges have learned."""
    count = arrays["ladder_wrong"][1].shape[3]
    held = np.flatnonzero(np.isin(arrays["role"][1], ("held_out", "unlearned")))[-count:]
    return np.isin(held, members.held_out)


def estimates(config, arrays: Arrays, members: Members) -> Ladder:
    """Every number about the ladder.

    ladder_told (and its ends) [search, rung, budget]; ladder_before [search]: where searches start. effective [search,
    rung, budget, end], 0 for "fewer than one" and inf for "more than all"; NaN for the rungs of k members themselves,
    and at equal gradients, where more members need not do better.
    """
    rungs, sizes = rungs_of(config), np.asarray(config.ladder.sizes)
    shape = (len(config.ladder.searches), len(rungs), len(BUDGETS))
    curves = {name: np.full(shape, np.nan) for name in ("ladder_told", "ladder_told_low", "ladder_told_high")}
    curves |= {
        name: np.full(shape[:1], np.nan) for name in ("ladder_before", "ladder_before_low", "ladder_before_high")
    }
    curves["effective"] = np.full((*shape, 3), np.nan)
    found: list[dict] = []
    checks = [_grid(config, arrays)]
    success = judged(arrays, members)
    if success.shape[-1] < LEAST or success.shape[3] < 1:
        return Ladder(_with_dims(curves), found, checks)
    plain = [i for i, rung in enumerate(rungs) if rung.name == MEMBERS]
    claimed = {c.size for c in config.claims.values() if c.measure == CLAIMED} or {rungs[plain[-2]].size}
    block = arrays["ladder_block"][1][..., right_of(arrays, members)]
    curves["ladder_block_told"] = block.mean(axis=-1, dtype=np.float64)
    start = judged_start(arrays, members)
    for s, search in enumerate(config.ladder.searches):
        value = of_share(interval(start[s]), start.shape[-1])
        for end, number in zip(("", "_low", "_high"), value[:3], strict=True):
            curves[f"ladder_before{end}"][s] = number
        about = {"population": "start", "unit": "1", "search": search}
        found.append(estimate_dict(value, "shared.held_out_success", **about))
        for b, budget in enumerate(BUDGETS):
            about = {"search": search, "budget": budget}
            for r, rung in enumerate(rungs):
                value = of_share(interval(success[s, r, b]), success.shape[-1])
                for end, number in zip(("", "_low", "_high"), value[:3], strict=True):
                    curves[f"ladder_told{end}"][s, r, b] = number
                found.append(_entry(value, "shared.held_out_success", search, rung, about))
                less = _compared(rungs, rung)
                if less is not None:
                    change = success[s, r, b] - success[s, less, b]
                    told = {"reference": label_of(rungs[less]), **_signs(change)}
                    entry = _entry(interval(change), "shared.held_out_gain", search, rung, about | told)
                    shown = (
                        s == 0
                        and budget == "steps"
                        and (rung.name == "ball" or (rung.name == MEMBERS and rung.size in claimed))
                    )
                    found.append(entry | ({"headline": True} if shown else {}))
                if rung.name != MEMBERS and budget == "steps":
                    worth = effective_interval(sizes, success[s, plain, b], success[s, r, b], seed=config.seed)
                    curves["effective"][s, r, b] = worth[:3]
                    found.append(_worth(worth, search, rung, about, success.shape[3:], sizes))
        checks.append(_rises(success[s, plain, BUDGETS.index("steps")], search, sizes))
    return Ladder(_with_dims(curves), found, checks)


def gain(config, arrays: Arrays, members: Members, size: int, budget: str) -> Interval | None:
    """Held-out success of `size` members less that of one, in the first search; None where there are too few images."""
    success = judged(arrays, members)
    if success.shape[-1] < LEAST or success.shape[3] < 1:
        return None
    rungs, b = rungs_of(config), BUDGETS.index(budget)
    many = next(i for i, rung in enumerate(rungs) if rung.name == MEMBERS and rung.size == size)
    return interval(success[0, many, b] - success[0, 0, b])


def _with_dims(curves: dict[str, np.ndarray]) -> Arrays:
    dims, last = ("search", "rung", "budget"), {"effective": "effective_end", "ladder_block_told": "block"}
    return {n: ((*dims, last[n]) if n in last else dims[: value.ndim], value) for n, value in curves.items()}


def label_of(rung: Rung) -> str:
    """A rung in words."""
    members = "one member" if rung.size == 1 else f"{rung.size} members"
    return {
        MEMBERS: members,
        "members_ball": f"{members} with noise",
        "ball": "one member with noise",
        "frozen": "one frozen draw",
        "swag": "one member's SWAG",
        "trajectory": "one member's trajectory",
        "random": f"one of {rung.size} at random",
    }[rung.name]


def _compared(rungs: list[Rung], rung: Rung) -> int | None:
    """What a rung is set beside: one member alone, for k noisy members the same k; nothing for one member itself."""
    if rung == rungs[0]:
        return None
    if rung.name == "members_ball":
        return next(i for i, other in enumerate(rungs) if other.name == MEMBERS and other.size == rung.size)
    return 0


def _signs(change: np.ndarray) -> dict:
    """How many judges gain, of how many, and the p of Wilcoxon's signed ranks over them; None where nothing differs."""
    means = change.mean(axis=1)
    p = float(stats.wilcoxon(means).pvalue) if len(means) > 1 and np.any(means != 0) else None
    return {"judges_gaining": int((means > 0).sum()), "judges": len(means), "wilcoxon_p": p}


def _entry(value: Interval, name: str, search: str, rung: Rung, about: dict) -> dict:
    of = {"rung": rung.name, "size": rung.size}
    return estimate_dict(value, name, population=POPULATIONS[search], unit="1", **of, **about)


def _worth(worth: Effective, search: str, rung: Rung, about: dict, shape: tuple, sizes: np.ndarray) -> dict:
    """Effective members; ends beyond the sizes that were tried are None, and said in `told`."""
    none = float("nan")
    ends = [k if 0 < k < np.inf else none for k in worth[:3]]
    found = Interval(*ends, none, none, *shape, none, none, none)
    entry = _entry(found, "shared.effective_members", search, rung, about | {"told": worth_text(worth[:3], sizes)})
    return entry | {"unit": "members"}


def worth_text(worth, sizes: np.ndarray) -> str:
    """`2.1 [1.4, 3.0]`, with `<1` and `>16` for what is censored."""

    def one(k: float) -> str:
        return f"<{sizes[0]}" if k == 0 else f">{sizes[-1]}" if np.isinf(k) else f"{k:.1f}"

    value, low, high = (one(float(k)) for k in worth)
    return f"{value} [{low}, {high}]"


def _grid(config, arrays: Arrays) -> dict:
    """Whether step sizes lie inside their grid, for every rung, search and budget."""
    tuning = arrays["ladder_tuning"][1].transpose(2, 0, 1, 3)
    ends = outside(tuning.reshape(len(tuning), -1))
    count = tuning[0].size
    detail = f"{len(ends)} of {count} rungs, searches and budgets gain {RISE:g} logits or more at an end of the grid"
    return {"name": "ladder.tuned", "passed": not len(ends), "detail": detail}


def _rises(curve: np.ndarray, search: str, sizes: np.ndarray) -> dict:
    """Whether more members do better at all: of copies they do not, and effective members say nothing."""
    means = curve.mean(axis=(1, 2))
    shares = ", ".join(f"{100 * m:.1f}" for m in means)
    detail = f"held-out success of {', '.join(map(str, sizes))} members: {shares} %"
    return {"name": f"ladder.{search}.rises", "passed": bool(means[-1] > means[0]), "detail": detail}
