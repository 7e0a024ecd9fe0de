# Shell functions of the conformance tests' scripts.

# The binary to test, made absolute: the first argument, unless it is an option, or that of a release build.
binary_under_test() {
    local binary=$root/target/release/normfold
    if [[ $# -gt 0 && $1 != -* ]]; then binary=$1; fi
    if [[ ! -x $binary ]]; then
        echo "error: $binary is not an executable; build it with 'cargo build --release --features verify,ort' or name one" >&2
        exit 2
    fi
    echo "$(cd "$(dirname "$binary")" && pwd)/$(basename "$binary")"
}

# environment REQUIREMENTS DIRECTORY: makes a Python environment, and again when the requirements change. Uses uv when it is
# installed, else python3 -m venv and pip.
environment() {
    local requirements=$1 venv=$2
    cmp -s "$requirements" "$venv/requirements.installed" && return
    echo "making the Python environment in $venv"
    mkdir -p "$(dirname "$venv")"
    if command -v uv >/dev/null; then
        uv venv --quiet --clear --python 3 "$venv"
        uv pip install --quiet --python "$venv/bin/python" -r "$requirements"
    else
        python3 -m venv --clear "$venv"
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$requirements"
    fi
    cp "$requirements" "$venv/requirements.installed"
}
