"""Members that are copies of each other: S of them are not S seeds."""

import numpy as np
from jaxtyping import Bool, Float

TOLERANCE = (
    1e-6  # relative to the largest value: well above float32 rounding of equal programs, far below seed differences
)


def _copy_of(values: np.ndarray) -> np.ndarray:
    """Index of the first member with the same values, [S]; a member's own index where it is the first."""
    flat = np.asarray(values, dtype=np.float64).reshape(np.shape(values)[0], -1)
    scale = np.nanmax(np.abs(flat), initial=0.0)
    first = np.arange(flat.shape[0])
    for s in range(flat.shape[0]):
        for earlier in np.unique(first[:s]):
            if np.allclose(flat[s], flat[earlier], rtol=0.0, atol=TOLERANCE * scale, equal_nan=True):
                first[s] = earlier
                break
    return first


def distinct_members(values: Float[np.ndarray, "S ..."]) -> Bool[np.ndarray, " S"]:
    """True for the first of each group of members with equal values (to 1e-6 of the largest value).

    Pass something continuous, the margins on clean images: shares and 0 / 1 outcomes may tie between honest seeds. Use
    the result to select members before an interval is computed, or copies shrink it as if S had grown.
    """
    first = _copy_of(values)
    return first == np.arange(first.size)


def duplicate_check(values: Float[np.ndarray, "S ..."]) -> dict:
    """Check dict {"name", "passed", "detail"}: no two members have equal values [S, ...] (see `distinct_members`)."""
    first = _copy_of(values)
    copies = [f"member {s} repeats member {earlier}" for s, earlier in enumerate(first) if s != earlier]
    detail = f"{first.size} members, all distinct, as is expected"
    if copies:
        shown = "; ".join(copies[:5]) + ("; ..." if len(copies) > 5 else "")
        detail = f"{shown}; expected no copies: intervals use the {first.size - len(copies)} distinct members of "
        detail += f"{first.size}"
    return {"name": "members.distinct", "passed": not copies, "detail": detail}
