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
from landscape.experiments.flatness.config import FIRST, MEASURES


def get_config(arg="digits"):
    dataset, smoke, full, along = presets.parse(arg, "along")
    config = presets.base(dataset, smoke)
    config.experiment = "flatness"
    config.control_members.untrained = 1 if smoke else 2
    config.measures = MEASURES if full else FIRST
    config.populations = ()  # beside those of every run: augmented, noisy, reconstructed, manifold
    config.augmented = dict(epsilon=presets.AUGMENTED)  # length of the move over the norm of the image
    config.noisy = dict(radius=0.3)  # of the ball that a search's classifiers are drawn from, relative to the weights
    config.autoencoder = presets.autoencoder(dataset, smoke)
    # The search in its latent; the radius is in typical norms of a latent.
    config.manifold = dict(family="vae", epsilon=presets.NOISE[dataset]["manifold"], num_steps=40)
    config.search = presets.search(dataset, smoke)
    config.flatness = dict(
        num_examples=512 if dataset == "fashion_mnist" else 256,  # test images, or all if there are fewer
        levels=(0.03, 0.1, 0.3, 0.6, 1.0, 2.0),  # r = sigma sqrt(D) / ||delta||
        num_trials=16,  # noise draws for each example
        noises=("additive",) if along else presets.INPUT_NOISES,
    )
    config.worst = dict(rho_fraction=0.25, num_steps=10, num_restarts=2)  # rho = rho_fraction * epsilon
    config.curvature = dict(num_probes=16, num_lanczos=12)
    config.weight = dict(
        noises=presets.WEIGHT_NOISES,
        xi=(0.01, 0.03, 0.1),  # relative to ||w||
        # For each member, in opposite pairs: even, at least 4. With 16 the draws' own standard error is half that of a
        # mean drop and a quarter to 0.45 of that of a difference of populations, which have it in them.
        num_draws=16,
    )
    # Noise of the length of the perturbation (r = 1); 512 draws certify at most 2.2 sigma.
    config.certified = dict(r=1.0, num_choosing=64, num_draws=512)
    config.spectrum = dict(num_eigenvalues=3, num_steps=12, num_probes=4)
    config.tangent = dict(num_neighbors=32, dim=8)  # nearest training images, their first principal directions
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
    config.flatness.update(num_examples=24, num_trials=2, levels=(0.1, 0.3, 1.0))
    config.worst.num_steps = 2
    config.manifold.num_steps = 4
    config.curvature.update(num_probes=2, num_lanczos=4)
    config.weight.update(xi=(0.03, 0.1), num_draws=4)
    config.certified.update(num_choosing=4, num_draws=16)
    config.spectrum.update(num_steps=4, num_probes=1)
    config.tangent.update(num_neighbors=6, dim=3)
    config.weight_hessian.update(num_steps=2, num_probes=2)
    config.along.update(num_examples=24, num_steps=8, num_positions=2)
    config.audit.num_examples = 16
