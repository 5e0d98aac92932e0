#!/usr/bin/env bash
# One command checks everything that a landing must pass: lint, format, scripts, tests (the README's example is one).
set -euo pipefail
cd "$(dirname "$0")/.."
python="${PYTHON:-.venv/bin/python}"
"$python" -m ruff check .
"$python" -m ruff format --check .
"$(dirname "$python")/shellcheck" launch/*.sh launch/slurm.sbatch .ci/run
"$python" -m pytest -n 2 --dist loadfile "$@"
