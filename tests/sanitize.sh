#!/usr/bin/env bash
# The suites of the IR, the frontends and the fuzz targets under AddressSanitizer, on the nightly toolchain:
#
#     tests/sanitize.sh
#
# The standard library is the prebuilt one, which is not instrumented; its allocator is.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! cargo +nightly --version >/dev/null 2>&1; then
    echo 'no nightly toolchain: AddressSanitizer is not run'
    exit 0
fi
target_dir=$(cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
triple=$(rustc +nightly -vV | sed -n 's/^host: //p')
# Unoptimized and instrumented, frames are several times as large.
export RUST_MIN_STACK=$((16 << 20))
RUSTFLAGS=-Zsanitizer=address ASAN_OPTIONS=detect_leaks=0 \
    cargo +nightly test --locked --target "$triple" --target-dir "$target_dir/sanitize" \
    --config profile.dev.opt-level=1 \
    -p normfold-ir -p normfold-frontends -p normfold-fuzz --lib --tests "$@"
