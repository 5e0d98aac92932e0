"""Does searching against a classifier redrawn from a ball at every step end in flatter, more transferable places?"""

from landscape.experiments.base import SCHEMA, Experiment, Quantity
from landscape.experiments.noise.config import FIELDS, check
from landscape.experiments.quantities import measured_schema

# What one search gives, as its stages compute it; arrays.nc has `search` in front.
ENDS = ("matching", "population", "member", "example")
IMAGE = ("height", "width", "channel")
OF_A_SEARCH = {
    # chosen on validation images
    "validation_goal": Quantity(
        ("step_size", "population", "member"), "nats", "mean log-odds of the goal by the unperturbed source"
    ),
    "chosen_step_size": Quantity(("population", "member"), "1", "step size with the highest, in radii of the ball"),
    "validation_success": Quantity(("member",), "1", "share of images whose search without noise fools the source"),
    "length": Quantity(("member",), "pixels or latent units", "L2 length that displacements are shortened to"),
    "sigma": Quantity(("member",), "pixels", "standard deviation of the input noise under which flatness is measured"),
    # measured on test images
    "right": Quantity(("member", "example"), "1", "whether all sources classify the start rightly"),
    "reached": Quantity(ENDS, "1", "whether the point of comparison was reached"),
    "success": Quantity(ENDS, "1", "whether the source is fooled; of ascent, sees the class aimed at"),
    "transfer": Quantity((*ENDS[:-1], "target", "example"), "1", "the same of every source, itself among them"),
    "distance": Quantity(ENDS, "pixels", "L2 distance from the start"),
    "margin": Quantity(ENDS, "logits", "margin of the tracked class"),
    "margin_drop": Quantity(ENDS, "logits", "mean fall of the tracked class's margin under input noise"),
    "off_tangent": Quantity(ENDS, "logits", "largest departure of the margin from its tangent within that length"),
    "off_manifold": Quantity(ENDS, "pixels", "L2 distance to the reconstruction by another source's autoencoder"),
    "picture": Quantity(("population", "shown", *IMAGE), "pixels", "results at equal norm of the first source"),
    "picture_start": Quantity(("shown", *IMAGE), "pixels", "their starts"),
}
POINT = ("grid_radius", "draws", "eta")  # of the grid
GRID = (*POINT, "member", "example")
OTHERS = {
    "kept": Quantity(
        ("population", "member", "validation_image"), "1", "share of the classifiers drawn that classify it rightly"
    ),
    "grid_margin": Quantity(GRID, "logits", "margin of the tracked class at the end"),
    "grid_margin_drop": Quantity(GRID, "logits", "mean fall of that margin under input noise"),
    "grid_at_boundary": Quantity(GRID, "1", "share of coordinates at the boundary of what is allowed"),
    "grid_right": Quantity(("member", "example"), "1", "whether the source classifies the image rightly"),
    "grid_radius": Quantity(("grid_radius",), "1", "radius of the noise on the weights"),
    "draws": Quantity(("draws",), "1", "M, gradients averaged in a step"),
    "eta": Quantity(("eta",), "pixels", "L2 length of the first step"),
    "search": Quantity(("search",), "1", "kind of search that populations are compared in"),
    "matching": Quantity(("matching",), "1", "how results are made comparable"),
    "population": Quantity(("population",), "1", "results of searches that see one kind of classifiers"),
    "kind": Quantity(("population",), "1", "which classifiers those are"),
    "radius": Quantity(("population",), "1", "radius of the noise on their weights; NaN where it has no such dose"),
    "step_size": Quantity(("step_size",), "1", "step sizes tried, in radii of the ball"),
    **SCHEMA,
}
MEASURED = ("member", "population", "example")
OF_SEARCHES = OF_A_SEARCH | {name: one for name, one in measured_schema(MEASURED).items() if "member" in one.dims}
SAVED = measured_schema(MEASURED) | {n: one._replace(dims=("search", *one.dims)) for n, one in OF_SEARCHES.items()}

EXPERIMENT = Experiment(
    package=__name__,
    question="Does searching against a classifier that is redrawn at every step end in flatter places, and do its "
    "results fool other classifiers more often?",
    schema=SAVED | OTHERS,
    check=check,
    fields=FIELDS,
)
