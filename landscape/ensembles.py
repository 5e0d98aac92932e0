"""Ensembles: members stacked along a leading axis S, and the one place that decides how they are mapped.

On CPU, members go one at a time through `lax.map`, split over the host devices: a convolution under `vmap` over
members becomes a grouped convolution there, five times slower than a loop. On accelerators they go together, `vmap`.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array

from landscape.types import Ensemble, Variables

# Pixels of a block of examples on CPU. Of 8, 16, 32, 64 and 128 images of 28 x 28, blocks of 16 gave gradients of the
# wide network fastest (1.25x faster than 64, 1.4x than 128), and those of the default one 5 % slower than 64.
BLOCK_PIXELS = 16 * 784
# The activations of images larger than this outgrow the cache in any case, and small blocks only cost: of 16, 32 and 64
# images of 64 x 64 x 3, 64 gave the forward pass and the gradients of a ResNet-18 with ImageNet stem fastest.
LARGE_IMAGE, LARGE_BLOCK = 2048, 64

CHUNK_MEMORY = 2 << 30  # bytes of an accelerator's memory for each chunk's worth of a CPU: a guess on the safe side


class Mapping(NamedTuple):
    """How `map_members` runs: a value, so that it can be chosen, timed and saved.

    kind: "map" runs blocks of `chunk` members one after the other, "vmap" all members of a device at once.
    chunk: members at once within "map".
    devices: the member axis is sharded over that many devices.
    """

    kind: str = "map"
    chunk: int = 1
    devices: int = 1


def auto(num_members: int, *, devices: Sequence[Any] | None = None) -> Mapping:
    """The rule: shard members over the devices at hand; on CPU one at a time, elsewhere all at once.

    Over all devices or none: a program of two ensembles has to name the same ones for both.
    """
    devices = jax.devices() if devices is None else devices
    kind = "map" if devices[0].platform == "cpu" else "vmap"
    return Mapping(kind=kind, devices=len(devices) if num_members > 1 else 1)


def parse(text: str, num_members: int) -> Mapping:
    """Mapping from config text: "auto", "map", "map4" (blocks of four), "vmap"; sharded over all devices.

    Raises:
      ValueError: any other text.
    """
    rule = auto(num_members)
    if text == "auto":
        return rule
    if text == "vmap" or text == "map" or (text.startswith("map") and text[3:].isdigit() and int(text[3:]) > 0):
        return rule._replace(kind=text.rstrip("0123456789"), chunk=int(text[3:] or 1) if text.startswith("map") else 1)
    raise ValueError(f"mapping={text!r}: expected auto, map, mapN (blocks of N members) or vmap; try auto")


def roominess() -> int:
    """How many times a chunk that suits a CPU a device takes, by its memory: 1 on CPU, 40 with 80 GiB.

    A size that proves too large is halved by `runs.chunks`.
    """
    device = jax.local_devices()[0]
    memory = None if device.platform == "cpu" else device.memory_stats()
    return max(1, memory["bytes_limit"] // CHUNK_MEMORY) if memory else 1


def stack(members: Sequence[Variables]) -> Ensemble:
    """Stacks pytrees of one structure along a new leading axis S."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *members)


def take(ensemble: Ensemble, index) -> Ensemble | Variables:
    """Member (an int) or members (a slice or an array of ints) of an ensemble."""
    return jax.tree.map(lambda leaf: leaf[index], ensemble)


def size(ensemble: Ensemble) -> int:
    """Number of members S."""
    return jax.tree.leaves(ensemble)[0].shape[0]


def map_members(
    fn: Callable[..., Any], ensemble: Ensemble, *per_member: Any, shared: tuple = (), how: Mapping | None = None
) -> Any:
    """Calls `fn(variables, *per_member_i, *shared)` for every member i; results gain a leading axis S.

    Arrays must come in as arguments, not through a closure: what is closed over becomes a constant of the program.
    Differentiate inside `fn`, not through this function. Member i gets the same bits whatever S and the number of
    devices are, as long as `kind` is "map" with `chunk` 1.

    Args:
      fn: pure function of one member.
      ensemble: pytree with leading axis S.
      per_member: pytrees with leading axis S.
      shared: pytrees given whole to every call.
      how: the mapping; None means `auto`.
    """
    members = (ensemble, *per_member)
    num_members = size(members)
    how = auto(num_members) if how is None else how

    def block(members, shared):
        def one(member):
            return fn(*member, *shared)

        if how.kind == "vmap":
            return jax.vmap(one)(members)
        return lax.map(one, members, batch_size=None if how.chunk == 1 else how.chunk)

    if how.devices == 1:
        return block(members, shared)
    several = jax.process_count() > 1

    def gathered(members, shared):
        out = block(members, shared)
        # Every process gets the results of all, so that the host's code is that of a process alone.
        return jax.tree.map(lambda leaf: lax.all_gather(leaf, "member", tiled=True), out) if several else out

    # A number of members that the devices do not divide is padded with repeats, which are cut off again.
    padded = -(-num_members // how.devices) * how.devices
    if padded != num_members:
        members = take(members, np.arange(padded) % num_members)
    mesh = Mesh(np.asarray(jax.devices()[: how.devices]), ("member",))
    split, whole = PartitionSpec("member"), PartitionSpec()
    # check_vma=False: the check has no rule for functions with their own backward pass.
    out = jax.shard_map(
        gathered, mesh=mesh, in_specs=(split, whole), out_specs=whole if several else split, check_vma=False
    )(members, shared)
    return out if padded == num_members else take(out, slice(num_members))


def map_examples(fn: Callable[..., Any], *per_example: Any, shared: tuple = (), block: int | None = None) -> Any:
    """fn(*per_example, *shared) of a function that works row by row, a block of examples after the other.

    What a block's gradient needs stays in the processor's cache. Row i of the results must depend on row i of the
    arguments alone; the rows of the last block are filled up with repeats, which are cut off again.

    Args:
      fn: pure function; every result has leading axis N.
      per_example: pytrees with leading axis N.
      shared: pytrees given whole to every call.
      block: examples at once; None means BLOCK_PIXELS of the first array on CPU (LARGE_BLOCK examples where one has
        more than LARGE_IMAGE), all of them elsewhere.
    """
    num_examples = size(per_example)
    block = _block(per_example) if block is None else block
    if num_examples <= block:
        return fn(*per_example, *shared)
    num_blocks = -(-num_examples // block)
    block = -(-num_examples // num_blocks)  # as even as they go
    padded = take(per_example, np.arange(num_blocks * block) % num_examples)
    blocks = jax.tree.map(lambda leaf: leaf.reshape(num_blocks, block, *leaf.shape[1:]), padded)
    out = lax.map(lambda rows: fn(*rows, *shared), blocks)
    return jax.tree.map(lambda leaf: leaf.reshape(num_blocks * block, *leaf.shape[2:])[:num_examples], out)


def map_needed(
    fn: Callable[..., Any],
    otherwise: Callable[..., Any],
    needed: Array,
    *per_example: Any,
    shared: tuple = (),
    block: int | None = None,
) -> Any:
    """fn(*per_example, *shared) of the examples where it is needed, `otherwise` of the same arguments elsewhere.

    Both work row by row. Needed rows come first, and blocks without one are not computed: a long search whose work is
    done for most rows costs what the rest costs. See `map_examples` for the other arguments.

    Args:
      needed: [N] bool.
    """
    order = jnp.argsort(~needed, stable=True)
    needed, rows = needed[order], take(per_example, order)

    def work(needed, *arguments):
        found = lax.cond(jnp.any(needed), fn, otherwise, *arguments)
        rest = otherwise(*arguments)

        def choose(one, other):
            return jnp.where(needed.reshape(-1, *(1,) * (one.ndim - 1)), one, other)

        return jax.tree.map(choose, found, rest)

    found = map_examples(work, needed, *rows, shared=shared, block=block or _block(rows))
    return take(found, jnp.argsort(order))


def _block(per_example: Any) -> int:
    """Examples at once; see `map_examples`."""
    first = jax.tree.leaves(per_example)[0]
    if jax.default_backend() != "cpu":
        return first.shape[0]
    size = first[0].size
    return LARGE_BLOCK if size > LARGE_IMAGE else max(1, BLOCK_PIXELS // size)
