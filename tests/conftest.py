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
def common(tmp_path_factory):
    """A directory that all workers share."""
    folder = tmp_path_factory.getbasetemp()
    return (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "shared"


@pytest.fixture(scope="session", autouse=True)
def compiled_once(common):
    """What one test has compiled, another one loads, in either worker: 6 % of the time."""
    jax.config.update("jax_compilation_cache_dir", str(common / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


@pytest.fixture(scope="session")
def shared(common):
    """Fields of a config by which whole runs share what they train and decode, in all workers."""
    return {"artifacts": str(common / "artifacts"), "data.cache": str(common / "data")}
