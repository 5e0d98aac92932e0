"""Files of weights as named arrays: safetensors, npz, Orbax directories, and PyTorch's where PyTorch is installed.

Nothing in a file can run code: NumPy's and PyTorch's pickles are refused.
"""

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from landscape import files
from landscape.files import UserError
from landscape.types import Variables

Tensors = dict[str, np.ndarray]

SUFFIXES = (".safetensors", ".npz", ".pth", ".pt", ".ckpt")
SAFE_TORCH = (2, 6)  # before, weights_only did not keep code out: CVE-2025-32434
NESTED = ("state_dict", "model_state_dict", "model")  # where training scripts put weights in a PyTorch file


def leaves_of(variables: Variables) -> dict[str, Any]:
    """Leaves of a pytree in its order, by name: the leaf's path joined by /, such as params/conv1/kernel."""
    leaves = jax.tree_util.tree_leaves_with_path(variables)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def write(path: str | os.PathLike, variables: Variables) -> Path:
    """Writes one member's variables as safetensors under the names of `leaves_of`, atomically; `read` reads them."""
    from safetensors.numpy import save_file

    tensors = {name: np.ascontiguousarray(leaf) for name, leaf in leaves_of(variables).items()}
    return files.write_with(path, lambda temporary: save_file(tensors, temporary))


def read(path: str | os.PathLike) -> Tensors:
    """Name -> array of a file; floats come as float32. A directory is an Orbax checkpoint, or one that holds it.

    Raises:
      UserError: another kind of file, a damaged one, or one with more in it than tensors.
    """
    path = Path(path)
    reader = _orbax if path.is_dir() else READERS.get(path.suffix.lower())
    if reader is None:
        raise UserError(f"{path}: expected {', '.join(SUFFIXES)} or an Orbax directory; convert it to .safetensors")
    try:
        found = reader(path)
    except UserError:
        raise
    except Exception as error:  # each of the libraries raises errors of many kinds for damaged files
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"{path}: not readable ({reason}); expected a whole file of weights; write it anew") from None
    found = {name: np.asarray(array) for name, array in found.items()}
    if not found:
        raise UserError(f"{path}: holds no tensors; expected one member's weights; write it anew")
    for name, array in found.items():
        # V: bfloat16 and the like; where they have lost their type, as in .npz, they are raw bytes, np.void.
        if array.dtype.kind not in "biufV" or array.dtype.type is np.void:
            raise UserError(f"{path}: {name} has dtype {array.dtype}; expected numbers; leave it out of the file")
        if array.dtype.kind in "fV":
            found[name] = array.astype(np.float32)
        if not np.isfinite(found[name]).all():
            raise UserError(f"{path}: {name} has entries that are not finite; expected trained weights; write it anew")
    return found


def _safetensors(path: Path) -> Mapping[str, Any]:
    from safetensors.numpy import load_file

    return load_file(path)


def _npz(path: Path) -> Mapping[str, Any]:
    with open(path, "rb") as file, np.load(file, allow_pickle=False) as saved:
        return {name: saved[name] for name in saved.files}


def _orbax(path: Path) -> Mapping[str, Any]:
    import orbax.checkpoint as ocp

    inner = path / "checkpoint"  # as our own artefacts have it
    with ocp.StandardCheckpointer() as checkpointer:
        found = checkpointer.restore((inner if inner.is_dir() else path).absolute())
    return leaves_of(found)


def _torch(path: Path) -> Mapping[str, Any]:
    try:
        import torch
    except ImportError:
        raise UserError(
            f"{path}: expected PyTorch to be installed, which reads such files; pip install torch, or save the state "
            "dict as .safetensors"
        ) from None
    version = tuple(int(part) for part in re.findall(r"\d+", torch.__version__)[:2])
    if version < SAFE_TORCH:
        raise UserError(
            f"{path}: PyTorch {torch.__version__} can run code that is in such a file; expected 2.6 or later; upgrade "
            "it, or save the state dict as .safetensors"
        )
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        refused = "weights only" in str(error).lower()
        reason = "it holds Python objects, which could run code" if refused else " ".join(str(error).split())[:160]
        raise UserError(
            f"{path}: not read, {reason}; expected tensors alone; write torch.save(model.state_dict(), FILE) or a "
            ".safetensors file"
        ) from None
    for name in NESTED:
        if isinstance(found, Mapping) and isinstance(found.get(name), Mapping):
            found = found[name]
    if not isinstance(found, Mapping) or not all(isinstance(tensor, torch.Tensor) for tensor in found.values()):
        content = f"a dict of {', '.join(list(found)[:3])}, .." if isinstance(found, Mapping) else type(found).__name__
        raise UserError(f"{path}: holds {content}; expected a state dict, name -> tensor; save model.state_dict()")
    floats = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in found.items()}
    return {name: tensor.numpy() for name, tensor in floats.items()}


READERS: dict[str, Callable[[Path], Mapping[str, Any]]] = {
    ".safetensors": _safetensors,
    ".npz": _npz,
    ".pth": _torch,
    ".pt": _torch,
    ".ckpt": _torch,
}
