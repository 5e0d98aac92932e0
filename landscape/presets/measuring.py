"""The measures of inputs by name: how each is taken, and what a config may say of that. Imports no JAX."""

from collections.abc import Sequence
from typing import Any

from landscape.files import UserError
from landscape.presets.names import WEIGHT_NOISES

FIRST = ("flatness", "worst", "curvature", "weight", "relative")  # the default of `flatness`
MEASURES = (*FIRST, "linearity", "certified", "spectrum", "tangent")  # of any set of inputs


def measures(smoke: bool) -> dict[str, Any]:
    """How each measure is taken: a section each of what has numbers to choose, and `measures`, which names none."""
    found = dict(
        flatness=dict(
            levels=(0.03, 0.1, 0.3, 0.6, 1.0, 2.0),  # r = sigma sqrt(D) / ||delta||
            num_trials=16,  # noise draws for each example
            noises=("additive",),
        ),
        worst=dict(rho_fraction=0.25, num_steps=10, num_restarts=2),  # rho = rho_fraction * epsilon
        curvature=dict(num_probes=16, num_lanczos=12),
        weight=dict(
            noises=WEIGHT_NOISES,
            xi=(0.01, 0.03, 0.1),  # relative to ||w||
            # For each member, in opposite pairs: even, at least 4. With 16 the draws' own standard error is half that
            # of a mean drop and a quarter to 0.45 of that of a difference of populations, which have it in them.
            num_draws=16,
        ),
        # Noise of the length of the perturbation (r = 1); 512 draws certify at most 2.2 sigma.
        certified=dict(r=1.0, num_choosing=64, num_draws=512),
        spectrum=dict(num_eigenvalues=3, num_steps=12, num_probes=4),
        tangent=dict(num_neighbors=32, dim=8),  # nearest training images, their first principal directions
    )
    small = dict(
        flatness=dict(num_trials=2, levels=(0.1, 0.3, 1.0)),
        worst=dict(num_steps=2),
        curvature=dict(num_probes=2, num_lanczos=4),
        weight=dict(xi=(0.03, 0.1), num_draws=4),
        certified=dict(num_choosing=4, num_draws=16),
        spectrum=dict(num_steps=4, num_probes=1),
        tangent=dict(num_neighbors=6, dim=3),
    )
    return {"measures": ()} | {name: own | (small[name] if smoke else {}) for name, own in found.items()}


def check(fields: dict[str, Any]) -> None:
    """UserError for levels of noise that are none, and directions that neighbours do not span."""
    for name in ("flatness.levels", "weight.xi"):
        if not fields[name] or min(fields[name]) <= 0:
            raise UserError(f"{name}={fields[name]}: expected one or more numbers above 0, such as (0.1, 0.3, 1.0)")
    dim, most = fields["tangent.dim"], fields["tangent.num_neighbors"] - 1
    if not 1 <= dim <= most:
        raise UserError(f"tangent.dim={dim}: expected 1 to {most}, what tangent.num_neighbors span; take more of them")


def first_noise(kinds: Sequence[str]) -> str:
    """The noise that the headline and most figures are of: additive, or the first kind there is."""
    return "additive" if "additive" in kinds else kinds[0]
