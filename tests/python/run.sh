#!/usr/bin/env bash
# The tests of the Python package, on the built wheel.
#
#   tests/python/run.sh [WHEEL]
#
# Without WHEEL it is built, into a directory of its own. The wheel is installed into an environment with what it asks for and
# nothing else, and beside what each framework's environment has; those are the environments of the conformance tests
# (tests/conformance), made outside the repository where they are not there yet. Only the torch one is large (5 GB).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$here/../..
source "$root/tests/conformance/environment.sh"

cache=${XDG_CACHE_HOME:-$HOME/.cache}/normfold
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

install() { # PYTHON [arguments]
    local python=$1
    shift
    if command -v uv >/dev/null; then uv pip install --quiet --python "$python" "$@"; else "$python" -m pip install --quiet --disable-pip-version-check "$@"; fi
}

if [[ $# -gt 0 ]]; then
    wheel=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
else
    build=${NORMFOLD_BUILD_VENV:-$cache/python-build}
    environment "$here/requirements-build.txt" "$build"
    "$build/bin/maturin" build --quiet --release -m "$root/crates/python/Cargo.toml" -i "$build/bin/python" -o "$work/wheels"
    wheel=$(echo "$work"/wheels/*.whl)
fi

# Nothing but the wheel.
if command -v uv >/dev/null; then uv venv --quiet --python 3 "$work/bare"; else python3 -m venv "$work/bare"; fi
install "$work/bare/bin/python" "$wheel"
cd "$work"
bare=$("$work/bare/bin/python" "$here/bare.py" "$wheel")
echo "$bare"

# The tests, in every environment; each has the frameworks of some of them.
export PYTHONDONTWRITEBYTECODE=1 TF_CPP_MIN_LOG_LEVEL=3 CUDA_VISIBLE_DEVICES=
total=0
suite() { # REQUIREMENTS VENV TESTS…
    local requirements=$1 venv=$2
    shift 2
    environment "$requirements" "$venv"
    rm -rf "$work/site"
    install "$venv/bin/python" --no-deps --target "$work/site" "$wheel"
    PYTHONPATH=$work/site "$venv/bin/python" -W ignore::DeprecationWarning -m pytest -q -p no:cacheprovider --rootdir "$here" "$@" | tee "$work/log"
    local passed
    passed=$(grep -oE '^[0-9]+ passed' "$work/log" | tail -n 1)
    total=$((total + ${passed%% *}))
}
conformance=$root/tests/conformance
suite "$conformance/requirements.txt" "${NORMFOLD_VENV:-$cache/conformance}" "$here/test_module.py" "$here/test_onnx.py" "$here/test_examples.py"
export KERAS_BACKEND=tensorflow
suite "$conformance/keras/requirements.txt" "${NORMFOLD_KERAS_VENV:-$cache/conformance-keras}" "$here/test_keras.py" "$here/test_examples.py"
export KERAS_BACKEND=torch
suite "$conformance/torch/requirements.txt" "${NORMFOLD_TORCH_VENV:-$cache/conformance-torch}" "$here/test_torch.py" "$here/test_keras.py" "$here/test_examples.py"
echo "the wheel: ${bare%%:*}"
echo "$total passed, 0 failed"
