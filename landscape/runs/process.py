"""Settings of the process that must stand before JAX starts. What the user has set in the environment wins."""

import ctypes
import importlib.metadata
import os
import platform
from pathlib import Path

MAX_HOST_DEVICES = 8
HOST_DEVICES = "--xla_force_host_platform_device_count"
# What XLA hands to the YNNPACK library. Measured against its own choice: forward passes of the default network 1.1x
# faster, gradients and the wide network 0.97x. XLA ends the process at a flag it does not know, so this one is set only
# for the series it was measured with.
LIBRARY = "--xla_cpu_experimental_ynn_fusion_type=LIBRARY_FUSION_TYPE_DOT,LIBRARY_FUSION_TYPE_INDIVIDUAL_CONVOLUTION"
SERIES = "0.10."
# What makes compilation cheap. Smoke of `noise` from an empty cache: 137 s of CPU with the level alone, 78 s with all.
UNOPTIMISED = "--xla_backend_optimization_level=0"
PLAIN = ("--xla_cpu_use_fusion_emitters=false", "--xla_cpu_parallel_codegen_split_count=1")  # of the series, too
# glibc's names for mallopt's parameters, and a size above any buffer that is made and freed at every step.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, LARGE = -1, -3, 1 << 30


def prepare(cache: str | Path = "runs/cache/xla", *, optimise: bool = True, split: bool = True) -> None:
    """Host devices, allocator and compilation cache.

    Args:
      optimise: False where programs run for a second only. split: False where they take longer to compile than a
        second core saves: a program for several devices takes a sixth more.
    """
    if split:
        _split_host()
    if _known():
        _add_flag(LIBRARY)
    if not optimise:
        compile_fast()
    _keep_memory()
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(cache).absolute()))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")


def compile_fast() -> None:
    """Programs that run for a second only: quick to compile, slow to run."""
    for flag in (UNOPTIMISED, *PLAIN) if _known() else (UNOPTIMISED,):
        _add_flag(flag)


def _known() -> bool:
    return importlib.metadata.version("jaxlib").startswith(SERIES)


def _split_host() -> None:
    """One CPU device a core, up to 8: members are sharded over them. Other platforms are not concerned."""
    if os.environ.get("JAX_PLATFORMS", "cpu") == "cpu":
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        _add_flag(f"{HOST_DEVICES}={min(cores, MAX_HOST_DEVICES)}")


def _add_flag(flag: str) -> None:
    flags = os.environ.get("XLA_FLAGS", "")
    if flag.split("=")[0] not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {flag}".strip()


def _keep_memory() -> None:
    """Keeps glibc from handing large buffers back to the system at every step: halves the time of a gradient step."""
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, LARGE)
        libc.mallopt(M_TRIM_THRESHOLD, LARGE)
