#!/usr/bin/env bash
# Looks at the code with tools beyond the tests of scripts/test.sh.
#
#   ./scripts/analyse.sh tidy [FILE...]     clang-tidy over the given sources, or all of them
#   ./scripts/analyse.sh tidy --changed     over those that differ from the last commit
#   ./scripts/analyse.sh tsan               the tests of our own threads under ThreadSanitizer
#   ./scripts/analyse.sh coverage           which lines the tests execute (scripts/coverage.py)
#   ./scripts/analyse.sh valgrind           memcheck over a short training and evaluation
#
# A tool that is not here is skipped with a message. What each may overlook, and why, is in
# .clang-tidy, tests/tsan.supp and tests/valgrind.supp. Needs what scripts/setup.sh fetches.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
cd "$repo_root"

# require TOOL PACKAGE: ends the script, as done, where there is no such tool
require() {
  if command -v "$1" >/dev/null; then return; fi
  say "no $1 here, nothing checked (apt-get install $2)"
  exit 0
}

# ---- clang-tidy --------------------------------------------------------------------------------

# sources that clang-tidy can read: vector kernels switch their instruction set by GCC's pragmas,
# which clang ignores, and CUDA is not C++
all_sources() {
  git ls-files --cached --others --exclude-standard -- 'src/*.cc' 'apps/*.cc' |
    grep -v -E '^src/(kernels/(avx512_(kernels|adam)|bf16_kernels|cuda_[a-z_]*)|train/graph_step_engine)\.cc$'
}

run_tidy() {
  require clang-tidy clang-tidy
  local files
  case "${1:-}" in
    "") mapfile -t files < <(all_sources) ;;
    --changed) mapfile -t files < <(comm -12 <(all_sources | sort) \
      <({ git diff --name-only HEAD; git ls-files --others --exclude-standard; } | sort)) ;;
    -*) fail 2 "unknown option '$1'; known: --changed" ;;
    *) files=("$@") ;;
  esac
  if [ "${#files[@]}" -eq 0 ]; then
    say "no source to look at"
    return
  fi
  build_preset tidy >/dev/null
  say "clang-tidy over ${#files[@]} files"
  # clang does not have all of GCC's warnings, nor, on its own, OpenMP's header
  printf '%s\0' "${files[@]}" |
    xargs -0 -P "$(build_jobs)" -n 1 clang-tidy -p build/tidy --quiet \
      --extra-arg=-Wno-error --extra-arg=-Wno-unknown-warning-option \
      --extra-arg=-Wno-unknown-pragmas --extra-arg=-fno-openmp
  say "clang-tidy has nothing to say"
}

# ---- ThreadSanitizer ---------------------------------------------------------------------------

run_tsan() {
  build_preset tsan
  TSAN_OPTIONS="suppressions=$(quoted "$repo_root/tests/tsan.supp") halt_on_error=1 second_deadlock_stack=1${TSAN_OPTIONS:+ $TSAN_OPTIONS}"
  export TSAN_OPTIONS
  # where the system scatters addresses widely, GCC's ThreadSanitizer finds its own places taken
  local fixed_addresses=()
  if setarch -R true 2>/dev/null; then fixed_addresses=(setarch -R); fi
  "${fixed_addresses[@]}" ctest --preset tsan --no-tests=error -j "$(nproc)"
}

# ---- coverage ----------------------------------------------------------------------------------

run_coverage() {
  require gcov gcc
  build_preset coverage
  find build/coverage -name '*.gcda' -delete
  ctest --preset coverage --no-tests=error -j "$(nproc)"
  .venv/bin/python3 scripts/coverage.py build/coverage
}

# ---- valgrind ----------------------------------------------------------------------------------

# under_memcheck PROGRAM ARGUMENT...: the variable keeps the program from starting over, which would
# leave valgrind behind
under_memcheck() {
  say "valgrind: $(basename "$1")"
  GOMP_SPINCOUNT=2000 valgrind --quiet --error-exitcode=99 --num-callers=40 \
    --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite \
    --suppressions=tests/valgrind.supp "$@" >/dev/null
}

run_valgrind() {
  require valgrind valgrind
  build_preset release
  local bin=build/release/bin
  folder="$(mktemp -d)" # not local: the trap needs it
  trap 'rm -rf "$folder"' EXIT
  "$bin/drop_data" generate --task maze2d-umaze-dense --steps 1000 --out "$folder/maze.hdf5" --quiet
  cat >"$folder/config.yaml" <<YAML
name: valgrind
task: maze2d-umaze-dense
device: cpu
threads: 1
decomposition: {num_subtasks: 3, trajectories_per_subtask: 2}
model: {hidden_width: 16}
train: {steps: 4, batch_size: 16, log_every: 2}
checkpoint: {every: 2}
search: {ascent_steps: 3}
eval: {every: 0}
YAML
  # as an argument: TMPDIR may hold quotes, which YAML would read
  local train=("$bin/drop_train" --config "$folder/config.yaml" --set "dataset=$folder/maze.hdf5"
    --out "$folder/run" --quiet)
  under_memcheck "${train[@]}"
  under_memcheck "${train[@]}" --set train.steps=6 --resume
  under_memcheck "$bin/drop_eval" --checkpoint "$folder/run" --rule best,grad-ada --episodes 1 --quiet
  say "valgrind has nothing to say"
}

# ---- which one ---------------------------------------------------------------------------------

command="${1:-}"
[ $# -eq 0 ] || shift
case "$command" in
  tidy) run_tidy "$@" ;;
  tsan | coverage | valgrind)
    [ $# -eq 0 ] || fail 2 "$command takes no argument, found '$1'"
    "run_$command"
    ;;
  -h | --help) print_help ;;
  "") fail 2 "no command; known: tidy, tsan, coverage, valgrind, --help" ;;
  *) fail 2 "unknown option '$command'; known: tidy, tsan, coverage, valgrind, --help" ;;
esac
