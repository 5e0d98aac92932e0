"""Is the landscape flatter around genuine or around adversarial examples, in input and in weight space?

    python -m landscape.main --config=configs/flatness.py                  8 members on digits
    python -m landscape.main --config=configs/flatness.py:fashion_mnist    8 members x 512 examples
    python -m landscape.main --config=configs/flatness.py:digits,along     measures along the way of an attack
    python -m landscape.main --config=configs/flatness.py:digits,full      every measure
    python -m landscape.main --config=configs/flatness.py:digits,smoke     the same code paths in seconds

Times and results: landscape/experiments/flatness/README.md.

tiny_imagenet: 540 PFLOP, of which 450 train 8 classifiers: 5 hours at 30 TFLOP/s (one 80 GB GPU), 1 at 150 (a v4-8).
The 8 together take 62 GB while they train, 31 with --config.mapping=map4. Estimated from the FLOPs of single steps,
within a factor of two or so; not measured.
"""

from landscape import presets
from landscape.experiments.flatness.config import MEASURES
from landscape.presets.measuring import FIRST


def get_config(arg="digits"):
    dataset, smoke, full, along = presets.parse(arg, "along")
    config = presets.base(dataset, smoke)
    config.experiment = "flatness"
    config.control_members.untrained = 1 if smoke else 2
    config.update(presets.measures(smoke))
    config.measures = MEASURES if full else FIRST
    config.populations = ()  # beside those of every run: augmented, noisy, reconstructed, manifold
    config.augmented = dict(epsilon=presets.AUGMENTED)  # length of the move over the norm of the image
    config.noisy = dict(radius=0.3)  # of the ball that a search's classifiers are drawn from, relative to the weights
    config.autoencoder = presets.autoencoder(dataset, smoke)
    # The search in its latent; the radius is in typical norms of a latent.
    config.manifold = dict(family="vae", epsilon=presets.NOISE[dataset]["manifold"], num_steps=40)
    config.search = presets.search(dataset, smoke)
    config.flatness.num_examples = 512 if dataset == "fashion_mnist" else 256  # test images, or all if there are fewer
    if not along:
        config.flatness.noises = presets.INPUT_NOISES
    config.weight_hessian = dict(num_steps=16, num_probes=16)
    config.along = dict(
        use=along,
        num_examples=128,
        num_steps=30,  # of search.step_size, from the image
        num_positions=4,  # on each side of the flip
        log_odds=(0.25, 0.5, 1.0) if dataset == "digits" else (0.5, 1.0, 2.0, 4.0),  # compared across the flip, nats
    )
    config.audit = dict(num_examples=128)
    claim = dict(
        # With ten classes the drop of linear classifiers differs at equal confidence too; what is above it does not.
        measure="input_flatness.scale_free_beyond_linear",
        contrast="difference",
        r=0.3,
        matching="iso",
        direction="greater",
        smallest_effect=0.02,
    )
    config.claims = dict(
        sharper_than_boosted=claim | dict(populations=("adversarial", "boosted")),
        sharper_than_genuine=claim | dict(populations=("adversarial", "genuine")),
    )
    if smoke:
        make_small(config)
    return config


def make_small(config):
    """The same code paths on few images."""
    config.flatness.num_examples = 24
    config.manifold.num_steps = 4
    config.weight_hessian.update(num_steps=2, num_probes=2)
    config.along.update(num_examples=24, num_steps=8, num_positions=2)
    config.audit.num_examples = 16
