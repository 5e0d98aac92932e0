"""The inputs that are compared: clean images and what searches make of them, with the latents of the manifold's."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import xarray as xr
from jaxtyping import Array, Bool, Float, Int

from landscape import objectives, runs, spaces
from landscape import search as inputs
from landscape.attacks import projected
from landscape.attacks.projected import Budget
from landscape.ensembles import Rows, map_members
from landscape.experiments.base import Stage, run_stage
from landscape.experiments.descriptions import Description, manifold
from landscape.experiments.neighbors import COMPUTED
from landscape.experiments.neighbors.config import populations_of
from landscape.experiments.neighbors.representations import Layers, Reference
from landscape.experiments.setting import Setting, example_keys
from landscape.models.autoencoders import Autoencoder
from landscape.populations import CLEAN, augmented
from landscape.samplers import fixed
from landscape.types import Apply, Images, Labels, Values, Variables

CHUNK_PIXELS = 64 * 784  # of a chunk of examples
LEAD = 1.0  # logits by which the attack that knows the detector keeps its class ahead; more is worth nothing to it
ADAPTIVE = "adaptive"


def inputs_of(config) -> tuple[str, ...]:
    """The inputs of a run; `clean` ones stand for two populations."""
    return ("clean", *populations_of(config)[len(CLEAN) :])


def search(
    config,
    run: runs.Run,
    prepared: Setting,
    layers: Layers,
    reference: Reference,
    described: Description,
    images: xr.Dataset,
) -> xr.Dataset:
    """The inputs of every member, [member, input, example, ...], and `latent`, where the manifold's search went."""
    classifier, budget = prepared.classifier, Budget(**{f: config.search[f] for f in FIELDS})
    adaptive = {"weight": config.adaptive.weight, "num_steps": config.adaptive.num_steps}

    def member(variables, keys, x, label, autoencoder, radius, known, known_label):
        made = _made(keys, variables, x, label, apply=classifier.apply, budget=budget)
        latent, decoded = on_manifold(
            described.autoencoder, autoencoder, variables, x, label, classifier.apply, radius, config.manifold.num_steps
        )
        made["manifold"] = decoded[1]
        if config.adaptive.use:
            about = {"layers": layers, "budget": budget, **adaptive}
            made[ADAPTIVE] = evading(keys, variables, x, label, made["adversarial"], known, known_label, **about)
        if "augmented" in config.populations:
            made["augmented"] = augmented(variables, x, config.augmented.epsilon, apply=classifier.apply)
        right = jnp.argmax(classifier.apply(variables, decoded[0]), axis=-1) == label
        every = [made[name] for name in inputs_of(config)]
        return {
            "inputs": jnp.stack(every, axis=1),
            "delta": jnp.stack([spaces.LENGTH[budget.norm](one - x) for one in every], axis=1),
            "latent": jnp.moveaxis(latent.reshape(2, len(x), -1), 0, 1),
            "decoded_right": right,
        }

    def work(chunk, ensemble, **more) -> dict[str, Array]:
        keys = example_keys(config.seed, "search", chunk["example"])
        rows = tuple(map(Rows, (keys, chunk["x"], chunk["true_label"])))
        shared = tuple(more[name] for name in ("autoencoder", "radius", "known", "known_label"))
        found = map_members(member, ensemble, shared=(*rows, *shared), how=prepared.how)
        return {n: jnp.moveaxis(v, 2, 1) if n in ("inputs", "delta", "latent") else v for n, v in found.items()}

    autoencoder, radius = manifold(config, described, reference.images.x)
    shared = {"ensemble": prepared.ensemble, "autoencoder": autoencoder, "radius": radius}
    known = reference.images if config.adaptive.use else reference.images._replace(x=reference.images.x[:1])
    shared |= {"known": jnp.asarray(known.x), "known_label": jnp.asarray(known.label[: len(known.x)])}
    size = max(1, min(len(images.x), CHUNK_PIXELS // images.x[0].size))
    schema = COMPUTED | {"delta": COMPUTED["delta"]._replace(dims=("member", "input", "example"))}
    return run_stage(run, Stage("search", work, images[["x", "true_label"]], size, shared), schema)


FIELDS = ("norm", "epsilon", "step_size", "num_steps", "num_restarts")


def _made(keys, variables, x: Images, label: Labels, *, apply: Apply, budget: Budget) -> dict[str, Array]:
    """Clean, boosted and adversarial inputs, and noise of the adversarial perturbation's norm, of one member."""
    key_start, key_noise = (spaces.fold(keys, i) for i in range(2))
    full = {name: getattr(budget, name) for name in ("norm", "epsilon", "num_steps", "num_restarts")}
    attack = partial(projected.multi_targeted, key_start, variables, x, label, apply=apply, **full)
    # One program for both.
    adversarial, boosted = jax.lax.map(lambda toward: attack(toward_label=toward), jnp.array([False, True]))
    norm = budget.norm
    noise = projected.equal_norm_noise(key_noise, x, spaces.LENGTH[norm](adversarial - x), norm=norm)
    return {"clean": x, "boosted": boosted, "adversarial": adversarial, "noise": noise}


def on_manifold(
    autoencoder: Autoencoder,
    weights: Variables,
    variables: Variables,
    x: Images,
    label: Labels,
    apply: Apply,
    radius,
    num_steps: int,
) -> tuple[Array, Array]:
    """Latents [2, N, ...] where the search away from the label in the latent's L2 ball begins and ends, and the images
    [2, N, H, W, C] that they decode to.

    Source: Stutz et al. 2019, arXiv:1812.00740, with steps of steepest ascent.
    """
    decode = partial(autoencoder.decode, weights)
    space = spaces.latent(partial(autoencoder.encode, weights), lambda z: decode(autoencoder.project(weights, z)))
    start = space.encode(x)
    parts = {"objective": objectives.descend(apply, objectives.log_odds), "space": space, "sampler": fixed(variables)}
    steps = {"optimizer": inputs.normalized_steps(0.1 * radius), "epsilon": radius, "num_steps": num_steps}
    end = inputs.search(jax.random.key(0), start, label, **parts, **steps).z
    return jnp.stack([start, end]), jnp.stack([space.decode(start), space.decode(end)])


def evading(
    keys,
    variables: Variables,
    x: Images,
    label: Labels,
    adversarial: Images,
    known: Float[Array, "M H W C"],
    known_label: Int[Array, " M"],
    *,
    layers: Layers,
    budget: Budget,
    weight: float,
    num_steps: int,
) -> Images:
    """The attack that knows the detector: it keeps the class r that the adversarial input reached, and brings every
    layer nearer to training images of this class than to those of the true class c.

    It raises min(margin of r, LEAD) + weight * mean over layers of (s_c - s_r) / d, from the adversarial input and
    within the same ball. s_y = -d log mean_j exp(-||h - g_j||^2 / d) is the soft smallest squared distance of the
    representation h to those of GUIDES training images of class y, the nearest in pixels; d is the mean squared
    distance from these at the start.

    Source: after Sitawarin & Wagner 2019, arXiv:1903.08333, with fixed guides.
    """
    apply, starts = layers.classifier.apply, layers.through(variables, adversarial)
    reached = jnp.argmax(apply(variables, adversarial), axis=-1)
    aims = [
        _guides(layers, variables, adversarial, known, known_label[None, :] == y[:, None]) for y in (reached, label)
    ]
    scales = [
        0.5 * (_squares(h, a).mean(axis=1) + _squares(h, b).mean(axis=1)) for h, a, b in zip(starts, *aims, strict=True)
    ]

    def objective(variables, z, target):
        reached, aims, others, scales = target
        parts = zip(layers.through(variables, z), aims, others, scales, strict=True)
        nearer = [_soft_smallest(h, b, d) - _soft_smallest(h, a, d) for h, a, b, d in parts]
        lead = jnp.minimum(objectives.margin(apply(variables, z), reached), LEAD)
        return lead + weight * sum(nearer) / len(nearer)

    shrinking = optax.cosine_decay_schedule(0.5, num_steps)  # of the radius
    ball = {"norm": budget.norm, "epsilon": budget.epsilon, "step_size": lambda t: budget.epsilon * shrinking(t)}
    about = {"objective": objective, "start": adversarial, "num_steps": num_steps}
    return projected.attack(keys, variables, x, (reached, *aims, scales), **about, **ball)


GUIDES = 8  # training images of a class


def _guides(
    layers: Layers, variables: Variables, x: Images, known: Float[Array, "M H W C"], allowed: Bool[Array, "N M"]
) -> list[Float[Array, "N G D"]]:
    """Representations, at every layer, of the training images nearest to each input among those allowed."""
    rows, points = x.reshape(x.shape[0], -1), known.reshape(known.shape[0], -1)
    far = jnp.sum(jnp.square(points), axis=1)[None, :] - 2 * rows @ points.T
    index = jax.lax.top_k(jnp.where(allowed, -far, -jnp.inf), min(GUIDES, known.shape[0]))[1]
    seen = layers.through(variables, known[index.reshape(-1)])
    return [h.reshape(*index.shape, -1) for h in seen]


def _squares(h: Float[Array, "N ..."], guides: Float[Array, "N G D"]) -> Float[Array, "N G"]:
    """Squared distances of each point from its guides."""
    return jnp.sum(jnp.square(h.reshape(h.shape[0], 1, -1) - guides), axis=2)


def _soft_smallest(h: Float[Array, "N ..."], guides: Float[Array, "N G D"], scale: Values) -> Values:
    """Soft smallest squared distance from the guides, over the scale."""
    return -jax.nn.logsumexp(-_squares(h, guides) / jnp.maximum(scale, TINY)[:, None], axis=1)


TINY = 1e-12


def populations(names: tuple[str, ...], found: dict[str, np.ndarray], label: np.ndarray) -> dict[str, np.ndarray]:
    """Which examples belong to each population, name -> bool [member, example].

    Args:
      found: `prediction` [member, input, example] in the order of `names`, and `decoded_right` [member, example].
    """
    right = dict(zip(names, np.moveaxis(found["prediction"] == label, 1, 0), strict=True))
    was = right["clean"]
    masks = {"genuine": was, "natural_error": ~was, "boosted": was & right["boosted"], "noise": was}
    masks |= {"augmented": was} if "augmented" in right else {}
    masks |= {name: was & ~right[name] for name in ("adversarial", ADAPTIVE) if name in right}
    masks["manifold"] = was & found["decoded_right"] & ~right["manifold"]
    return masks
