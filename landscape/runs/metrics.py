"""metrics.jsonl: one JSON object a line, append-only: stage, step, and values (numbers, or lists with one a member)."""

import json
from pathlib import Path
from typing import Any

from landscape import files


def append(path: Path, begun: set[str], stage: str, step: int, values: dict[str, Any]) -> None:
    """Adds the line of one step.

    Training that goes on from a checkpoint logs some steps a second time. So when a process logs to a stage for the
    first time (the stage is not in `begun`, which is updated), lines of that stage from this step on are taken out.
    """
    if stage not in begun:
        begun.add(stage)
        kept = [line for line in read(path) if line["stage"] != stage or line["step"] < step]
        if path.exists():
            files.write_text(path, "".join(_line(line) for line in kept))
    with open(path, "a", encoding="utf-8") as file:
        file.write(_line({"stage": stage, "step": step, **values}))


def read(path: Path) -> list[dict[str, Any]]:
    """All lines, oldest first; what a killed process left of its last line is passed over."""
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            lines.append(json.loads(text))
        except ValueError:
            continue
    return lines


def _line(values: dict[str, Any]) -> str:
    return json.dumps(files.plain(values), ensure_ascii=False, allow_nan=False) + "\n"
