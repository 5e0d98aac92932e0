"""What a config stands for: files for globs, numbers for names. Imports no JAX."""

import glob
import hashlib
import importlib.util
from pathlib import Path

from ml_collections import ConfigDict

from landscape.files import UserError
from landscape.presets.names import LAST, LAYERS, PIXEL_STATISTICS

MODELS = ("model", "held_out_model")
ARCHITECTURE = ("name", "norm", "activation", "stem")  # fields without which weights are of another network


def is_own(name: str) -> bool:
    """Whether a model's name is that of an own classifier, FILE.py:FUNCTION or module:FUNCTION."""
    return ":" in name


def resolve(config: ConfigDict) -> ConfigDict:
    """A copy in which everything that the weights depend on is spelt out, so that its hash depends on it too.

    `model.checkpoints` become files, with their sha256 in `model.checksums`; an own classifier's code has its sha256 in
    `model.code`, a user's inputs theirs in `inputs_checksum`; `imagenet` becomes the published statistics;
    `num_members` counts the files; `last` becomes the name of the model's last hidden layer. What is none of these
    stays, and so does the whole config where there is no such field.

    Raises:
      UserError: files that are missing or come twice, and fields that do not go together.
    """
    config = ConfigDict(config.to_dict())
    if "runs" in config:
        return _with_runs(config)
    models = [config[name] for name in MODELS if name in config]
    if len(models) == 2 and any(models[0][name] != models[1][name] for name in ARCHITECTURE):
        if models[0].checkpoints == models[1].checkpoints:  # followed those of the other architecture
            models[1].checkpoints, models[1].finetune, models[1].num_trained = (), False, 0
    for name, model in zip(MODELS, models, strict=False):
        _resolve_model(name, model)
    if config.get("inputs") and Path(config.inputs).is_file():  # one that is missing is refused where it is read
        config.inputs_checksum = _checksum(Path(config.inputs))
    if config.get("moves") and Path(config.moves).is_file():
        config.moves_checksum = _checksum(Path(config.moves))
    model, held_out = models[0], models[-1]
    for section in ("hidden", "ascent"):
        if LAST in config.get(section, {}).get("layers", ()):
            last = LAYERS.get(model.name, ())[-1:]  # of an own classifier none is known yet
            others = (name for name in config[section].layers if name != LAST)
            config[section].layers = tuple(dict.fromkeys((*others, *last)))
    count = _count(model)
    if held_out.to_dict() != model.to_dict():
        if count is not None and count < config.num_attackers:
            raise UserError(
                f"num_attackers={config.num_attackers}: expected at most {count}, the files of model.checkpoints and "
                "model.num_trained; take a smaller power of two, or train more"
            )
        num_held_out = _count(held_out)
        count = None if num_held_out is None else config.num_attackers + num_held_out
    if count is not None:
        config.num_members = count
    return config


def _with_runs(config: ConfigDict) -> ConfigDict:
    """Directories for globs, with the sha256 of their summaries: a run that is done again counts anew."""
    found = [Path(path) for pattern in config.runs for path in _expand("runs", str(pattern))]
    finished = [path for path in found if (path / "summary.json").is_file()]
    if found and not finished:
        raise UserError(f"runs={config.runs}: none is a finished run; expected directories with a summary.json")
    config.runs = tuple(str(path) for path in dict.fromkeys(finished))
    config.checksums = tuple(_checksum(Path(path) / "summary.json") for path in config.runs)
    return config


def _count(model: ConfigDict) -> int | None:
    """Members that come of files and beside them; None where all are trained."""
    return len(model.checkpoints) + model.num_trained if model.checkpoints and not model.finetune else None


def _resolve_model(name: str, model: ConfigDict) -> None:
    if model.mean in PIXEL_STATISTICS or model.std in PIXEL_STATISTICS:
        (named,) = {value for value in (model.mean, model.std) if value in PIXEL_STATISTICS}
        if {model.mean, model.std} - {named, ()}:
            raise UserError(f"{name}.mean={model.mean}, std={model.std}: expected {named[0]} for both, or numbers")
        model.mean, model.std = PIXEL_STATISTICS[named]
    if len(model.mean) != len(model.std):
        raise UserError(f"{name}.mean={model.mean}, std={model.std}: expected as many numbers, one a channel or one")
    if model.std and isinstance(min(model.std, key=str), int | float) and min(model.std) <= 0:
        raise UserError(f"{name}.std={model.std}: expected numbers above 0, in pixels of [0, 1]")
    if is_own(model.name):
        _set_own(name, model)
        model.code = _checksum(_code(name, model.name))
    if model.checkpoints:
        files = [path for pattern in model.checkpoints for path in _expand(f"{name}.checkpoints", str(pattern))]
        model.checkpoints = tuple(files)
        model.checksums = tuple(_checksum(Path(path)) for path in files)
        for i, digits in enumerate(model.checksums):
            if digits in model.checksums[:i]:
                first = files[model.checksums.index(digits)]
                raise UserError(f"{files[i]}: the same weights as {first}; expected a member a file; leave one out")
    elif model.finetune or model.num_trained:
        field = "finetune" if model.finetune else "num_trained"
        raise UserError(
            f"{name}.{field}={model[field]}: expected with {name}.checkpoints alone; leave it out, or give files"
        )
    if model.finetune and model.num_trained:
        raise UserError(f"{name}.num_trained={model.num_trained}: expected 0 with finetune, which trains all members")


def _set_own(name: str, model: ConfigDict) -> None:
    """An own classifier does by itself what these fields are for: a data set's values for them mean nothing."""
    if model.mean or model.std:
        raise UserError(
            f"{name}.mean={model.mean}, std={model.std}: expected none with an own classifier, whose pixels come in "
            f"[0, 1]; leave them out, and normalise in {model.name}"
        )
    model.norm, model.activation, model.stem = "none", "relu", "small"


def _code(field: str, name: str) -> Path:
    """The file that an own classifier's function is in. No module is imported for it."""
    module, _, function = name.rpartition(":")
    if not module or not function.isidentifier():
        raise UserError(
            f"{field}.name={name!r}: expected FILE.py:FUNCTION or package.module:FUNCTION; name the function"
        )
    if module.endswith(".py"):
        path = Path(module).expanduser()
        if not path.is_file():
            raise UserError(f"{field}.name={name!r}: no file {path}; expected FILE.py:FUNCTION; check the path")
        return path
    top, *inner = module.split(".")
    spec = importlib.util.find_spec(top)
    folders = [Path(folder) for folder in (spec.submodule_search_locations or ())] if spec else []
    candidates = [Path(spec.origin)] if spec and not inner and spec.origin else []
    for folder in folders:
        candidates += [folder.joinpath(*inner, "__init__.py"), folder.joinpath(*inner).with_suffix(".py")]
    for path in candidates:
        if path.is_file():
            return path
    raise UserError(
        f"{field}.name={name!r}: no module {module!r}; expected FILE.py:FUNCTION or package.module:FUNCTION; run where "
        "the module can be imported"
    )


def _expand(field: str, pattern: str) -> list[str]:
    """The files that a path or a glob means, sorted."""
    path = Path(pattern).expanduser()
    if path.exists():
        return [str(path)]
    found = sorted(glob.glob(str(path)))
    if not found:
        raise UserError(f"{field}={pattern!r}: no such file; expected paths or globs; check the path")
    return found


def _checksum(path: Path) -> str:
    """sha256 of a file, or of all files of a folder with their names."""
    digest = hashlib.sha256()
    for inner in sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]:
        if path.is_dir():
            digest.update(str(inner.relative_to(path)).encode())
        with open(inner, "rb") as file:
            while block := file.read(2**22):
                digest.update(block)
    return digest.hexdigest()
