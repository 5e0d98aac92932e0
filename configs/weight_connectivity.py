"""Are classifiers joined by low-loss paths in weight space, before and after their units are matched?

python -m landscape.main --config=configs/weight_connectivity.py                 6 members on digits, 15 pairs
python -m landscape.main --config=configs/weight_connectivity.py:digits,full     8 members, chains as well
python -m landscape.main --config=configs/weight_connectivity.py:fashion_mnist   4 members
python -m landscape.main --config=configs/weight_connectivity.py:digits,smoke    the same code paths on few images
"""

from landscape import presets


def get_config(arg="digits"):
    dataset, smoke, full = presets.parse(arg)
    config = presets.base(dataset, smoke)
    config.experiment = "weight_connectivity"
    # Below 4 there is no interval over classifiers.
    config.num_members = 4 if smoke or dataset != "digits" else 8 if full else 6
    config.chunk = 100  # images at a time
    config.search = presets.search(dataset, smoke)
    del config.search.iso_log_odds, config.search.iso_steps
    config.audit = dict(num_examples=64)  # validation images
    config.weights = dict(
        matchings=("none", "weight", "activation"),  # what the second endpoint's units are matched by
        num_points=25 if full else 13,  # points on every path, both endpoints among them
        num_examples=1000 if full else 400,  # test images
        num_images=512,  # training images: statistics of units, activations for matching
        curves=("bezier", "chain") if full else ("bezier",),  # trained paths beside the line
        num_epochs={"digits": 40 if full else 20}.get(dataset, 8),  # of the curves' training
        learning_rate=3e-3,  # of AdamW at its first step; it falls to 0 along half a cosine
    )
    if smoke:
        config.weights.update(num_points=5, num_examples=20, num_images=64, num_epochs=1)
        config.audit.num_examples = 16
    return config
