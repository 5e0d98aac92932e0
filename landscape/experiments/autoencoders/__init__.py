"""Which autoencoder, and which bottleneck, describes the images or a hidden layer of a classifier best?"""

from landscape.experiments.autoencoders.config import FIELDS, HYPER
from landscape.experiments.base import SCHEMA, Experiment, Quantity

EACH = ("member", "example")
PIXELS = ("height", "width", "channel")
# Of one description, as its stages compute it; arrays.nc has `description` in front.
OF_A_DESCRIPTION = {
    "mse": Quantity(EACH, "1", "mean squared error of the reconstruction, unit of the layer squared (pixels: [0, 1])"),
    "draw_mse": Quantity(EACH, "1", "the same, decoded from a draw of the posterior"),
    "kl": Quantity(EACH, "nats", "KL of the classifier's output when the reconstruction takes the layer's place"),
    "prediction": Quantity(EACH, "1", "class that the member's classifier then predicts"),
    "others_agree": Quantity(
        EACH, "1", "other classifiers that predict the same of the reconstructed image as of the image itself"
    ),
    "ssim": Quantity(EACH, "1", "structural similarity of image and reconstruction"),
    "latent_kl": Quantity(EACH, "nats", "KL of the posterior from the standard normal prior"),
    "nll": Quantity(EACH, "nats", "-log likelihood of the image's levels, latent drawn from the posterior"),
    "active_units": Quantity(("member",), "1", "dimensions of the latent that move with the image"),
    "effective_dimension": Quantity(("member",), "1", "participation ratio of the latent's variances"),
    "code_bits": Quantity(EACH, "bits", "length of an image's codes by the tables of training images, place by place"),
    "code_usage": Quantity(("member",), "1", "share of codes that occur"),
    "code_perplexity": Quantity(("member",), "1", "2^entropy of the code of a random place"),
    "code_bound": Quantity((), "bits", "places times log2 of the number of codes"),
    "rate_bits": Quantity(
        ("member", "step", "example"),
        "bits",
        "length of an image's uniformly quantised latent by the tables of training images",
    ),
    "rate_mse": Quantity(("member", "step", "example"), "1", "mean squared error after that quantisation"),
    "train_loss": Quantity(("member", "epoch"), "1", "mean training loss over the epoch, unit of the family's loss"),
    "validation_mse": Quantity(
        ("member", "epoch"), "1", "mean squared error on validation images, unit of the layer's points"
    ),
    "picture_back": Quantity(("shown", *PIXELS), "pixels", "reconstructions of the test images shown, first member"),
    "picture_sample": Quantity(("draw", *PIXELS), "pixels", "images decoded from prior draws, first member"),
    **{
        name: Quantity(("member",), "1", f"{name.replace('_', ' ')} of its training, NaN where that has no such term")
        for name in HYPER
    },
}
# Of a layer, whatever describes it.
OF_A_LAYER = {
    "from_mean": Quantity(EACH, "1", "mean squared distance from the training mean, unit of mse"),
    "from_class_mean": Quantity(EACH, "1", "mean squared distance from the training mean of the true class"),
    "from_zero": Quantity(EACH, "1", "mean square of the activations, unit of mse"),
}
# Of the ascent to another class on one manifold.
ALONG = ("member", "ascent_step", "start")
OF_AN_ASCENT = {
    "confidence": Quantity(ALONG, "1", "probability of the class aimed at by a classifier that does not guide"),
    "moved": Quantity(ALONG, "pixels", "L2 distance from the start; the decoded start comes first"),
    "guide_confidence": Quantity(("member", "start"), "1", "the same probability at the end by the guide"),
    "success": Quantity(("member", "start"), "1", "whether the classifier that does not guide predicts the class"),
    "error_under_another": Quantity(
        ("member", "start"), "1", "mean squared error of the end under another seed's autoencoders, mean of families"
    ),
    "nearest_training": Quantity(("member", "start"), "pixels", "L2 distance of the end to the nearest training image"),
    "picture_end": Quantity(("start", *PIXELS), "pixels", "ends, first member"),
}
OTHERS = {
    "label": Quantity(("example",), "1", "true class"),
    "original": Quantity(("classifier", "example"), "1", "class predicted on the image itself"),
    "frechet_floor": Quantity(("member",), "1", "Frechet distance of test from training images, over their variance"),
    **{
        f"frechet_{name}": Quantity(
            ("description", "member"),
            "1",
            f"Frechet distance of {name} from training images, over their variance, features of the classifier",
        )
        for name in ("reconstruction", "samples")
    },
    "pixel_bits": Quantity(("example",), "bits", "code length of the image by the training histograms of its pixels"),
    "unseen_levels": Quantity(("example",), "1", "share of pixels whose value no training image has"),
    "target": Quantity(("start",), "1", "class aimed at"),
    "picture": Quantity(("shown", *PIXELS), "pixels", "test images shown, in [0, 1]"),
    "picture_start": Quantity(("start", *PIXELS), "pixels", "starts of the ascents"),
    "description": Quantity(("description",), "1", "layer, family and size"),
    "described_layer": Quantity(("description",), "1", "layer that is described"),
    "family": Quantity(("description",), "1", "family of the description"),
    "size": Quantity(
        ("description",), "1", "dimension of the latent; codes of vq and fsq; centres of kmeans; 0 of class_mean"
    ),
    "layer": Quantity(("layer",), "1", "layer of the classifier, the pixels first"),
    "manifold": Quantity(("manifold",), "1", "description whose latent the ascent moves in, or pixels"),
    "shown": Quantity(("shown",), "1", "id of the test image shown"),
    "step": Quantity(("step",), "1", "width of the quantiser in standard deviations of a dimension"),
    "epoch": Quantity(("epoch",), "epochs", "epochs trained"),
    "start": Quantity(("start",), "1", "id of the image an ascent begins at"),
    "ascent_step": Quantity(("ascent_step",), "1", "steps of the ascent taken"),
    **SCHEMA,
}


def _along(dim: str, schema: dict[str, Quantity]) -> dict[str, Quantity]:
    return {name: one._replace(dims=(dim, *one.dims)) for name, one in schema.items()}


EXPERIMENT = Experiment(
    package=__name__,
    question="Which autoencoder, and which size of bottleneck, describes the images or a hidden layer best?",
    schema=_along("description", OF_A_DESCRIPTION)
    | _along("layer", OF_A_LAYER)
    | _along("manifold", OF_AN_ASCENT)
    | OTHERS,
    fields=FIELDS,
)
