"""What a config of `gather` may say."""

from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from landscape.files import UserError


def check(config: ConfigDict, fields: dict[str, Any]) -> None:
    """UserError where there is nothing to gather, or no page to write."""
    if not config.runs:
        raise UserError(
            "runs=(): expected directories of finished runs, or globs; try --config.runs=\"('runs/flatness/*',)\""
        )
    if config.pages and not Path(config.pages).is_dir():
        raise UserError(f"pages={config.pages!r}: no such folder; expected landscape/experiments of a checkout")
