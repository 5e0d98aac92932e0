"""Which pixels, and which directions of a manifold, raise each class; where does ascent lead, guided by how many?

Stages: classifiers -> autoencoders -> gradients in pixels and on each manifold -> ascents in every place -> ascents
guided by several -> estimates -> report.
"""

import numpy as np

from landscape import runs
from landscape.experiments import gradient_ascents as ascents
from landscape.experiments import gradient_estimates as estimates
from landscape.experiments import gradient_guided as guided
from landscape.experiments import gradient_maps as maps
from landscape.experiments import gradient_places as places
from landscape.experiments import setting
from landscape.objectives import GUIDES
from landscape.types import Arrays

ABOUT = {  # first part of an array's name: (units, long_name)
    "label": ("1", "true class"),
    "prediction": ("1", "class that each classifier of the maps predicts"),
    "gradient_norm": ("per pixel or unit of the latent", "L2 norm of the gradient of a class's value"),
    "gradient_cosine": ("1", "cosine of two classifiers' gradients (manifolds: of their push-forwards, in pixels)"),
    "smooth_norm": ("per pixel", "L2 norm of SmoothGrad"),
    "smooth_error": ("1", "standard error of SmoothGrad over its trials, as a share of its length"),
    "smooth_cosine": ("1", "cosine of two classifiers' SmoothGrad"),
    "smooth_kept": ("1", "cosine of SmoothGrad with the plain gradient"),
    "pushed_to_pixels": ("1", "cosine of the push-forward of the latent's gradient with the gradient of pixels"),
    "pushed_to_step": ("1", "cosine of the push-forward with the finite difference of a step"),
    "ascent_value": ("as the objective", "objective before every step of an ascent"),
    "ascent_grad_norm": ("as the objective per unit of the place", "L2 norm of its gradient before every step"),
    "ascent_probability": ("1", "probability of the class climbed, by the guide, at the end"),
    "ascent_held_out": ("1", "the same by the classifiers that guide nothing, their mean"),
    "ascent_moved": ("pixels, or unit of the layer", "L2 distance of the end from the start"),
    "ascent_nearest": ("pixels, or unit of the layer", "L2 distance of the end from the nearest training image"),
    "guided_held_out": ("1", "probability of the class climbed, by each classifier that guides nothing"),
    "guided_own": ("1", "mean probability of the class climbed by the guides"),
    "guided_moved": ("pixels", "L2 distance of the end from the start"),
    "guided_distance": ("pixels", "distance from the start at which objectives are compared"),
    "guided_far": ("1", "share of blocks of guides that go as far as that"),
    "guided_held_out_far": ("1", "probability of the class climbed, by each judge, there; 0 of blocks that do not"),
    "guided_by_block": ("1", "judges' mean probability of the class climbed at the end, by block of guides"),
    "guided_nearest": ("pixels", "L2 distance of the end from the nearest training image"),
    "guided_error": ("pixels^2", "mean squared reconstruction error of the end by an autoencoder of another seed"),
    "guided_margin": ("logits", "margin of the judge's own prediction at the end"),
    "guided_margin_drop": ("logits", "mean fall of that margin under noise"),
    "guided_target": ("1", "class that a start's ascent climbs"),
    "picture": ("1", "test images, in [0, 1]"),
    "picture_gradient_member": ("per pixel", "gradient of each class, each classifier"),
    "latent_gradient": ("per unit of the latent", "gradient of each class with respect to the latent"),
    "point_ascent": ("unit of the place", "recorded points of ascents, start first, first classifier"),
    "picture_gradient": ("per pixel", "gradient of each class, mean over classifiers"),
    "picture_smooth": ("per pixel", "SmoothGrad of each class, mean over classifiers"),
    "picture_pushed": ("pixels nats per squared unit of the latent", "push-forward of the mean gradient"),
    "picture_difference": ("pixels per unit of the latent", "finite difference of the longest step along it"),
    "picture_decoded": ("1", "decoded embeddings of test images"),
    "picture_ascent": ("1", "recorded images of ascents, start first; in hidden layers the nearest training image"),
    "picture_guided": ("1", "ends of guided ascents, first block of guides"),
    "picture_guided_start": ("1", "what guided ascents start from"),
}
COORDS = {
    "value": ("1", "what of a class is differentiated"),
    "sigma": ("pixels", "standard deviation of the noise of SmoothGrad"),
    "step": ("1", "length of a step in the latent, typical distances of a latent from their mean"),
    "kind": ("1", "what an ascent starts from"),
    "size": ("1", "number of classifiers that guide together"),
    "guide": ("1", "how several classifiers guide"),
    "t": ("1", "steps taken before"),
    "guided_t": ("1", "steps taken before"),
    "frame": ("1", "steps taken before a recorded image"),
    "family": ("1", "family of autoencoders"),
    "layer": ("1", "hidden layer that is climbed in"),
    "class": ("1", "class"),
    "example": ("1", "id of the test image"),
    "shown": ("1", "id of the test image that is shown"),
    "start": ("1", "id of the image that a start is, or shares its random numbers with"),
    "guided_start": ("1", "the same of ascents guided by several"),
}


def run(config, run: runs.Run) -> None:
    """Runs every stage that is not on disk yet and writes arrays.nc and summary.json."""
    prepared = setting.prepare(config, run)
    test = setting.examples(prepared.dataset, "test", config.num_examples, config.seed)
    # In random order, since a folder's come class by class: what is shown are the first ones.
    order = np.random.default_rng(config.seed).permutation(len(test.label))
    test = setting.Examples(*(part[order] for part in test))
    mapped, climbed, together = (
        setting.Examples(*(part[:count] for part in test))
        for count in (config.maps.num_examples, config.ascent.num_starts, config.guided.num_starts)
    )
    layer, families = places.manifolds(config, run, prepared, test)
    image = places.pixels(config, prepared, layer)
    rooms = [image, *(places.manifold(config, prepared, family) for family in families)]
    arrays: Arrays = {
        "label": (("example",), mapped.label),
        "picture": (("shown", *maps.PIXEL), mapped.x[: config.maps.num_shown]),
    }
    arrays |= maps.predictions(config, run, prepared, mapped)
    arrays |= maps.on_pixels(config, run, prepared, image, mapped)
    for room in rooms[1:]:
        arrays |= maps.on_manifold(config, run, prepared, room, mapped)
    for room in rooms:
        arrays |= ascents.ascents(config, run, prepared, room, layer, climbed)
    for name in config.ascent.layers:
        arrays |= ascents.ascents(config, run, prepared, *places.hidden(config, prepared, name), climbed)
    far = config.guided.distance * image.size
    for room in rooms[:2]:
        arrays |= guided.guided(config, run, prepared, room, layer, families[0], together, far)
    arrays["guided_distance"] = ((), np.asarray(far, np.float32))
    coords: Arrays = {
        "value": (("value",), np.asarray(maps.VALUES)),
        "sigma": (("sigma",), np.asarray(config.maps.sigmas)),
        "step": (("step",), np.asarray(config.maps.steps)),
        "kind": (("kind",), np.asarray(places.KINDS)),
        "size": (("size",), np.asarray(config.guided.sizes)),
        "guide": (("guide",), np.asarray(GUIDES)),
        "family": (("family",), np.asarray(config.families)),
        "class": (("class",), np.asarray(prepared.dataset.class_names)),
        "example": (("example",), mapped.ids),
        "start": (("start",), climbed.ids),
        "guided_start": (("guided_start",), together.ids),
        "t": (("t",), np.arange(config.ascent.num_steps)),
        "guided_t": (("guided_t",), np.arange(config.guided.num_steps + 1)),
        "frame": (("frame",), np.linspace(0, config.ascent.num_steps, config.ascent.num_frames + 1).astype(int)),
        "shown": (("shown",), mapped.ids[: config.maps.num_shown]),
    }
    if config.ascent.layers:
        coords["layer"] = (("layer",), np.asarray(config.ascent.layers))
    attrs = {name: dict(zip(("units", "long_name"), ABOUT[name.split(".")[0]], strict=True)) for name in arrays}
    attrs |= {name: dict(zip(("units", "long_name"), COORDS[name], strict=True)) for name in coords}
    found, checks = estimates.estimate(config, arrays)
    runs.write_arrays(run, arrays, coords, attrs)
    runs.write_summary(run, headline=estimates.headline(config, found), estimates=found, checks=checks)
