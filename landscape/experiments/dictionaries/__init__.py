"""Do sparse dictionaries have the same features for every seed, and if so by constraint or by a shared start?"""

from landscape.experiments.base import Experiment, Quantity
from landscape.experiments.dictionaries.config import FIELDS, check

PIXELS = ("height", "width", "channel")
SCHEMA = {
    # Of every setting (kind, width, start, sparsity) of every layer.
    "error": Quantity(("setting", "of_curve", "example"), "1", "squared error of an image's points, mean of an entry"),
    "active": Quantity(("setting", "of_curve", "example"), "1", "active features a point, mean over an image's points"),
    "dead": Quantity(("setting", "of_curve"), "1", "share of features that are active at no training point"),
    "revived": Quantity(("setting", "of_curve"), "1", "times that features began anew, per feature there is"),
    "from_mean": Quantity(
        ("setting", "example"), "1", "squared distance of an image's points from the training mean, mean of an entry"
    ),
    # Of what is compared between seeds.
    "atoms_agree": Quantity(
        ("layer", "kind", "start", "time", "target", "dictionary"), "1", "mean cosine of matched atoms of two seeds"
    ),
    "activations_agree": Quantity(
        ("layer", "kind", "start", "time", "target", "dictionary"),
        "1",
        "mean correlation of matched features' activations of two seeds on test images",
    ),
    "stayed": Quantity(
        ("layer", "kind", "start", "dictionary"), "1", "mean cosine of atoms at the end with themselves at step 0"
    ),
    # Of removing one feature.
    "logit_change": Quantity(
        ("layer", "dictionary", "feature"),
        "logits",
        "mean size of the change of the predicted class's logit without the feature, over test images where it is "
        "active; NaN where there is none",
    ),
    "changed": Quantity(
        ("layer", "dictionary", "feature"), "1", "share of those images whose prediction changes without the feature"
    ),
    "share_active": Quantity(("layer", "dictionary", "feature"), "1", "share of test images where it is active"),
    "picture_top": Quantity(
        ("layer", "shown", "rank", *PIXELS), "pixels", "test images that make a feature of the first seed most active"
    ),
    "shown_feature": Quantity(("layer", "shown"), "1", "number of the feature"),
    "setting": Quantity(("setting",), "1", "layer, kind, width, start and sparsity"),
    "layer_of": Quantity(("setting",), "1", "layer that is described"),
    "kind_of": Quantity(("setting",), "1", "kind of the dictionary"),
    "start_of": Quantity(("setting",), "1", "where its atoms start"),
    "times": Quantity(("setting",), "1", "features, times the layer's width"),
    "sparsity": Quantity(("setting",), "1", "k of topk and archetypal, weight of the penalty of jumprelu"),
    "compared": Quantity(("setting",), "1", "whether its seeds are compared"),
    "layer": Quantity(("layer",), "1", "layer of the classifier"),
    "kind": Quantity(("kind",), "1", "kind of the dictionary"),
    "start": Quantity(("start",), "1", "where atoms start"),
    "time": Quantity(("time",), "1", "before or after training"),
    "example": Quantity(("example",), "1", "id of the image in its data set"),
}
EXPERIMENT = Experiment(
    package=__name__,
    question="Do sparse dictionaries have the same features for every seed, and is it their constraint or a shared "
    "start that makes them?",
    schema=SCHEMA,
    check=check,
    fields=FIELDS,
)
