"""The headline of the experiment `noise`: what redrawing changes, at equal norm and at equal margin."""

from collections.abc import Sequence

from landscape.experiments import noise_collapse
from landscape.experiments.noise_values import POPULATIONS

WHERE = {"pixels": "In pixels", "manifold": "On the manifold", "ascent": "By class ascent"}


def headline(config, estimates: Sequence[dict]) -> str:
    """Fresh noise of the middle radius beside none, then beside a frozen draw, in points; the collapse."""
    search, middle = config.noise.searches[0], float(config.noise.radii[len(config.noise.radii) // 2])

    def changes(reference: str) -> tuple[str, ...]:
        """Of transfer and flatness at equal norm, of flatness at equal margin."""
        told = (
            ("transfer.success", "norm"),
            ("input_flatness.scale_free", "norm"),
            ("input_flatness.scale_free", "margin"),
        )
        about = {"search": search, "arm": "fresh", "radius": middle, "reference": reference}
        return tuple(points(_found(estimates, name=name, matching=matching, **about)) for name, matching in told)

    kept = _found(estimates, name="accuracy.kept", radius=middle)
    (transfer, flat, level), (apart, *rest) = changes(POPULATIONS[search]), changes("frozen draw")
    return (
        f"{WHERE[search]}, redrawing the classifier at every gradient (radius {middle:g} keeps "
        f"{100 * kept['value']:.0f} % accuracy) changes transfer by {transfer} points at equal norm, and the share of "
        f"the margin that noise takes by {flat} there and {level} at equal margin; beside one frozen draw by {apart}, "
        f"{rest[0]} and {rest[1]}." + noise_collapse.sentence(estimates)
    )


def _found(estimates: Sequence[dict], **about) -> dict | None:
    return next((e for e in estimates if all(e.get(key) == value for key, value in about.items())), None)


def points(entry: dict | None) -> str:
    """A share's change in points, with its interval where it has one."""
    if entry is None:
        return "an unknown number (too few images)"
    value, *ends = (f"{round(100 * entry[k], 1) + 0.0:+.1f}" for k in ("value", "low", "high") if entry[k] is not None)
    return f"{value} [{', '.join(ends)}]" if ends else value
