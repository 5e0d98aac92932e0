"""Estimates of `latent` from arrays whose means are known: over what they are taken, and what is left out."""

import numpy as np
import pytest
from ml_collections import ConfigDict

from landscape.experiments import latent_estimates as estimates

S, RADII, STARTS, CHAINS, CLASSES = 4, (0.1, 1.0), 6, 3, 5


def config_of(guide="member"):
    mcmc = {"radii": RADII, "num_chains": CHAINS, "num_frames": 10, "num_steps": {"mala": 50}, "guide": guide}
    return ConfigDict({"smoke": False, "families": ("ae",), "mcmc": mcmc | {"kernels": ("mala",)}})


def chains(seed=0):
    """Arrays of one family and sampler: effects of members, images, radii and chains that are far apart."""
    rng = np.random.default_rng(seed)
    local = (S, len(RADII), STARTS, CHAINS)
    found = {f"local_{n}": rng.uniform(0.2, 0.4, local) for n in ("probability", "held_out", "acceptance", "divergent")}
    found |= {f"global_{n}": rng.uniform(size=(S, 2, CLASSES, CHAINS)) for n in ("probability", "held_out")}
    found["local_probability"] += 0.1 * np.arange(S)[:, None, None, None] + 0.2 * np.arange(2)[:, None, None]
    found |= {"local_rhat": np.full(local[:3], 1.05), "local_ess": np.full(local[:3], 12.0)}
    found |= {"global_rhat": np.full((S, 2, CLASSES), 1.05), "global_ess": np.full((S, 2, CLASSES), 9.0)}
    found["mixing"] = np.ones((S, 2, CLASSES, CLASSES)) + np.eye(CLASSES) * np.arange(S)[:, None, None, None]
    return {f"{name}.ae.mala": value for name, value in found.items()}


def told(values, guide="member"):
    found = estimates._chains(config_of(guide), values, "ae", "mala")
    return lambda name, **about: [e for e in found if e["name"] == name and all(e[k] == v for k, v in about.items())]


def test_local_chains_are_means_over_chains_with_intervals_over_seeds_and_images():
    values = chains()
    of = told(values)
    for r, radius in enumerate(RADII):
        (one,) = of("confidence.local", radius=radius)
        assert one["value"] == pytest.approx(values["local_probability.ae.mala"][:, r].mean())
        assert (one["members"], one["examples"], one["generalises_to"]) == (S, STARTS, "both")
        assert one.get("headline", False) == (radius == max(RADII))
    (size,) = of("ess.local", radius=1.0)
    assert size["states"] == CHAINS * 10  # what an effective number is out of


def test_a_vote_leaves_intervals_over_images_alone():
    """Members share all guides but one: as rows of their own they would be one experiment told four times."""
    values = chains()
    of = told(values, "vote")
    (local,) = of("confidence.local", radius=1.0)
    assert (local["members"], local["generalises_to"]) == (1, "new images")
    assert local["value"] == pytest.approx(values["local_probability.ae.mala"][:, 1].mean())
    (near,) = of("agreement.next_class", chains="guided")
    assert near["low"] is None and near["members"] == 1


def test_groups_that_never_moved_have_not_converged():
    values = chains()
    values["local_rhat.ae.mala"][:, 0, :2] = np.nan
    values["local_rhat.ae.mala"][0, 1, 0] = 3.0
    of = told(values)
    assert of("rhat.local", radius=0.1) == []
    assert of("rhat.local_converged", radius=0.1)[0]["value"] == pytest.approx(1 - 2 / STARTS)
    assert of("rhat.local_converged", radius=1.0)[0]["value"] == pytest.approx(1 - 1 / (S * STARTS))


def test_global_chains_are_means_over_all_classes():
    """Classes are no sample: intervals are over seeds. Unguided, the class aimed at is nobody's aim."""
    values = chains()
    of = told(values)
    (guided,) = of("confidence.global")
    assert guided["chains"] == "guided" and guided["generalises_to"] == "new seeds"
    assert guided["value"] == pytest.approx(values["global_probability.ae.mala"][:, 0].mean())
    assert {e["chains"] for e in of("rhat.global_converged")} == {"guided", "unguided"}
    stay = [(1 + s) / (CLASSES + s) for s in range(S)]  # of every row 1 + s of CLASSES + s steps stay
    (near,) = of("agreement.next_class", chains="unguided")
    assert near["value"] == pytest.approx(np.mean(stay)) and near["steps_between"] == 5


def test_a_third_class_is_told_by_the_own_classifier_and_by_the_next_seeds():
    """Two members, three points, one couple: 0, 1, 2 by the own classifier, 0, 0, 2 by the other one."""
    probs = np.full((2, 2, 2, 3, 1, 3), 0.1)
    for member in range(2):
        for t, (own, other) in enumerate(((0, 0), (1, 0), (2, 2))):
            probs[member, member, :, t, 0, own] = 0.8
            probs[member, 1 - member, :, t, 0, other] = 0.8 - 0.2 * (t == 1)
    found = estimates._paths({"path_probability.ae": probs}, "ae")
    of = {(e["name"], e["path"]): e["value"] for e in found}
    for kind in ("linear", "spherical"):
        assert of["path.third_class", kind] == pytest.approx(1 / 3) and of["path.third_class_held_out", kind] == 0
        assert of["path.lowest_confidence", kind] == pytest.approx(0.8)
        assert of["path.lowest_confidence_held_out", kind] == pytest.approx(0.6)


def test_chains_that_are_broken_fail_their_checks():
    config, values = config_of(), chains() | {"local_drift.ae.mala": np.full((S, 2, STARTS, CHAINS), 0.1)}
    values |= {f"global_{n}.ae.mala": np.full((S, 2, CLASSES, CHAINS), 0.0) for n in ("divergent", "acceptance")}
    values["local_divergent.ae.mala"][:] = 0.0

    def failed():
        return {check["name"] for check in estimates._checks(config, values) if not check["passed"]}

    assert failed() == set()
    values["local_drift.ae.mala"][:, 0] = 0.25  # s = 0.1
    values["local_acceptance.ae.mala"][:, :, 0] = 0.05
    values["global_divergent.ae.mala"][:] = 0.02
    values["global_rhat.ae.mala"][:, 1, 0] = np.nan
    expected = {"stays_near.ae.mala", "acceptance.ae.mala", "divergent.ae.mala", "unguided_converge.ae.mala"}
    assert failed() == expected
