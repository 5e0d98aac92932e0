"""How fast are flatness, weight noise and attacks here, beside the alternatives, on this machine?

    python -m landscape.main --config=configs/benchmark.py                 cnn and cnn_wide on digits
    python -m landscape.main --config=configs/benchmark.py:fashion_mnist
    python -m landscape.main --config=configs/benchmark.py:resnet          ResNet-18 beside PyTorch, 5 minutes
    python -m landscape.main --config=configs/benchmark.py:members         members a second of 1, 4, 16, 64
    python -m landscape.main --config=configs/benchmark.py:digits,smoke    the same code paths in seconds

PyTorch and Foolbox take part where the `peers` extra is installed; without it a line says so.
On 2 cores: 3 minutes of races on Fashion-MNIST, PGD 2.4x (cnn) and 1.9x (cnn_wide) as fast as Foolbox on PyTorch; and
36 minutes of one slower core for attacks on four trained members and 500 images, which leave as many robust as
Foolbox's best (0.0 points, [-0.3, 0.3] in L-inf, [-0.5, 0.5] in L2).
"""

from landscape import presets


def get_config(arg="digits"):
    dataset, smoke, _, resnet, members = presets.parse(arg, "resnet", "members")
    config = presets.base(dataset, smoke)
    config.experiment = "benchmark"
    config.search = presets.search(dataset, smoke)
    config.benchmark = dict(
        part="members" if members else "resnet" if resnet else "small",
        models=("cnn", "resnet18") if members else ("cnn", "cnn_wide"),
        counts=(1, 4, 16, 64),  # members, in the part of that name
        num_examples=64,
        num_trials=16,  # input-noise draws an example
        num_draws=8,  # weight-noise draws a member
        num_searched=4,  # members in the races of searches
        num_pairs=16,  # lines in the bypass race
        num_bends=16,  # steps of each of its searches
        num_repeats=7,  # timed rounds; the contestants take turns in each; fewer give no 95 % interval
        num_attacked=4,  # trained members on which attacks are compared with Foolbox's, not in time but in strength
        num_attacked_examples=500,
        attack_steps=100,
    )
    config.audit = dict(num_examples=64)  # validation images: of the audit, and of the radii of the compared attacks
    if resnet or members:
        config.search.num_steps = 10
        config.benchmark.num_trials = 4
        config.benchmark.num_repeats = 6
    if smoke and (resnet or members):
        config.search.num_steps = 2
        config.benchmark.counts = (1, 4)
    if smoke:
        config.audit.num_examples = 16
        config.benchmark.num_searched = 2
        config.benchmark.num_pairs = 4
        config.benchmark.num_bends = 4
        config.benchmark.models = ("cnn",)
        config.benchmark.num_examples = 16
        config.benchmark.num_trials = 2
        config.benchmark.num_draws = 2
        config.benchmark.num_repeats = 2
        config.benchmark.num_attacked = 2
        config.benchmark.num_attacked_examples = 16
        config.benchmark.attack_steps = 5
    return config
