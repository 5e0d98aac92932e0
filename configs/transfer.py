"""Are adversarial examples shared between classifiers that differ in their seed alone, and can shared ones be found?

    python -m landscape.main --config=configs/transfer.py                   8 attackers, 4 held-out classifiers, digits
    python -m landscape.main --config=configs/transfer.py:digits,full       16 and 8, all attacks, guides and parts
    python -m landscape.main --config=configs/transfer.py:fashion_mnist
    python -m landscape.main --config=configs/transfer.py --config.held_out_model.name=cnn_wide
    python -m landscape.main --config=configs/transfer.py --config.sweep.weight_decay='(1e-4,1.0)'
    python -m landscape.main --config=configs/transfer.py:digits,smoke      the same code paths on few images

tiny_imagenet,full: 1700 PFLOP, of which 1350 train 24 classifiers: 16 hours at 30 TFLOP/s (one 80 GB GPU), 3.2 at 150
(a v4-8). --config.mapping=map8 trains 8 at a time, in 62 GB. Estimated from the FLOPs of single steps, within a factor
of two or so; not measured.
"""

from landscape import presets
from landscape.experiments.transfer.config import KINDS, OBJECTIVES, PARTS, SETS

# Radii of the attacks in pixels, from few images fooled to all; the middle one is that of the headline. Those of digits
# and Fashion-MNIST were set after a first look at the data.
COLOUR = dict(linf=(1 / 255, 2 / 255, 4 / 255), l2=(0.25, 0.5, 1.0))
RADII = dict(
    digits=dict(linf=(0.1, 0.14, 0.25), l2=(0.5, 0.9, 1.5)),
    fashion_mnist=dict(linf=(0.03, 0.05, 0.1), l2=(0.5, 1.0, 2.0)),
    folder=dict(linf=(0.01, 0.02, 0.03), l2=(0.5, 1.0, 2.0)),
)


def get_config(arg="digits"):
    dataset, smoke, full = presets.parse(arg)
    radii = RADII.get(dataset, COLOUR)
    config = presets.base(dataset, smoke)
    config.experiment = "transfer"
    config.update(presets.measures(smoke))  # of its populations, by name: none
    config.parts = PARTS if full or smoke else ("joint", "guides")  # in addition to transfer
    config.num_members = 24 if full else 12  # the attackers, then the held-out ones, which no search ever sees
    config.num_attackers = 16 if full else 8
    config.control_members = dict(untrained=2, shuffled=2) if full else dict(untrained=1, shuffled=1)
    # The architecture of the held-out members; by default that of the attackers.
    config.held_out_model = {name: config.model.get_oneway_ref(name) for name in config.model}
    config.num_examples = 1000 if full and dataset != "digits" else 400 if full else 200  # of the test split
    config.num_validation = 200  # images on which members are checked to have learned, and to be distinct
    config.chunk = 100  # images at a time
    config.transfer = dict(
        # The full budget is used in every ball, other attacks in the largest one of each norm.
        attacks=KINDS,  # full, first_flip
        linf=radii["linf"],  # pixels
        l2=radii["l2"] if full else (),
        num_steps=50,  # of a search; of the full budget's, toward all its targets together
        step=0.1,  # share of the ball's radius
    )
    set_parts(config, dataset, smoke, full)
    # About the headline's attack, and about guided searches; verdicts have their radii.
    config.claims.mistakes_are_shared = dict(
        measure="transfer.same_beyond_chance", matching="clean_correct", direction="greater", smallest_effect=0.02
    )
    config.claims.many_guide_better = dict(
        measure="shared.held_out_gain",
        size=config.num_attackers // 2,  # members, compared with one
        matching="steps",
        direction="greater",
        smallest_effect=0.02,
    )
    if smoke:
        make_small(config, dataset)
    return config


def set_parts(config, dataset, smoke, full):
    """The fields of what is computed in addition to transfer, and of the audit."""
    config.audit = dict(num_examples=200 if full else 128)  # validation images, at most
    # Searches that have to fool all attackers at once, in L-inf.
    config.joint = dict(
        objectives=OBJECTIVES,
        num_steps=40,
        num_halvings=8 if full else 6,  # in the search for the smallest radius, up to the largest of `transfer.linf`
        num_examples=100 if full else 64,
    )
    # Searches guided by k members, or by one with noise, tried on the held-out ones.
    config.guides = dict(
        sizes=(1, 2, 4, 8, 16) if full else (1, 2, 4, 8),  # k, on as many disjoint blocks as there are attackers for
        sets=SETS if full else ("ball", "random"),
        num_steps=48,  # of every guide set at equal steps; at equal gradients k members take num_steps / k
        step_sizes=(0.05, 0.1, 0.2, 0.4, 0.8),  # of the ball's radius; each set takes the best on validation images
        num_examples=128,
    )
    config.noise = dict(kind="layer_relative", radius=0.3)
    config.pixels = dict(norm="linf", epsilon=config.transfer.linf[len(config.transfer.linf) // 2])
    config.autoencoder = presets.autoencoder(dataset, smoke)
    config.manifold = dict(family="vae")  # whose reconstructions and lines are measured
    # As in configs/noise.py, which says how they were chosen.
    config.trajectory = dict(
        learning_rate=0.2 if dataset == "digits" else 0.01, momentum=0.9, num_epochs=5, num_models=10
    )
    # Local geometry of shared examples beside unshared ones, in the headline's ball.
    config.geometry = dict(
        num_examples=400 if dataset == "digits" else 256,
        iso_log_odds=2.0,  # nats, of the comparison `iso`
        iso_steps=60,
        noise=0.2,  # standard deviation, share of the ball's radius: a quarter of the perturbation's length on digits
        num_trials=16,
        rho=0.25,  # radius of the worst case, share of the ball's
        num_worst=10,  # steps
        num_lanczos=10,
        num_probes=4,
        num_neighbors=10,  # training images
    )
    config.between = dict(num_pairs=100, num_points=33)  # lines between test images of two classes


def make_small(config, dataset):
    """All parts on few members and images."""
    config.num_members, config.num_attackers = 6, 4
    config.claims.many_guide_better.size = 4
    config.num_examples, config.num_validation, config.chunk = 40, 40, 20
    config.audit.num_examples = 16
    config.transfer.update(num_steps=5, step=0.4)  # a few steps must still cross the ball
    config.guides.update(sizes=(1, 2, 4), sets=("ball", "swag", "members_ball"))
    config.guides.update(num_steps=4, step_sizes=(0.2, 0.4), num_examples=20)
    config.trajectory.update(num_epochs=1, num_models=3)
    config.joint.update(num_steps=4, num_halvings=2, num_examples=20)
    config.geometry.update(num_examples=20, iso_log_odds=0.5, iso_steps=5, num_trials=2, num_worst=2)
    config.geometry.update(num_lanczos=2, num_probes=2, num_neighbors=3)
    config.between.update(num_pairs=12, num_points=9)
    if dataset == "tiny_imagenet":  # the audit of 64 x 64 x 3 pixels would take two minutes
        config.num_validation, config.audit.num_examples, config.joint.num_examples = 20, 10, 10
