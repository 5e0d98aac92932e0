"""The headline of the experiment `noise`: what redrawing changes, at equal norm and at equal margin, with verdicts."""

from collections.abc import Sequence

from landscape.experiments import noise_collapse
from landscape.experiments.noise_values import POPULATIONS

WHERE = {"pixels": "In pixels", "manifold": "On the manifold", "ascent": "By class ascent"}


def headline(config, estimates: Sequence[dict], claims: Sequence[dict]) -> str:
    """Fresh noise of the middle radius beside none and beside a frozen draw, the claims' verdicts, the collapse."""
    search, middle = config.noise.searches[0], float(config.noise.radii[len(config.noise.radii) // 2])

    def change(name: str, matching: str) -> str:
        """Of fresh noise beside no noise, and beside the frozen draw, in points."""
        about = {"name": name, "search": search, "matching": matching, "arm": "fresh", "radius": middle}
        of = {e.get("reference"): e for e in estimates if all(e.get(key) == value for key, value in about.items())}
        beside = f"{points(of.get(POPULATIONS[search]))} beside no noise"
        return f"{beside}, {points(of.get('frozen draw'))} beside one frozen draw"

    kept = next(e for e in estimates if e["name"] == "accuracy.kept" and e["radius"] == middle)
    text = (
        f"The classifier is redrawn within radius {middle:g} at every gradient, which keeps "
        f"{100 * kept['value']:.0f} % accuracy; all searches take as many gradients. {WHERE[search]}, transfer changes "
        f"at equal norm by {change('transfer.success', 'norm')} (points). The share of the margin lost under noise "
        f"changes at equal norm by {change('input_flatness.scale_free', 'norm')}; at equal margin by "
        f"{change('input_flatness.scale_free', 'margin')}."
    )
    verdicts = [f"{claim['name'].replace('_', ' ')}: {claim['verdict']}" for claim in claims]
    text += f" Claimed beside no noise: {'; '.join(verdicts)}." if verdicts else ""
    return text + noise_collapse.sentence(estimates)


def points(entry: dict | None) -> str:
    """A share's change in points, with its interval where it has one."""
    if entry is None:
        return "an unknown number"
    ends = "" if entry["low"] is None else f" [{100 * entry['low']:+.1f}, {100 * entry['high']:+.1f}]"
    return f"{100 * entry['value']:+.1f}{ends}"
