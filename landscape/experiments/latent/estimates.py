"""The numbers of a latent run, from its arrays alone: what is derived, declared, checked and said first.

Values of a sweep of classifiers are strata. Latents do not depend on them: their own statistics are of the seeds.
"""

import itertools
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from landscape.experiments.base import Check, by_stratum, named, strata, strata_of, worst_of
from landscape.presets.names import OWN_PRIOR
from landscape.stats import convergence
from landscape.stats.table import Design, Estimate, Table, tabulate

if TYPE_CHECKING:
    import xarray as xr  # imported where it is used: half a second

SLACK = 0.05  # on top of the R-hat of convergence, for the worst of many numbers of a Gaussian of about unit spread
CHAINS = ("local", "global")  # what names of their arrays begin with
ALONG = ("probability", "moved", "drift")  # what of their targets chains give
GROUPED = ("member", "start", "class")  # dims that a row is a mean over
SHARE, POSITIVE = {"share": True}, {"positive": True}
GUIDED = {"at": {"guidance": "guided"}}
RADIUS, SAMPLER = ("kernel", "radius"), ("kernel", "guidance")
Rows = tuple[tuple[str, str, tuple[str, ...], Mapping[str, Any]], ...]
Declared = tuple[tuple[Design, Rows], ...]
ENDS = ("", "_least", "_most")  # a mean along chains where all have converged, or else its bounds


def _or_bounds(name: str, of: str, by: tuple[str, ...], more: Mapping[str, Any]) -> Rows:
    """A mean along chains, and its bounds."""
    return tuple((f"{name}{end}", f"{of}{end}", by, more) for end in ENDS)


# (estimate, variable, dims besides the family with a row each, further fields of `Estimate`), by design.
OF_LATENTS: Declared = (
    (
        Design(crossed=("member", "")),
        (
            ("usage.active_units", "active_units", (), POSITIVE),
            ("usage.effective_dimension", "effective_dimension", (), POSITIVE),
            ("usage.intrinsic_dimension", "intrinsic_dimension", (), POSITIVE),
            ("accuracy.versus_gaussian", "gaussian_accuracy", (), SHARE),
            ("distance.mmd_from_prior", "mmd_from_prior", (), {}),
            ("distance.mmd_from_gaussian", "mmd_from_gaussian", (), {}),
        ),
    ),
    (
        Design(crossed=("member", ""), target="other"),
        (("agreement.cka", "cka", (), {}), ("agreement.linear_map", "linear_r2", (), {})),
    ),
    (Design(), (("accuracy.linear_probe", "probe", (), SHARE), ("accuracy.neighbours", "knn", (), SHARE))),
)
OF_CLASSIFIERS: Declared = (
    (
        Design(crossed=("member", "")),
        (
            # Unguided, each class has the share that the prior gives it: nothing to report.
            *_or_bounds("confidence.global", "global_probability", ("kernel", "classifier"), SHARE | GUIDED),
            ("acceptance.global", "global_acceptance", SAMPLER, SHARE),
            ("acceptance.global_jump", "global_jumped", ("kernel",), SHARE | GUIDED),
            ("acceptance.global_changed", "global_changed", SAMPLER, SHARE),
            ("rhat.global", "global_rhat", SAMPLER, POSITIVE),
            ("rhat.global_converged", "global_converged", SAMPLER, SHARE),
            ("ess.global", "global_ess", SAMPLER, POSITIVE),
            ("agreement.next_class", "global_stays", SAMPLER, SHARE),
        ),
    ),
    (
        Design(crossed=("member", "start")),
        (
            ("confidence.decoded", "decoded_probability", ("classifier",), SHARE),
            ("confidence.noise", "around_probability", ("noise", "radius", "classifier"), SHARE),
            ("distance.noise", "around_moved", ("noise", "radius"), POSITIVE),
            *_or_bounds("confidence.local", "local_probability", (*RADIUS, "classifier"), SHARE),
            *_or_bounds("confidence.gain", "local_gain", (*RADIUS, "classifier"), {}),
            *_or_bounds("distance.local", "local_moved", RADIUS, POSITIVE),
            *_or_bounds("distance.local_drift", "local_drift", RADIUS, POSITIVE),
            ("acceptance.local", "local_acceptance", RADIUS, SHARE),
            ("acceptance.local_jump", "local_jumped", RADIUS, SHARE),
            ("acceptance.local_changed", "local_changed", RADIUS, SHARE),
            ("rhat.local", "local_rhat", RADIUS, POSITIVE),
            ("rhat.local_converged", "local_converged", RADIUS, SHARE),
            ("ess.local", "local_ess", RADIUS, POSITIVE),
        ),
    ),
    (
        Design(crossed=("member", "pair")),
        (
            ("path.first_class", "path_first", ("path", "classifier", "t"), SHARE | {"where": "two_classes"}),
            ("path.last_class", "path_last", ("path", "classifier", "t"), SHARE | {"where": "two_classes"}),
        ),
    ),
)


# ---- what is derived ----


def derive(data: "xr.Dataset") -> "xr.Dataset":
    """Means over chains, and over the classes that global chains are guided toward, with all variables of estimates.

    Classes are all there are, not a sample: means over them, intervals over seeds. Of chains guided by a vote, members
    share all guides but one: means over members, intervals over images alone.
    """
    found = {name: _mean(v, "chain") for name, v in data.data_vars.items() if name.startswith(CHAINS)}
    for which in CHAINS:
        found |= _convergence(data, which)
        done = found[f"{which}_converged"]
        for name in ALONG:
            found |= _bounded(data[f"{which}_{name}"], done) if f"{which}_{name}" in data else {}
    noise = data.around_probability.sel(noise="gaussian", drop=True)
    found |= {f"local_gain{end}": found[f"local_probability{end}"] - noise for end in ENDS}
    found |= {name: _mean(values, "class") for name, values in found.items() if name.startswith("global")}
    every = data.mixing.sum(["class", "next_class"])
    same = sum(data.mixing.isel({"class": k, "next_class": k}, drop=True) for k in range(data.sizes["class"]))
    found["global_stays"] = same / every.where(every > 0)
    if data.attrs["guide"] == "vote":
        found = {name: _mean(values, "member") for name, values in found.items()}
    own = data.family.isin(OWN_PRIOR)
    found |= {"mmd_from_prior": data.mmd.where(own), "mmd_from_gaussian": data.mmd.where(~own)} | _paths(data)
    return data.assign({name: v.assign_attrs(data[name].attrs if name in data else {}) for name, v in found.items()})


def _mean(values: "xr.DataArray", dim: str) -> "xr.DataArray":
    return values.reduce(np.mean, dim) if dim in values.dims else values  # NaN where one is: a sampler that did not run


def _convergence(data: "xr.Dataset", which: str) -> "dict[str, xr.DataArray]":
    """Of every group of chains the worst R-hat, the smaller effective size, and whether it has converged."""
    rhat, bulk, tail = (
        data[f"{which}_{name}"].transpose(..., "diagnosed") for name in ("rhat", "bulk_ess", "tail_ess")
    )
    done = rhat.isel(diagnosed=0, drop=True).copy(
        data=convergence.converged(convergence.Diagnosis(rhat.values, bulk.values, tail.values)).astype(float)
    )
    sizes = np.minimum(bulk.min("diagnosed"), tail.min("diagnosed"))
    found = {"rhat": rhat.max("diagnosed"), "ess": sizes.where(sizes > 0), "converged": done.where(data.sampled)}
    return {f"{which}_{name}": values for name, values in found.items()}


def _bounded(values: "xr.DataArray", done: "xr.DataArray") -> "dict[str, xr.DataArray]":
    """Means over chains where all groups of a row have converged; else bounds of them.

    Chains that have not converged still depend on where they started: a group's bounds are the smallest and the
    largest mean of one of its chains, and both are the mean over chains in groups that have converged.
    """
    mean, name = _mean(values, "chain"), str(values.name)
    every = (done == 1).all([dim for dim in GROUPED if dim in done.dims])
    ends = {f"{name}_least": values.min("chain"), f"{name}_most": values.max("chain")}
    found = {end: bound.where(done == 0, mean).where(~every).transpose(*mean.dims) for end, bound in ends.items()}
    return found | {name: mean.where(every).transpose(*mean.dims)}


def _paths(data: "xr.Dataset") -> "dict[str, xr.DataArray]":
    """Along paths, the probability of the class that the own classifier gives the first and the last point.

    two_classes: whether these differ.
    """
    import xarray as xr

    probs = data.path_probability
    predicted = probs.sel(classifier="own", drop=True).argmax("class")
    first, last = (predicted.isel(t=i, drop=True) for i in (0, -1))
    number = xr.DataArray(np.arange(data.sizes["class"]), dims="class")
    along = {f"path_{name}": (probs * (number == end)).sum("class") for name, end in (("first", first), ("last", last))}
    return along | {"two_classes": first != last}


# ---- estimates ----


def estimate(data: "xr.Dataset", config) -> Table:
    """The table of a run; what depends on classifiers by the values of a sweep of them."""
    of_seeds = strata(data)[0][1]
    table = _declared(derive(of_seeds), OF_LATENTS)
    table += by_stratum(data, lambda part: _declared(derive(part), OF_CLASSIFIERS))
    at = {"radius": float(data.radius.max())}
    return table.headline_rows(
        {"name": [f"confidence.local{end}" for end in ENDS], "classifier": "own", **at},
        {"name": [f"confidence.gain{end}" for end in ENDS], "classifier": "held_out", **at},
        {"name": "rhat.local_converged", **at},
        {"name": ["usage.intrinsic_dimension", "accuracy.linear_probe", "accuracy.neighbours"]},
    )


def _declared(data: "xr.Dataset", declared: Declared) -> Table:
    """The rows of derived variables; what is missing or not finite for one member or example has none."""
    table = Table()
    for design, own in declared:
        names = [variable for _, variable, *_ in own]
        masks = {f"{name}_known": known(data[name], design) for name in names}
        where = [more["where"] for *_, more in own if "where" in more]
        table += tabulate(data[[*names, *where]].assign(masks), [_estimate(*one) for one in own], design)
    return table


def known(values: "xr.DataArray", design: Design) -> "xr.DataArray":
    """All or none of the values of a row, none where one is missing: samplers that did not run, stuck groups."""
    finite = np.isfinite(values.astype(float))
    finite = finite.all(design.target) if design.target else finite
    finite = finite & finite.all([dim for dim in design.crossed if dim in finite.dims])
    for dim in set(finite.dims) - {*design.crossed}:  # rows that share a mask are computed together
        first = finite.isel({dim: 0}, drop=True)
        finite = first if bool((finite == first).all()) else finite
    return finite


def _estimate(name: str, of: str, by: tuple[str, ...], more: Mapping[str, Any]) -> Estimate:
    return Estimate(name, of, **{"where": f"{of}_known"} | more, by=("family", *by), about={"population": "clean"})


def claims(table: Table, config) -> list[dict]:
    """None are stated."""
    return []


# ---- checks and headline ----


def checks(data: "xr.Dataset", table: Table, config) -> list[Check]:
    """Finite probabilities; of each sampler of real latents acceptance, divergence, convergence and distance."""
    ran = data.sampled
    unknown = [str(name) for name in data.data_vars if "probability" in str(name) and not _finite(data[name], ran)]
    detail = f"arrays with values that are not finite: {', '.join(unknown) or 'none'}; expected none"
    found = [Check("chains.finite", not unknown, detail)]
    for family, kernel in itertools.product(data.family.values.tolist(), data.kernel.values.tolist()):
        one = data.sel(family=family, kernel=kernel)
        if bool(one.sampled) and kernel != "gibbs" and not config.smoke:  # whose proposals come from the prior
            found += [worst_of(one, partial(check, name=f"{family}.{kernel}")) for check in OF_SAMPLERS]
    return found


def _finite(values: "xr.DataArray", ran: "xr.DataArray") -> bool:
    values = values.where(ran, 0.0) if "kernel" in values.dims else values
    return bool(np.isfinite(values).all())


def _accepts(one: "xr.Dataset", name: str) -> Check:
    acceptance = one.local_acceptance.values
    bad = float(np.mean((acceptance < 0.1) | (acceptance > 0.99)))
    text = f"{100 * bad:.1f} % of local chains accept less than 10 % or more than 99 % of their steps"
    return Check(f"acceptance.{name}", bad < 0.05, f"{text}; expected below 5 %")


def _stable(one: "xr.Dataset", name: str) -> Check:
    steps = [float(one[f"{which}_divergent"].values.mean()) for which in CHAINS]
    text = "{:.2g} % of local and {:.2g} % of global steps diverge".format(*(100 * share for share in steps))
    return Check(f"divergent.{name}", max(steps) < 0.01, f"{text}; expected below 1 %")


def _mixes(one: "xr.Dataset", name: str) -> Check:
    """Without guidance the target is a Gaussian of about unit spread: what does not mix there is broken."""
    limit = convergence.MOST_RHAT + SLACK
    alike = float(np.mean(one.global_rhat.sel(guidance="unguided", diagnosed="latent").values < limit))
    text = f"{100 * alike:.0f} % of unguided groups of chains have R-hat below {limit:g} in every number of the latent"
    return Check(f"unguided_converge.{name}", alike >= 0.9, f"{text}; expected at least 90 %")


def _stays(one: "xr.Dataset", name: str) -> Check:
    radius = float(one.radius.min())
    drift = float(one.local_drift.sel(radius=radius).values.mean())
    text = f"mean distance {drift:.3g} from the embedding at s = {radius:g} (white units)"
    return Check(f"stays_near.{name}", drift < 2 * radius, f"{text}; expected below {2 * radius:g}")


OF_SAMPLERS = (_accepts, _stable, _mixes, _stays)


def main_family(families: list[str]) -> str:
    """The family of the headline and the first figure: vae, or the first one."""
    return "vae" if "vae" in families else families[0]


def headline(table: Table, config) -> str:
    """What noise and guided chains leave of the own class, also for who guides nothing; at each value of a sweep."""
    s, main, kinds = float(max(config.mcmc.radii)), main_family(list(config.families)), strata_of(table)
    far = "one typical spread" if s == 1 else f"{s:g} typical spreads"
    text = f"Within {far} of the embedding of an image in the latent of {main}, the image's class has a probability "
    text += "; ".join((f"at {named(kind)} " if kind else "") + _kept(table.select(**kind), s, main) for kind in kinds)
    if len(config.families) > 1:
        at = {"radius": s, "classifier": "own", **kinds[0]}
        noise = [row["value"] for row in table.select("confidence.noise", noise="gaussian", **at)]
        chains = [row["value"] for row in table.select([f"confidence.local{end}" for end in ENDS], **at)]
        ends = [end(own) for own in (noise, chains) for end in (min, max)]
        text += ". Over all families these are {:.2f} to {:.2f} under noise and {:.2f} to {:.2f} along chains".format(
            *ends
        )
        text += f", at {named(kinds[0])}" if kinds[0] else ""
    return f"{text}."


def _kept(table: Table, s: float, main: str) -> str:
    """`of 0.4 under random noise and of 0.7 along chains ..`, of one kind of classifiers and the first sampler.

    For the guide itself chains cannot have less than noise but by chance, since they prefer what it likes; so what they
    find is said by a classifier that guides nothing.
    """
    at = {"radius": s, "family": main}
    noise = table.one("confidence.noise", **at, classifier="own", noise="gaussian").text(digits=2)
    kernel = table.select("rhat.local_converged", **at).rows[0]["kernel"]
    guided = _or_bounded(table, "confidence.local", kernel=kernel, classifier="own", **at)
    gain = _or_bounded(table, "confidence.gain", kernel=kernel, classifier="held_out", **at)
    text = f"of {noise} under random noise and of {guided} along chains that the classifier guides toward it"
    text += f" (difference for a classifier that guides nothing: {gain})"
    done = table.one("rhat.local_converged", kernel=kernel, **at)["value"]
    return text if done == 1 else f"{text}, bounded since only {100 * done:.0f} % of groups of chains have converged"


def _or_bounded(table: Table, name: str, **at: Any) -> str:
    """`0.70 [0.65, 0.74]`, or of bounds `0.66 to 0.73 [0.60, 0.78]`, from the lower end of one to the upper one's."""
    row = table.get(name, **at)
    if row:
        return row.text(digits=2)
    least, most = (table.one(f"{name}{end}", **at) for end in ENDS[1:])
    ends = "" if least["low"] is None else f" [{least['low']:.2f}, {most['high']:.2f}]"
    return f"{least['value']:.2f} to {most['value']:.2f}{ends}"
