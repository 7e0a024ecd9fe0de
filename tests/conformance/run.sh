#!/usr/bin/env bash
# The conformance tests: normfold's output judged by onnx's checker, onnxruntime and onnx's reference evaluator.
#
#   tests/conformance/run.sh [BINARY] [pytest arguments]
#
# BINARY defaults to target/release/normfold. The Python environment is made once, outside the repository, in
# $NORMFOLD_VENV (default: ${XDG_CACHE_HOME:-~/.cache}/normfold/conformance), and made again when
# requirements.txt changes. Uses uv when it is installed, else python3 -m venv and pip.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$here/../..
source "$here/environment.sh"

NORMFOLD_BIN=$(binary_under_test "$@")
export NORMFOLD_BIN
if [[ $# -gt 0 && $1 != -* ]]; then shift; fi
venv=${NORMFOLD_VENV:-${XDG_CACHE_HOME:-$HOME/.cache}/normfold/conformance}
environment "$here/requirements.txt" "$venv"

export PYTHONDONTWRITEBYTECODE=1
exec "$venv/bin/python" -m pytest -q -p no:cacheprovider --rootdir "$here" --ignore "$here/keras" --ignore "$here/torch" "$here" "$@"
