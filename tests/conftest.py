"""Strict settings for every test: two host devices, no silent broadcasting of ranks, checked shapes."""

import gc
import importlib
import os

# Before JAX starts: two host devices, so that sharding is tested.
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=2")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import pytest
from jaxtyping import install_import_hook

jax.config.update("jax_numpy_rank_promotion", "raise")
install_import_hook("landscape", "beartype.beartype")

importlib.import_module("landscape.runs.process").compile_fast()  # no backend has been asked for anything yet


gc.set_threshold(50_000, 20, 100)  # tracing makes many objects that stay: looked through less often, 5 % faster


@pytest.fixture
def unsaved(monkeypatch):
    """Figures are composed and not written, which takes longer: whole runs write them."""
    style = importlib.import_module("landscape.reporting.style")
    monkeypatch.setattr(style, "save", lambda figure, path: path)


@pytest.fixture(scope="session")
def shared(tmp_path_factory):
    """Fields of a config by which whole runs share what they train and decode, in all workers."""
    folder = tmp_path_factory.getbasetemp()
    folder = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "shared"
    return {"artifacts": str(folder / "artifacts"), "data.cache": str(folder / "data")}
