"""Classifiers from outside: any JAX function as a `Classifier`, Flax modules, and functions named in a config.

    --config.model.name=my_model.py:build      build(num_classes=, image_shape=) -> one of these

    of(apply, init)                            Equinox, Haiku, by hand: apply(weights, x [N,H,W,C]) -> logits [N,K]
    a Flax linen module                        is taken as it is
    from_nnx(lambda rngs: Net(rngs=rngs))      a Flax nnx module

Pixels come in [0, 1], so that a classifier normalises them itself.
"""

import contextlib
import functools
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import flax.linen as nn
import jax
from jaxtyping import Array

from landscape.files import UserError, checksum
from landscape.models.classifiers import Classifier
from landscape.types import Images, Logits, Variables


def of(
    apply: Callable[[Any, Images], Logits],
    init: Callable[[jax.Array, Images], Any] | None = None,
    train_apply: Callable[[Any, Images], tuple[Logits, Any]] | None = None,
    *,
    layers: Sequence[str] = (),
    features: Callable[[Any, Images, str], Array] | None = None,
    head: Callable[[Any, Array, str], Logits] | None = None,
) -> Classifier:
    """A classifier made of a JAX function; weights are any pytree of arrays, and all of them are trained.

    Args:
      apply: apply(weights, x [N,H,W,C] in [0, 1]) -> logits [N,K], row by row.
      init: init(key, x) -> weights; without it members come of files, under the files' own names (those with / as
        nested dicts).
      train_apply: as apply, where training differs from it.
      layers: names of hidden layers in order, where there are any; features(weights, x, layer) -> h and
        head(weights, h, layer) -> logits are those of each.

    Its variables are {"params": weights}.
    """

    def inner(function):
        return None if function is None else lambda variables, *args: function(variables["params"], *args)

    return complete(
        Classifier(
            None if init is None else lambda key, x: {"params": init(key, x)},
            inner(apply),
            None if train_apply is None else lambda variables, x: (train_apply(variables["params"], x), {}),
            inner(features),
            inner(head),
            ("image", *layers),
            None,
        )
    )


def complete(classifier: Classifier) -> Classifier:
    """What a classifier lacks, as far as it follows from `apply`: training as inference, the pixels as a layer."""
    _, apply, train_apply, features, head, layers, *_ = classifier
    layers = ("image", *(layer for layer in layers or () if layer != "image"))
    if len(layers) > 1 and (features is None or head is None):
        raise UserError(
            f"layers {', '.join(layers[1:])}: expected features and head with them; give both, or no layers"
        )

    def cut(variables: Variables, x: Images, layer: str) -> Array:
        return x if layer == "image" else features(variables, x, layer)

    def rest(variables: Variables, h: Array, layer: str) -> Logits:
        return apply(variables, h) if layer == "image" else head(variables, h, layer)

    train_apply = train_apply or (lambda variables, x: (apply(variables, x), {}))
    return classifier._replace(train_apply=train_apply, features=cut, head=rest, layers=layers)


def from_linen(module: nn.Module) -> Classifier:
    """A Flax linen module as it is: `train=` is given if its __call__ has it; batch_stats change in training."""
    has_mode = "train" in inspect.signature(type(module).__call__).parameters
    inference, training = ({"train": train} if has_mode else {} for train in (False, True))

    def train_apply(variables: Variables, x: Images) -> tuple[Logits, Variables]:
        logits, state = module.apply(variables, x, mutable=["batch_stats"], **training)
        return logits, state.get("batch_stats", {})

    init, apply = (functools.partial(function, **inference) for function in (module.init, module.apply))
    return complete(Classifier(init, apply, train_apply, None, None, ("image",), None))


def from_nnx(make: Callable[[Any], Any]) -> Classifier:
    """A Flax nnx module, split and merged: make(rngs) -> module, such as `lambda rngs: Net(rngs=rngs)`.

    Inference is in evaluation mode. In training, batch norm takes the batch's statistics and dropout stays off, as
    members' training has no random numbers for it.
    """
    from flax import nnx

    def parts(module):
        return nnx.split(module, nnx.Param, nnx.BatchStat, ...)  # graph, params, statistics, rest

    @functools.cache
    def template():
        with jax.ensure_compile_time_eval():
            return parts(make(nnx.Rngs(0)))

    def init(key: jax.Array, x: Images) -> Variables:
        _, params, statistics, _ = parts(make(nnx.Rngs(key)))
        pure = {"params": nnx.to_pure_dict(params), "batch_stats": nnx.to_pure_dict(statistics)}
        return {name: tree for name, tree in pure.items() if tree}

    def merged(variables):
        graph, params, statistics, rest = jax.tree.map(lambda leaf: leaf, template())
        nnx.replace_by_pure_dict(params, variables["params"])
        nnx.replace_by_pure_dict(statistics, variables.get("batch_stats", {}))
        module = nnx.merge(graph, params, statistics, rest)
        module.eval()
        return module

    def apply(variables: Variables, x: Images) -> Logits:
        return merged(variables)(x)

    def train_apply(variables: Variables, x: Images) -> tuple[Logits, Variables]:
        module = merged(variables)
        module.set_attributes(use_running_average=False, raise_if_not_found=False)
        logits = module(x)
        return logits, nnx.to_pure_dict(parts(module)[2])

    return complete(Classifier(init, apply, train_apply, None, None, ("image",), None))


def load(name: str, *, num_classes: int, image_shape: Sequence[int]) -> Classifier:
    """The classifier that FILE.py:FUNCTION or module:FUNCTION builds for K classes of images [H, W, C].

    Raises:
      UserError: no such function, an error inside it, or a result that is no classifier.
    """
    place, _, function = name.rpartition(":")
    with _beside(place):
        with named(f"{name}: importing {place} fails", "expected a module; run it by itself"):
            module = _module(place)
        build = getattr(module, function, None)
        if not callable(build):
            raise UserError(f"{name}: {place} has no function {function!r}; expected build(num_classes=, image_shape=)")
        call = f"{function}(num_classes={num_classes}, image_shape={tuple(image_shape)})"
        with named(f"{name}: {call} fails", "expected a classifier; call it by itself"):
            found = build(num_classes=num_classes, image_shape=tuple(image_shape))
    if isinstance(found, Classifier):
        return complete(found)
    if isinstance(found, nn.Module):
        return from_linen(found)
    raise UserError(
        f"{name}: {function} gives {type(found).__name__}; expected a Classifier or a Flax linen module; others become "
        "one by landscape.models.external.of(apply, init) or from_nnx(lambda rngs: Net(rngs=rngs))"
    )


@contextlib.contextmanager
def named(what: str, remedy: str) -> Iterator[None]:
    """Whatever somebody's code raises in the block becomes a UserError of one line: WHAT with ERROR; REMEDY."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{what} with {type(error).__name__} ({reason}); {remedy}") from None


def _module(place: str) -> ModuleType:
    """A module by its name, or by its file."""
    if not place.endswith(".py"):
        return importlib.import_module(place)
    path = Path(place).expanduser().resolve()
    name = f"{path.stem}_{checksum(str(path))[:8]}"  # two files of one name are two modules
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def _beside(place: str) -> Iterator[None]:
    """While a file is imported and builds, the modules in its folder come first, and they are forgotten afterwards:
    another file may have others of the same names beside it."""
    if not place.endswith(".py"):
        yield
        return
    folder, before = str(Path(place).expanduser().resolve().parent), {*sys.modules}
    sys.path.insert(0, folder)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(folder)
        for name in {*sys.modules} - before:
            file = getattr(sys.modules[name], "__file__", None)
            top = name.split(".")[0]
            if file and str(Path(file).resolve()) in (f"{folder}/{top}.py", f"{folder}/{top}/__init__.py"):
                for inner in [one for one in sys.modules if one == top or one.startswith(f"{top}.")]:
                    del sys.modules[inner]
