"""What a flatness run says in words: its own checks, and the headline from the four readings."""

import numpy as np

from landscape.attacks.audit import BALL_SLACK
from landscape.experiments.flatness_contrasts import Cells, matching_of


def checks_of(config, cells: Cells) -> list[dict]:
    """Are the searched inputs inside their ball, was the margin reached, are matched margins alike?"""
    right = cells.mask("genuine").sum()
    shares = {n: cells.mask(n).sum() / max(right, 1) for n in ("adversarial_iso", "boosted_iso")}
    detail = ", ".join(f"{100 * share:.0f} % of {name.replace('_', ' ')}" for name, share in shares.items())
    checks = [_inside_ball(config, cells), _rounded(cells)]
    checks += [{"name": "iso.reached", "passed": min(shares.values()) >= 0.5, "detail": f"margin reached by {detail}"}]
    found = matching_of(cells, "adversarial", "genuine")
    if found is not None and np.isfinite(found.smd_after).any():
        worst = float(np.nanmax(np.abs(found.smd_after)))
        kept = float(np.nanmean(found.share_kept))
        detail = f"standardised difference of margins at most {worst:.3f} after matching; {100 * kept:.0f} % kept, "
        detail += f"{found.distinct_partners} distinct partners, classes {'exact' if found.same_class else 'not exact'}"
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
    """The answer in words, from the four readings of adversarial minus boosted at the headline's noise level."""
    readings = {}
    for e in estimates:
        if e.get("reference") == "boosted" and e["population"] == "adversarial" and e.get("noise") == "additive":
            if abs(e["r"] - r) < 1e-6 and e["name"].split(".")[-1] in ("probability_drop", "scale_free"):
                readings[e["matching"]] = e
    if "raw" not in readings:
        return "No comparison is told: too few adversarial inputs, or no additive noise; see the checks and estimates."
    raw = _more(readings["raw"], "points")
    where = f"around adversarial than around boosted inputs (noise r = {r:.2g})"
    if "iso" in readings:
        text = f"At equal margin, probability falls {_more(readings['iso'], 'points')} {where}; raw, {raw}"
    else:
        text = f"Probability falls {raw} {where}, raw; too few inputs reached an equal margin"
    if "scale_free" in readings:
        text += f"; scale-free, {_more(readings['scale_free'], '% of the margin')}"
    clear = {name: np.sign(e["value"]) for name, e in readings.items() if _is_clear(e)}
    if len(set(clear.values())) > 1:
        more, less = (", ".join(n.replace("_", "-") for n, v in clear.items() if v == sign) for sign in (1, -1))
        text += f"; the readings disagree in sign ({more} against {less})"
    return text + "."


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
