"""The first questions about a data set and its classifiers, in one command with one index page.

    python -m landscape.main --config=configs/tour.py                    digits
    python -m landscape.main --config=configs/tour.py:fashion_mnist
    python -m landscape.main --config=configs/tour.py:tiny_imagenet --config.data.dir=DIR
    python -m landscape.main --config=configs/tour.py:digits,smoke       the same code paths on few images

Classifiers are trained or imported; then come gradients, autoencoders, their latent spaces, genuine against
adversarial inputs, and their neighbours.

Shared fields are set for all parts, those of one part by --config.parts.NAME.FIELD=VALUE. The same
command continues a tour that was stopped.
"""

import importlib.util
from pathlib import Path

from ml_collections import ConfigDict

from landscape import presets

ORDER = ("train", "gradients", "autoencoders", "latent", "flatness", "neighbors")
PARTS = (*ORDER, "augmentation", "surfaces")  # those behind ORDER are run where `order` names them
SHARED = ("data", "model", "train", "sweep", "seed", "mapping", "artifacts")


def part(name, arg):
    """The config of one experiment, from the file beside this one."""
    spec = importlib.util.spec_from_file_location(f"landscape_config_{name}", Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(arg)


def get_config(arg="digits"):
    dataset, smoke, _ = presets.parse(arg)
    config = presets.base(dataset, smoke)
    config.experiment = "tour"
    config.parts = ConfigDict({name: part(name, arg) for name in PARTS})
    config.order = ORDER  # leave some out: --config.order="('train','flatness')"
    if smoke and dataset == "tiny_imagenet":
        make_small(config.parts)
    for own in config.parts.values():
        for name in SHARED:  # one object, or one reference: what is set here is set for all
            if name != "sweep" or own.sweep:  # some have no sweep
                own[name] = config[name] if isinstance(config[name], ConfigDict) else config.get_ref(name)
    for name in [*config]:
        if name not in (*SHARED, "experiment", "smoke", "parts", "order"):
            del config[name]
    return config


def make_small(parts):
    """One kind of autoencoder, which all parts share, short chains, one kind of noise: 64 x 64 x 3 pixels are many."""
    parts.gradients.families = parts.latent.families = parts.autoencoders.autoencoder.families = ("ae",)
    section = parts.autoencoders.autoencoder
    parts.autoencoders.hidden.dims = section.dims = (section.dim,)
    parts.neighbors.manifold.family = "ae"
    parts.flatness.measures = ("flatness", "worst")
    parts.flatness.flatness.update(noises=("additive",), levels=(0.3, 1.0))
    parts.flatness.audit.num_examples = parts.neighbors.audit.num_examples = 2  # 29 searches of all members
    parts.latent.mcmc.num_warmup, parts.latent.mcmc.num_frames, parts.latent.mcmc.num_steps.mala = 2, 4, 4
    for own in parts.values():
        own.control_members.untrained = 0
