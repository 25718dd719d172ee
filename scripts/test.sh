#!/usr/bin/env bash
# Builds everything and runs every test; the last lines are ctest's own summary.
#
#   ./scripts/test.sh [--full] [--release-only]
#
#   --release-only  leave out the passes under AddressSanitizer and UBSan
#   --full          also ThreadSanitizer, valgrind and clang-tidy (scripts/analyse.sh)
#
# The passes: the optimised build's tests; fuzzing of the readers, 15 seconds each (scripts/fuzz.sh);
# the tests under AddressSanitizer and UBSan.
#
# Leaves the programs in build/release/bin. Stops at the first pass that fails.
# CMAKE_BUILD_PARALLEL_LEVEL overrides the number of compile jobs.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

full=0
release_only=0
while [ $# -gt 0 ]; do
  case "$1" in
    --full) full=1 ;;
    --release-only) release_only=1 ;;
    -h | --help)
      print_help
      exit 0
      ;;
    *) fail 2 "unknown option '$1'; known: --full, --release-only, --help" ;;
  esac
  shift
done
[ $((full + release_only)) -lt 2 ] || fail 2 "--full and --release-only do not go together"

setup_options=()
if [ "$release_only" -eq 0 ]; then setup_options=(--tools); fi
"$repo_root/scripts/setup.sh" "${setup_options[@]}"
cd "$repo_root"

# test_preset PRESET
test_preset() {
  build_preset "$1"
  say "running the tests of $1"
  ctest --preset "$1" --no-tests=error -j "$(nproc)"
}

test_preset release
if [ "$release_only" -eq 1 ]; then exit 0; fi

# before the sanitizers' tests: what is printed last is ctest's summary
"$repo_root/scripts/fuzz.sh" 15

# the CUDA driver maps memory where ASan keeps its shadow gap
asan_options="detect_leaks=1"
if [ -e /proc/driver/nvidia/version ]; then asan_options+=":protect_shadow_gap=0"; fi
export ASAN_OPTIONS="$asan_options${ASAN_OPTIONS:+:$ASAN_OPTIONS}"
export UBSAN_OPTIONS="print_stacktrace=1:halt_on_error=1${UBSAN_OPTIONS:+:$UBSAN_OPTIONS}"
LSAN_OPTIONS="suppressions=$(quoted "$repo_root/tests/lsan.supp")"
export LSAN_OPTIONS
test_preset asan-ubsan
if [ "$full" -eq 0 ]; then exit 0; fi

for pass in tsan valgrind tidy; do "$repo_root/scripts/analyse.sh" "$pass"; done
