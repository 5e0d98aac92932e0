"""Alignment of two classifiers: units of the second in the order that makes it most like the first.

Weight matching: coordinate descent on sum over leaves of <a, P b>, one group of units at a time in random order, each
by a linear assignment, until a sweep changes nothing. Activation matching: each group by itself, by the correlation of
the units' activations on the same images.

Source: Ainsworth et al. 2022, arXiv:2209.04836; Li et al. 2015, arXiv:1511.07543, for matching by activations.
"""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from scipy.optimize import linear_sum_assignment

from landscape.models.classifiers import Classifier
from landscape.models.permutations import Group, Permutations, groups_of, leaf_of, permute, readers_of, units_first
from landscape.types import Images, Variables

SWEEPS = 100  # at most; a handful is common


def weight_matching(a: Variables, b: Variables, *, seed: int, restarts: int = 4) -> Permutations:
    """Permutations of b's units that bring its weights closest to those of a, the best of several orders of groups.

    Args:
      seed: of the order in which groups are matched.
      restarts: such orders.

    Raises:
      ValueError: classifiers of unlike architecture.
    """
    groups = groups_of(a)
    if {n: g.size for n, g in groups.items()} != {n: g.size for n, g in groups_of(b).items()}:
        raise ValueError("two classifiers of unlike layers: expected two members of one architecture")
    rng = np.random.default_rng(seed)
    found = [_descend(a, b, groups, rng) for _ in range(restarts)]
    return max(found, key=lambda one: one[1])[0]


def _descend(
    a: Variables, b: Variables, groups: Mapping[str, Group], rng: np.random.Generator
) -> tuple[Permutations, float]:
    """(permutations, their likeness) of one descent."""
    orders = {name: np.arange(group.size) for name, group in groups.items()}
    moved = permute(b, groups, orders)
    for _ in range(SWEEPS):
        changed = False
        for name in rng.permutation(list(groups)):
            group = groups[str(name)]
            likeness = _likeness(a, moved, group)
            order = assign(likeness, group.together)
            kept = np.trace(likeness)
            # Ties and rounding must not keep it going.
            if likeness[np.arange(group.size), order].sum() - kept > 1e-6 * abs(kept):
                moved = permute(moved, groups, {str(name): order})
                orders[str(name)] = orders[str(name)][order]
                changed = True
        if not changed:
            break
    leaves = {axis.path for group in groups.values() for axis in group.axes if axis.path[0] == "params"}
    total = sum(float(np.vdot(np.asarray(leaf_of(a, path)), np.asarray(leaf_of(moved, path)))) for path in leaves)
    return orders, total


def _likeness(a: Variables, b: Variables, group: Group) -> Float[np.ndarray, "U U"]:
    """Inner products of the weights of every unit of a with those of every unit of b, over trained leaves."""
    total = np.zeros((group.size, group.size))
    for axis in group.axes:
        if axis.path[0] == "params":
            one, other = (units_first(np.asarray(leaf_of(v, axis.path), np.float64), axis, group.size) for v in (a, b))
            total += one @ other.T
    return total


def assign(likeness: Float[np.ndarray, "U U"], together: int = 1) -> Int[np.ndarray, " U"]:
    """The order of columns that makes the sum of likeness[i, order[i]] largest; sets of `together` units stay sets."""
    if together == 1:
        return linear_sum_assignment(likeness, maximize=True)[1]
    count = len(likeness) // together
    blocks = likeness.reshape(count, together, count, together).swapaxes(1, 2)
    inner = [[linear_sum_assignment(block, maximize=True)[1] for block in row] for row in blocks]
    rows = np.arange(together)
    best = np.array([[blocks[i, j][rows, inner[i][j]].sum() for j in range(count)] for i in range(count)])
    sets = linear_sum_assignment(best, maximize=True)[1]
    return np.concatenate([sets[i] * together + inner[i][sets[i]] for i in range(count)])


def activations(variables: Variables, x: Images, *, classifier: Classifier) -> dict[str, Float[Array, "M U"]]:
    """Activations of every group's units as the layers behind see them, for `activation_matching`.

    A place of each image is a row; a residual stream has the rows of all its places, block after block. Where the
    logits alone read a group behind a mean over positions, that mean is the one row of an image.
    """
    groups = groups_of(variables)
    reads = {layer: name for name, group in groups.items() for layer in readers_of(variables, group)}
    found: dict[str, list] = {name: [] for name in groups}

    def visit(layer, h, out):
        if layer in reads:
            found[reads[layer]].append(h.reshape(-1, groups[reads[layer]].size))
        return out

    classifier.through(variables, x, visit)
    return {name: jnp.concatenate(rows) for name, rows in found.items()}


def activation_matching(
    a: Mapping[str, np.ndarray], b: Mapping[str, np.ndarray], groups: Mapping[str, Group]
) -> Permutations:
    """Permutations of b's units by the correlation of their activations with those of a.

    Args:
      a, b: activations by group on the same images, [N, ..., units]; positions count as images.
    """
    found = {}
    for name, group in groups.items():
        one, other = (_standard(part[name].reshape(-1, group.size)) for part in (a, b))
        found[name] = assign(one.T @ other / len(one), group.together)
    return found


def _standard(values: np.ndarray) -> np.ndarray:
    values = values.astype(np.float64) - values.mean(axis=0)
    spread = values.std(axis=0)
    return values / np.where(spread > 0, spread, 1.0)
