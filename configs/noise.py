"""Does searching against a classifier redrawn from a ball at every step end in flatter, more transferable places?

    python -m landscape.main --config=configs/noise.py                   4 sources and 4 guides on digits
    python -m landscape.main --config=configs/noise.py:fashion_mnist
    python -m landscape.main --config=configs/noise.py --config.pixels.norm=l2 --config.pixels.epsilon=0.8
    python -m landscape.main --config=configs/noise.py:digits,full       on manifolds and in class ascent too
    python -m landscape.main --config=configs/noise.py --config.sweep.weight_decay='(1e-4,1e-1)'
    python -m landscape.main --config=configs/noise.py:digits,smoke      the same code paths on few images

Times and results: landscape/experiments/noise/README.md. Radii were set after a first look at digits.

tiny_imagenet, full: 600 PFLOP, of which 450 train 8 classifiers: 5.5 hours at 30 TFLOP/s (one 80 GB GPU), 1.1 at 150 (a
v4-8). The 8 together take 62 GB while they train, 31 with --config.mapping=map4. Estimated from the FLOPs of single
steps, within a factor of two or so; not measured.
"""

from landscape import presets


def get_config(arg="digits"):
    dataset, smoke, full = presets.parse(arg)
    config = presets.base(dataset, smoke)
    config.experiment = "noise"
    config.update(presets.measures(smoke))  # of its populations, by name: none
    config.num_members = 8  # the sources, then the guides
    config.autoencoder = presets.autoencoder(dataset, smoke)
    config.noise = dict(
        searches=("pixels", "manifold", "ascent") if full or smoke else ("pixels",),
        num_sources=4,  # each is attacked, and the results are tried on the others
        kind="layer_relative",
        # Each is used for noise redrawn at every gradient and for one frozen draw.
        radii=(0.1, 0.2, 0.3, 0.45, 0.6) if full else (0.1, 0.3, 0.6),
        others=("random_member", "trajectory", "swag"),  # other kinds of classifiers that searches use
        num_evaluations=40,  # gradients of a search, the same for all
        re_estimate=False,  # statistics of BatchNorm, for every draw
        # In radii of the ball; each population has its best one. On manifolds of Fashion-MNIST larger ones are better.
        step_sizes=(0.05, 0.1, 0.2, 0.4) if dataset == "digits" else (0.05, 0.1, 0.2, 0.4, 0.8),
        # Share of the mean distance that the search without noise covers on validation images. On digits all searches
        # come as far for 99 % of the images or more.
        equal_norm=0.75,
        equal_log_odds=0.5,  # nats
        num_validation=64,  # images on which step sizes are chosen; test images come in chunks of the same size
        num_examples=128,
        num_accuracy=8,  # draws by which the accuracy that noise leaves is estimated
        num_training=512,  # training images for BatchNorm's statistics and the size of latents
    )
    # Balls in which the search without noise succeeds on 30 to 95 % of the validation images.
    config.pixels = dict(norm="linf", epsilon=presets.NOISE[dataset]["pixels"])
    config.manifold = dict(family="vae", epsilon=presets.NOISE[dataset]["manifold"])  # in typical norms of a latent
    config.ascent = dict(epsilon=presets.NOISE[dataset]["ascent"])  # L2
    # The largest of the learning rates tried whose points lose at most one point of accuracy on 512 validation images.
    # Rate and accuracy on digits (4 sources, 98.8 %): 0.02 98.8, 0.05 98.7, 0.1 98.5, 0.2 98.1 (points disagree on
    # 1.4 %), 0.4 91.6; on Fashion-MNIST (93.0 %): 0.01 92.4 (4.2 %; 2 sources), 0.02 92.0, 0.05 91.4, 0.1 90.1 (1
    # source). At no rate do attacks on the points transfer more than those on the source there: 20, 18, 17, 13 %
    # against 21 to 22.
    config.trajectory = dict(
        learning_rate=0.2 if dataset == "digits" else 0.01, momentum=0.9, num_epochs=5, num_models=10
    )
    # r: length of the noise for flatness, and of the moves for linearity, over the length of equal norm.
    config.measure = dict(level=0.3, num_trials=16, num_linearity=8)
    # Radius 0 is the control: without noise only the distance covered depends on eta / M. On validation images of
    # digits, the shortest searches (64 x 0.1 / 8 of the ball's radius) fool the source on more than half of the images,
    # searches of half that length on a fifth to a third. At 10 of 24 grid points with noise, most coordinates end at
    # the boundary.
    config.grid = dict(
        radii=(0.0, 0.2, 0.45) if full else (0.0, 0.45),
        step_sizes=(0.1, 0.2, 0.4),
        num_draws=(1, 2, 4, 8),
        num_evaluations=64,
    )
    # Validation images, at most; steps of the default attack.
    config.audit = dict(num_examples=128, num_steps=presets.search(dataset, smoke).num_steps)
    config.claims = claims()
    if smoke:
        make_small(config)
    return config


def claims():
    """The claims: noise redrawn within the middle radius, compared with no noise."""
    middle = dict(populations=("redrawn", "no_noise"), contrast="difference", radius=0.3, smallest_effect=0.02)
    flatter = dict(measure="input_flatness.scale_free", direction="less", **middle)
    return dict(
        noise_transfers=dict(measure="transfer.success", matching="norm", direction="greater", **middle),
        noise_is_flatter=dict(matching="norm", **flatter),
        noise_is_flatter_at_equal_confidence=dict(matching="confidence", **flatter),
    )


def make_small(config):
    """The same code paths on few images."""
    config.num_members = 5
    config.noise.searches = ("pixels", "manifold")
    config.noise.others = ("random_member", "swag")
    config.noise.radii = (0.1, 0.3)
    config.noise.num_evaluations = 4
    config.noise.step_sizes = (0.2, 0.4)
    # Searches of 64 x 64 x 3 pixels, on manifolds too, take minutes otherwise.
    few = 8 if config.data.name == "tiny_imagenet" else 12
    config.noise.num_validation = config.noise.num_examples = config.audit.num_examples = few
    config.noise.num_accuracy = 2
    config.noise.num_training = 64
    config.trajectory.num_epochs = 1
    config.trajectory.num_models = 3
    config.measure = dict(level=0.3, num_trials=2, num_linearity=2)
    config.grid = dict(radii=(0.0, 0.2), step_sizes=(0.1, 0.2, 0.4), num_draws=(1, 2, 4), num_evaluations=4)
