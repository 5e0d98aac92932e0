"""The stages of a flatness run: audit, noise levels, search of the populations, and one stage a measure."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from landscape import ensembles, populations, runs
from landscape.attacks import projected
from landscape.attacks.projected import Budget
from landscape.ensembles import Rows, map_members
from landscape.experiments import audits, setting
from landscape.experiments.setting import Examples, Setting, example_keys, stage_key
from landscape.measures.curvature import curvature
from landscape.measures.flatness import ensemble_flatness
from landscape.measures.mapping import ensemble_measure
from landscape.measures.weight_sharpness import ensemble_weight_sharpness
from landscape.measures.worst_case import worst_case
from landscape.spaces import l2_norm
from landscape.types import Arrays

# Pixels in a chunk of each stage: about 1 - 5 s of work on two cores for the default classifier.
CHUNK_PIXELS = {"search": 16 * 784, "flatness": 16 * 784, "worst": 64 * 784, "curvature": 32 * 784, "weight": 32 * 784}
PROPORTIONAL = ("multiplicative", "envelope")  # kinds of noise whose length follows the image
CELLS = ("member", "population", "example")


def chunk_size(stage: str, x: np.ndarray) -> int:
    """Examples a chunk: fewer of larger images; chunks as even as they go, since another size compiles anew."""
    most = max(4, ensembles.roominess() * CHUNK_PIXELS[stage] // x[0].size)
    return -(-len(x) // -(-len(x) // most))


def budget_of(config) -> Budget:
    """What the config's searches may spend."""
    search = config.search
    return Budget(
        norm=search.norm,
        epsilon=search.epsilon,
        step_size=search.step_size,
        num_steps=search.num_steps,
        num_restarts=search.num_restarts,
        iso_steps=search.iso_steps,
        iso_margin=search.iso_margin if search.iso_margin == "clean" else float(search.iso_margin),
    )


def audit_stage(config, run: runs.Run, prepared: Setting) -> tuple[Arrays, list[dict]]:
    """The audit on validation images, trained members only."""
    return audits.audit_stage(
        run,
        "audit",
        ensembles.take(prepared.ensemble, np.flatnonzero(prepared.trained)),
        setting.examples(prepared.dataset, "validation", config.audit.num_examples, config.seed),
        apply=prepared.classifier.apply,
        budget=budget_of(config),
        mapping=config.mapping,
        seed=config.seed,
    )


def levels_stage(config, run: runs.Run, prepared: Setting) -> Arrays:
    """Noise levels sigma = r ||delta|| / (sqrt(D) scale), ||delta|| the mean L2 norm of adversarial perturbations.

    `scale` is 1 but for noise proportional to the image, where it is the images' root mean square: so noise of every
    kind has the length r ||delta||. All is taken on validation images, before any test image is touched.
    """

    def work() -> Arrays:
        chosen = setting.examples(prepared.dataset, "validation", config.audit.num_examples, config.seed)
        budget = budget_of(config)

        def member(variables, keys, x, label):
            ball = {"norm": budget.norm, "epsilon": budget.epsilon, "step_size": budget.step_size}
            full = ball | {"num_steps": budget.num_steps, "num_restarts": budget.num_restarts}
            z = projected.pgd(keys, variables, x, label, apply=prepared.classifier.apply, **full)
            right = jnp.argmax(prepared.classifier.apply(variables, x), axis=-1) == label
            return l2_norm(z - x), right

        keys = example_keys(config.seed, "levels", chosen.ids)
        norms, right = jax.jit(lambda e, *s: map_members(member, e, shared=s, how=prepared.how))(
            prepared.ensemble, keys, chosen.x, chosen.label
        )
        used = np.asarray(right) & prepared.trained[:, None]
        norm = float(np.asarray(norms)[used].mean())
        r = np.asarray(config.flatness.levels, np.float64)
        rms = float(np.sqrt(np.square(chosen.x).mean()))
        scale = [rms if kind in PROPORTIONAL else 1.0 for kind in config.flatness.noises]
        return {
            "r": (("sigma",), r),
            "noise_scale": (("noise",), np.asarray(scale)),
            "sigma": (("sigma",), r * norm / np.sqrt(chosen.x[0].size)),
            "perturbation_norm": ((), np.float32(norm)),
        }

    return runs.once(run, "levels", work)


def measured(
    config,
    run: runs.Run,
    prepared: Setting,
    chosen: Examples,
    origin: np.ndarray,
    names: tuple,
    levels: Arrays,
    *,
    suffix: str = "",
    size: int | None = None,
) -> Arrays:
    """Populations `names` of the chosen examples and every measure on them, arrays [..., member, population, example].

    Args:
      origin: images that the "envelope" noise follows, as chosen.x.
      suffix: of the stage names.
      size: examples a chunk; by stage and image size where None.
    """
    total = len(chosen.label)
    searched = search_chunk(config, prepared, chosen, origin, names)
    made = runs.chunks(run, f"search{suffix}", searched, total, size or chunk_size("search", chosen.x))
    inputs, tracked, label = made["inputs"][1], made["prediction"][1], made["label"][1]
    out = {name: value for name, value in made.items() if name != "inputs"}
    shown = np.flatnonzero(prepared.trained)[0]
    out["inputs_shown"] = (("population", "example", "height", "width", "channel"), inputs[shown])
    for name, chunk in measure_chunks(config, prepared, chosen, origin, levels).items():
        stage = runs.chunks(
            run,
            f"{name}{suffix}",
            lambda start, stop: chunk(
                slice(start, stop), inputs[:, :, start:stop], tracked[:, :, start:stop], label[:, start:stop]
            ),
            total,
            size or chunk_size(name, chosen.x),
        )
        out |= stage
    return out


def search_chunk(config, prepared: Setting, chosen: Examples, origin: np.ndarray, names: tuple[str, ...]):
    """(start, stop) -> the populations of those examples with what each member says of them."""
    apply, budget = prepared.classifier.apply, budget_of(config)

    def member(variables, own, keys, x, origin, label):
        # A control member has no true classes to speak of: its own clean prediction takes their place.
        label = jnp.where(own, jnp.argmax(apply(variables, x), axis=-1).astype(label.dtype), label)
        made = x[None]
        if len(names) > 1:
            made = populations.make(keys, variables, x, label, apply=apply, budget=budget)
        judged = populations.judge(variables, made, origin, label, apply=apply)
        rounded = populations.judge(variables, jnp.round(made * 255) / 255, origin, label, apply=apply)
        masks = populations.valid(judged, label, populations.wanted_margin(judged.true_margin[0], budget), names)
        valid = jnp.stack([masks[name] for name in populations.POPULATIONS if name in masks])
        kept = rounded.prediction == judged.prediction
        out = {"inputs": made, "label": label[None], "valid": valid, "survives_8_bits": kept, **judged._asdict()}
        return {name: jnp.moveaxis(value, 1, 0) for name, value in out.items()}

    @jax.jit
    def program(ensemble, own, *shared):
        out = map_members(member, ensemble, own, shared=tuple(map(Rows, shared)), how=prepared.how)
        out = {name: jnp.moveaxis(value, 2, 1) for name, value in out.items()}
        return out | {"label": out["label"][:, 0]}

    own = jnp.asarray(~prepared.trained)
    keys = example_keys(config.seed, "search", chosen.ids)

    def work(start: int, stop: int) -> Arrays:
        images = (chosen.x[start:stop], origin[start:stop], chosen.label[start:stop])
        out = program(prepared.ensemble, own, keys[start:stop], *images)
        dims = {name: CELLS for name in out}
        dims["inputs"] = (*CELLS, "height", "width", "channel")
        dims["label"] = ("member", "example")
        dims["valid"] = ("member", "told", "example")
        return {name: (dims[name], np.asarray(value)) for name, value in out.items()}

    return work


def measure_chunks(config, prepared: Setting, chosen: Examples, origin: np.ndarray, levels: Arrays) -> dict:
    """Stage name -> (rows, inputs [S, P, n, ...], tracked [S, P, n], label [S, n]) -> Arrays, for config.measures."""
    apply, how, ensemble = prepared.classifier.apply, prepared.how, prepared.ensemble
    keys = {name: example_keys(config.seed, name, chosen.ids) for name in config.measures}
    stages = {}

    def saved(values, dims=(), prefix="") -> Arrays:
        return {f"{prefix}{name}": ((*dims, *CELLS), np.asarray(value)) for name, value in values.items()}

    if "flatness" in config.measures:
        sigmas = jnp.asarray(levels["sigma"][1][None, :] / levels["noise_scale"][1][:, None], jnp.float32)
        options = {"num_trials": config.flatness.num_trials, "kinds": tuple(config.flatness.noises), "how": how}
        noisy = jax.jit(
            lambda k, e, x, tracked, label, origin: ensemble_flatness(
                k, e, x, tracked, label, origin, apply=apply, sigmas=sigmas, **options
            )
        )
        stages["flatness"] = lambda rows, x, tracked, label: saved(
            noisy(keys["flatness"][rows], ensemble, x, tracked, label, origin[rows]), ("noise", "sigma"), "input_"
        )

    def per_member(name, measure, select=lambda values: values):
        program = jax.jit(lambda k, e, x, tracked: ensemble_measure(measure, k, e, x, tracked, how=how))
        return lambda rows, x, tracked, label: saved(select(program(keys[name][rows], ensemble, x, tracked)))

    if "worst" in config.measures:
        rho = config.worst.rho_fraction * config.search.epsilon
        steps = {"num_steps": config.worst.num_steps, "num_restarts": config.worst.num_restarts}
        measure = partial(worst_case, apply=apply, norm=config.search.norm, rho=rho, **steps)
        stages["worst"] = per_member("worst", measure)
    if "curvature" in config.measures:
        counts = {"num_steps": config.curvature.num_lanczos, "num_probes": config.curvature.num_probes}
        stages["curvature"] = per_member("curvature", partial(curvature, apply=apply, **counts))
    if "weight" in config.measures:
        # Weight noise belongs to the (member, draw): the same draws for all examples and populations.
        member_keys = jax.vmap(jax.random.fold_in, (None, 0))(
            stage_key(config.seed, "weight"), jnp.asarray([m["seed"] for m in prepared.members], jnp.uint32)
        )
        weight_options = {"num_draws": config.weight.num_draws, "kinds": tuple(config.weight.noises), "how": how}
        xi = jnp.asarray(config.weight.xi, jnp.float32)
        weights = jax.jit(
            lambda k, e, x, tracked: ensemble_weight_sharpness(
                k, e, x, tracked, apply=apply, sigmas=xi, **weight_options
            )
        )
        stages["weight"] = lambda rows, x, tracked, label: saved(
            weights(member_keys, ensemble, x, tracked), ("weight_noise", "xi"), "weight_"
        )
    return stages
