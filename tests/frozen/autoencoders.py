"""How frozen runs of autoencoders differ from what it writes now."""

import numpy as np
import xarray as xr
from ml_collections import ConfigDict

from frozen.runs import Frozen
from landscape.experiments.autoencoders.config import HYPER as AUTOENCODER_HYPER
from landscape.stats.contrasts import LEAST_DISTINCT


def autoencoders(old: xr.Dataset) -> xr.Dataset:
    """All is along the description; what follows from other arrays is not saved."""
    gone = ["held_out_confidence", "moved", "hidden_cell", "hidden_layer", "cell_layer", "judged"]
    gone += [name for name in old.variables if name.startswith("picture_neighbour")]
    others = old.judge != old.seed  # (judge, member)
    agree = ((old.judged == old.original) & others).sum("judge").astype(np.float32)
    new = old.drop_vars(gone, errors="ignore").assign(others_agree=agree)
    new = new.assign_coords(described_layer=("cell", old.cell_layer.values))
    names = {"held_out_along": "confidence", "moved_along": "moved", "held_out_success": "success"}
    names |= {"picture_cell": "picture_back", "picture_samples": "picture_sample", "picture_use": "picture_end"}
    names |= {"cell_family": "family", "cell_size": "size", "use_cell": "manifold"}
    new = new.rename({was: name for was, name in names.items() if was in new.variables})
    parts = [new.drop_dims([dim for dim in ("image_cell", "sample_cell") if dim in new.dims])]
    for dim in ("image_cell", "sample_cell"):
        own = new[[name for name, one in new.data_vars.items() if dim in one.dims]].drop_vars("cell", errors="ignore")
        own = own.reset_coords(drop=True).rename({dim: "cell"}).reindex(cell=old.cell)
        parts.append(own)
    new = xr.merge(parts, compat="override").rename(cell="description").rename(judge="classifier")
    new = new.drop_vars(["classifier", "member"], errors="ignore")
    every = xr.ones_like(new.mse.isel(example=0, drop=True)).where(new.train_loss.notnull().any("epoch"))
    own = {name: (new[name] * every).reset_coords(drop=True) for name in AUTOENCODER_HYPER if name in new}
    return new.drop_vars([*own]).assign(own).transpose("description", "manifold", "layer", "classifier", ...)


def autoencoders_row(row: dict) -> dict:
    """What is the same for all rows of a name is no column; of fewer than five starts there is no interval."""
    for name in ("beta", "prior", "matched"):
        row.pop(name, None)
    few = row["population"] == "manifold" and row["examples"] < LEAST_DISTINCT
    return row | dict.fromkeys(("low", "high", "sem")) if few else row


def autoencoders_config(config: ConfigDict) -> None:
    """The same families under another name."""
    config.autoencoder.families_at_dims = config.autoencoder.ladder


FROZEN = {
    "autoencoders": Frozen(
        autoencoders,
        autoencoders_row,
        {"psnr.reconstruction": (1e-4, "from logarithms in float64; of float32 ones variances keep few digits")},
        words=False,
        config=autoencoders_config,
    ),
}
