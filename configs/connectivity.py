"""Are inputs with the same prediction joined by low-loss paths, and do adversarial ones differ?

python -m landscape.main --config=configs/connectivity.py                 8 members on digits, 30 pairs
python -m landscape.main --config=configs/connectivity.py:digits,full     all pairs, longer searches, every path
python -m landscape.main --config=configs/connectivity.py:fashion_mnist
python -m landscape.main --config=configs/connectivity.py:digits,smoke    the same code paths on few images

tiny_imagenet: 2100 PFLOP, of which 450 train 8 classifiers and most of the rest are bypasses: 20 hours at 30 TFLOP/s
(one 80 GB GPU), 4 at 150 (a v4-8). The 8 together take 62 GB while they train. Estimated from the FLOPs of single
steps of a full run, within a factor of two or so; not measured.
"""

from landscape import presets
from landscape.experiments.connectivity.config import KINDS


def get_config(arg="digits"):
    dataset, smoke, full = presets.parse(arg)
    full = full or dataset != "digits"
    config = presets.base(dataset, smoke)
    config.experiment = "connectivity"
    config.update(presets.measures(smoke))  # of its populations, by name: none
    config.chunk = 100  # images at a time
    config.search = presets.search(dataset, smoke)
    del config.search.iso_log_odds, config.search.iso_steps  # log-odds are those of natural errors, see pairs.iso_steps
    config.pairs = dict(
        kinds=KINDS,
        num_examples=10000,  # test images, or all if there are fewer
        num_pairs=200 if full else 30,
        num_errors=400 if full else 60,
        iso_steps=60,
        chunk=25,  # pairs at a time
    )
    # Further paths; all pairs have the line and the bypass. `all`: a bypass that is low for every member, for kinds
    # whose endpoints members share.
    config.paths = dict(
        more=("bezier", "all", "manifold_bypass") if full else ("bezier",),
        kinds=KINDS if full else ("genuine", "adversarial"),
        num_pairs=25 if full else 10,  # of each kind
    )
    config.bypass = dict(
        num_steps=1024 if full else 256,
        learning_rate=0.005,
        depth=2,  # how often pieces are halved
        num_points=33,  # of every piece
        tolerance=0.01,  # nats
    )
    config.curves = dict(num_steps=256, learning_rate=0.005)
    # The attack that evades the detector; its weight is chosen on validation images.
    config.adaptive = dict(
        weights=(0.3, 1.0, 3.0, 10.0) if full else (1.0, 10.0),  # logits per nat
        keep=0.95,  # share of the successes of the attack without the detector
        num_steps=100,
        num_points=17,
        num_pairs=64 if full else 24,
    )
    # Inputs of one class and the paths between all of them; edges have one waypoint.
    config.graph = dict(num_nodes=3 if full else 2, num_steps=256 if full else 64)  # nodes of each kind and class
    config.autoencoder = presets.autoencoder(dataset, smoke)
    config.manifold = dict(family="vae")
    # 0.1 nats more loss are a tenth less probability of the class.
    config.claims.adversarial_lie_behind_a_barrier = dict(
        measure="barrier.loss", matching="raw", direction="greater", smallest_effect=0.1
    )
    # AUROC minus 1/2, against natural errors of equal confidence. Digits have too few of these: there it is undecided.
    config.claims.a_barrier_detects_adversarial = dict(
        measure="auroc.barrier.area", matching="matched", direction="greater", smallest_effect=0.05
    )
    if smoke:
        _make_small(config)
    return config


def _make_small(config):
    """Few images, few steps."""
    config.pairs.update(num_pairs=20, num_errors=10, iso_steps=5)
    config.paths.update(num_pairs=6, kinds=("genuine", "adversarial"))
    config.bypass.update(num_steps=16, num_points=17, depth=1)
    config.curves.num_steps = 4
    config.graph.update(num_nodes=1, num_steps=8)
    config.adaptive.update(weights=(1.0,), num_steps=5, num_points=5, num_pairs=12)
    config.adaptive.keep = 0.5  # few steps reach the class less often
    if config.data.name == "tiny_imagenet":  # 64 x 64 x 3: a line costs 150 times one between digits
        config.pairs.num_pairs = 6
        config.bypass.update(num_steps=4, num_points=9)
        config.paths.update(num_pairs=4, kinds=("genuine",))
