"""Which pixels, or directions on a manifold, raise each class; where does ascent lead, by the number of guides?

    python -m landscape.main --config=configs/gradients.py                  8 guides, 4 held-out classifiers, digits
    python -m landscape.main --config=configs/gradients.py:fashion_mnist
    python -m landscape.main --config=configs/gradients.py:digits,full      16 guides, two manifolds, a hidden layer
    python -m landscape.main --config=configs/gradients.py --config.ascent.rule=adam --config.ascent.prior=0.1
    python -m landscape.main --config=configs/gradients.py --config.sweep.weight_decay='(1e-4,1e-1)'
    python -m landscape.main --config=configs/gradients.py:digits,smoke     the same code paths in half a minute

Times and results: landscape/experiments/gradients/README.md.

tiny_imagenet: 620 PFLOP, of which 560 train 10 classifiers: 6 hours at 30 TFLOP/s (one 80 GB GPU), 1.2 at 150 (a v4-8).
The 10 together take 75 GB while they train, 40 with --config.mapping=map5. Estimated from the FLOPs of single steps,
within a factor of two or so; not measured.
"""

from landscape import presets


def get_config(arg="digits"):
    dataset, smoke, full = presets.parse(arg)
    config = presets.base(dataset, smoke)
    config.experiment = "gradients"
    config.num_members = 20 if full else 12  # the first guide, those beyond the largest of guided.sizes are held out
    config.num_alone = 8 if full else 4  # guides whose gradients and ascents are measured one by one
    config.autoencoder = presets.autoencoder(dataset, smoke)
    # Manifolds; ascents with several guides use the first one.
    config.families = ("vae", "vq" if dataset == "digits" else "ae") if full else ("vae",)
    config.num_examples = 500  # test images; starts and images shown are the first of them
    config.population = "genuine"  # or augmented: these images moved toward their runner-up class
    config.augmented = dict(epsilon=presets.AUGMENTED)  # length of that move over the norm of the image
    config.num_fit = 5000  # training images that coordinates of latents are fitted to
    config.hidden = dict(num_points=1000)  # training images whose activations represent a layer
    config.maps = dict(
        num_examples=32 if full else 16,
        num_shown=2,
        value="log_probability",  # of a class, whose gradients are computed
        sigmas=(0.1, 0.3),  # of SmoothGrad, pixels
        num_trials=16,
        steps=(0.01, 0.1, 0.5),  # of finite differences, in typical distances of a latent from the mean
    )
    config.ascent = dict(
        num_starts=6,  # images; as many starts are noise and zeros
        layers=(presets.LAST,) if full else (),  # hidden layers to ascend in: names, last, or () for none
        value="log_probability",
        rule="steepest",  # or an optimiser of optax, such as adam
        step=0.05,  # in typical distances of a point from the mean of training points
        num_steps=48,
        num_frames=4,
        radius=0.0,  # of the L2 ball around the start, in the same unit; 0: none
        total_variation=0.0,  # weight of the image's total variation, taken off
        prior=0.0,  # weight of the latent's log prior (the fitted Gaussian's where there is none), added
    )
    config.guided = dict(
        sizes=(1, 2, 4, 8, 16) if full else (1, 2, 8),  # classifiers that guide together
        num_blocks=4,  # disjoint blocks of guides of each size, at most
        num_starts=12,  # images; as many starts are noise and zeros
        value="log_probability",
        rule="steepest",
        step=0.05,
        num_steps=40,
        distance=0.5,  # from the start, at which objectives are compared, in typical distances in pixels
        radius=0.0,
        sigma=0.1,  # of the noise under which flatness at the end is measured, pixels
        num_trials=16,
    )
    if dataset == "tiny_imagenet":  # maps and ascents are computed for each of 200 classes
        config.num_members, config.num_alone, config.guided.sizes = 10, 4, (1, 2, 4, 8)
        config.maps.num_examples, config.maps.num_shown = 16, 1
        config.ascent.num_starts = 1
    if smoke:
        make_small(config)
    return config


def make_small(config):
    """The same code paths on few images."""
    config.num_members, config.num_alone = 4, 2
    config.num_examples, config.num_fit = 50, 200
    config.hidden.num_points = 100
    config.maps.num_examples, config.maps.num_trials = 4, 2
    config.ascent.num_starts, config.ascent.num_steps, config.ascent.num_frames = 2, 4, 2
    config.guided.sizes, config.guided.num_blocks, config.guided.num_starts = (1, 2), 2, 2
    config.guided.num_steps, config.guided.num_trials = 4, 2
    config.guided.distance = 0.1  # which four steps reach
