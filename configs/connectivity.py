"""Are inputs of one prediction joined by low-loss paths, and do adversarial ones differ?

python -m landscape.main --config=configs/connectivity.py                 8 members on digits
python -m landscape.main --config=configs/connectivity.py:fashion_mnist
python -m landscape.main --config=configs/connectivity.py:digits,smoke    the same code paths on few images

On one busy core 26 minutes on digits, 98 on Fashion-MNIST with further paths of five kinds. On digits the loss rises by
over 0.01 nats above both ends on 29 % [22, 35] of the lines between two genuine images and 43 % [35, 51] of those to an
adversarial one; told by that, adversarial ones stand out with AUROC 0.60 [0.53, 0.66], under an attack that knows the
detector with 0.45 [0.39, 0.52]. On Fashion-MNIST they do not: 0.51 [0.43, 0.57]; from natural errors of equal margin
0.49 [0.43, 0.55].

tiny_imagenet: 2100 PFLOP, of which 450 train 8 classifiers and most of the rest are bypasses: 20 hours at 30 TFLOP/s
(one 80 GB GPU), 4 at 150 (a v4-8). The 8 together take 62 GB while they train. Estimated from the FLOPs of single
steps, within a factor of two or so; not measured.
"""

from landscape import presets


def get_config(arg="digits"):
    dataset, smoke, _ = presets.parse(arg)
    config = presets.base(dataset, smoke)
    config.experiment = "connectivity"
    config.control_members = dict(untrained=0, shuffled=0)
    config.sweep = {}  # classifiers are not swept here
    config.chunk = 100  # images at a time
    config.search = presets.search(dataset, smoke)
    del config.search.iso_margin, config.search.iso_steps  # margins are those of natural errors, see pairs.iso_steps
    config.pairs = dict(
        kinds=presets.PAIRS,
        num_examples=10000,  # of the test split, or all of a smaller one
        num_pairs=200,
        num_errors=400,
        iso_steps=60,
        chunk=25,  # pairs at a time
    )
    # Beside the line and the bypass, which all pairs have.
    config.paths = dict(
        more=(
            *("chain", "bezier"),
            *("noisy", "bezier_noisy"),  # noisy classifiers, one a step
            *("all", "bezier_all"),  # low for every member, of kinds whose ends they share
            *("manifold_line", "manifold_bypass"),
        ),
        kinds=presets.PAIRS,
        num_pairs=25,  # of each kind
    )
    config.bypass = dict(
        num_steps=1024,
        learning_rate=0.005,
        depth=2,  # pieces are halved so often
        num_points=33,  # of every piece
        tolerance=0.01,  # nats
    )
    config.curves = dict(num_bends=1, num_steps=256, num_draws=4, learning_rate=0.005)
    # The attack that knows the detector; the weight of the barrier is chosen on validation images.
    config.adaptive = dict(
        weights=(0.3, 1.0, 3.0, 10.0),  # logits for a nat
        keep=0.95,  # of the successes of the attack that does not care
        enough=1.0,  # logits of margin
        num_steps=100,
        num_points=17,
        num_pairs=64,
    )
    config.exact = dict(num_pairs=8)  # whose lines are looked at at every kink
    # Inputs of one class and the paths between all of them; edges take one bend.
    config.graph = dict(num_nodes=3, num_steps=256)  # nodes of each kind and class
    config.weights = presets.weights(dataset, smoke)  # classifiers joined in weight space
    config.noise = dict(kind="layer_relative", radius=0.3)
    config.autoencoder = presets.autoencoder(dataset, smoke)
    config.manifold = dict(family="vae", epsilon=presets.NOISE[dataset]["manifold"])  # in typical norms of a latent
    # 0.1 nats take a tenth of a class's probability.
    config.claims.adversarial_lie_behind_a_barrier = dict(
        measure="barrier.loss", matching="raw", direction="greater", smallest_effect=0.1
    )
    # Against 1/2, the others natural errors of equal margin. Digits have too few of these: there it is undecided.
    config.claims.a_barrier_tells_adversarial = dict(
        measure="auroc.barrier", matching="matched", direction="greater", smallest_effect=0.05
    )
    if smoke:
        config.pairs.num_pairs = 30
        config.pairs.num_errors = 10
        config.pairs.iso_steps = 5
        config.paths.num_pairs = 6
        config.paths.kinds = ("genuine", "adversarial")
        config.paths.more = ("bezier", "noisy", "all", "manifold_bypass")
        config.bypass.num_steps = 16
        config.bypass.num_points = 17
        config.bypass.depth = 1
        config.curves.num_steps = 4
        config.graph.num_nodes = 1
        config.graph.num_steps = 8
        config.exact.num_pairs = 1
        config.adaptive.weights = (1.0,)
        config.adaptive.keep = 0.5  # few steps reach the class less often
        config.adaptive.num_steps = 5
        config.adaptive.num_points = 5
        config.adaptive.num_pairs = 12
    if smoke and dataset == "tiny_imagenet":  # 64 x 64 x 3: a line costs 150 times one between digits
        config.pairs.num_pairs = 6
        config.bypass.num_steps = 4
        config.bypass.num_points = 9
        config.paths.num_pairs = 4
        config.paths.kinds = ("genuine",)
        config.exact.num_pairs = 0  # minutes for one line, which crosses thousands of kinks
    return config
