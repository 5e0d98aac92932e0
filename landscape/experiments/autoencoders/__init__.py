"""Which autoencoder and bottleneck describes the data, or a hidden layer, best?

Stages: classifiers -> images: autoencoders, measures, distributions, use, a report of their own -> each hidden layer ->
estimates -> report.
"""

import numpy as np

from landscape import presets, runs, tree
from landscape.experiments import autoencoder_arrays as arrays
from landscape.experiments import autoencoder_cells as cells
from landscape.experiments import autoencoder_estimates as estimates
from landscape.experiments import autoencoder_measures as measures
from landscape.experiments import autoencoder_use as use
from landscape.experiments import setting
from landscape.experiments.autoencoder_cells import IMAGE, Cell, Layer
from landscape.experiments.setting import Examples, Setting
from landscape.presets.names import CODED
from landscape.reporting import report
from landscape.types import Arrays

LAYER0 = "images"  # the part that is reported before hidden layers


def run(config, run: runs.Run) -> None:
    """Runs every stage that is not on disk yet and writes arrays.nc, summary.json and the report's inputs."""
    prepared = setting.prepare(config, run)
    test = setting.examples(prepared.dataset, "test", config.num_examples, config.seed)
    original = measures.originals(config, run, prepared, test)
    images = cells.image_layer(config, prepared)
    described = image_cells(config, run, prepared, images)
    measured = {cell.name: measured_cell(config, run, prepared, images, cell, test) for cell in described}
    trained = [cell for cell in described if cell.autoencoder is not None]
    more = measures.distributions(config, run, prepared, images, described, test)
    climbed = climbs(config, run, prepared, images, trained)
    shown = arrays.pictures(config, images, described, test)
    found = arrays.Found(original, described, measured, more, climbed, shown)
    part = runs.part(run, LAYER0)
    write(config, part, prepared, test, found)
    run.console.print(f"images: {report.write(part.directory)}", soft_wrap=True, highlight=False, markup=False)
    for name in _hidden_layers(config, prepared):
        layer = cells.hidden_layer(config, prepared, name)
        own = hidden_cells(config, run, prepared, layer)
        for cell in own:
            measured[cell.name] = measured_cell(config, run, prepared, layer, cell, test)
        shown |= arrays.hidden_neighbours(layer, own, test)
        # The points of a layer are large: they are let go before the next one.
        described += [cell._replace(ensemble=None, autoencoder=None) for cell in own]
    write(config, run, prepared, test, found)


def _hidden_layers(config, prepared: Setting) -> tuple[str, ...]:
    """Names of the layers to be described, in the order of the config."""
    return prepared.classifier.layers[1:] if presets.ALL in config.hidden.layers else config.hidden.layers


def image_cells(config, run: runs.Run, prepared: Setting, layer: Layer) -> list[Cell]:
    """All autoencoders of images, and PCA of each size.

    Each family at `dim`, those of the ladder at `dims` as well, and what hidden layers are described by, so that a
    bottleneck can be followed from the image on.
    """
    section = config.autoencoder
    wanted = [(family, section.dim) for family in section.families if family not in CODED]
    ladder = [family for family in section.ladder if family in section.families]
    wanted += [(family, dim) for family in ladder if family not in CODED for dim in section.dims]
    most, deeper = int(np.prod(layer.shape)), config.hidden.families if config.hidden.layers else ()
    depth = [dim for dim in config.hidden.dims if dim <= most]
    wanted += [(family, dim) for family in deeper if family not in CODED for dim in depth]
    wanted += [
        (family, cells.size_of(config, family, section.dim))
        for family in (*section.families, *deeper)
        if family in CODED
    ]
    found = [cells.train(config, run, prepared, layer, family, size) for family, size in dict.fromkeys(wanted)]
    sizes = sorted({size for family, size in wanted if family not in CODED} or {section.dim})
    return found + cells.yardstick_cells(config, layer, sizes, num_centres=0)


def hidden_cells(config, run: runs.Run, prepared: Setting, layer: Layer) -> list[Cell]:
    """The autoencoders of a hidden layer, and its yardsticks."""
    section = config.hidden
    most = int(np.prod(layer.shape))
    sizes = [dim for dim in section.dims if dim <= most]
    wanted = [(f, d) for f in section.families for d in ((cells.size_of(config, f, 0),) if f in CODED else sizes)]
    found = [cells.train(config, run, prepared, layer, family, size) for family, size in wanted]
    return found + cells.yardstick_cells(config, layer, sizes, num_centres=section.num_centres)


def measured_cell(config, run: runs.Run, prepared: Setting, layer: Layer, cell: Cell, test: Examples) -> Arrays:
    """Everything measured of one cell."""
    found = measures.reconstructions(config, run, prepared, layer, cell, test)
    if cell.autoencoder is not None or (cell.family == "pca" and layer.name == IMAGE):
        found |= measures.latents(config, run, layer, cell, test)
    return found


def climbs(config, run: runs.Run, prepared: Setting, layer: Layer, trained: list[Cell]) -> Arrays:
    """Class ascent on the manifold of each family at the dimension where families are compared."""
    compared = [cell for cell in trained if cell.family in CODED or cell.size == config.autoencoder.dim]
    test = setting.examples(prepared.dataset, "test", config.use.num_examples, config.seed)
    bank = layer.bank.x[np.random.default_rng(config.seed).permutation(len(layer.bank.x))[:2000]]
    radii = {}
    for cell in compared:
        z = measures.encoded(config, layer, cell, bank)
        flat = z.reshape(*z.shape[:2], -1)
        radii[cell.name] = use.RADIUS * np.sqrt(flat.var(axis=1).sum(axis=-1))
    return use.ascents(config, run, prepared, layer, compared, radii, test)


def write(config, run: runs.Run, prepared: Setting, test: Examples, found: arrays.Found) -> None:
    """Estimates, arrays.nc and summary.json of what has been found so far."""
    told, coords = arrays.assemble(config, prepared, test, found)
    results, checks = estimates.estimate(config, told, coords)
    attrs = {name: dict(zip(("units", "long_name"), about, strict=True)) for name, about in arrays.ABOUT.items()}
    num_parameters = tree.size(prepared.ensemble["params"]) // len(prepared.members)
    runs.write_arrays(run, told, coords, attrs, num_parameters=num_parameters)
    runs.write_summary(run, headline=estimates.headline(config, results), estimates=results, checks=checks)
