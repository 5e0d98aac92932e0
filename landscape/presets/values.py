"""Configs before what is particular to an experiment: values that go with a data set."""

from ml_collections import ConfigDict

from landscape.files import UserError
from landscape.presets.names import FAMILIES, SWEPT, did_you_mean


class ByDataset(dict):
    """Values by data set; `tfds:NAME`, any set of TensorFlow Datasets, begins with those of `folder`."""

    def __missing__(self, dataset: str):
        if not is_dataset(dataset):
            raise KeyError(dataset)
        return self["folder"]


def is_dataset(word: str) -> bool:
    """Whether a word of a config names a data set."""
    return word in DATASETS or (word.startswith("tfds:") and word != "tfds:")


# Training values, and epsilon: the L-inf radius of an attack, in pixels of [0, 1].
# Weight decay (fashion_mnist: 0.3 points of accuracy) and label smoothing (digits: 1.2 points, and probabilities that
# are not all 1) were chosen on validation images. There, epsilon is the largest of
# two digits whose perturbations have at most half the L2 length of the way to the nearest training image of another
# class, in the median (digits 1.91 pixels, fashion_mnist 4.62). Those of the other sets are a start; 4/255 is the
# radius most reported on 64 x 64 natural images.
ADAMW = dict(learning_rate=3e-3, weight_decay=1e-4, label_smoothing=0.0)
# In the place of AdamW, but in smoke runs, whose few steps it takes further. He et al. 2016, arXiv:1512.03385, section
# 4.2, for CIFAR; that of Tiny ImageNet is behind the known figures in configs/train.py.
SGD = dict(optimizer="sgd", learning_rate=0.1, crop=4, flip=0.5)
CIFAR = ADAMW | dict(num_epochs=30, batch_size=128, epsilon=4 / 255, model=dict(name="resnet20", norm="batch"))
CIFAR |= dict(recipe=SGD | dict(warmup_epochs=1.0))
RESNET = dict(name="resnet18", norm="batch", stem="small")
TINY_IMAGENET = ADAMW | dict(num_epochs=50, batch_size=256, epsilon=4 / 255, model=RESNET)
TINY_IMAGENET |= dict(recipe=SGD | dict(learning_rate=0.2, warmup_epochs=5.0, crop=8))
DATASETS = ByDataset(
    digits=ADAMW | dict(num_epochs=40, batch_size=64, label_smoothing=0.1, epsilon=0.14),
    fashion_mnist=ADAMW | dict(num_epochs=8, batch_size=128, weight_decay=0.2, epsilon=0.09),
    cifar10=CIFAR,
    cifar100=CIFAR,
    tiny_imagenet=TINY_IMAGENET,
    folder=ADAMW | dict(num_epochs=8, batch_size=32, epsilon=0.03),
)

# Autoencoders: numbers that go with the size of the images. `dim` is where families are compared, `dims` are those of
# some; vq and fsq have places x codes instead.
GREY = dict(dim=32, dims=(8, 16, 32, 64), widths=(512, 256), places=16, code_dim=64, num_codes=512, levels=(8, 5, 5, 5))
# Maps of 8 x 8 places: codes of vq and fsq are as many, other latents flat.
CONV = dict(network="conv", blocks=1, places=64, code_dim=16, num_codes=1024)
COLOUR32 = GREY | CONV | dict(dim=128, dims=(32, 64, 128, 256), widths=(1024, 512), channels=(64, 128))
COLOUR64 = COLOUR32 | dict(dim=256, dims=(64, 128, 256, 512), channels=(64, 128, 256))
AUTOENCODERS = ByDataset(
    digits=dict(dim=8, dims=(4, 8, 16, 32), widths=(256, 128), places=4, code_dim=16, num_codes=64, levels=(5, 5, 5)),
    fashion_mnist=GREY,
    cifar10=COLOUR32,
    cifar100=COLOUR32,
    tiny_imagenet=COLOUR64,
    folder=GREY,
)
AUTOENCODER_EPOCHS = ByDataset(digits=60, fashion_mnist=20, cifar10=20, cifar100=20, tiny_imagenet=20, folder=20)
LONG = 2  # times the epochs in a full run

# Radii of the searches of `noise`: L-inf pixels, typical norms of a latent, L2 pixels. The search without noise is to
# leave room: 30 to 95 % of the validation images fall, as a check of the run says.
START = dict(pixels=1 / 255, manifold=0.4, ascent=1.6)
NOISE = ByDataset(
    digits=dict(pixels=0.14, manifold=0.35, ascent=0.9),
    fashion_mnist=dict(pixels=0.04, manifold=0.4, ascent=1.6),
    cifar10=START,
    cifar100=START,
    tiny_imagenet=START,
    folder=START | dict(pixels=0.01),
)

# Of the population `augmented`: length of the move over the norm of the image; `augmentation` chose it on validation
# images of digits.
AUGMENTED = 0.1


def parse(arg: str, *switches: str) -> tuple:
    """(data set, smoke, full, each switch) of what follows the colon of `FILE:digits,smoke`: True for words there.

    Three sizes: without a word the answer within two minutes on digits, `full` with every control and variant, `smoke`
    the same code paths on few images.
    """
    dataset, found = "digits", dict.fromkeys(("smoke", "full", *switches), False)
    named = []
    for word in filter(None, (part.strip() for part in arg.split(","))):
        if word in found:
            found[word] = True
        elif is_dataset(word):
            dataset = word
            named.append(word)
        else:
            raise UserError(
                f"config word {word!r}: expected a data set ({', '.join(DATASETS)}, tfds:NAME) "
                f"and perhaps {' or '.join(found)}" + did_you_mean(word, [*DATASETS, *found])
            )
    if len(named) > 1:
        raise UserError(f"config words {arg!r}: expected one data set; run the command once for each")
    if found["smoke"] and found["full"]:
        raise UserError(f"config words {arg!r}: expected smoke or full, which are sizes of one run; leave one out")
    return dataset, *found.values()


def base(dataset: str, smoke: bool) -> ConfigDict:
    """The fields that every experiment has, with the data set's values; `smoke` makes them small."""
    preset = DATASETS[dataset]
    config = ConfigDict()
    config.experiment = ""
    config.seed = 0
    config.smoke = smoke  # compiled without optimisation, which a few examples do not repay
    config.data = dict(name=dataset, dir="", cache="runs/cache/data")
    config.data.resize = 0  # folder, tfds:NAME: side of the square that each image is brought to; 0 leaves their size
    config.model = dict(
        name="cnn",  # or FILE.py:FUNCTION, module:FUNCTION: an own classifier
        norm="none",
        activation="relu",
        stem="small",
        mean=(),  # of the pixels, a number a channel; () for the training images', imagenet for torchvision's
        std=(),
        checkpoints=(),  # files or globs; each file is a member
        finetune=False,  # train members, starting from those files
        num_trained=0,  # members that are trained beside those of files
    ) | preset.get("model", {})
    if smoke and config.model.name == "resnet18":
        config.model.name, config.model.stem = "resnet8", "imagenet"  # the same blocks, little of the work
    config.num_members = 4 if smoke else 8  # below 4 no interval over seeds is given
    config.control_members = dict(untrained=0, shuffled=0)
    config.train = dict(
        num_epochs=2 if smoke else preset["num_epochs"],
        batch_size=min(64, preset["batch_size"]) if smoke else preset["batch_size"],
        learning_rate=preset["learning_rate"],
        weight_decay=preset["weight_decay"],
        label_smoothing=preset["label_smoothing"],
        input_noise=0.0,  # standard deviation, pixels in [0, 1]
        weight_noise=0.0,  # standard deviation of the multiplicative noise on weights
        optimizer="adamw",  # or sgd
        momentum=0.9,  # of sgd, Nesterov's
        warmup_epochs=0.0,  # in which the learning rate rises, before it falls along half a cosine
        ema=0.0,  # decay, over steps, of the averaged weights that are then kept; 0: the last weights
        crop=0,  # pixels of zeros on each side of which a random crop is taken
        flip=0.0,  # probability that an image is mirrored
        precision="float32",  # or bfloat16: of activations and products, not of parameters, statistics and loss
        # Epsilon in pixels of [0, 1], 0: none; step_size in units of epsilon. Swept as sweep.adversarial_epsilon.
        adversarial=dict(epsilon=0.0, norm="linf", num_steps=7, step_size=0.25),
    ) | ({} if smoke else preset.get("recipe", {}))
    # Each value here is trained for every seed: --config.sweep.learning_rate='(1e-3,3e-3)'.
    config.sweep = {name: () for name in SWEPT}
    config.artifacts = "runs/artifacts"
    config.mapping = "auto"  # auto, map, mapN (blocks of N members) or vmap
    config.inputs_checksum = ""  # of that file; set when the config is resolved
    config.inputs = ""  # an .npz file with arrays x, label and perhaps origin: a further population
    config.claims = ConfigDict()  # name -> statement; at most three
    return config


def search(dataset: str, smoke: bool) -> ConfigDict:
    """How adversarial, boosted, boundary and iso inputs are searched. Radii and steps in pixels of [0, 1]."""
    found = ConfigDict(
        dict(
            norm="linf",
            epsilon=DATASETS[dataset]["epsilon"],
            num_steps=5 if smoke else 50,  # with which the default attack passes its audit on digits and Fashion-MNIST
            num_restarts=1,
            # Nats, "quantile 0.5" of genuine ones, or "clean": those of the image's own clean version.
            iso_log_odds="clean",
            iso_steps=10 if smoke else 60,
        )
    )
    # Follows an epsilon given on the command line; a few steps must still cross the ball.
    found.step_size = found.get_ref("epsilon") / (2 if smoke else 10)
    return found


def autoencoder(dataset: str, smoke: bool, full: bool = False) -> ConfigDict:
    """Which autoencoders of images are trained, and how."""
    epochs = AUTOENCODER_EPOCHS[dataset] * (LONG if full else 1)
    config = ConfigDict(
        dict(
            families=FAMILIES if full else ("ae", "vae", "vq", "fsq"),  # at dim
            families_at_dims=("ae", "vae") if full else ("ae",),  # those of them that are trained at each of dims too
            network="dense",  # or conv
            channels=(16, 32),  # conv: of each halving; `widths` are units of dense layers
            blocks=0,  # conv: residual blocks a halving
            spatial=False,  # conv: latents of ae, denoising, contractive are maps, as those of vq and fsq always are
            num_epochs=2 if smoke else epochs,
            batch_size=64 if dataset == "digits" else 256,
            learning_rate=2e-3,
            weight_decay=0.0,
            noise=0.1,  # denoising: standard deviation, pixels (hidden layers: in units of their spread)
            contraction=1e-5,  # contractive
            # vae; chosen on validation images of Fashion-MNIST: the error of the posterior mean is 4 % above that of
            # `ae`, with beta = 1 it is 12 %.
            beta=0.5,
            free_bits=0.0,  # vae: nats a dimension
            commitment=0.25,  # vq
            restart=0.03,  # vq: codes used less than this share of the mean start again; 0: never
            # Of the error of the own classifier's activations beside that of pixels, as shares of their variances.
            perceptual=0.0,
            perceptual_layer="",  # whose activations
        )
        | AUTOENCODERS[dataset]
    )
    if smoke and config.network == "conv":
        config.num_epochs, config.channels = 1, tuple(channels // 8 for channels in config.channels)
    names = ("learning_rate", "weight_decay", "noise", "contraction", "beta", "free_bits", "commitment", "restart")
    config.sweep = {name: () for name in (*names, "perceptual")}
    return config
