"""How much of the area around an image where a classifier errs is common to all seeds?

    python -m landscape.main --config=configs/surfaces.py                    8 members on digits, all pairs
    python -m landscape.main --config=configs/surfaces.py:fashion_mnist
    python -m landscape.main --config=configs/surfaces.py:digits,full        more images, finer, planes of every kind
    python -m landscape.main --config=configs/surfaces.py --config.inputs=FILE.npz     a plane of your three images too
    python -m landscape.main --config=configs/surfaces.py:digits,smoke       the same code paths in seconds

Times and results: landscape/experiments/surfaces/README.md.
"""

from landscape import presets
from landscape.experiments.surfaces.config import COUNTED, PICTURED, WEIGHT_PLANES


def get_config(arg="digits"):
    dataset, smoke, full = presets.parse(arg)
    config = presets.base(dataset, smoke)
    config.experiment = "surfaces"
    config.search = presets.search(dataset, smoke)
    del config.search.iso_log_odds, config.search.iso_steps
    config.chunk = 100  # images at a time
    config.surfaces = dict(
        planes=COUNTED + PICTURED if full else COUNTED,
        num_candidates=1000 if full else 300,  # test images that are attacked
        num_examples=128 if full else 64,  # of them, at most: those that every member gets right and wrong afterwards
        grid=51 if full else 25,  # points along a side of the square that the counted disc lies in
        num_shown=8,  # images whose maps are saved whole
        map_grid=81 if full else 41,  # of these
    )
    config.audit = dict(num_examples=64)  # validation images
    config.hidden = dict(layers=(presets.LAST,))  # of the hidden plane
    config.autoencoder = presets.autoencoder(dataset, smoke)
    config.manifold = dict(family="vae")  # of the latent plane
    config.weights = dict(
        planes=WEIGHT_PLANES if full else (),
        grid=25 if full else 15,
        num_examples=256,  # test images
        num_shown=2,  # members with planes of their own
    )
    # Of SGD from trained members, for the plane of their trajectories; as in configs/noise.py, which says why.
    config.trajectory = dict(
        learning_rate=0.2 if dataset == "digits" else 0.01, momentum=0.9, num_epochs=5, num_models=10
    )
    if smoke:
        config.surfaces.update(num_candidates=100, num_examples=8, grid=9, num_shown=2, map_grid=9)
        config.weights.update(grid=5, num_examples=32)
        config.audit.num_examples = 16
        config.trajectory.update(num_epochs=1, num_models=3)
    return config
