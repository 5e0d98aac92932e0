"""Several processes that run one program together, one a host: who is first, and what all of them agree on.

Process 0 holds the run's directory. The others work in folders of their own that begin as copies of what it has on
its disk (`mirror`), and take its decisions wherever a clock, a file or a signal decides (`agree`, `any_of`): the host's
code is the same in all, and no shared file system is needed. Messages go through the coordinator of `jax.distributed`,
a service of process 0. A process alone is first, agrees with itself, and starts nothing.

Who starts them: whoever sets JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID, as `launch/local.sh` does,
or a cluster that JAX knows: srun, Open MPI, Cloud TPU.
"""

import importlib.util
import io
import itertools
import json
import os
import platform
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from landscape.files import UserError, write_bytes

AGAIN = 75  # exit status of a process that ended because another one did: the same command goes on
SILENT_SECONDS = 30.0  # without a sign of life, a process counts as dead
GRACE_SECONDS = 5.0  # in which processes that meet the same error end by themselves
PIECE = 1 << 20  # bytes of a message; the coordinator takes 4 MB at most
LONG = 7 * 24 * 3600 * 1000  # ms; a process that waits for a dead one is ended by the watch, not by the clock

_client: Any = None  # of the coordinator's service; None in a process alone
_rank, _count = 0, 1
_messages = itertools.count()
_leaving = threading.Event()


def expected() -> bool:
    """Whether the environment says that others run beside this process, or may."""
    return bool(_named()) or _in_cluster()


def start() -> None:
    """Joins the other processes. Before JAX is asked for anything.

    Raises:
      UserError: the others could not be reached.
    """
    global _client, _rank, _count
    named = _named()
    import jax
    from jax._src import distributed  # the coordinator's messages have no public name

    # SIGTERM is ours, between two chunks. A process that misses others is ended by `_watch`, with a line that says so.
    jax.config.update("jax_enable_preemption_service", False)
    if os.environ.get("JAX_PLATFORMS", "cpu") == "cpu":  # programs that run ahead of each other wait for ever over gloo
        jax.config.update("jax_cpu_enable_async_dispatch", False)
    try:
        jax.distributed.initialize(**named, heartbeat_timeout_seconds=300, shutdown_timeout_seconds=60)
    except Exception as error:
        if not named and "should be defined" in str(error):
            return  # a TPU host by itself
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"processes: {reason}; expected all to start within 5 minutes; start them together") from error
    state = distributed.global_state
    if state.num_processes > 1:
        _client, _rank, _count = state.client, state.process_id, state.num_processes
        threading.Thread(target=_watch, daemon=True).start()


def first() -> bool:
    """Whether this is process 0, which writes and speaks."""
    return _rank == 0


def rank() -> int:
    """Number of this process."""
    return _rank


def several() -> bool:
    """Whether there is more than one process."""
    return _count > 1


def agree(value: Any) -> Any:
    """Process 0's value, a JSON one, in all processes. All of them have to come here."""
    return json.loads(_broadcast(json.dumps(value).encode() if first() else b"")) if several() else value


def any_of(value: int) -> int:
    """The largest of all processes' values: of flags, whether any is set. All of them have to come here."""
    if not several():
        return value
    name = f"landscape/any/{next(_messages)}"
    _client.key_value_set(f"{name}/{_rank}", str(int(value)))
    _client.wait_at_barrier(name, LONG)
    return max(int(found) for _, found in _client.key_value_dir_get(f"{name}/"))


def same(name: str, value: Any, hint: str) -> None:
    """Refuses to go on where processes differ in a JSON value.

    Raises:
      UserError: in all of them.
    """
    if not several():
        return
    theirs = agree(value)
    if any_of(theirs != json.loads(json.dumps(value))):
        raise UserError(f"processes: unlike {name}; expected the same in all {_count} of them; {hint}")


def scratch() -> Path:
    """A folder of this process alone, for what process 0 keeps; gone when it ends."""
    folder = tempfile.TemporaryDirectory(prefix="landscape-")
    _folders.append(folder)
    return Path(folder.name)


_folders: list[tempfile.TemporaryDirectory] = []


def mirror(path: Path, without: str = "") -> None:
    """Gives every process what process 0 has at `path`: a file, or all files below a folder without one subfolder."""
    if not several():
        return
    found = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file()) if first() else []
    names = agree([p.relative_to(path).as_posix() for p in found if not (without and path / without in p.parents)])
    for name in names:
        data = _broadcast((path / name).read_bytes() if first() else b"")
        if not first():
            write_bytes(path / name, data)


def leave(status: int, line: str = "") -> None:
    """Tells the others how this process ends; of the good end, waits for them."""
    if not several():
        return
    if status == 0:  # until all are there, one that fails at its end still ends this one, with its status
        _client.wait_at_barrier("landscape/end", LONG)
    _leaving.set()
    _client.key_value_set(f"landscape/end/{_rank}", json.dumps([status, line]), allow_overwrite=True)
    if first():  # JAX ends the others with a message of its own once the coordinator is gone
        time.sleep(1.0 if status == 0 else 2 * GRACE_SECONDS)
    sys.stdout.flush()
    sys.stderr.flush()
    for folder in _folders:
        folder.cleanup()
    os._exit(status)  # JAX's own way out waits for processes that may be gone


def outlive(error: Exception) -> None:
    """Waits for the watch to end this process, if the error is of JAX and comes from another one that is gone."""
    if type(error).__name__ in ("JaxRuntimeError", "XlaRuntimeError"):
        time.sleep(SILENT_SECONDS + GRACE_SECONDS + 5.0)


def _named() -> dict[str, Any]:
    """What the variables say; nothing where they are absent or of a process alone."""
    names = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
    values = [os.environ.get(name, "") for name in names]
    if not values[1] or values[1] == "1":
        return {}
    if not all(values) or not (values[1].isdigit() and values[2].isdigit() and int(values[2]) < int(values[1])):
        given = ", ".join(f"{name}={value!r}" for name, value in zip(names, values, strict=True))
        raise UserError(f"{given}: expected host:port, a count and a number below it; launch/local.sh sets them")
    return {"coordinator_address": values[0], "num_processes": int(values[1]), "process_id": int(values[2])}


def _in_cluster() -> bool:
    """Whether one that JAX knows has started several processes, or may have: a TPU host knows only when asked."""
    counts = ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE")
    if any(os.environ.get(name, "1") != "1" for name in counts):
        return True
    on_tpu = Path("/dev/accel0").exists() or Path("/dev/vfio/0").exists()
    wanted = os.environ.get("JAX_PLATFORMS", "tpu").startswith("tpu")
    return on_tpu and wanted and importlib.util.find_spec("libtpu") is not None


def _broadcast(data: bytes) -> bytes:
    """Process 0's bytes, in pieces. The message before last is forgotten: all have read it who came to this one."""
    number = next(_messages)
    name = f"landscape/message/{number}"
    if first():
        pieces = [data[i : i + PIECE] for i in range(0, len(data), PIECE)] or [b""]
        for i, piece in enumerate(pieces):
            _client.key_value_set_bytes(f"{name}/{i}", piece)
        _client.key_value_set(f"{name}/count", str(len(pieces)))
    _client.wait_at_barrier(name, LONG)
    if first():
        _client.key_value_delete(f"landscape/message/{number - 1}")
        return data
    whole = io.BytesIO()
    for i in range(int(_client.blocking_key_value_get(f"{name}/count", LONG))):
        whole.write(_client.blocking_key_value_get_bytes(f"{name}/{i}", LONG))
    return whole.getvalue()


def _watch() -> None:
    """Signs of life, and an end to this process once another one is gone: collectives would wait for ever."""
    seen: dict[str, tuple[str, float]] = {}
    for beat in itertools.count():
        try:
            _client.key_value_set(f"landscape/alive/{_rank}", str(beat), allow_overwrite=True)
            alive = dict(_client.key_value_dir_get("landscape/alive/"))
            ends = dict(_client.key_value_dir_get("landscape/end/"))
        except Exception:
            alive, ends = {}, {"landscape/end/0": json.dumps([AGAIN, "process 0 does not answer"])}
        now = time.monotonic()
        for name, value in alive.items():
            if seen.get(name, ("", 0.0))[0] != value:
                seen[name] = (value, now)
        failures = [json.loads(value) for value in ends.values()]
        failures = [(status, line) for status, line in failures if status != 0]
        silent = [name for name, (_, last) in seen.items() if now - last > SILENT_SECONDS]
        silent = [name for name in silent if name.replace("alive", "end") not in ends]
        failures += [(AGAIN, f"process {name.split('/')[-1]} does not answer") for name in silent]
        if failures and not _leaving.is_set():
            _end(*failures[0])
        time.sleep(1.0)


def _end(status: int, line: str) -> None:
    """Ends this process because of another one, unless it is about to end by itself."""
    time.sleep(GRACE_SECONDS)
    if _leaving.is_set():
        return
    if line and status == AGAIN:
        line = f"{line}; expected all {_count} processes to run to the end; the same command goes on from here"
    print(f"process {_rank} on {platform.node()}: {line}", file=sys.stderr, flush=True)
    for folder in _folders:
        folder.cleanup()
    os._exit(status)
