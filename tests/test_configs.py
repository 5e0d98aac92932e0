"""All configs load for all data sets, are valid, are not changed by the check; and what the check refuses."""

import re

import pytest
from ml_collections import FrozenConfigDict
from whole_runs import ROOT, load

from landscape import experiments, presets
from landscape.files import UserError, canonical_json
from landscape.presets import names, paths

CONFIGS = sorted(path.stem for path in (ROOT / "configs").glob("*.py") if path.stem != "gather")  # has no data set


@pytest.fixture
def config():
    return load("flatness")


@pytest.mark.parametrize("smoke", ["", ",smoke"])
@pytest.mark.parametrize("dataset", [*presets.DATASETS, "tfds:imagenette/160px-v2"])
@pytest.mark.parametrize("name", CONFIGS)
def test_every_config_loads_is_valid_and_is_not_changed(name, dataset, smoke):
    config = load(name, dataset + smoke)
    if dataset == "folder":
        config.data.dir = "somewhere"
    config.lock()
    before = canonical_json(config.to_dict())
    experiments.validate(config)
    assert canonical_json(config.to_dict()) == before
    experiments.validate(FrozenConfigDict(config))
    assert config.experiment == name and config.experiment in experiments.EXPERIMENTS
    assert config.data.name == dataset


@pytest.mark.parametrize("name", CONFIGS)
def test_every_config_opens_with_its_command(name):
    assert f"python -m landscape.main --config=configs/{name}.py" in (ROOT / "configs" / f"{name}.py").read_text()


@pytest.mark.parametrize("name", CONFIGS)
def test_three_sizes_have_the_same_fields_and_growing_counts(name):
    smoke, default, full = (dict(presets.leaves(load(name, f"digits{size}"))) for size in (",smoke", "", ",full"))
    assert set(full) == set(default) == set(smoke)
    assert smoke["smoke"] is True and not default["smoke"] and not full["smoke"]
    for field, value in full.items():
        if isinstance(value, bool):
            continue
        if isinstance(value, int):
            assert max(smoke[field], default[field]) <= value, field
            assert (smoke[field] > 0) == (default[field] > 0), field  # smaller, and no code path skipped
        elif isinstance(value, tuple):
            value += (presets.LAST, *presets.LAYERS[full["model.name"]]) if presets.ALL in value else ()
            assert {*smoke[field], *default[field]} <= {*value}, field
            assert smoke[field] or not default[field], field


def test_a_radius_on_the_command_line_moves_the_step_too(config):
    config.search.epsilon = 0.3
    assert config.search.step_size == pytest.approx(0.03)
    assert FrozenConfigDict(config).search.step_size == pytest.approx(0.03)


def test_parse():
    for arg, expected in {
        "": ("digits", False, False),
        "smoke": ("digits", True, False),
        "smoke, folder": ("folder", True, False),
        "tfds:imagenette/160px-v2,smoke": ("tfds:imagenette/160px-v2", True, False),
        "digits,full": ("digits", False, True),
    }.items():
        assert presets.parse(arg) == expected
    refused = {"mnsit": "a data set", "a,smoke": "a data set", "digits,folder": "one data set", "tfds:": "tfds:NAME"}
    for arg, message in (refused | {"full,smoke": "smoke or full"}).items():
        with pytest.raises(UserError, match=message):
            presets.parse(arg)


CLAIM = "claims.sharper_than_boosted"


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("search.epsilon", 8.0, r"^search.epsilon=8: expected 0 <= epsilon <= 1, .*; did you mean 8/255"),
        ("search.epsilon", -0.1, "search.epsilon=-0.1: expected numbers of at least 0"),
        ("search.epsilon", float("nan"), "search.epsilon=nan: expected finite numbers"),
        ("search.norm", "linff", "expected one of linf, l2; did you mean linf"),
        ("flatness.levels", (0.1, "8/255"), "flatness.levels='8/255': expected finite numbers"),
        ("flatness.noises", (), r"flatness.noises=\(\): expected at least one"),
        ("num_members", 0, "num_members=0: expected at least 1"),
        ("worst.rho_fraction", 0.5, "expected less than 0.5"),
        ("data.name", "mnist", "data.name='mnist': expected one of digits"),
        ("data.name", "folder", "data.dir=''.*--config.data.dir=DIR"),
        ("mapping", "vmap2", "mapping='vmap2': expected auto, map, mapN"),
        ("flatness.num_trials", 1, "flatness.num_trials=1: expected at least 2"),
        ("weight.num_draws", 2, "weight.num_draws=2: expected at least 4"),
        ("weight.num_draws", 9, "weight.num_draws=9: expected an even number; try 10"),
        ("flatness.levels", (), r"flatness.levels=\(\): expected one or more numbers above 0"),
        (f"{CLAIM}.r", 0.0, r"claims.sharper_than_boosted.r=0.0: expected one of flatness.levels"),
        ("flatness.levels", (0.1, 1.0), r"claims.sharper_than_boosted.r=0.3: expected one of flatness.levels"),
        ("flatness.noises", ("sphere",), "claims.sharper_than_boosted.measure=.* additive among flatness.noises"),
        ("search.epsilon", 0.0, "search.epsilon=0.0: expected a radius above 0"),
        ("search.norm", "l2", "the L-inf preset: expected an L2 radius"),
        ("search.iso_log_odds", "four", "search.iso_log_odds='four': expected clean, a number of nats or a quantile"),
        ("train.momentum", 1.0, "train.momentum=1.0: expected less than 1"),
        ("sweep.ema", (0.9, 1.0), "sweep.ema=1.0: expected less than 1"),
        ("sweep.momentum", (0.5, 0.9), "expected with --config.train.optimizer=sgd; adamw does not read it"),
        ("train.flip", 2.0, "train.flip=2.0: expected a probability"),
        ("sweep.learning_rate", (0.01, 0.01), "sweep.learning_rate=.*: expected each value once"),
        ("sweep.crop", (1.5,), "sweep.crop=1.5: expected whole pixels, such as 2"),
        ("train.warmup_epochs", 40.0, "train.warmup_epochs=40.0: expected less than train.num_epochs=40"),
        ("train.adversarial.epsilon", 8.0, "train.adversarial.epsilon=8: .* did you mean 8/255"),
        ("populations", ("manifold",), "expected reconstructed with manifold"),
        (f"{CLAIM}.measure", "curvature.hessian_top", "expected one of input_flatness.probability_drop"),
        (f"{CLAIM}.matching", "equal", "expected one of raw, iso, matched"),
        (f"{CLAIM}.populations", ("adversarial", "user"), "expected two of genuine"),
        (f"{CLAIM}.direction", "more", "expected greater or less"),
    ],
)
def test_validate_refuses(config, field, value, message):
    config.update_from_flattened_dict({field: value})
    with pytest.raises(UserError, match=message):
        experiments.validate(config)


def test_validate_takes_what_is_unusual_but_meant(config):
    config.update_from_flattened_dict(
        {"search.norm": "l2", "search.epsilon": 1.5, "control_members.untrained": 0, "mapping": "map4"}
    )
    config.search.iso_log_odds = "quantile 0.5"
    config.claims.sharper_than_boosted.update(populations=("noise_l2", "natural_error"), matching="raw")
    experiments.validate(config)


@pytest.mark.parametrize("name", ["flatness", "transfer", "neighbors", "gather"])
def test_every_path_of_a_config_is_local(name, monkeypatch):
    """Fields named like a path are in the table; an address is refused; ~ is the home directory; nothing else moves."""
    monkeypatch.setenv("HOME", "/home/someone")
    before = dict(presets.leaves(load(name)))
    fields = [
        field
        for field in before
        if re.search(r"(dir|cache|artifacts|inputs|moves|pages|runs|checkpoints|model.name)$", field)
    ]
    assert set(fields) == set(paths.PATHS) & set(before)

    def local(field, value):
        config = load(name)
        config.update_from_flattened_dict({field: (value, value) if isinstance(before[field], tuple) else value})
        paths.set_local(config)
        return dict(presets.leaves(config))

    for field in fields:
        home = local(field, "/home/someone/x")
        assert local(field, "~/x") == home != before
        with pytest.raises(UserError, match=f"^{field}=gs://bucket/x: expected a path on this machine"):
            local(field, "gs://bucket/x")


def test_paths_of_the_parts_of_a_tour_are_local_and_utf8(monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    config = load("tour")
    config.parts.flatness.inputs = "~/mine.npz"
    paths.set_local(config)
    assert config.parts.flatness.inputs == "/home/someone/mine.npz"
    config.parts.flatness.inputs = "s3://bucket/x"
    with pytest.raises(UserError, match=r"parts.flatness.inputs=s3://bucket/x: expected a path on this machine"):
        paths.set_local(config)
    with pytest.raises(UserError, match=r"data.dir=b'/caf\\xe9': expected a name in UTF-8"):
        paths.local("data.dir", "/caf\udce9")


def test_validate_takes_at_most_three_claims(config):
    for name in "ab":
        config.claims[name] = config.claims.sharper_than_boosted
    with pytest.raises(UserError, match="claims: 4 came"):
        experiments.validate(config)


def test_a_recipe_takes_the_place_of_the_values_of_its_data_set_but_in_smoke_runs():
    found, smoke = (presets.base("tiny_imagenet", smoke=smoke).train for smoke in (False, True))
    assert (found.optimizer, found.learning_rate, found.warmup_epochs, found.crop) == ("sgd", 0.2, 5.0, 8)
    assert (smoke.optimizer, smoke.learning_rate, smoke.warmup_epochs, smoke.crop) == ("adamw", 3e-3, 0.0, 0)


def test_known_names_are_those_of_the_code():
    import optax

    from landscape import objectives, samplers, spaces
    from landscape.experiments.gradients import ascents
    from landscape.experiments.gradients import config as gradients_config
    from landscape.experiments.latent.config import KERNELS
    from landscape.latent import chains
    from landscape.measures import flatness
    from landscape.models import autoencoders, classifiers
    from landscape.training import classifier_members, step

    assert set(names.MODELS) == set(classifiers.FAMILIES)
    for name, layers in presets.LAYERS.items():
        assert classifiers.build(name, num_classes=2, mean=[0.0], std=[1.0]).layers == ("image", *layers)
    assert set(names.MODEL_NORMS) == set(classifiers.NORMS)
    assert set(names.ACTIVATIONS) == set(classifiers.ACTIVATIONS)
    assert set(names.NORMS) == set(spaces.NORMS)
    assert names.PRECISIONS == classifiers.PRECISIONS
    assert set(names.OPTIMIZERS) == set(step.OPTIMIZERS) and names.SWEPT == classifier_members.Hyper._fields
    assert set(presets.FAMILIES) == set(autoencoders.FAMILIES)
    for family in autoencoders.FAMILIES:
        levels = (3, 3) if family == "fsq" else ()
        autoencoder = autoencoders.build(family, (4,), dim=2, k=1, pixels=False, levels=levels)
        assert (family in names.OWN_PRIOR) == (autoencoder.log_prior is not None)
    assert set(names.NETWORKS) == set(autoencoders.NETWORKS)
    assert set(KERNELS) == {*chains.ACCEPTANCE, "gibbs"}
    assert set(presets.INPUT_NOISES) == set(flatness.INPUT_NOISES)
    assert set(presets.WEIGHT_NOISES) == set(samplers.WEIGHT_NOISES)
    assert gradients_config.VALUES == tuple(objectives.VALUES)
    assert all(name == ascents.STEEPEST or callable(getattr(optax, name)) for name in gradients_config.RULES)


def test_an_unknown_experiment_lists_the_known_ones():
    known = f"one of {', '.join(experiments.EXPERIMENTS)}; see"
    with pytest.raises(UserError, match=known):
        experiments.load("flat")


@pytest.mark.parametrize("populations", [("adversarial", "boundary"), ("genuine", "natural_error")])
def test_a_claim_at_equal_margin_needs_populations_searched_to_it(config, populations):
    claim = config.claims.sharper_than_boosted
    claim.measure, claim.matching = "input_flatness.probability_drop", "iso"
    experiments.validate(config)
    claim.populations = populations
    with pytest.raises(UserError, match="iso with populations among adversarial, boosted"):
        experiments.validate(config)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("autoencoders", {"autoencoder.dims": ()}, "autoencoder.dims=.*expected one or more whole numbers"),
        ("autoencoders", {"autoencoder.levels": (8, 1)}, "autoencoder.levels=.*at least 2"),
        ("autoencoders", {"autoencoder.levels": (64, 64, 64)}, "262144 codes; expected at most 65536"),
        ("autoencoders", {"hidden.dims": (8, 0)}, "hidden.dims=.*at least 1"),
        ("autoencoders", {"num_members": 1}, "num_members=1: expected at least 2"),
        ("latent", {"mcmc.guide": "vote", "num_members": 2}, "num_members=2: expected at least 3"),
        ("latent", {"mcmc.num_chains": 4}, "num_chains=4: expected 8 or more"),
        ("latent", {"mcmc.num_frames": 30}, "expected a multiple of mcmc.num_frames=30"),
        ("latent", {"mcmc.kernels": ("mala", "hmc")}, "on fsq: expected gibbs, since its latents are codes"),
        ("latent", {"mcmc.kernels": ("gibbs",)}, "on ae: expected mala, hmc or nuts"),
        ("latent", {"mcmc.radii": ()}, "mcmc.radii=.*expected one or more numbers above 0"),
        ("latent", {"mcmc.temperature": 0.0}, "mcmc.temperature=0.0: expected a number above 0"),
        ("gradients", {"guided.distance": 0.0}, "guided.distance=0.0: expected a number above 0"),
        ("gradients", {"ascent.step": 0.0}, "ascent.step=0.0: expected a number above 0"),
        ("latent", {"autoencoder.sweep.beta": (0.5,)}, "expected no sweep, since members are seeds here"),
        ("autoencoders", {"autoencoder.spatial": True}, "expected network=conv"),
        ("latent", {"autoencoder.perceptual": 0.1}, "perceptual_layer='': expected one of conv1.*add --config.*=conv2"),
        ("autoencoders", {"hidden.layers": ("conv9",)}, "conv9.*conv1, conv2, conv3, which cnn has; did you mean conv"),
        ("autoencoders", {"model.name": "mlp", "hidden.layers": ("conv1",)}, "some of dense1, dense2, which mlp has"),
        ("autoencoders", {"inputs": "mine.npz"}, "inputs='mine.npz': expected with flatness or surfaces alone"),
        ("autoencoders", {"autoencoder.dim": 0}, "autoencoder.dim=0: expected at least 1"),
        ("latent", {"autoencoder.code_dim": 0}, "autoencoder.code_dim=0: expected at least 1"),
        ("gradients", {"autoencoder.places": 0}, "autoencoder.places=0: expected at least 1"),
        ("gradients", {"num_fit": 1}, "num_fit=1: expected at least 2"),
        ("augmentation", {"hidden.dim": 0}, "hidden.dim=0: expected at least 1"),
        ("noise", {"noise.num_training": 1}, "noise.num_training=1: expected at least 2"),
        ("autoencoders", {"control_members.untrained": 1}, "control_members.untrained=1: autoencoders has no control"),
        ("connectivity", {"control_members.shuffled": 2}, "control_members.shuffled=2: connectivity has no control"),
    ],
)
def test_what_autoencoders_refuse(name, changes, message):
    config = load(name)
    config.update_from_flattened_dict(changes)
    with pytest.raises(UserError, match=message):
        experiments.validate(config)
