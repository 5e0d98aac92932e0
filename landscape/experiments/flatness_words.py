"""What a flatness run says in words: its own checks, and the headline from the four readings."""

import numpy as np

from landscape.attacks.audit import BALL_SLACK
from landscape.experiments.flatness_contrasts import Cells, matching_of

TINY = 5e-4  # 0.05 points, which the headline would print as 0.0 or 0.1: no disagreement hangs on less


def checks_of(config, cells: Cells) -> list[dict]:
    """Are the searched inputs inside their ball, was the margin reached, are matched margins alike?"""
    right = cells.mask("genuine").sum()
    shares = {n: cells.mask(n).sum() / max(right, 1) for n in ("adversarial_iso", "boosted_iso")}
    detail = ", ".join(f"{100 * share:.0f} % of {name.replace('_', ' ')}" for name, share in shares.items())
    checks = [_inside_ball(config, cells), _rounded(cells)]
    moved = {n: cells.of("delta_l2", n)[cells.mask(n)] for n in shares}
    told = [f"{n.replace('_', ' ')} {values.mean():.2f}" for n, values in moved.items() if values.size]
    detail += f"; mean L2 distance from the image in pixels: {', '.join(told) or 'none'}"
    checks += [{"name": "iso.reached", "passed": min(shares.values()) >= 0.5, "detail": f"margin reached by {detail}"}]
    found = matching_of(cells, "adversarial", "genuine")
    if found is not None and np.isfinite(found.smd_after).any():
        worst = float(np.nanmax(np.abs(found.smd_after)))
        kept = float(np.nanmean(found.share_kept))
        detail = f"adversarial with genuine: margins differ by at most {worst:.3f} SD after matching; "
        detail += f"{100 * kept:.0f} % kept, {found.distinct_partners} distinct partners, "
        detail += f"classes {'exact' if found.same_class else 'not exact'}"
        checks.append({"name": "matching.balanced", "passed": worst <= 0.1, "detail": detail})
    return checks


def _inside_ball(config, cells: Cells) -> dict:
    """Every searched input of every member, on the test images themselves."""
    names = ("adversarial", "boosted", "boundary", "adversarial_iso", "boosted_iso")
    distance = np.stack([cells.of(f"delta_{config.search.norm}", name) for name in names])
    furthest, radius = float(np.nanmax(distance)), config.search.epsilon
    detail = f"largest distance {furthest:.4g} of {radius:.4g} pixels"
    return {"name": "search.inside_ball", "passed": furthest <= radius + BALL_SLACK, "detail": detail}


def _rounded(cells: Cells) -> dict:
    """Whether adversarial inputs stay what they are as 8-bit images."""
    kept = cells.of("survives_8_bits", "adversarial")[cells.mask("adversarial")]
    share = float(kept.mean()) if kept.size else 0.0
    detail = f"{100 * share:.1f} % of adversarial inputs predicted alike after rounding to 8 bits"
    return {"name": "search.survives_8_bits", "passed": share >= 0.99, "detail": detail}


def headline_of(estimates: list[dict], r: float) -> str:
    """The answer in words, from the four readings of adversarial minus boosted at the headline's noise level.

    Where readings disagree in sign it says so, of adversarial minus genuine as well.
    """
    readings = _readings(estimates, r, "boosted")
    if "raw" not in readings:
        return "No comparison is told: too few adversarial inputs, or no additive noise; see the checks and estimates."
    raw = _more(readings["raw"], "points")
    where = f"around adversarial than around boosted inputs (noise r = {r:.2g})"
    if "iso" in readings:
        text = f"At equal margin, probability falls {_more(readings['iso'], 'points')} {where}; raw, {raw}"
    else:
        text = f"Probability falls {raw} {where}, raw; too few inputs reached an equal margin"
    if "matched" in readings:
        kept = 100 * readings["matched"]["share_kept"]
        text += f"; matched, {_more(readings['matched'], 'points')} ({kept:.0f} % found a partner)"
    if "scale_free" in readings:
        text += f"; scale-free, {_more(readings['scale_free'], '% of the margin')}"
    text += _disagreement(readings, "; the readings disagree in sign") + "."
    genuine = _disagreement(_readings(estimates, r, "genuine"), "")
    return text + (f" Against genuine inputs the readings disagree in sign{genuine}." if genuine else "")


def _readings(estimates: list[dict], r: float, reference: str) -> dict[str, dict]:
    """The readings of adversarial minus a reference at a noise level, by how margins were matched."""
    return {
        e["matching"]: e
        for e in estimates
        if (e.get("reference"), e["population"], e.get("noise")) == (reference, "adversarial", "additive")
        and abs(e["r"] - r) < 1e-6
        and e["name"].split(".")[-1] in ("probability_drop", "scale_free")
    }


def _disagreement(readings: dict[str, dict], begin: str) -> str:
    """`begin` and which readings stand against which; nothing where those that are clear and not tiny have one sign."""
    clear = {name: np.sign(e["value"]) for name, e in readings.items() if _is_clear(e) and abs(e["value"]) >= TINY}
    if len(set(clear.values())) < 2:
        return ""
    more, less = (", ".join(n.replace("_", "-") for n, v in clear.items() if v == sign) for sign in (1, -1))
    return f"{begin} (more: {more}; less: {less})"


def _is_clear(e: dict) -> bool:
    """Whether an interval leaves 0 out."""
    return e["low"] is not None and (e["low"] > 0 or e["high"] < 0)


def _more(e: dict, unit: str) -> str:
    """A difference in words, times 100: "2.7 [2.2, 3.1] points less", "not clearly more or less (0.1 [-1.0, 1.2])"."""
    sign, word = (1, "more") if e["value"] >= 0 else (-1, "less")
    if e["low"] is None:
        return f"{100 * sign * e['value']:.1f} {unit} {word}"
    if not _is_clear(e):
        sign = 1
    low, high = sorted(100 * sign * e[end] for end in ("low", "high"))
    value = f"{100 * sign * e['value']:.1f} [{low:.1f}, {high:.1f}] {unit}"
    return f"{value} {word}" if _is_clear(e) else f"not clearly more or less ({value})"
