"""All named attacks in one dict, called alike, and the best of several.

    found = run("apgd-ce", keys, variables, x, label, apply=apply, norm="linf", epsilon=0.1, num_steps=100)

Recipes of the kind "ball" stay within epsilon of the image and spend `num_steps`; those of the kind "latent" stay
within epsilon of its encoding, in units of the latent, and return what is decoded there; those of the kind
"minimum_norm" have no ball: they look for the nearest image that is not given the class.
"""

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
from jaxtyping import Array, ArrayLike, Float

from landscape import arguments, objectives
from landscape.attacks import minimum_norm, projected, square, transferable
from landscape.files import UserError
from landscape.presets.names import did_you_mean
from landscape.search import better, search
from landscape.spaces import fold
from landscape.types import Apply, Images, Labels, Variables

STEP = 2.5  # times epsilon over the number of steps: of the recipes with one step size (Madry et al. 2018)


BOTH = ("linf", "l2")
STEPS, STEPPED = ("num_steps",), ("step_size", "num_steps")
RANDOM_STEPS, RANDOM_STEPPED = (*STEPS, "key"), (*STEPPED, "key")  # of a classifier that may be drawn at random


class Recipe(NamedTuple):
    """A named attack.

    fn: (keys [N], variables, x, label, *, apply, norm, ...) -> images.
    source: where it is from.
    takes: further arguments: "step_size", "num_steps", "key" (of random draws that all examples share).
    kind: "ball", "latent" or "minimum_norm". norms: of the perturbation, those it is for.
    needs: arguments that the caller has to give: "sampler" (variables -> a random classifier, see
      `landscape.samplers`), "space" (of an autoencoder, see `spaces.latent`).
    """

    fn: Callable[..., Images]
    source: str
    takes: tuple[str, ...]
    kind: str = "ball"
    norms: tuple[str, ...] = BOTH
    needs: tuple[str, ...] = ()


CROCE = "Croce & Hein 2020, arXiv:2003.01690"
NARROWED = "Gowal et al. 2019, arXiv:1910.09338; Jamieson & Talwalkar 2016, arXiv:1502.07943"
RECIPES = {
    "fgsm": Recipe(projected.fgsm, "Goodfellow et al. 2015, arXiv:1412.6572", ("key",)),
    "bim": Recipe(projected.bim, "Kurakin et al. 2017, arXiv:1607.02533", RANDOM_STEPPED),
    "pgd": Recipe(projected.pgd, "Madry et al. 2018, arXiv:1706.06083", RANDOM_STEPPED),
    "multi-targeted": Recipe(projected.multi_targeted, NARROWED, RANDOM_STEPS),
    "mi-fgsm": Recipe(projected.mi_fgsm, "Dong et al. 2018, arXiv:1710.06081", RANDOM_STEPPED),
    "apgd-ce": Recipe(projected.apgd, CROCE, RANDOM_STEPS),
    "apgd-dlr": Recipe(partial(projected.apgd, value_fn=objectives.scaled_margin), CROCE, RANDOM_STEPS),
    "apgd-dlr-targeted": Recipe(projected.apgd_targeted, CROCE, RANDOM_STEPS),
    "eot": Recipe(projected.on_the_mean, "Athalye et al. 2018, arXiv:1802.00420", RANDOM_STEPPED, needs=("sampler",)),
    "square": Recipe(square.square, "Andriushchenko et al. 2020, arXiv:1912.00049", STEPS),
    "di-fgsm": Recipe(transferable.di_fgsm, "Xie et al. 2019, arXiv:1803.06978", RANDOM_STEPPED),
    # Their sources define them in L-inf: radius and step are those of single pixels.
    "rap": Recipe(transferable.rap, "Qin et al. 2022, arXiv:2210.05968", STEPPED, norms=("linf",)),
    "pgn": Recipe(transferable.pgn, "Ge et al. 2023, arXiv:2306.05225", RANDOM_STEPPED, norms=("linf",)),
    "on-manifold": Recipe(
        projected.on_manifold, "Stutz et al. 2019, arXiv:1812.00740", STEPPED, "latent", ("l2",), ("space",)
    ),
    "deepfool": Recipe(minimum_norm.deepfool, "Moosavi-Dezfooli et al. 2016, arXiv:1511.04599", STEPS, "minimum_norm"),
    "cw": Recipe(
        minimum_norm.carlini_wagner, "Carlini & Wagner 2017, arXiv:1608.04644", STEPS, "minimum_norm", ("l2",)
    ),
    "fmn": Recipe(minimum_norm.fmn, "Pintor et al. 2021, arXiv:2102.12827", STEPS, "minimum_norm"),
}
STRONG = ("apgd-ce", "apgd-dlr-targeted", "square")  # what robustness is reported by
FEWEST = {"apgd-dlr": 3, "apgd-dlr-targeted": 4}  # classes that a recipe's loss needs


def strong(num_classes: int) -> tuple[str, ...]:
    """STRONG without the recipes that need more classes."""
    return tuple(name for name in STRONG if num_classes >= FEWEST.get(name, 2))


def words() -> list[str]:
    """Names of the arguments that attacks take by name, whichever attack it is: many pass them on to one another."""
    attacks = (run, search, projected.attack, projected.adaptive, *(recipe.fn for recipe in RECIPES.values()))
    given = [one for attack in attacks for one in inspect.signature(attack).parameters.values()]
    return sorted({one.name for one in given if one.kind is one.KEYWORD_ONLY})


def run(
    name: str,
    keys: jax.Array,
    variables: Variables,
    x: Images,
    label: Labels,
    *,
    apply: Apply,
    norm: str,
    epsilon: ArrayLike | None = None,
    num_steps: int = 100,
    key: jax.Array | None = None,
    **more,
) -> Float[Array, "N H W C"]:
    """What the recipe `name` finds, images in [0, 1].

    Args:
      keys: one an example. key: of the draws that all examples share; `jax.random.key(0)` where None.
      epsilon: radius of recipes of the kinds "ball" (pixels) and "latent" (units of the latent).
      num_steps: of those that take steps; the step size is 2.5 epsilon / num_steps.
      more: what the recipe needs, and what else it takes.

    Raises:
      ValueError: an unknown name, a norm that the recipe is not for, an argument that no attack has, a ball without
        epsilon, something needed left out, or arguments that `landscape.arguments` refuses.
    """
    recipe = RECIPES.get(name)
    if recipe is None:
        raise ValueError(f"attack={name!r}: expected one of {', '.join(RECIPES)}; try pgd")
    if norm not in recipe.norms:
        raise ValueError(f"norm={norm!r} with {name}: expected {' or '.join(recipe.norms)}")
    known = words() if more else ()
    for word in more:
        if word not in known:
            hint = did_you_mean(word, known) or "; leave it out"
            raise UserError(f"{name} with {word}=: expected epsilon, num_steps, key or what the attack takes{hint}")
    within = recipe.kind != "minimum_norm"
    if (epsilon is None) == within:
        raise ValueError(f"epsilon={epsilon} with {name}: expected a radius for attacks in a ball, and none for others")
    missing = [needed for needed in recipe.needs if needed not in more]
    if missing:
        raise ValueError(f"{name} without {missing[0]}: expected one; give {missing[0]}=, see landscape.{missing[0]}s")
    arguments.check(variables, x, label, apply=apply, keys=keys)
    if recipe.kind == "ball":
        arguments.check_radius(epsilon, norm, x)
    options = {"apply": apply, "norm": norm} | ({"epsilon": epsilon} if within else {})
    given = {"num_steps": num_steps, "key": jax.random.key(0) if key is None else key}
    if "step_size" in recipe.takes:
        given["step_size"] = STEP * epsilon / num_steps
    return recipe.fn(keys, variables, x, label, **options, **{n: given[n] for n in recipe.takes}, **more)


def best_of(
    names: Sequence[str], keys: jax.Array, variables: Variables, x: Images, label: Labels, *, apply: Apply, **options
) -> Float[Array, "N H W C"]:
    """Of several recipes of the kind "ball", for each example the result with the smallest margin of the class.

    Recipe i draws from fold_in of the keys with i. `options` as for `run`.
    """
    best = (x, -objectives.margin(apply(variables, x), label))
    for i, name in enumerate(names):
        own = fold(keys, i)
        z = run(name, own, variables, x, label, apply=apply, **options)
        best = better(best, (z, -objectives.margin(apply(variables, z), label)))
    return best[0]
