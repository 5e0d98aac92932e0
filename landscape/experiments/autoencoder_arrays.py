"""Where everything that was measured of cells meets: pictures, and the named arrays that are saved."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from landscape import ensembles
from landscape.experiments.autoencoder_cells import IMAGE, Cell, Layer, sources
from landscape.experiments.autoencoder_measures import STEPS, prior_samples
from landscape.experiments.setting import Examples, Setting
from landscape.measures import neighbors
from landscape.training import autoencoder_members
from landscape.types import Arrays

SHOWN = 8  # test images that are pictured
OF_IMAGES = ("ssim", "judged", "rate_bits", "rate_mse")  # have rows for the image layer's cells alone
PER_LAYER = ("from_mean", "from_class_mean", "from_zero")  # do not depend on the cell

ABOUT = {  # name: (units, long_name)
    "label": ("1", "true class"),
    "original": ("1", "class that a classifier predicts on the image itself"),
    "mse": ("1", "mean squared error of the reconstruction, unit of the layer squared (pixels: [0, 1])"),
    "draw_mse": ("1", "the same, decoded from a draw of the posterior"),
    "from_mean": ("1", "mean squared distance from the training mean, unit of mse"),
    "from_class_mean": ("1", "mean squared distance from the training mean of the true class, unit of mse"),
    "from_zero": ("1", "mean square of the activations, unit of mse"),
    "kl": ("nats", "KL of the head's output when the reconstruction takes the place of the layer"),
    "prediction": ("1", "class predicted from the reconstruction by the member's own classifier"),
    "judged": ("1", "class predicted from the reconstructed image by every classifier"),
    "ssim": ("1", "structural similarity of image and reconstruction"),
    "latent_kl": ("nats", "KL of the posterior from the standard normal prior"),
    "nll": ("nats", "-log likelihood of the 8-bit image, latent drawn from the posterior"),
    "active_units": ("1", "dimensions of the latent that move with the image"),
    "effective_dimension": ("1", "participation ratio of the latent's variances"),
    "code_bits": ("bits", "length of an image's codes by the tables of training images, place by place"),
    "code_usage": ("1", "share of codes that occur"),
    "code_perplexity": ("1", "2^entropy of the code of a random place"),
    "code_bound": ("bits", "places times log2 of the number of codes"),
    "rate_bits": ("bits", "length of an image's uniformly quantised latent by the tables of training images"),
    "rate_mse": ("1", "mean squared error after that quantisation"),
    "frechet_floor": ("1", "Frechet distance of test from training images, over their variance"),
    "frechet_reconstruction": (
        "1",
        "Frechet distance of reconstructions from training images, over their variance, classifier features",
    ),
    "frechet_samples": (
        "1",
        "Frechet distance of prior samples from training images, over their variance, classifier features",
    ),
    "guide_confidence": ("1", "probability of the target class, classifier that guided the ascent"),
    "held_out_confidence": ("1", "probability of the target class, classifier that did not"),
    "held_out_success": ("1", "whether the classifier that did not guide predicts the target class"),
    "moved": ("pixels", "L2 distance from the start, images in [0, 1]"),
    "error_under_another": (
        "1",
        "mean squared error of the ascended image under another seed's autoencoders, mean over families",
    ),
    "held_out_along": ("1", "held_out_confidence at every step of the ascent, the decoded start first"),
    "moved_along": ("pixels", "moved at every step of the ascent, the decoded start first"),
    "nearest_training": ("pixels", "L2 distance to the nearest training image"),
    "target": ("1", "class that was climbed"),
    "train_loss": ("1", "mean training loss over the epoch, unit of the family's loss"),
    "validation_mse": ("1", "mean squared error on validation images, unit of the layer's points"),
    "picture": ("1", "test images, in [0, 1]"),
    "picture_cell": ("1", "their reconstructions by the first member"),
    "picture_samples": ("1", "images decoded from prior draws, first member"),
    "picture_use": ("1", "ascended images, first member"),
    "picture_start": ("1", "images that were climbed from"),
    "picture_neighbour": ("1", "training image nearest to the shown image in the layer, first member"),
    "picture_neighbour_cell": ("1", "training image nearest to the reconstruction in the layer, first member"),
    "cell": ("1", "layer, family and size"),
    "cell_layer": ("1", "layer that is described"),
    "cell_family": ("1", "family of the description"),
    "cell_size": ("1", "dimension of the latent; codes of vq and fsq; centres of kmeans"),
    "image_cell": ("1", "cell of the image layer"),
    "use_cell": ("1", "manifold on which a class was climbed"),
    "hidden_cell": ("1", "cell of a hidden layer whose reconstructions have neighbours"),
    "sample_cell": ("1", "cell with a prior"),
    "layer": ("1", "layer of the classifier, the pixels first"),
    "hidden_layer": ("1", "hidden layer of the classifier"),
    "judge": ("1", "classifier"),
    "step": ("1", "width of the quantiser in standard deviations of a dimension"),
    "epoch": ("epochs", "epochs trained"),
    "start": ("1", "id of the image an ascent begins at"),
    "ascent_step": ("1", "steps of the ascent taken"),
    **{
        name: ("1", f"{name.replace('_', ' ')} of the autoencoder's training")
        for name in autoencoder_members.Hyper._fields
    },
}


class Found(NamedTuple):
    """Everything measured so far.

    original: [judge, example]. cells: all, with their curves. measured: arrays by cell name. distributions, climbed:
    arrays by `name.cell`. pictures: arrays as they are saved.
    """

    original: np.ndarray
    cells: list[Cell]
    measured: dict[str, Arrays]
    distributions: Arrays
    climbed: Arrays
    pictures: Arrays


def shown_of(test: Examples) -> np.ndarray:
    """Places of the images that are pictured: the first of each class in turn."""
    order = np.lexsort((np.arange(len(test.label)), [np.sum(test.label[:i] == y) for i, y in enumerate(test.label)]))
    return order[:SHOWN]


def pictures(config, layer: Layer, described: list[Cell], test: Examples) -> Arrays:
    """Shown images, their reconstructions and prior samples, by the first member."""
    rows = shown_of(test)
    x, label = test.x[rows], test.label[rows]
    back = [np.asarray(c.reconstruct(ensembles.take(c.ensemble, 0), jnp.asarray(x), label)) for c in described]
    pixel = ("height", "width", "channel")
    found: Arrays = {
        "picture": (("shown", *pixel), x),
        "picture_cell": (("image_cell", "shown", *pixel), np.stack(back).astype(np.float32)),
    }
    drawn = {c.name: prior_samples(config, c, SHOWN) for c in described if c.autoencoder is not None}
    drawn = {name: images[0] for name, images in drawn.items() if images is not None}
    if drawn:
        found["picture_samples"] = (("sample_cell", "draw", *pixel), np.stack(list(drawn.values())))
        found["sample_cell"] = (("sample_cell",), np.asarray(list(drawn)))
    return found


def hidden_neighbours(layer: Layer, own: list[Cell], test: Examples) -> Arrays:
    """Training images nearest to shown images and their reconstructions in a hidden layer of the first classifier."""
    rows = shown_of(test)
    x, label = jnp.asarray(test.x[rows]), test.label[rows]
    context = ensembles.take(layer.context, 0)
    points = layer.observe(context, x)
    bank = layer.bank_points[0]

    def nearest(h) -> np.ndarray:
        return layer.bank.x[np.asarray(neighbors.nearest(h, bank, 1)[1])[:, 0]]

    trained = [cell for cell in own if cell.autoencoder is not None]
    back = [nearest(cell.reconstruct(ensembles.take(cell.ensemble, 0), points, label)) for cell in trained]
    return {
        f"picture_neighbour.{layer.name}": (("shown", "height", "width", "channel"), nearest(points)),
        **{
            f"picture_neighbour_cell.{cell.name}": (("shown", "height", "width", "channel"), images)
            for cell, images in zip(trained, back, strict=True)
        },
    }


def assemble(config, prepared: Setting, test: Examples, found: Found) -> tuple[Arrays, Arrays]:
    """(arrays, coords) to save: what cells have in common along "cell", NaN or -1 where one lacks it."""
    names = [cell.name for cell in found.cells]
    layers = list(dict.fromkeys(cell.layer for cell in found.cells))
    image_names = [cell.name for cell in found.cells if cell.layer == IMAGE]
    arrays: Arrays = {"label": (("example",), test.label), "original": (("judge", "example"), found.original)}
    for name in dict.fromkeys(name for values in found.measured.values() for name in values):
        holders = {cell: values[name] for cell, values in found.measured.items() if name in values}
        dims = next(iter(holders.values()))[0]
        if name in PER_LAYER:
            first = {cell.layer: holders[cell.name][1] for cell in reversed(found.cells)}
            arrays[name] = (("layer", *dims), np.stack([first[layer] for layer in layers]))
            continue
        along = ("image_cell", image_names) if name in OF_IMAGES else ("cell", names)
        arrays[name] = ((along[0], *dims), _stacked({k: v[1] for k, v in holders.items()}, along[1]))
    for name in ("train_loss", autoencoder_members.SCORED):
        curves = {cell.name: cell.curves[name] for cell in found.cells if cell.curves is not None}
        most = max(curve.shape[1] for curve in curves.values())
        padded = {k: np.pad(c, ((0, 0), (0, most - c.shape[1])), constant_values=np.nan) for k, c in curves.items()}
        arrays[name] = (("cell", "member", "epoch"), _stacked(padded, names))
    arrays |= _by_cell(found.distributions, "image_cell", image_names)
    uses = list(dict.fromkeys(name.split(".", 1)[1] for name in found.climbed if "." in name))
    arrays |= _by_cell(found.climbed, "use_cell", uses)
    hidden = [name.removeprefix("picture_neighbour_cell.") for name in found.pictures if "neighbour_cell." in name]
    arrays |= _by_cell({k: v for k, v in found.pictures.items() if "neighbour_cell." in k}, "hidden_cell", hidden)
    arrays |= _by_cell({k: v for k, v in found.pictures.items() if "neighbour." in k}, "hidden_layer", layers[1:])
    arrays |= {k: v for k, v in found.pictures.items() if "." not in k and k != "sample_cell"}
    epochs = arrays["train_loss"][1].shape[-1]
    members = autoencoder_members.members_of(config)
    coords: Arrays = {
        "cell": (("cell",), np.asarray(names)),
        "cell_layer": (("cell",), np.asarray([cell.layer for cell in found.cells])),
        "cell_family": (("cell",), np.asarray([cell.family for cell in found.cells])),
        "cell_size": (("cell",), np.asarray([cell.size for cell in found.cells])),
        "image_cell": (("image_cell",), np.asarray(image_names)),
        "layer": (("layer",), np.asarray(layers)),
        "use_cell": (("use_cell",), np.asarray(uses)),
        "example": (("example",), test.ids),
        "shown": (("shown",), test.ids[shown_of(test)]),
        "judge": (("judge",), np.arange(config.num_members)),
        "seed": (("member",), sources(config)),
        "step": (("step",), np.asarray(STEPS)),
        "class": (("class",), np.asarray(prepared.dataset.class_names)),
        "epoch": (("epoch",), np.arange(1, epochs + 1)),
        "ascent_step": (("ascent_step",), np.arange(config.use.num_steps + 1)),
    }
    for name in autoencoder_members.Hyper._fields:
        coords[name] = (("member",), np.asarray([getattr(member.hyper, name) for member in members]))
    for name, values in (("hidden_cell", hidden), ("hidden_layer", layers[1:])):
        if values:
            coords[name] = ((name,), np.asarray(values))
    if "sample_cell" in found.pictures:
        coords["sample_cell"] = found.pictures["sample_cell"]
    return arrays, coords


def _stacked(holders: dict[str, np.ndarray], names: list[str]) -> np.ndarray:
    """Arrays of one shape along a new axis, in the order of names; NaN (integers: -1) where one is missing."""
    first = next(iter(holders.values()))
    empty = np.full(first.shape, -1 if first.dtype.kind in "iu" else np.nan, first.dtype)
    return np.stack([holders.get(name, empty) for name in names])


def _by_cell(values: Arrays, along: str, names: list[str]) -> Arrays:
    """Arrays called `name.cell` stacked along the cells; of other names the dots become underscores."""
    found: Arrays = {}
    groups: dict[str, dict[str, np.ndarray]] = {}
    own: dict[str, tuple[str, ...]] = {}
    for key, (own_dims, value) in values.items():
        name, _, cell = next(((key[: -len(n) - 1], ".", n) for n in names if key.endswith(f".{n}")), (key, "", ""))
        name = name.replace(".", "_")
        if not cell:
            found[name] = (own_dims, value)
            continue
        groups.setdefault(name, {})[cell] = value
        own[name] = own_dims
    return found | {name: ((along, *own[name]), _stacked(held, names)) for name, held in groups.items()}
