"""The words that a config may hold. The code that reads them has the same; tests compare them."""

import difflib
import math
from collections.abc import Iterable

LAYERS = {  # hidden layers of the classifiers, in order
    "mlp": ("dense1", "dense2"),
    "cnn": ("conv1", "conv2", "conv3"),
    "cnn_wide": ("conv1", "conv2", "conv3", "pool"),
    "resnet18": ("stem", *(f"block{stage}_{block}" for stage in (1, 2, 3, 4) for block in (1, 2)), "pool"),
    "resnet34": ("stem", *(f"block{g + 1}_{b + 1}" for g in range(4) for b in range((3, 4, 6, 3)[g])), "pool"),
    "resnet8": ("stem", *(f"block{stage}_1" for stage in (1, 2, 3)), "pool"),
    "resnet20": ("stem", *(f"block{stage}_{block}" for stage in (1, 2, 3) for block in (1, 2, 3)), "pool"),
}
ALL, LAST = "all", "last"  # in the place of the names of layers
MODELS = tuple(LAYERS)
RESNETS = tuple(name for name in LAYERS if name.startswith("resnet"))
STEMS = ("small", "imagenet")  # of residual networks
PIXEL_STATISTICS = {  # of pixels, that somebody's classifiers were trained with: mean and standard deviation by channel
    ("imagenet",): ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
MODEL_NORMS = ("none", "group", "batch")
ACTIVATIONS = ("relu", "gelu", "softplus", "tanh", "silu")
OPTIMIZERS = ("adamw", "sgd")
PRECISIONS = ("float32", "bfloat16")
SWEPT = (  # hyperparameters of classifiers that may differ between members
    "learning_rate",
    "weight_decay",
    "label_smoothing",
    "input_noise",
    "weight_noise",
    "momentum",
    "warmup_epochs",
    "ema",
    "crop",
    "flip",
    "adversarial_epsilon",
)
NORMS = ("linf", "l2")
INPUT_NOISES = ("additive", "multiplicative", "envelope", "sphere", "linf_ball", "additive_clipped")
WEIGHT_NOISES = ("multiplicative", "layer_relative", "layer_sphere", "filter_normalised", "additive")
FAMILIES = ("ae", "denoising", "contractive", "sparse", "sphere", "vae", "vq", "fsq")
CODED = ("vq", "fsq")  # whose latents are codes, on which there are no gradients
OWN_PRIOR = ("vae", "sphere")  # whose latents have a prior of their own
HISTOGRAM = "histogram"  # of each pixel by itself: a code of images without a latent
BASELINES = ("pca", "class_mean", "kmeans", HISTOGRAM)  # what autoencoders stand beside
NETWORKS = ("dense", "conv")
# H W C of the images, by data set. Of other sets it is not known here; 64 x 64 is enough for any attack.
NUM_PIXELS = {"digits": 64, "fashion_mnist": 784, "cifar10": 3072, "cifar100": 3072, "tiny_imagenet": 12288}
UNKNOWN_SIZE = 4096
ISO_TOLERANCE = 0.02  # nats within which inputs that are steered to some log-odds have reached them


def largest_epsilon(norm: str, dataset: str) -> float:
    """The largest distance of two images with pixels in [0, 1]: 1 in L-inf, sqrt(H W C) in L2."""
    return 1.0 if norm == "linf" else math.sqrt(NUM_PIXELS.get(dataset, UNKNOWN_SIZE))


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """'; did you mean X?' where one of the known words is close, else nothing."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""
