#!/usr/bin/env bash
# The conformance tests of Keras models: what normfold writes, loaded and run by Keras 3 and by Keras 2.
#
#   tests/conformance/keras/run.sh [BINARY] [pytest arguments]
#
# BINARY defaults to target/release/normfold. The Python environment is made once, outside the repository, in
# $NORMFOLD_KERAS_VENV (default: ${XDG_CACHE_HOME:-~/.cache}/normfold/keras), and made again when
# requirements.txt changes. Uses uv when it is installed, else python3 -m venv and pip.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

binary=$here/../../../target/release/normfold
if [[ $# -gt 0 && $1 != -* ]]; then binary=$1; shift; fi
if [[ ! -x $binary ]]; then
    echo "error: $binary is not an executable; build it with 'cargo build --release' or name one" >&2
    exit 2
fi

venv=${NORMFOLD_KERAS_VENV:-${XDG_CACHE_HOME:-$HOME/.cache}/normfold/keras}
python=$venv/bin/python
if ! cmp -s "$here/requirements.txt" "$venv/requirements.installed"; then
    echo "making the Python environment in $venv"
    mkdir -p "$(dirname "$venv")"
    if command -v uv >/dev/null; then
        uv venv --quiet --clear --python 3 "$venv"
        uv pip install --quiet --python "$python" -r "$here/requirements.txt"
    else
        python3 -m venv --clear "$venv"
        "$python" -m pip install --quiet --disable-pip-version-check -r "$here/requirements.txt"
    fi
    cp "$here/requirements.txt" "$venv/requirements.installed"
fi

export NORMFOLD_BIN
NORMFOLD_BIN=$(cd "$(dirname "$binary")" && pwd)/$(basename "$binary")
export PYTHONDONTWRITEBYTECODE=1
exec "$python" -m pytest -q -p no:cacheprovider --rootdir "$here" "$here" "$@"
