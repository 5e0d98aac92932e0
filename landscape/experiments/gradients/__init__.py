"""Which pixels, and which directions of a manifold, raise each class; where does ascent lead, guided by how many?"""

from landscape.experiments.base import SCHEMA, TRAINED, Experiment, Quantity
from landscape.experiments.gradients.config import FIELDS, check

PIXEL = ("height", "width", "channel")
MAPPED, PAIRED = ("member", "class", "example"), ("pair", "class", "example")
ASCENT = ("space", "member", "start", "ascent_example", "class")
GUIDED = ("space", "guides", "objective", "start", "guided_example")
BY_HELD_OUT = ("space", "guides", "objective", "held_out", "start", "guided_example")
STEPS = ("guided_step", "start", "guided_example")

# Of classifiers that are all trained alike; arrays.nc has `training` in front.
OF_CLASSIFIERS = {
    "prediction": Quantity(("member", "example"), "1", "class that each classifier predicts"),
    # gradients
    "gradient_cosine": Quantity(
        ("space", *PAIRED), "1", "cosine of two classifiers' gradients (manifolds: of their push-forwards, in pixels)"
    ),
    "smooth_cosine": Quantity(("sigma", *PAIRED), "1", "cosine of two classifiers' SmoothGrad"),
    "pushed_to_pixels": Quantity(("space", *MAPPED), "1", "cosine of the push-forward with the gradient of pixels"),
    "pushed_to_step": Quantity(("space", "step_length", *MAPPED), "1", "its cosine with what a finite step does"),
    # ascents that one classifier guides
    "ascent_value": Quantity((*ASCENT[:2], "step", *ASCENT[2:]), "as raised", "objective before every step"),
    "ascent_probability": Quantity(ASCENT, "1", "probability of the target class by the guide, at the end"),
    "ascent_held_out": Quantity(ASCENT, "1", "mean probability of the target class by the held-out classifiers"),
    "ascent_moved": Quantity(ASCENT, "pixels, or unit of the layer", "L2 distance of the end from the start"),
    "ascent_nearest": Quantity(ASCENT, "pixels, or unit of the layer", "L2 distance from the nearest training image"),
    # ascents that several classifiers guide: means over blocks of guides
    "guided_held_out": Quantity((*BY_HELD_OUT[:4], *STEPS), "1", "probability of the target class by each of them"),
    "guided_probability": Quantity((*GUIDED[:3], *STEPS), "1", "the same by the guides, their mean"),
    "guided_moved": Quantity(GUIDED, "pixels", "L2 distance of the end from the start"),
    "guided_nearest": Quantity(GUIDED, "pixels", "L2 distance of the end from the nearest training image"),
    "guided_reached": Quantity(GUIDED, "1", "share of blocks that go as far as guided_distance"),
    "guided_held_out_there": Quantity(BY_HELD_OUT, "1", "probability there, 0 of blocks that do not go as far"),
    "guided_margin": Quantity(BY_HELD_OUT, "logits", "margin of the held-out classifier's own prediction at the end"),
    "guided_margin_drop": Quantity(BY_HELD_OUT, "logits", "mean fall of that margin under noise"),
}
# Of no classifier, or pictures, which are those of the first training.
OTHERS = {
    "label": Quantity(("example",), "1", "true class"),
    "guided_target": Quantity(("guided_example",), "1", "class that the guided ascent of a start raises"),
    "guided_distance": Quantity((), "pixels", "distance from the start at which objectives are compared"),
    "course_class": Quantity((), "1", "class that pictured ascents of one guide raise"),
    "picture": Quantity(("space", "shown", *PIXEL), "pixels", "test images; of manifolds decoded from their latents"),
    "picture_gradient": Quantity(
        ("space", "shown", "shown_class", *PIXEL),
        "per pixel; of manifolds pixels nats per squared unit of the latent",
        "gradient of each class in pixels, or its push-forward, mean over classifiers",
    ),
    "picture_smooth": Quantity(("sigma", "shown", "shown_class", *PIXEL), "per pixel", "SmoothGrad, mean over them"),
    "picture_course": Quantity(
        ("space", "start", "ascent_example", "frame", *PIXEL),
        "pixels",
        "ascents of the first classifier toward course_class; of layers the nearest training image",
    ),
    "picture_end": Quantity(("space", "start", "shown_class", *PIXEL), "pixels", "ends of the first start's ascents"),
    "picture_guided": Quantity(
        ("space", "guides", "objective", "start", "guided_shown", *PIXEL), "pixels", "ends, of the first block"
    ),
    "picture_guided_start": Quantity(("space", "start", "guided_shown", *PIXEL), "pixels", "their starts"),
    # coordinates
    "space": Quantity(("space",), "1", "pixels, family of the autoencoder, or hidden layer"),
    "kind_of_space": Quantity(("space",), "1", "pixels, manifold or layer"),
    "sigma": Quantity(("sigma",), "pixels", "standard deviation of SmoothGrad's noise"),
    "step_length": Quantity(("step_length",), "1", "of a step in the latent, in typical distances from the mean"),
    "step": Quantity(("step",), "1", "steps taken before"),
    "guided_step": Quantity(("guided_step",), "1", "steps taken before"),
    "frame": Quantity(("frame",), "1", "steps taken before a recorded image"),
    "start": Quantity(("start",), "1", "what an ascent starts from"),
    "guides": Quantity(("guides",), "1", "number of classifiers that guide together"),
    "objective": Quantity(("objective",), "1", "how several classifiers guide"),
    "ascent_example": Quantity(("ascent_example",), "1", "id of the image that a start is, or shares its noise with"),
    "guided_example": Quantity(("guided_example",), "1", "the same of ascents that several guide"),
    "shown": Quantity(("shown",), "1", "id of the test image whose gradients are shown"),
    "shown_class": Quantity(("shown_class",), "1", "number of a class that pictures are of"),
    "guided_shown": Quantity(("guided_shown",), "1", "id of the start whose guided ascents are shown"),
}
SAVED = {name: one._replace(dims=("training", *one.dims)) for name, one in OF_CLASSIFIERS.items()}
SAVED |= {name: SCHEMA[name]._replace(dims=("training",)) for name in TRAINED}

EXPERIMENT = Experiment(
    package=__name__,
    question="Which pixels, and which directions of an autoencoder's manifold, raise each class, and where does "
    "gradient ascent lead when one or several classifiers guide it?",
    schema=OTHERS | SCHEMA | SAVED,
    check=check,
    fields=FIELDS,
)
