"""Estimates, checks and headline of the experiment `latent`, from its arrays. NumPy, float64."""

from collections.abc import Sequence

import numpy as np

from landscape.latent.chains import ACCEPTANCE
from landscape.presets.names import OWN_PRIOR
from landscape.stats.claims import estimate_dict
from landscape.stats.intervals import Interval, interval, of_pairs, of_share
from landscape.types import Arrays

# Array: (estimate, unit); one value a member.
LATENT = {
    "active_units": ("usage.active_units", "1"),
    "effective_dimension": ("usage.effective_dimension", "1"),
    "intrinsic_dimension": ("usage.intrinsic_dimension", "1"),
    "gaussian_accuracy": ("accuracy.told_from_gaussian", "1"),
}
AROUND = {
    "around_probability": ("confidence.noise", "1"),
    "around_held_out": ("confidence.noise_held_out", "1"),
    "around_moved": ("distance.noise", "pixels"),
}
LOCAL = {
    "local_probability": ("confidence.local", "1"),
    "local_held_out": ("confidence.local_held_out", "1"),
    "local_moved": ("distance.local", "pixels"),
    "local_drift": ("distance.local_drift", "1"),
    "local_acceptance": ("acceptance.local", "1"),
    "local_divergent": ("acceptance.local_divergent", "1"),
    "local_changed": ("acceptance.local_changed", "1"),
    "local_rhat": ("rhat.local", "1"),
    "local_ess": ("ess.local", "1"),
}
GLOBAL = {
    "global_probability": ("confidence.global", "1"),
    "global_held_out": ("confidence.global_held_out", "1"),
    "global_acceptance": ("acceptance.global", "1"),
    "global_divergent": ("acceptance.global_divergent", "1"),
    "global_changed": ("acceptance.global_changed", "1"),
    "global_rhat": ("rhat.global", "1"),
    "global_ess": ("ess.global", "1"),
}


SHARES = ("confidence.", "acceptance.", "path.", "agreement.next_class")  # estimates within [0, 1]
POSITIVE = ("ess.", "rhat.", "usage.", "distance.local", "distance.noise")
CONVERGED = 1.1  # R-hat below which the chains of a group are called alike


def estimate(config, arrays: Arrays) -> tuple[list[dict], list[dict]]:
    """(estimates, checks) of everything in the arrays."""
    values = {name: np.asarray(array) for name, (_, array) in arrays.items()}
    found = []
    for family in config.families:
        found += _statistics(values, family)
        found += _noise(config, values, family)
        for kernel in config.mcmc.kernels:
            if f"local_rhat.{family}.{kernel}" in values:
                found += _chains(config, values, family, kernel)
        found += _paths(values, family)
    return found, _checks(config, values)


def _of(values: np.ndarray | Interval, name: str, unit: str = "1", *, headline: bool = False, **about) -> dict:
    told = values if isinstance(values, Interval) else interval(values.astype(np.float64))
    most = 1.0 if name.startswith(SHARES) or name.endswith("_converged") else np.inf
    if most == 1.0 or name.startswith(POSITIVE):
        told = told._replace(low=float(np.clip(told.low, 0, most)), high=float(np.clip(told.high, 0, most)))
    entry = estimate_dict(told, name, population="clean", unit=unit, **about)
    return entry | ({"headline": True} if headline else {})


def _share(right: np.ndarray) -> Interval:
    return of_share(interval(right.astype(np.float64)), right.shape[1])


def _statistics(values: dict[str, np.ndarray], family: str) -> list[dict]:
    found = []
    against = "prior" if family in OWN_PRIOR else "gaussian"  # the one fitted to training latents
    told_of = {name: about for name, about in LATENT.items() if f"{name}.{family}" in values}
    for name, (told, unit) in (told_of | {"mmd": (f"distance.mmd_from_{against}", "1")}).items():
        u = values[f"{name}.{family}"]
        if np.isfinite(u).all():
            more = {"largest_p": float(values[f"mmd_p.{family}"].max())} if name == "mmd" else {}
            shown = name == "intrinsic_dimension"
            found.append(_of(u[:, None], told, unit, family=family, headline=shown, **more))
    for name, told in (("probe", "accuracy.linear_probe"), ("knn", "accuracy.neighbours")):
        found.append(_of(_share(values[f"{name}.{family}"]), told, family=family, headline=True))
    seeds = np.arange(len(values[f"probe.{family}"]))
    pairs = np.asarray([(a, b) for a in seeds for b in seeds[a + 1 :]])
    for name, told in (("cka", "agreement.cka"), ("linear_r2", "agreement.linear_map")):
        alike = of_pairs(values[f"{name}.{family}"], pairs, values[f"probe.{family}"].shape[1])
        found.append(_of(alike, told, family=family, pairs=len(pairs)))
    return found


def _noise(config, values: dict[str, np.ndarray], family: str) -> list[dict]:
    found = [
        _of(values[f"decoded_probability.{family}"], "confidence.decoded", family=family),
        _of(values[f"decoded_held_out.{family}"], "confidence.decoded_held_out", family=family),
    ]
    for a, kind in enumerate(("gaussian", "shell")):
        for r, radius in enumerate(config.mcmc.radii):
            for name, (told, unit) in AROUND.items():
                u = values[f"{name}.{family}"][:, a, r]
                found.append(_of(u, told, unit, family=family, noise=kind, radius=float(radius)))
    return found


def _chains(config, values: dict[str, np.ndarray], family: str, kernel: str) -> list[dict]:
    """Of chains guided by a vote, members share all guides but one: means over them, intervals over images alone."""
    found = []
    about = {"family": family, "kernel": kernel}
    largest = max(config.mcmc.radii)
    states = {"states": config.mcmc.num_chains * config.mcmc.num_frames}  # kept of each group: what an ESS is out of
    voted = config.mcmc.guide == "vote"
    for r, radius in enumerate(config.mcmc.radii):
        for name, (told, unit) in _present(LOCAL, values, family, kernel):
            u = values[f"{name}.{family}.{kernel}"][:, r]
            u = u.mean(axis=-1) if u.ndim == 3 else u
            converged = (u < CONVERGED) * 1.0  # of groups that never move there is no R-hat: they have not
            u, converged = (v.mean(axis=0, keepdims=True) if voted else v for v in (u, converged))
            if np.isfinite(u).all():
                shown = radius == largest and name == "local_probability"
                more = about | (states if name == "local_ess" else {})
                found.append(_of(u, told, unit, radius=float(radius), headline=shown, **more))
            if name == "local_rhat":
                found.append(_of(converged, "rhat.local_converged", radius=float(radius), **about))
    for g, guided in enumerate(("guided", "unguided")):
        for name, (told, unit) in _present(GLOBAL, values, family, kernel):
            u = values[f"{name}.{family}.{kernel}"][:, g]
            u = u.mean(axis=-1) if u.ndim == 3 else u
            # Classes are all there are, not a sample: means over them, intervals over seeds.
            u, converged = (v.mean(axis=1, keepdims=True) for v in (u, u < CONVERGED))
            u, converged = (v.mean(axis=0, keepdims=True) if voted else v for v in (u, converged))
            if name == "global_rhat":
                found.append(_of(converged, "rhat.global_converged", chains=guided, **about))
            told_by_prior = guided == "unguided" and name in ("global_probability", "global_held_out")
            if np.isfinite(u).all() and not told_by_prior:  # 1 / K, whatever the latent
                more = about | (states if name == "global_ess" else {})
                found.append(_of(u, told, unit, chains=guided, **more))
        counts = values[f"mixing.{family}.{kernel}"][:, g].astype(np.float64)
        stay = np.trace(counts, axis1=1, axis2=2) / counts.sum(axis=(1, 2))
        apart = config.mcmc.num_steps[kernel] // config.mcmc.num_frames
        stay = stay.mean(keepdims=True) if voted else stay
        found.append(_of(stay[:, None], "agreement.next_class", chains=guided, steps_between=apart, **about))
    return found


def _present(wanted: dict, values: dict[str, np.ndarray], family: str, kernel: str) -> list[tuple]:
    """What was saved of these chains: codes have an array more."""
    return [(name, about) for name, about in wanted.items() if f"{name}.{family}.{kernel}" in values]


def _paths(values: dict[str, np.ndarray], family: str) -> list[dict]:
    """How often a third class comes between, and the least confidence, by own classifier and the next seed's."""
    found = []
    probs = values[f"path_probability.{family}"]  # [member, judge, path, t, couple, class]
    predicted = probs.argmax(axis=-1)
    third = (predicted != predicted[:, :, :, :1]) & (predicted != predicted[:, :, :, -1:])
    told = {"third_class": third.mean(axis=3), "lowest_confidence": probs.max(axis=-1).min(axis=3)}
    own = np.arange(len(probs))
    for name, u in told.items():  # [member, judge, path, couple]
        judged = u[own, np.roll(own, -1)]  # one judge each, so that members share none
        for p, kind in enumerate(("linear", "spherical")):
            found.append(_of(u[own, own, p], f"path.{name}", family=family, path=kind))
            found.append(_of(judged[:, p], f"path.{name}_held_out", family=family, path=kind))
    return found


def _checks(config, values: dict[str, np.ndarray]) -> list[dict]:
    """What must hold if nothing is broken."""
    bad = [n for n, v in values.items() if "probability" in n and not np.isfinite(v).all()]
    found = [{"name": "chains.finite", "passed": not bad, "detail": ", ".join(bad) or "all probabilities are finite"}]
    smallest = int(np.argmin(config.mcmc.radii))
    for family in config.families:
        for kernel in config.mcmc.kernels:
            name = f"{family}.{kernel}"
            if f"local_acceptance.{name}" not in values:
                continue
            if kernel not in ACCEPTANCE or config.smoke:
                continue
            acceptance = values[f"local_acceptance.{name}"]
            bad = float(np.mean((acceptance < 0.1) | (acceptance > 0.99)))
            detail = f"{100 * bad:.1f} % of local chains accept less than 10 % or more than 99 % of their steps"
            found.append({"name": f"acceptance.{name}", "passed": bad < 0.05, "detail": detail})
            steps = [values[f"{target}_divergent.{name}"].mean() for target in ("local", "global")]
            detail = "{:.2g} % of local and {:.2g} % of global steps diverge".format(*(100 * share for share in steps))
            found.append({"name": f"divergent.{name}", "passed": max(steps) < 0.01, "detail": detail})
            # Without guidance the target is a Gaussian of about unit spread: what does not mix there is broken.
            alike = float(np.mean(values[f"global_rhat.{name}"][:, 1] < CONVERGED + 0.1))
            detail = f"{100 * alike:.0f} % of unguided groups of chains have R-hat below {CONVERGED + 0.1:g}"
            found.append({"name": f"unguided_converge.{name}", "passed": alike >= 0.9, "detail": detail})
            drift, radius = values[f"local_drift.{name}"][:, smallest].mean(), config.mcmc.radii[smallest]
            detail = f"mean distance {drift:.3g} from the embedding at s = {radius:g} (white units)"
            found.append({"name": f"stays_near.{name}", "passed": bool(drift < 2 * radius), "detail": detail})
    return found


def headline(config, estimates: Sequence[dict]) -> str:
    """The answer in two sentences: what noise and guided chains leave of the own class, and the latent's dimension."""
    largest = max(config.mcmc.radii)
    main = "vae" if "vae" in config.families else config.families[0]

    def of(name: str, **about) -> list[dict]:
        return [e for e in estimates if e["name"] == name and all(e.get(k) == v for k, v in about.items())]

    def told(entry: dict) -> str:
        ends = f" [{entry['low']:.2f}, {entry['high']:.2f}]" if entry["low"] is not None else ""
        return f"{entry['value']:.2f}{ends}"

    noise = of("confidence.noise", noise="gaussian", radius=largest)
    guided = of("confidence.local", radius=largest)
    own = [next(e for e in entries if e["family"] == main) for entries in (noise, guided)]
    far = f"{largest:g} typical spread{'s' if largest != 1 else ''}"
    text = (
        f"In the latent of {main}, noise of {far} leaves the class of {config.mcmc.num_embeddings} images a "
        f"probability of {told(own[0])}, guided chains of that reach {told(own[1])}"
    )
    if len(config.families) > 1:
        ranges = [(min(e["value"] for e in entries), max(e["value"] for e in entries)) for entries in (noise, guided)]
        text += " (all families: {:.2f} to {:.2f}, and {:.2f} to {:.2f})".format(*ranges[0], *ranges[1])
    dimension = of("usage.intrinsic_dimension", family=main)
    return f"{text}." + (
        f" TwoNN, which reads low in many dimensions, gives its latents {dimension[0]['value']:.1f} dimensions."
        if dimension
        else ""
    )
