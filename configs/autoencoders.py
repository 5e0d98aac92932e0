"""Which autoencoder and bottleneck describes the data, or a hidden layer, best?

    python -m landscape.main --config=configs/autoencoders.py                     4 families on digits, 4 seeds
    python -m landscape.main --config=configs/autoencoders.py:digits,full         every family and size, longer
    python -m landscape.main --config=configs/autoencoders.py:fashion_mnist
    python -m landscape.main --config=configs/autoencoders.py --config.autoencoder.sweep.beta='(0.5,1.0,4.0)'
    python -m landscape.main --config=configs/autoencoders.py:digits,smoke        the same code paths in half a minute
    python -m landscape.main --config=configs/autoencoders.py:digits,dictionaries sparse dictionaries across seeds

Times and results: landscape/experiments/autoencoders/README.md. Dictionaries are an experiment of their own, whose page
is landscape/experiments/dictionaries/README.md.

tiny_imagenet: 620 PFLOP, of which 225 train 4 classifiers and 300 the autoencoders of images: 6 hours at 30 TFLOP/s
(one 80 GB GPU), 1.2 at 150 (a v4-8), with 30 GB there and 20 GB on the host. Estimated from the FLOPs of single steps,
within a factor of two or so; not measured.
"""

from landscape import presets


def get_config(arg="digits"):
    dataset, smoke, full, of_dictionaries = presets.parse(arg, "dictionaries")
    config = presets.base(dataset, smoke)
    if of_dictionaries:
        return dictionaries(config, dataset, smoke, full)
    config.experiment = "autoencoders"
    config.num_members = 4  # classifiers, and seeds of every autoencoder
    config.autoencoder = presets.autoencoder(dataset, smoke, full)
    config.sweep = {}  # classifiers are not swept here; see autoencoder.sweep
    large = dataset not in ("digits", "folder")
    if dataset == "digits" and not smoke:
        config.autoencoder.num_epochs = 60 if full else 30
        config.autoencoder.dims = (4, 8, 16, 32) if full else (8, 32)
    config.hidden = dict(
        # Of the classifier: all, the last one, or some by name, such as ("conv2",); () for images alone.
        layers=(presets.LAST,) if dataset == "digits" and not full else (presets.ALL,),
        families=("ae",),
        dims=(8, 32, 128, 512) if large else (4, 8, 16, 32) if full else (8, 32),
        num_points=10000,  # training images whose activations baselines are fitted to, or all if there are fewer
        num_centres=64,  # of k-means
        num_epochs=4 * (1 + full) if large else config.autoencoder.num_epochs,
    )
    config.num_examples = 10000  # test images, or all if there are fewer
    config.use = dict(num_examples=32, num_steps=40)  # images where ascents to another class start, on each manifold
    if dataset == "tiny_imagenet":  # earlier layers have 131072 entries or more, too many for dense autoencoders
        config.hidden.layers, config.hidden.num_points = ("block3_2", "block4_2", "pool"), 5000
    if smoke:
        config.autoencoder.families, config.autoencoder.families_at_dims = ("ae", "vae", "fsq"), ("ae",)
        config.autoencoder.dims = (8,)
        config.hidden.dims = (8,)
        config.hidden.layers = (presets.LAST,)
        config.hidden.num_points = 200
        config.hidden.num_centres = 12
        config.hidden.num_epochs = 1
        config.num_examples = 100
        config.use = dict(num_examples=4, num_steps=4)
    return config


def dictionaries(config, dataset, smoke, full):
    """Of one classifier's last layers, dictionaries of many seeds."""
    config.experiment = "dictionaries"
    config.num_members = 1  # classifiers
    config.num_examples = 10000  # test images, or all if there are fewer
    large = dataset not in ("digits", "folder")
    config.dictionaries = dict(
        num_layers=2,  # of the classifier, the last ones
        num_seeds=8,
        num_curve_seeds=4,  # of them, for numbers of all widths and sparsities
        widths=(4, 16, 32),  # features, times the layer's channels
        width=4,  # at which seeds are compared
        ks=(2, 4, 8),  # features kept, by topk and archetypal
        k=4,
        penalties=(0.005, 0.02, 0.06),  # on an active feature, of jumprelu
        penalty=0.02,  # with as many active features as k
        hull=4,  # points that archetypal atoms are mixed of, times the features
        relaxation=0.05,  # largest distance of an archetypal atom from their hull, in mean lengths of such points
        num_points=10000,  # training images, or all if there are fewer
        num_epochs=(4 if large else 20) * (1 + full),
        batch_size=1024 if large else 128,  # points
        learning_rate=1e-2,
        revived=0.75,  # share of the epochs after which inactive features begin anew
        num_removed=256,  # test images whose logits are taken without each feature
    )
    if smoke:
        config.num_examples = 100
        small = dict(num_seeds=4, widths=(2, 4, 8), width=2, hull=2, ks=(2, 4), penalties=(0.005, 0.02))
        config.dictionaries.update(small | dict(num_points=300, num_epochs=2, num_removed=50))
    return config
