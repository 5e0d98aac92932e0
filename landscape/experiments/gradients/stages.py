"""The stages of a `gradients` run: gradients in every space, ascents that one classifier guides, that several do."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from landscape.experiments import setting
from landscape.experiments.base import run_once
from landscape.experiments.gradients import EXPERIMENT, maps, spaces
from landscape.experiments.gradients.ascents import ascents, course_class, guided, pictured_starts, targets
from landscape.experiments.gradients.spaces import STARTS, AscentSpace
from landscape.experiments.setting import Examples, Setting
from landscape.objectives import GUIDES
from landscape.runs import Run

NUM_CLASSES_SHOWN = 10
Work = Callable[[], Mapping[str, Any]]


def compute(config, run: Run) -> xr.Dataset:
    """Every array of a run; what is on disk is not computed again."""
    prepared = setting.prepare(config, run)
    test = setting.examples(prepared.dataset, "test", config.num_examples, config.seed)
    # In random order, since a folder's come class by class: what is shown are the first ones.
    order = np.random.default_rng(config.seed).permutation(len(test.label))
    mapped, alone, together = (
        Examples(*(part[order[:count]] for part in test))
        for count in (config.maps.num_examples, config.ascent.num_starts, config.guided.num_starts)
    )
    classes = shown_classes(len(prepared.dataset.class_names), mapped.label[: config.maps.num_shown])
    layer = spaces.images(config, prepared)
    pixels = spaces.pixels(config, prepared, layer)
    of_images = [pixels, *(spaces.manifold(config, run, prepared, layer, name) for name in config.families)]
    layers = [spaces.hidden(config, prepared, name) for name in config.ascent.layers]
    distance = config.guided.distance * pixels.size

    def stage(name: str, space: AscentSpace, work: Work) -> xr.Dataset:
        """The results of a stage in one space, whose arrays begin with that dim."""
        with_space = lambda: {k: np.asarray(v)[None] for k, v in work().items()}  # noqa: E731
        found = run_once(run, f"{name}.{space.name}", with_space, EXPERIMENT.schema)
        return found.assign_coords(space=[space.name])

    parts = []
    for space, bank in [*((one, layer) for one in of_images), *layers]:
        found = []
        if space.kind != "layer":
            gradients = maps.in_pixels if space is pixels else maps.on_manifold
            found.append(stage("maps", space, partial(gradients, config, prepared, space, mapped, classes)))
        found.append(stage("ascent", space, partial(ascents, config, prepared, space, bank, alone, classes)))
        if space in of_images[:2]:
            found.append(stage("guided", space, partial(guided, config, prepared, space, layer, together, distance)))
        parts.append(xr.merge(found, join="exact", compat="override"))
    data = xr.concat(parts, "space", data_vars="all", combine_attrs="override")
    smooth = lambda: maps.smoothed(config, prepared, mapped, classes)  # noqa: E731
    clean = lambda: {"prediction": maps.predictions(config, prepared, mapped), "label": mapped.label}  # noqa: E731
    for name, work in (("smooth", smooth), ("predictions", clean)):
        data = data.merge(run_once(run, name, work, EXPERIMENT.schema))
    data["kind_of_space"] = ("space", [space.kind for space in (*of_images, *(one for one, _ in layers))])
    data["guided_target"] = ("guided_example", targets(config, prepared, together))
    data["guided_distance"], data["course_class"] = np.float32(distance), course_class(prepared, alone)
    data = data.assign_coords(coordinates(config, prepared, mapped, alone, together, classes))
    return data.assign_attrs(maps_value=config.maps.value, ascent_value=config.ascent.value)


def coordinates(config, prepared: Setting, mapped: Examples, alone: Examples, together: Examples, classes) -> dict:
    """All but that of `space`."""
    own = setting.coordinates(prepared)
    found = {k: (dims, v[: config.num_alone] if dims == "member" else v) for k, (dims, v) in own.items()}
    steps = config.ascent.num_steps
    about = {
        "class_value": maps.VALUES,
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
