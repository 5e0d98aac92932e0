"""Are adversarial examples shared between classifiers that differ in their seed alone, and can shared ones be found?

    python -m landscape.main --config=configs/shared.py                  16 attackers, 8 held-out members, digits
    python -m landscape.main --config=configs/shared.py:fashion_mnist
    python -m landscape.main --config=configs/shared.py --config.transfer.attacks="('full',)" --config.transfer.l2="()"
    python -m landscape.main --config=configs/shared.py --config.held_out_model.name=cnn_wide
    python -m landscape.main --config=configs/shared.py:digits,smoke     the same code paths on few images

On 2 slow cores 4.4 minutes on digits, members trained, and one for shapes and lines between classes. There, in L-inf
0.15, an example of one classifier fools another in 25.9 % [22.2, 29.6] of the cases, in 23.6 % [20.0, 27.1] by the
same mistake, where chance would have it in 9.6 % [7.9, 11.2]. Guided by 8 members instead of one, searches fool
held-out members in 20.0 points [16.6, 23.3] more, each of the 8; one member with noise is worth 1.0 [<1, 1.1]
members, a random one of 16 at every step 4.5 [3.0, 7.6]. Radii and the grid of step sizes were set after a first look
at digits.

tiny_imagenet: 1700 PFLOP, of which 1350 train 24 classifiers: 16 hours at 30 TFLOP/s (one 80 GB GPU), 3.2 at 150 (a
v4-8). --config.mapping=map8 trains 8 at a time, in 62 GB. Estimated from the FLOPs of single steps, within a factor of
two or so; not measured.
"""

from landscape import presets


def get_config(arg="digits"):
    dataset, smoke, _ = presets.parse(arg)
    config = presets.base(dataset, smoke)
    config.experiment = "shared"
    config.num_members = 24  # the attackers, then the held-out ones, which no search ever sees
    config.control_members = dict(untrained=2, shuffled=2)
    config.sweep = {}  # classifiers are not swept here
    config.num_attackers = 16
    # The architecture of the held-out members; that of the attackers where it is not given.
    config.held_out_model = {name: config.model.get_oneway_ref(name) for name in config.model}
    config.num_examples = 400 if dataset == "digits" else 1000  # of the test split, or all of a smaller one
    config.num_validation = 200  # images on which members are checked to have learned, and to be distinct
    config.chunk = 100  # images at a time
    config.transfer = dict(
        attacks=presets.SHARED_ATTACKS,  # the full budget in every ball, the others in the largest one of each norm
        linf=presets.SHARED[dataset]["linf"],  # radii, pixels; the middle one is that of the headline
        l2=presets.SHARED[dataset]["l2"],
        num_steps=40,
        step=0.1,  # of the ball's radius
        # Of the full budget. On digits one start leaves 13 % of the validation images right at 0.15, three leave 8 %,
        # five 6 %.
        num_restarts=5 if dataset == "digits" else 1,
    )
    # Searches guided by k members, or by one with noise, judged by the held-out ones.
    config.ladder = dict(
        sizes=(1, 2, 4, 8, 16),  # k, on as many disjoint blocks as there are attackers for
        rungs=presets.RUNGS,
        searches=("pixels", "manifold"),
        num_steps=48,  # of every rung at equal steps; at equal gradients k members take num_steps / k
        step_sizes=(0.1, 0.2, 0.4, 0.8, 1.6),  # of the ball's radius; each rung takes the best on validation images
        num_examples=128,
    )
    config.noise = dict(kind="layer_relative", radius=0.3, re_estimate=False)
    config.pixels = dict(norm="linf", epsilon=config.transfer.linf[len(config.transfer.linf) // 2])
    config.autoencoder = presets.autoencoder(dataset, smoke)
    config.manifold = dict(family="vae", epsilon=presets.NOISE[dataset]["manifold"])  # in typical norms of a latent
    # As in configs/noise.py, which says how they were chosen.
    config.trajectory = dict(
        learning_rate=0.2 if dataset == "digits" else 0.01, momentum=0.9, num_epochs=5, num_models=10
    )
    # Searches that have all attackers to fool at once, in L-inf.
    config.joint = dict(
        objectives=presets.JOINT,
        num_steps=40,
        num_halvings=8,  # of the smallest radius, which is looked for up to the largest ball of `transfer.linf`
        radius_objective="hardmin",
        num_examples=100,
    )
    # One perturbation for all images, made from training images.
    config.universal = dict(num_images=1000, batch_size=100, num_steps=200, step=0.2)
    # What shared adversarial examples look like beside unshared ones, in the headline's ball.
    config.shapes = dict(
        num_examples=400 if dataset == "digits" else 256,
        iso_margin=2.0,  # logits, at which they are compared besides
        iso_steps=60,
        noise=0.2,  # standard deviation, of the ball's radius: a quarter of the perturbation's length on digits
        num_trials=16,
        rho=0.25,  # radius of the worst case, of the ball's
        num_worst=10,  # steps
        num_lanczos=10,
        num_probes=4,
        num_neighbors=10,  # training images
    )
    config.between = dict(num_pairs=100, num_points=33)  # lines between test images of two classes
    # Of the headline's attack, and of the ladder's first search: their radii are told beside the verdicts.
    config.claims.mistakes_are_shared = dict(
        measure="transfer.same_beyond_chance", matching="clean_correct", direction="greater", smallest_effect=0.02
    )
    config.claims.many_guide_better = dict(
        measure="shared.held_out_success",
        size=config.num_attackers // 2,  # members, beside one
        matching="steps",
        direction="greater",
        smallest_effect=0.02,
    )
    if smoke:
        config.num_members = 6
        config.num_attackers = 4
        config.claims.many_guide_better.size = 4
        config.num_examples = 40
        config.num_validation = 40
        config.chunk = 20
        config.control_members = dict(untrained=1, shuffled=1)
        config.transfer.num_steps = 5
        config.transfer.num_restarts = 1
        config.transfer.step = 0.4  # a few steps must still cross the ball
        config.ladder.sizes = (1, 2, 4)
        config.ladder.rungs = ("ball", "frozen", "swag", "random", "members_ball")
        config.ladder.searches = ("pixels",)
        config.ladder.num_steps = 4
        config.ladder.step_sizes = (0.2, 0.4)
        config.ladder.num_examples = 20
        config.trajectory.num_epochs = 1
        config.trajectory.num_models = 3
        config.joint.num_steps = 4
        config.joint.num_halvings = 2
        config.joint.num_examples = 20
        config.universal = dict(num_images=40, batch_size=20, num_steps=5, step=0.2)
        config.shapes = dict(
            num_examples=20,
            iso_margin=0.5,
            iso_steps=5,
            noise=0.2,
            num_trials=2,
            rho=0.25,
            num_worst=2,
            num_lanczos=2,
            num_probes=2,
            num_neighbors=3,
        )
        config.between = dict(num_pairs=12, num_points=9)
    if smoke and dataset == "tiny_imagenet":  # the audit of 64 x 64 x 3 pixels would take two minutes
        config.num_validation = 20
        config.joint.num_examples = 10
    return config
