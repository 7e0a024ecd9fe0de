#!/usr/bin/env bash
# Runs libFuzzer on every target, or on those named, for some seconds each:
#
#     fuzz/run.sh [SECONDS [TARGET…]]          60 seconds each by default
#     SEED=0 fuzz/run.sh 3600 onnx             other inputs every time; a fixed seed otherwise
#     RUNS=5000 fuzz/run.sh 60                 at most so many inputs: the same in every run, until the time is up
#
# Needs a nightly toolchain and a C++ compiler. Grown corpora stay below the target directory and are gone on with. What is
# found is written there; it is copied to fuzz/found/TARGET/ under a name that says what went wrong, and mended.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-60}
shift || true
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(onnx text pipeline external archive hdf5 keras pt2)

if ! cargo +nightly --version >/dev/null 2>&1; then
    echo 'no nightly toolchain: libFuzzer is not run, the suite alone tries seeds, findings and mutations'
    exec cargo test -p normfold-fuzz
fi

target_dir=$(cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
triple=$(rustc +nightly -vV | sed -n 's/^host: //p')
coverage='-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4'
coverage+=' -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table'
coverage+=' -Cllvm-args=-sanitizer-coverage-trace-compares'
programs=()
for target in "${targets[@]}"; do programs+=(--bin "$target"); done
RUSTFLAGS="$coverage -Zsanitizer=address --cfg fuzzing" \
    cargo +nightly build --quiet --release --manifest-path fuzz/Cargo.toml --target "$triple" \
    --target-dir "$target_dir/fuzz" "${programs[@]}"

failed=()
for target in "${targets[@]}"; do
    work="$target_dir/fuzz/work/$target"
    mkdir -p "$work/corpus"
    folders=("$work/corpus")
    for folder in "fuzz/seeds/$target" "fuzz/found/$target"; do
        [ ! -d "$folder" ] || folders+=("$folder")
    done
    case $target in
        onnx) folders+=(tests/models) ;;
        text) folders+=(tests/golden) ;;
        hdf5 | keras) folders+=(tests/models/keras) ;;
        pt2) folders+=(tests/models/torch) ;;
    esac
    printf '\n==> %s, %s seconds\n' "$target" "$seconds"
    # A leak is no finding here, an input of seconds or of gigabytes is.
    if ASAN_OPTIONS=detect_leaks=0 "$target_dir/fuzz/$triple/release/$target" "${folders[@]}" \
        -seed="${SEED:-1}" -runs="${RUNS:--1}" -max_total_time="$seconds" -timeout=60 -rss_limit_mb=2048 -max_len=16384 \
        -artifact_prefix="$work/" -print_final_stats=1 >"$work/log" 2>&1; then
        grep -aE 'DONE|^Done|^stat::(number_of_executed_units|peak_rss_mb)' "$work/log"
    else
        # What went wrong stands above the stack, which may be long; the input is small.
        grep -aE -A 3 'panicked at|ERROR: ' "$work/log" | head -c 4000 || true
        grep -aE '^#[0-9]+ |^SUMMARY|Test unit written|^stat::' "$work/log" | tail -n 12 || true
        artifact=$(sed -n 's/.*Test unit written to //p' "$work/log" | tail -n 1)
        if [ -f "$artifact" ]; then
            echo 'the input, in base64:'
            base64 -w 0 "$artifact"
            echo
        fi
        failed+=("$target")
    fi
done
if [ ${#failed[@]} -gt 0 ]; then
    echo "findings: ${failed[*]}" >&2
    exit 1
fi
