#!/usr/bin/env bash
# The conformance tests of Keras models: what normfold writes is loaded by Keras of the generation that wrote the input, and
# has to predict the same.
#
#   tests/conformance/keras/run.sh [BINARY] [pytest arguments]
#
# BINARY defaults to target/release/normfold. The Python environment (Keras 3 and Keras 2 on TensorFlow, 2 GB) is made once,
# outside the repository, in $NORMFOLD_KERAS_VENV (default: ${XDG_CACHE_HOME:-~/.cache}/normfold/conformance-keras), and made
# again when requirements.txt changes.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$here/../../..
source "$here/../environment.sh"

NORMFOLD_BIN=$(binary_under_test "$@")
export NORMFOLD_BIN
if [[ $# -gt 0 && $1 != -* ]]; then shift; fi
venv=${NORMFOLD_KERAS_VENV:-${XDG_CACHE_HOME:-$HOME/.cache}/normfold/conformance-keras}
environment "$here/requirements.txt" "$venv"

export PYTHONDONTWRITEBYTECODE=1 TF_CPP_MIN_LOG_LEVEL=3 CUDA_VISIBLE_DEVICES= KERAS_BACKEND=tensorflow
exec "$venv/bin/python" -W ignore -m pytest -q -p no:cacheprovider --rootdir "$here" "$here" "$@"
