"""Which class do an input's nearest training images have, layer by layer, and what does that say of the input?

    python -m landscape.main --config=configs/neighbors.py                    8 members on digits
    python -m landscape.main --config=configs/neighbors.py:fashion_mnist
    python -m landscape.main --config=configs/neighbors.py:digits,full        also an attack that knows the detector
    python -m landscape.main --config=configs/neighbors.py --config.moves=moves.npz    along your own moves too
    python -m landscape.main --config=configs/neighbors.py:digits,smoke       the same code paths in seconds

Times and results: landscape/experiments/neighbors/README.md.
"""

from landscape import presets


def get_config(arg="digits"):
    dataset, smoke, full = presets.parse(arg)
    config = presets.base(dataset, smoke)
    config.experiment = "neighbors"
    config.update(presets.measures(smoke))  # of its populations, by name: none
    # Behind the image, which always comes first. Early layers of residual networks have 16384 entries or more.
    config.hidden = dict(layers=(presets.ALL,) if dataset in ("digits", "fashion_mnist") else (presets.LAST,))
    config.neighbors = dict(
        k=10,
        metric="euclidean",  # or cosine
        # Training images, or all if there are fewer: 250 MB a member on Fashion-MNIST.
        num_reference=10_000 if dataset == "fashion_mnist" else 100_000,
        num_calibration=1000,  # validation images, or all if there are fewer
        num_examples=256,  # test images
    )
    config.search = presets.search(dataset, smoke)
    del config.search.iso_log_odds, config.search.iso_steps
    # The search on the autoencoder's manifold; its radius is in typical norms of a latent.
    config.autoencoder = presets.autoencoder(dataset, smoke)
    config.manifold = dict(family="vae", epsilon=presets.NOISE[dataset]["manifold"], num_steps=40)
    # The attack that knows the detector. Its weight beside the margin is the largest of 0.3, 1, 3, 10 and 30 that keeps
    # 95 % of the successes on 100 validation images of digits, where hidden layers' AUROC was 0.95 to 0.96 with each.
    config.adaptive = dict(use=full or smoke, weight=10.0, num_steps=100)
    config.populations = ()  # beside those of every run: augmented, images moved toward their runner-up class
    config.augmented = dict(epsilon=presets.AUGMENTED)  # length of that move over the norm of the image
    config.along = dict(
        num_examples=64 if dataset == "digits" else 16,  # the first of the test images
        num_steps=5,  # points of a move, its start and end among them
        runner_up=0.3,  # length of a runner-up move in norms of the representation that it starts from
        num_shown=2,  # moves whose neighbours are pictured
    )
    config.moves = ""  # an .npz file with arrays start, end, label and perhaps layer: moves of your own
    config.moves_checksum = ""  # of that file; set when the config is resolved
    config.audit = dict(num_examples=64)
    # The AUROC minus 1/2: a detector that is worth something on its own.
    config.claims.credibility_detects_adversarial = dict(
        measure="auroc.credibility.area",
        populations=("adversarial", "genuine"),
        contrast="difference",
        matching="raw",
        direction="greater",
        smallest_effect=0.25,
    )
    # In shares of the neighbours at the last layer.
    config.claims.adversarial_keep_neighbours_of_the_true_class = dict(
        measure="purity.true_class",
        populations=("adversarial", "natural_error"),
        contrast="difference",
        matching="raw",
        direction="greater",
        smallest_effect=0.05,
    )
    if smoke:
        make_small(config)
    return config


def make_small(config):
    """The same code paths on few images."""
    config.neighbors.update(num_reference=400, num_calibration=60, num_examples=24)
    config.manifold.num_steps = config.adaptive.num_steps = 4
    config.along.update(num_examples=8, num_steps=3, num_shown=1)
    config.audit.num_examples = 16
