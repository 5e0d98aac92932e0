"""Values of a config that experiments with autoencoders would stumble over."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from landscape.files import UserError
from landscape.presets.names import ALL, LAST, LAYERS, did_you_mean
from landscape.presets.resolve import is_own


def check_layers(fields: Mapping[str, Any], model: str, known: Sequence[str]) -> None:
    """Refuses hidden layers that a model does not have; `known` are those it has."""
    for field, special in (("hidden.layers", (ALL, LAST)), ("ascent.layers", (LAST,))):
        for name in fields.get(field, ()):
            if name not in (*special, *known):
                some = f"some of {', '.join(known)}, which {model} has" if known else f"since {model} names none"
                raise UserError(
                    f"{field}={name!r}: expected {''.join(f'{word}, ' for word in special)}() for none, "
                    f"{'or ' if known else ''}{some}{did_you_mean(str(name), known)}; try --config.{field}='()'"
                )
    layer, weights = fields.get("autoencoder.perceptual_layer"), fields.get("autoencoder.sweep.perceptual", ())
    if any((fields.get("autoencoder.perceptual"), *weights)) and layer not in known:
        some = f"one of {', '.join(known)}, which {model} has" if known else f"a layer, and {model} names none"
        remedy = f"perceptual_layer={known[len(known) // 2]}" if known else "perceptual=0"
        raise UserError(f"autoencoder.perceptual_layer={layer!r}: expected {some}; add --config.autoencoder.{remedy}")


def check(config: ConfigDict, fields: dict[str, Any]) -> None:
    """Sizes, layers and numbers of members that do not fit each other."""
    for name in ("autoencoder.widths", "autoencoder.channels", "autoencoder.dims", "autoencoder.levels", "hidden.dims"):
        least = 2 if name.endswith("levels") else 1
        values = fields.get(name, (least,))
        if not values or not all(isinstance(value, int) and value >= least for value in values):
            raise UserError(f"{name}={values}: expected one or more whole numbers of at least {least}, such as (8, 32)")
    if not is_own(fields["model.name"]):  # what layers an own classifier has is seen when it is built
        check_layers(fields, fields["model.name"], LAYERS[fields["model.name"]])
    if fields["autoencoder.spatial"] and fields["autoencoder.network"] != "conv":
        raise UserError("autoencoder.spatial=True: expected network=conv; add --config.autoencoder.network=conv")
    swept = [name for name, value in fields.items() if name.startswith("autoencoder.sweep.") and value]
    if swept and fields.get("families"):
        raise UserError(
            f"{swept[0]}={fields[swept[0]]}: expected no sweep, since members are seeds here; set "
            f"--config.{swept[0].replace('sweep.', '')}=VALUE and run once for each"
        )
    levels, codes = fields["autoencoder.levels"], math.prod(fields["autoencoder.levels"])
    if codes > 2**16:
        raise UserError(
            f"autoencoder.levels={levels}: {codes} codes; expected at most 65536; take fewer or lower levels"
        )
    if fields["num_members"] < 2 and "manifold" not in config:  # which have an autoencoder for one stage
        raise UserError(
            f"num_members={fields['num_members']}: expected at least 2, since a classifier that guides nothing "
            "evaluates; try 4"
        )
