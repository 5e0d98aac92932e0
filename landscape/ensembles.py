"""Ensembles: members stacked along a leading axis S, and all that decides how they are mapped.

Devices share the members and, where those are fewer, the examples. On CPU, members go one at a time through `lax.map`:
a convolution under `vmap` over members becomes a grouped convolution there, five times slower than a loop. On
accelerators they go together, `vmap`.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array

from landscape import arguments
from landscape.types import Ensemble, Variables

# Pixels of a block of examples on CPU. Of 8, 16, 32, 64 and 128 images of 28 x 28, blocks of 16 gave gradients of the
# wide network fastest (1.25x faster than 64, 1.4x than 128), and those of the default one 5 % slower than 64.
BLOCK_PIXELS = 16 * 784
# The activations of images larger than this outgrow the cache in any case, and small blocks only cost: of 16, 32 and 64
# images of 64 x 64 x 3, 64 gave the forward pass and the gradients of a ResNet-18 with ImageNet stem fastest.
LARGE_IMAGE, LARGE_BLOCK = 2048, 64

AXES = ("member", "example")  # of the mesh

CHUNK_MEMORY = 2 << 30  # bytes of an accelerator's memory for each chunk's worth of a CPU: a guess on the safe side


class Mapping(NamedTuple):
    """How `map_members` runs: a value, so that it can be chosen, timed and saved.

    kind: "map" runs blocks of `chunk` members one after the other, "vmap" all members of a device at once.
    chunk: members at once within "map".
    devices, examples: the mesh, [devices, examples]: members are sharded over its first axis, arguments marked `Rows`
      over its second one. Without such arguments all devices * examples devices share the members.
    """

    kind: str = "map"
    chunk: int = 1
    devices: int = 1
    examples: int = 1


class Rows(NamedTuple):
    """Marks an argument of `map_members` with an axis of examples, number `axis` of what `fn` gets: the bare value."""

    value: Any
    axis: int = 0


def auto(num_members: int, *, devices: Sequence[Any] | None = None) -> Mapping:
    """The rule: shard members over the devices at hand; on CPU one at a time, elsewhere all at once.

    Fewer members than devices are split as far as that goes without repeats, gcd(members, devices) ways, and examples
    over the rest. Over all devices or none: a program of two ensembles has to name the same ones for both.
    """
    devices = jax.devices() if devices is None else devices
    kind = "map" if devices[0].platform == "cpu" else "vmap"
    count = len(devices)
    along = count if num_members >= count else math.gcd(num_members, count)
    return Mapping(kind=kind, devices=along, examples=count // along)


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
    return _stacked(tuple(members))


def take(ensemble: Ensemble, index) -> Ensemble | Variables:
    """Member (an int) or members (a slice or an array of ints) of an ensemble; arrays of NumPy stay such."""
    if isinstance(index, slice):
        index = np.arange(size(ensemble))[index]
    on_device = all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(ensemble))
    return _taken(ensemble, index) if on_device else jax.tree.map(lambda leaf: leaf[index], ensemble)


# One program for all leaves: leaf by leaf each shape would be compiled by itself.
@jax.jit
def _stacked(members):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *members)


@jax.jit
def _taken(ensemble, index):
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
    devices are, as long as `kind` is "map" with `chunk` 1 and the mesh does not split its examples.

    Args:
      fn: pure function of one member. With an argument marked `Rows` it works example by example, and the examples of
        a member may be computed on several devices: every result has leading axis N.
      ensemble: pytree with leading axis S.
      per_member: pytrees with leading axis S, or `Rows` of such.
      shared: pytrees given whole to every call, or `Rows` of such.
      how: the mapping; None means `auto`.

    Raises:
      ValueError: members that are not stacked; `Rows` of unlike N, or results without leading axis N beside them.
    """
    arguments.check_members(ensemble)
    num_members = size(ensemble)
    how = auto(num_members) if how is None else how
    members = (ensemble, *(Rows(p.value, p.axis + 1) if isinstance(p, Rows) else p for p in per_member))
    num_rows = _num_rows(*members, *shared)
    count = (num_members,) if num_rows is None else (num_members, num_rows)
    grid = (how.devices, how.examples)
    if num_rows is None:  # all devices share the members
        grid = (how.devices * how.examples if num_members > 1 else 1,)

    def block(members, shared):
        def one(member):
            return fn(*member, *shared)

        if how.kind == "vmap":
            return jax.vmap(one)(members)
        return lax.map(one, members, batch_size=None if how.chunk == 1 else how.chunk)

    # What the devices do not divide is padded with repeats, which are cut off again.
    padded = tuple(-(-n // devices) * devices for n, devices in zip(count, grid, strict=True))
    members, split = _laid(members, ("member",), padded)
    shared, whole = _laid(shared, (), padded)
    if math.prod(grid) == 1:
        return _checked(block(members, shared), num_rows)
    several = jax.process_count() > 1

    def computed(members, shared):
        out = _checked(block(members, shared), num_rows and padded[1] // grid[1])
        # Every process gets the results of all, so that the host's code is that of a process alone.
        for axis in [axis for axis, devices in enumerate(grid) if several and devices > 1]:
            out = jax.tree.map(lambda leaf, axis=axis: lax.all_gather(leaf, AXES[axis], axis=axis, tiled=True), out)
        return out

    mesh = Mesh(np.asarray(jax.devices()[: math.prod(grid)]).reshape(grid), AXES[: len(grid)])
    found = PartitionSpec() if several else PartitionSpec(*mesh.axis_names)
    if several:  # whole before they are split; else what is computed from them beside this is split too, out of reach
        members, shared = lax.with_sharding_constraint((members, shared), NamedSharding(mesh, PartitionSpec()))
    # check_vma=False: the check has no rule for functions with their own backward pass.
    out = jax.shard_map(computed, mesh=mesh, in_specs=(split, whole), out_specs=found, check_vma=False)(members, shared)
    return out if padded == count else jax.tree.map(lambda leaf: leaf[tuple(map(slice, count))], out)


def over_examples(fn: Callable[..., Any], *per_example: Any, shared: tuple = ()) -> Any:
    """fn(*per_example, *shared) with the examples split over all devices: for work that needs an ensemble as a whole.

    Args:
      fn: pure function that works row by row; every result has leading axis N.
      per_example: pytrees with leading axis N.
      shared: pytrees given whole to every device.
    """
    how = auto(1)
    taken = not jax.sharding.get_abstract_mesh().empty  # by members that are split over the devices
    if how.examples == 1 or taken:
        return fn(*per_example, *shared)
    rows = tuple(map(Rows, per_example))
    return take(map_members(lambda _, *parts: fn(*parts), jnp.zeros(1), shared=(*rows, *shared), how=how), 0)


def _num_rows(*arguments: Any) -> int | None:
    """N of the arguments marked `Rows`; None without any."""
    rows = [part for part in arguments if isinstance(part, Rows)]
    found = {leaf.shape[part.axis] for part in rows for leaf in jax.tree.leaves(part.value)}
    if len(found) > 1:
        raise ValueError(f"Rows of {sorted(found)} examples: expected one number; mark only what has that axis")
    return found.pop() if found else None


def _laid(arguments: tuple, lead: tuple[str, ...], padded: tuple[int, ...]) -> tuple[tuple, tuple]:
    """Arguments without marks, filled up with repeats to `padded` (members, examples), and how each is sharded."""

    def fill(leaf, axis, count):
        have = leaf.shape[axis]
        return leaf if have == count else leaf[(slice(None),) * axis + (np.arange(count) % have,)]

    def lay(part):
        value, axes = part, list(lead)
        if isinstance(part, Rows):
            value, axes = part.value, [*lead, *[None] * (part.axis - len(lead)), "example"]
        for axis, name in enumerate(axes):
            if name is not None:
                value = jax.tree.map(
                    lambda leaf, axis=axis, name=name: fill(leaf, axis, padded[AXES.index(name)]), value
                )
        return value, PartitionSpec(*axes)

    laid = [lay(part) for part in arguments]
    return tuple(value for value, _ in laid), tuple(spec for _, spec in laid)


def _checked(out: Any, num_rows: int | None) -> Any:
    """Results [S, ...] as they are, if they have the axis of examples where there is one."""
    for leaf in jax.tree.leaves(out) if num_rows is not None else ():
        if leaf.shape[1:2] != (num_rows,):
            shape = list(leaf.shape[1:])
            raise ValueError(
                f"a result {shape} of a member: expected {num_rows} examples first, as arguments are marked Rows; "
                "move that axis, or leave out the marks"
            )
    return out


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
