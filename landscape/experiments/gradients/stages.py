"""The stages of a `gradients` run: gradients in every space, ascents that one classifier guides, that several do."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from landscape.data import Dataset
from landscape.experiments import descriptions, inputs, setting
from landscape.experiments.base import TRAINED, run_once
from landscape.experiments.gradients import OF_CLASSIFIERS, OTHERS, maps, spaces
from landscape.experiments.gradients.ascents import ascents, course_class, guided, pictured_starts, targets
from landscape.experiments.gradients.spaces import STARTS, AscentSpace
from landscape.experiments.setting import Examples, Setting
from landscape.objectives import GUIDES
from landscape.runs import Run

NUM_CLASSES_SHOWN = 10
SCHEMA = OF_CLASSIFIERS | OTHERS


def compute(config, run: Run) -> xr.Dataset:
    """Every array of a run; what is on disk is not computed again.

    Each kind of training of a sweep has guides and held-out classifiers of its own; pictures are those of the first.
    """
    prepared = setting.prepare(config, run, partial(check, config))  # all classifiers are trained together
    test = setting.shuffled(prepared.dataset, "test", config.num_examples, config.seed)
    test = inputs.of_population(config, prepared, test)
    mapped, alone, together = (
        Examples(*(part[:count] for part in test))
        for count in (config.maps.num_examples, config.ascent.num_starts, config.guided.num_starts)
    )
    classes = shown_classes(len(prepared.dataset.class_names), mapped.label[: config.maps.num_shown])
    images = (mapped, alone, together, classes)
    kinds = setting.by_training(config)
    parts = [_of_training(own, run, f".{k}" if k else "", *images) for k, own in enumerate(kinds)]
    options = {"data_vars": [*OF_CLASSIFIERS], "coords": [*TRAINED], "compat": "override", "join": "override"}
    data = xr.concat(parts, "training", **options)
    data["label"], data["guided_target"] = (
        ("example", mapped.label),
        ("guided_example", targets(config, prepared, together)),
    )
    data["course_class"] = course_class(prepared, alone)
    data = data.assign_coords(coordinates(config, prepared, mapped, alone, together, classes))
    return data.assign_attrs(maps_value=config.maps.value, ascent_value=config.ascent.value)


def check(config, dataset: Dataset) -> None:
    """Refuses training images that autoencoders, their coordinates or hidden layers cannot be fitted to."""
    sizes = ((family, descriptions.size_of(config, family, config.autoencoder.dim)) for family in config.families)
    descriptions.check_images(config, dataset, sizes)
    if config.ascent.layers:
        descriptions.check_hidden(config, dataset)


def _of_training(
    config, run: Run, suffix: str, mapped: Examples, alone: Examples, together: Examples, classes: np.ndarray
) -> xr.Dataset:
    """The arrays of classifiers that are all trained alike; their stages are named with the suffix."""
    prepared = setting.prepare(config, run)
    layer = spaces.images(config, prepared)
    pixels = spaces.pixels(config, prepared, layer)
    of_images = [pixels, *(spaces.manifold(config, run, prepared, layer, name) for name in config.families)]
    layers = [spaces.hidden(config, prepared, name) for name in config.ascent.layers]
    distance = config.guided.distance * pixels.size

    def stage(name: str, space: AscentSpace, work: Callable[[], Mapping[str, Any]]) -> xr.Dataset:
        """The results of a stage in one space, whose arrays begin with that dim."""
        with_space = lambda: {k: np.asarray(v)[None] for k, v in work().items()}  # noqa: E731
        found = run_once(run, f"{name}.{space.name}{suffix}", with_space, SCHEMA)
        return found.assign_coords(space=[space.name]).assign(kind_of_space=("space", [space.kind]))

    parts = []
    for space, points in [*((one, layer) for one in of_images), *layers]:
        found = []
        if space.kind != "layer":
            gradients = maps.in_pixels if space is pixels else maps.on_manifold
            found.append(stage("maps", space, partial(gradients, config, prepared, space, mapped, classes)))
        found.append(stage("ascent", space, partial(ascents, config, prepared, space, points, alone, classes)))
        if space in of_images[:2]:
            found.append(stage("guided", space, partial(guided, config, prepared, space, layer, together, distance)))
        parts.append(xr.merge(found, join="exact", compat="override"))
    data = xr.concat(parts, "space", data_vars="all", combine_attrs="override")
    smooth = partial(maps.on_images, config, prepared, mapped, classes)
    data = data.merge(run_once(run, f"smooth{suffix}", smooth, SCHEMA)).assign(guided_distance=np.float32(distance))
    member = setting.coordinates(prepared)
    return data.assign_coords({name: member[name][1][0] for name in TRAINED})


def coordinates(config, prepared: Setting, mapped: Examples, alone: Examples, together: Examples, classes) -> dict:
    """All but those of `space` and `training`."""
    own = setting.coordinates(prepared)
    found = {name: (dims, own[name][1][: config.num_alone]) for name, (dims, _) in own.items() if dims == "member"}
    found = {name: one for name, one in found.items() if name not in TRAINED} | {"class": own["class"]}
    steps = config.ascent.num_steps
    about = {
        "sigma": config.maps.sigmas,
        "step_length": config.maps.steps,
        "start": STARTS,
        "guides": config.guided.sizes,
        "objective": tuple(GUIDES),
        "example": mapped.ids,
        "ascent_example": alone.ids,
        "guided_example": together.ids,
        "step": range(steps),
        "guided_step": range(config.guided.num_steps + 1),
        "frame": np.linspace(0, steps, config.ascent.num_frames + 1).astype(int),
        "shown": mapped.ids[: config.maps.num_shown],
        "shown_class": classes,
        "guided_shown": together.ids[pictured_starts(targets(config, prepared, together))],
    }
    return found | {name: (name, np.asarray(values)) for name, values in about.items()}


def shown_classes(num_classes: int, always: np.ndarray) -> np.ndarray:
    """At most ten classes, rising: those of the shown images, then the first ones."""
    wanted = list(dict.fromkeys([*always.tolist(), *range(num_classes)]))
    return np.sort(wanted[:NUM_CLASSES_SHOWN])
