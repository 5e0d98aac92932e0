"""The section `weights` of a config of `connectivity`, classifiers joined in weight space, and its check."""

from typing import Any

from landscape.files import UserError
from landscape.presets.names import CURVES
from landscape.presets.names import WEIGHT_MATCHINGS as MATCHINGS


def weights(dataset: str, smoke: bool) -> dict:
    """Its values for a data set; `smoke` makes them small."""
    return dict(
        num_members=4 if smoke or dataset != "digits" else 8,  # every two of the first ones; below 4 no interval
        matchings=MATCHINGS,  # by what the second end's units are put in order
        num_points=5 if smoke else 25,  # places on every way, both ends among them
        num_examples=20 if smoke else 1000,  # test images
        num_images=64 if smoke else 512,  # training images: statistics of units, activations for matching
        curves=CURVES[:1] if smoke else CURVES,  # trained ways beside the line
        num_bends=1,  # points of a curve between its ends
        num_epochs=1 if smoke else {"digits": 40}.get(dataset, 8),  # of the curves' training
        learning_rate=3e-3,  # of AdamW at its first step; it falls to 0 along half a cosine
        restarts=1 if smoke else 4,  # orders in which matching by weights takes the layers; the best one is kept
    )


def check_weights(fields: dict[str, Any]) -> None:
    """What the stage would find out late; `fields` by dotted name."""

    def refuse(name: str, expected: str) -> None:
        raise UserError(f"weights.{name}={fields[f'weights.{name}']}: expected {expected}")

    def of(name: str) -> Any:
        return fields[f"weights.{name}"]

    if of("num_members") == 0:
        return
    if not 2 <= of("num_members") <= fields["num_members"]:
        refuse("num_members", f"2 to num_members={fields['num_members']}, or 0 for no ways between classifiers")
    if "none" not in of("matchings") or not set(of("matchings")) <= set(MATCHINGS):
        refuse("matchings", f"some of {', '.join(MATCHINGS)}, and none among them, which the others are compared with")
    if not set(of("curves")) <= set(CURVES):
        refuse("curves", f"some of {', '.join(CURVES)}")
    if of("num_points") < 3 or of("num_points") % 2 == 0:
        refuse("num_points", "an odd number from 3: both ends, and the middle")
    for name in ("num_examples", "num_images", "num_bends", "num_epochs", "restarts"):
        if of(name) < 1:
            refuse(name, "at least 1")
    if of("learning_rate") <= 0:
        refuse("learning_rate", "a number above 0, such as 3e-3")
