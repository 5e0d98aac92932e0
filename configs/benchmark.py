"""How fast are flatness, weight noise and attacks on this machine, compared with the alternatives?

    python -m landscape.main --config=configs/benchmark.py                 cnn on digits
    python -m landscape.main --config=configs/benchmark.py:fashion_mnist
    python -m landscape.main --config=configs/benchmark.py:resnet          ResNet-18 beside PyTorch
    python -m landscape.main --config=configs/benchmark.py:members         members a second of 1, 4, 16, 64
    python -m landscape.main --config=configs/benchmark.py:digits,full     cnn_wide too, longer attacks, 500 images
    python -m landscape.main --config=configs/benchmark.py:digits,smoke    the same code paths on few images

PyTorch and Foolbox take part if the `peers` extra is installed; without it a message says so.
Times and results: landscape/experiments/benchmark/README.md.
"""

from landscape import presets

RACES = ("input_noise", "weight_noise", "surface", "pgd", "gradient")
ON_GENERATED = ("pgd", "input_noise", "train_step")
WAYS = ("one_device", "map", "vmap", "loop", "pytorch", "foolbox")


def get_config(arg="digits"):
    dataset, smoke, full, resnet, members = presets.parse(arg, "resnet", "members")
    config = presets.base(dataset, smoke)
    config.experiment = "benchmark"
    config.search = presets.search(dataset, smoke)
    del (
        config.search.norm,
        config.search.num_restarts,
        config.search.iso_log_odds,
        config.search.iso_steps,
    )  # L-inf alone
    config.benchmark = dict(
        part="members" if members else "resnet" if resnet else "small",
        models=("cnn", "cnn_wide") if full else ("cnn",),
        races=(*RACES, "curvature", "train_step") if full else RACES,
        ways=(*WAYS, "pytorch_channels_last", "pytorch_one_by_one") if full else WAYS,  # compared with landscape
        counts=(1, 4, 16, 64),  # numbers of members, in the part `members`
        num_examples=64,
        num_trials=16 if full else 8,  # input-noise draws for each example
        num_draws=8 if full else 4,  # weight-noise draws for each member, even
        num_searched=4,  # members in the races of PGD and curvature
        num_repeats=7,  # timed rounds; the ways take turns in each; fewer than 6 give no 95 % interval
        num_attacked=4,  # trained members on which the strength of attacks is compared with Foolbox's
        num_attacked_examples=500 if full else 50,
        attack_steps=100,
    )
    # Validation images for the audit, and for the radii of the compared attacks.
    config.audit = dict(num_examples=64)
    config.search.num_steps = 40 if full else 10  # ratios hardly depend on it
    if resnet or members:
        config.search.num_steps = 10
        config.benchmark.num_trials = 4
        config.benchmark.models = ("cnn", "resnet18") if members else ("resnet18",)
        config.benchmark.races = ON_GENERATED
        config.benchmark.ways = ("loop", "pytorch_channels_last")  # others take minutes there
    if smoke:
        config.search.num_steps = 2
        config.audit.num_examples = 16
        config.benchmark.counts = (1, 4)
        config.benchmark.num_searched = 2
        config.benchmark.num_examples = 16
        config.benchmark.num_trials = 2
        config.benchmark.num_draws = 4
        config.benchmark.num_repeats = 2
        config.benchmark.num_attacked = 2
        config.benchmark.num_attacked_examples = 16
        config.benchmark.attack_steps = 5
    return config
