"""Estimates, checks and headline of the experiment `gradients`, from its arrays. NumPy, float64."""

from collections.abc import Sequence

import numpy as np

from landscape.experiments.gradient_maps import VALUES, pairs_of
from landscape.experiments.gradient_places import KINDS, PIXELS
from landscape.objectives import GUIDES
from landscape.presets.names import CODED
from landscape.stats import influence
from landscape.stats.claims import estimate_dict
from landscape.stats.intervals import Interval, interval, of_pairs
from landscape.types import Arrays

UNITS = {"probability": "1", "log_probability": "nats", "logit": "logits", "margin": "logits"}
SHARES = ("confidence.", "path.gone_far")
ENDS = {"image": "ascended", "noise": "dreamed", "zeros": "dreamed"}  # populations of ends, by what they start from
GIVEN = "these guides"  # several guides are no sum over members: what is told of k of them is told of these
GIVEN_JUDGES = "these judges"  # and what is told of new guides, or new blocks of them, of these judges
LEAST = 5  # starts that an interval needs
PLAIN = GUIDES.index("mean")


def estimate(config, arrays: Arrays) -> tuple[list[dict], list[dict]]:
    """(estimates, checks) of everything in the arrays."""
    values = {name: np.asarray(array) for name, (_, array) in arrays.items()}
    found = _maps(values, PIXELS, config)
    found += _smooth(values, config)
    for family in config.families:
        found += _maps(values, family, config)
        found += _pushed(values, family, config)
    for place in (PIXELS, *config.families, *config.ascent.layers):
        found += _ascents(values, place)
    for place in (PIXELS, config.families[0]):
        found += _guided(values, place, config)
    return found, _checks(config, values)


def _of(
    values: np.ndarray | Interval,
    name: str,
    unit: str = "1",
    *,
    population: str = "clean",
    headline: bool = False,
    **about,
) -> dict:
    told = values if isinstance(values, Interval) else interval(values.astype(np.float64))
    if name.startswith(SHARES) and not about.get("reference"):
        told = told._replace(low=float(np.clip(told.low, 0, 1)), high=float(np.clip(told.high, 0, 1)))
    entry = estimate_dict(told, name, population=population, unit=unit, **about)
    return entry | ({"headline": True} if headline else {})


def _own_and_others(values: np.ndarray, prediction: np.ndarray) -> dict[str, np.ndarray]:
    """Of values [S, K, N] those of the class that each member predicts, and the mean of all other classes, [S, N]."""
    own = np.take_along_axis(values, prediction[:, None], axis=1)[:, 0]
    return {"own": own, "others": (values.sum(axis=1) - own) / (values.shape[1] - 1)}


def _pairwise(values: np.ndarray, prediction: np.ndarray) -> dict[str, Interval]:
    """Of values [P, K, N] of pairs of members the mean over all classes, and that of the class the first predicts."""
    pairs = pairs_of(len(prediction))
    own = np.take_along_axis(values, prediction[pairs[:, 0]][:, None], axis=1)[:, 0]
    each = {"own": own.mean(axis=1), "all": values.mean(axis=(1, 2))}
    return {name: of_pairs(v.astype(np.float64), pairs, values.shape[-1]) for name, v in each.items()}


def _maps(values: dict[str, np.ndarray], place: str, config) -> list[dict]:
    found, prediction = [], values["prediction"]
    per = "pixel" if place == PIXELS else "unit of the latent"
    for v, value in enumerate(VALUES):
        about = {"of": value, "place": place}  # "value" is the estimate's own
        for of, norm in _own_and_others(values[f"gradient_norm.{place}"][v], prediction).items():
            found.append(_of(norm, "gradient.norm", f"{UNITS[value]} per {per}", classes=of, **about))
        for of, cosine in _pairwise(values[f"gradient_cosine.{place}"][v], prediction).items():
            shown = value == config.maps.value and of == "own"
            found.append(_of(cosine, "agreement.gradient", classes=of, headline=shown, **about))
    return found


def _smooth(values: dict[str, np.ndarray], config) -> list[dict]:
    found, prediction = [], values["prediction"]
    for s, sigma in enumerate(config.maps.sigmas):
        about = {"of": config.maps.value, "place": PIXELS, "sigma": float(sigma)}
        for of, cosine in _pairwise(values["smooth_cosine"][s], prediction).items():
            found.append(_of(cosine, "agreement.smooth_gradient", classes=of, **about))
        for name, told in (("smooth_kept", "agreement.smooth_with_plain"), ("smooth_error", "gradient.smooth_error")):
            for of, one in _own_and_others(values[name][s], prediction).items():
                found.append(_of(one, told, classes=of, **about))
    return found


def _pushed(values: dict[str, np.ndarray], family: str, config) -> list[dict]:
    found, prediction = [], values["prediction"]
    about = {"of": config.maps.value, "place": family}
    for of, one in _own_and_others(values[f"pushed_to_pixels.{family}"], prediction).items():
        found.append(_of(one, "agreement.pushed_with_pixels", classes=of, **about))
    for s, step in enumerate(config.maps.steps):
        one = values[f"pushed_to_step.{family}"][s].mean(axis=1)
        found.append(_of(one, "agreement.pushed_with_step", step=float(step), **about))
    return found


def _ascents(values: dict[str, np.ndarray], place: str) -> list[dict]:
    """By kind of start; classes are all there are, so means over them, intervals over classifiers and starts."""
    found = []
    for k, kind in enumerate(KINDS):
        about = {"place": place, "start": kind, "population": ENDS[kind]}
        for name, told, unit in (
            ("ascent_probability", "confidence.ascended", "1"),
            ("ascent_held_out", "confidence.ascended_held_out", "1"),
            ("ascent_moved", "distance.ascended", "pixels"),
            ("ascent_nearest", "distance.ascended_to_training", "pixels"),
        ):
            one = values.get(f"{name}.{place}")
            if one is not None:
                # Zeros are one start, of which there are as many copies as there are images.
                rows = one[:, k, :1] if kind == "zeros" else one[:, k]
                unit = "unit of the layer" if unit == "pixels" and f"ascent_held_out.{place}" not in values else unit
                given = {"given": GIVEN_JUDGES} if name == "ascent_held_out" else {}  # saved as the judges' mean
                found.append(_of(rows.mean(axis=-1), told, unit, **about, **given))
    return found


def _guided(values: dict[str, np.ndarray], place: str, config) -> list[dict]:
    """By number of guides, objective and kind of start: intervals over judges and starts, given these guides."""
    found, sizes = [], tuple(config.guided.sizes)
    # Zeros are one start: those that climb one class are one and the same ascent.
    target = values["guided_target"]
    starts = dict.fromkeys(KINDS, np.arange(len(target))) | {"zeros": np.unique(target, return_index=True)[1]}
    for k, kind in enumerate(KINDS):
        for g, guide in enumerate(GUIDES):
            for s, size in enumerate(sizes):
                about = {"place": place, "start": kind, "guide": guide, "guides": int(size), "given": GIVEN}
                about["population"] = ENDS[kind]

                def of(name, s=s, g=g, k=k):
                    return values[f"{name}.{place}"][s, g][..., k, :][..., starts[kind]].astype(np.float64)

                held_out = of("guided_held_out")[:, -1]
                if not np.isfinite(held_out).all():
                    continue
                shown = guide == "mean" and size in (min(sizes), max(sizes)) and kind == KINDS[0]
                found.append(_of(held_out, "confidence.guided_held_out", headline=shown, **about))
                found.append(_of(of("guided_own")[-1:], "confidence.guided", **about))
                found.append(_of(of("guided_moved")[None], "distance.guided", "pixels", **about))
                found.append(_of(of("guided_nearest")[None], "distance.guided_to_training", "pixels", **about))
                found.append(_of(of("guided_error")[None], "mse.guided_under_another", "pixels^2", **about))
                drop, margin = of("guided_margin_drop"), of("guided_margin")
                flat = influence.ratio(drop, margin, np.ones(margin.shape, bool))
                sigma = {"sigma": float(config.guided.sigma), "noise": "additive"}
                found.append(_of(flat, "input_flatness.scale_free", headline=shown, **sigma, **about))
                found += _far(values, place, (s, g, k), starts[kind], about)
                blocks = of("guided_by_block")
                blocks = blocks[np.isfinite(blocks).all(axis=1)]
                if len(blocks) > 1:
                    found.append(_of(blocks, "confidence.guided_held_out", **about | {"given": GIVEN_JUDGES}))
        first, last = (values[f"guided_held_out.{place}"][s, 0, :, -1, k][:, starts[kind]] for s in (0, len(sizes) - 1))
        about = {"place": place, "start": kind, "guide": "mean", "given": GIVEN, "population": ENDS[kind]}
        gain = last.astype(np.float64) - first
        found.append(
            _of(gain, "confidence.guided_held_out", guides=int(sizes[-1]), reference=f"{sizes[0]} guides", **about)
        )
    return found


def _far(values: dict[str, np.ndarray], place: str, at: tuple, starts: np.ndarray, about: dict) -> list[dict]:
    """The judges' probability at one distance from the start, and less that of as many guides' plain mean.

    Of the blocks and starts that go as far; for the difference both must, which is told where at least LEAST starts do.
    """
    s, g, k = at
    distance = float(values["guided_distance"])

    def of(guide: int, name: str) -> np.ndarray:
        return values[f"{name}.{place}"][s, guide][..., k, :][..., starts].astype(np.float64)

    gone = of(g, "guided_far")
    found = [_of(gone[None], "path.gone_far", distance=distance, **about)]
    both = (gone > 0) & (of(PLAIN, "guided_far") > 0)
    if both.sum() < LEAST:
        return found

    def told(guide: int, marked: np.ndarray) -> np.ndarray:
        top = of(guide, "guided_held_out_far")
        mask = np.broadcast_to(marked, top.shape)
        return influence.ratio(top, np.broadcast_to(of(guide, "guided_far"), top.shape), mask)

    found.append(_of(told(g, gone > 0), "confidence.guided_held_out", distance=distance, **about))
    if g != PLAIN:
        less = told(g, both) - told(PLAIN, both)
        found.append(
            _of(less, "confidence.guided_held_out", distance=distance, reference=f"{GUIDES[PLAIN]} guide", **about)
        )
    return found


def _checks(config, values: dict[str, np.ndarray]) -> list[dict]:
    """What must hold if nothing is broken."""
    found = []
    for place in (PIXELS, *config.families, *config.ascent.layers):
        value = values[f"ascent_value.{place}"]
        rose = float(np.mean(value[:, -1] > value[:, 0]))
        detail = f"{100 * rose:.1f} % of ascents in {place} end higher than they began; 95 % are expected"
        found.append({"name": f"ascent.{place}", "passed": rose > 0.95, "detail": detail})
    smallest = int(np.argmin(config.maps.steps))
    for family in config.families:
        cosine = float(np.median(values[f"pushed_to_step.{family}"][smallest]))
        detail = f"median cosine {cosine:.3f} of push-forward and finite difference of the smallest step"
        # Codes do not move with a small step: straight through is no derivative, which the report tells.
        detail += "; codes do not follow small steps" if family in CODED else "; 0.95 is expected"
        found.append({"name": f"push_forward.{family}", "passed": family in CODED or cosine > 0.95, "detail": detail})
    return found


def headline(config, estimates: Sequence[dict]) -> str:
    """What more guides do for classifiers that do not guide, in pixels and on the manifold."""
    sizes = config.guided.sizes

    def told(place: str) -> str:
        first, last = (
            next(
                e
                for e in estimates
                if e["name"] == "confidence.guided_held_out"
                and (e["place"], e["start"], e["guide"], e["guides"]) == (place, KINDS[0], "mean", size)
                and not e.get("reference")
            )
            for size in (sizes[0], sizes[-1])
        )
        ends = [f"{e['value']:.2f} [{e['low']:.2f}, {e['high']:.2f}]" for e in (first, last)]
        where = "in pixels" if place == PIXELS else f"on the manifold of {place}"
        return f"{where} from {ends[0]} to {ends[1]}"

    return (
        f"Another class is climbed from images. With {sizes[-1]} guides instead of {sizes[0]}, classifiers that did "
        f"not guide give it a probability that goes {told(PIXELS)}; {told(config.families[0])}."
    )
