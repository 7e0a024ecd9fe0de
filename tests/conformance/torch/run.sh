#!/usr/bin/env bash
# The conformance tests of PyTorch programs: what normfold writes is loaded by torch.export, and has to compute the same.
#
#   tests/conformance/torch/run.sh [BINARY] [pytest arguments]
#
# BINARY defaults to target/release/normfold. The Python environment (PyTorch as PyPI has it, 5 GB: it does not load without the
# libraries for CUDA) is made once, outside the repository, in $NORMFOLD_TORCH_VENV (default:
# ${XDG_CACHE_HOME:-~/.cache}/normfold/conformance-torch), and made again when requirements.txt changes.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$here/../../..
source "$here/../environment.sh"

NORMFOLD_BIN=$(binary_under_test "$@")
export NORMFOLD_BIN
if [[ $# -gt 0 && $1 != -* ]]; then shift; fi
venv=${NORMFOLD_TORCH_VENV:-${XDG_CACHE_HOME:-$HOME/.cache}/normfold/conformance-torch}
environment "$here/requirements.txt" "$venv"

export PYTHONDONTWRITEBYTECODE=1 CUDA_VISIBLE_DEVICES=
exec "$venv/bin/python" -W ignore -m pytest -q -n 2 -p no:cacheprovider --rootdir "$here" "$here" "$@"
