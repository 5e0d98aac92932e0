"""Does training on examples that are moved toward their runner-up class improve a classifier; at which layer?

    python -m landscape.main --config=configs/augmentation.py                  8 seeds of every arm on digits
    python -m landscape.main --config=configs/augmentation.py:digits,full      16 seeds, a larger search, more controls
    python -m landscape.main --config=configs/augmentation.py:fashion_mnist
    python -m landscape.main --config=configs/augmentation.py --config.augmentation.num_finetune_epochs=10
    python -m landscape.main --config=configs/augmentation.py:digits,smoke     the same code paths on few images

Times and results: landscape/experiments/augmentation/README.md.
"""

from landscape import presets
from landscape.experiments.augmentation.config import CODED, CONTROLS, GATES, IMAGE


def get_config(arg="digits"):
    dataset, smoke, full = presets.parse(arg)
    config = presets.base(dataset, smoke)
    config.experiment = "augmentation"
    config.update(presets.measures(smoke))  # of its populations, by name: none
    config.num_members = 4 if smoke else 16 if full else 8  # of every arm
    num_epochs = config.train.num_epochs
    config.augmentation = dict(
        layers=(presets.ALL,),  # where examples are moved, "image" among them
        epsilons=(0.05, 0.1, 0.2, 0.4) if full else (0.1, 0.2),  # length of a move over that of the activations
        probabilities=(0.5, 1.0) if full else (0.5,),
        gates=GATES if full else ("always",),  # correct: only examples that are classified correctly are moved
        coded=CODED if full else ("residual",),  # ways through autoencoders; () for none
        coded_layers=(IMAGE,),  # whose autoencoders these are
        alphas=(0.1, 4.0),  # the smallest and the largest of mixup's that are tried
        radii=(0.005, 0.1),  # the same of adversarial training, pixels
        controls=CONTROLS if full else (),  # beside random directions and Manifold Mixup
        num_moves=0,  # the best of them on validation images, that are trained for good; 0: all
        num_search_seeds=2,  # by which everything is chosen, on validation images; they are not reported
        num_search_epochs=num_epochs if full else max(1, num_epochs // 2),
        num_finetune_epochs=0,  # train from members trained without, for so many epochs more; 0: from scratch
    )
    if full:  # activations of residual networks are many: of these the last layer's
        name = config.model.name
        config.augmentation.coded_layers = (IMAGE, presets.ALL if name == "cnn" else presets.LAYERS[name][-1])
    config.autoencoder = presets.autoencoder(dataset, smoke)
    config.manifold = dict(family="ae")  # of the autoencoders
    # Those of hidden layers: training images by whose activations they are standardised, and their size.
    config.hidden = dict(num_points=5000, num_epochs=config.autoencoder.num_epochs, dim=config.autoencoder.dim)
    config.measure = dict(
        num_examples=10000,  # test images, or all if there are fewer
        num_probed=1000 if full else 400,  # of them, for robust accuracy, noise and moves
        sigma=0.1,  # of input noise, pixels
        num_trials=16 if full else 8,
        xi=0.05,  # of weight noise, share of a layer's weights
        num_draws=16 if full else 8,
        num_points=2000,  # training images among which neighbours are looked for
    )
    config.search = presets.search(dataset, smoke)
    config.search.epsilon = config.search.epsilon / 2  # under which about half of the images stay right
    del config.search.iso_log_odds, config.search.iso_steps
    config.audit = dict(num_examples=128 if full else 64)
    config.timing = dict(num_rounds=24 if full else 12, num_steps=8)
    config.claims.augmentation_helps = dict(
        measure="accuracy.test", reference="nothing", direction="greater", smallest_effect=0.002
    )
    config.claims.runner_up_beats_random = dict(
        measure="accuracy.test", reference="random", direction="greater", smallest_effect=0.002
    )
    if dataset == "fashion_mnist" and not (smoke or full):
        make_short(config)
    if smoke:
        make_small(config)
    return config


def make_short(config):
    """For 16 seeds in three quarters of an hour on 2 cores: fewer epochs, and of the moves the two best for good."""
    config.train.num_epochs = 5
    config.augmentation.update(num_moves=2, num_search_epochs=2, epsilons=(0.05, 0.2))


def make_small(config):
    """The same code paths on few images."""
    config.augmentation.update(layers=presets.LAYERS[config.model.name][-1:], epsilons=(0.2,), num_search_seeds=1)
    config.hidden.num_points = 200
    config.measure.update(num_examples=24, num_probed=24, num_trials=2, num_draws=4, num_points=100)
    config.audit.num_examples, config.timing.num_rounds, config.timing.num_steps = 16, 2, 2
