"""Shapes and callables that every part shares. Axis letters: S member, M draw, N example, K class, H W C image."""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Array, Float, Int

Variables = Any  # the full Flax dict {"params": ..., "batch_stats": ...} of one classifier, or what a callable takes
Ensemble = Any  # the same pytree with a leading axis S on every leaf

Images = Float[Array, "N H W C"]  # float32 in [0, 1], channels last
Labels = Int[Array, " N"]
Logits = Float[Array, "N K"]
Values = Float[Array, " N"]  # one value per example

Apply = Callable[[Variables, Images], Logits]

# What a stage saves: name -> (dims, array); xarray takes it as it is.
Arrays = dict[str, tuple[tuple[str, ...], np.ndarray]]
