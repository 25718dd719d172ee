#!/usr/bin/env bash
# Everything that needs an NVIDIA GPU, in one go: tests, memory and race checks, the engines against
# their reference, and benchmarks beside PyTorch. Prints Markdown for docs/gpu_results.md.
#
#   ./scripts/gpu_check.sh [--build DIR] [--out DIR] [--data FILE] [--skip STEP[,STEP...]]
#
#   --build DIR  use this build folder of the preset cuda as it is (default: build/cuda, built first)
#   --out DIR    logs, figures and report.md (default: build/gpu_check)
#   --data FILE  a D4RL file of your own for the engines' check (default: a small Maze2D file is made)
#   --skip       of: tests, sanitizer, engines, bench, peers
#
# A step that fails is reported, and the others still run; the exit status is 1 then. Peers need a
# Python with torch: PEERS_PYTHON=... (default: python3, if it has torch).
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

build=""
out="$repo_root/build/gpu_check"
data=""
skip=","
while [ $# -gt 0 ]; do
  case "$1" in
    --build | --out | --data | --skip)
      [ $# -ge 2 ] || fail 2 "$1 needs a value"
      case "$1" in
        --build) build="$(cd "$2" 2>/dev/null && pwd)" || fail 2 "--build: no folder '$2'" ;;
        --out) out="$2" ;;
        --data) data="$2" ;;
        --skip) skip=",$2," ;;
      esac
      shift 2
      ;;
    -h | --help)
      print_help
      exit 0
      ;;
    *) fail 2 "unknown option '$1'; known: --build, --out, --data, --skip, --help" ;;
  esac
done

nvidia-smi -L >/dev/null 2>&1 ||
  fail 1 "no NVIDIA GPU here (nvidia-smi finds none); this script is for a machine that has one"
mkdir -p "$out"
out="$(cd "$out" && pwd)"
report="$out/report.md"
cd "$repo_root"
if [ -z "$build" ]; then
  build="$repo_root/build/cuda"
  "$repo_root/scripts/setup.sh" --cuda
  build_preset cuda
fi
bin="$build/bin"
[ -x "$bin/drop_bench" ] || fail 1 "no $bin/drop_bench; build the preset cuda, or leave --build out"

{
  echo "## $(nvidia-smi --query-gpu=name --format=csv,noheader | head -n 1), $(date -u +%Y-%m-%d)"
  echo
  echo "Driver $(nvidia-smi --query-gpu=driver_version --format=csv,noheader | head -n 1), commit" \
    "$(git rev-parse --short HEAD 2>/dev/null || echo unknown), \`scripts/gpu_check.sh\`."
} >"$report"

failed=0
# step NAME TITLE COMMAND...: runs it into NAME.log and the report, unless skipped
step() {
  local name="$1" title="$2" begin="$SECONDS" status=0
  shift 2
  case "$skip" in *",${name%%_*},"*) return 0 ;; esac
  say "$title"
  "$@" >"$out/$name.log" 2>&1 || status=$?
  {
    echo
    echo "### $title"
    echo
    if [ "$status" -ne 0 ]; then echo "**Failed** (exit $status)."; fi
    echo '```'
    tail -n 60 "$out/$name.log"
    echo '```'
  } >>"$report"
  if [ "$status" -ne 0 ]; then
    failed=1
    say "  failed (exit $status): $out/$name.log"
  fi
  say "  done in $((SECONDS - begin)) s"
}

# ---- right first
# run_gpu_test FLOOR FILTER [COMMAND...]: a test that finds no GPU is skipped, which counts as failed here
run_gpu_test() {
  timeout 300 "${@:3}" "$build/tests/$1_test" --gtest_filter="$2" 2>&1 | tee "$out/test.log" || return 1
  ! grep -q "no GPU here" "$out/test.log"
}
step tests_kernels "GPU tests: products and kernels" run_gpu_test kernels '*CudaBackendTest*'
step tests_search "GPU tests: ascents" run_gpu_test search 'CudaAscent*'
step tests_train "GPU tests: the graph engine" run_gpu_test train 'GraphStepEngineTest*'

sanitizer="$(command -v compute-sanitizer || echo /usr/local/cuda/bin/compute-sanitizer)"
if [ -x "$sanitizer" ]; then
  # short runs: every access is watched; races are ours alone to make
  few='*CudaBackendTest.Layers/*:*CudaBackendTest.BetweenTheLayers/*'
  step sanitizer_memory "compute-sanitizer --tool memcheck" \
    run_gpu_test kernels "$few" "$sanitizer" --tool memcheck --report-api-errors no --error-exitcode 9
  step sanitizer_races "compute-sanitizer --tool racecheck" \
    run_gpu_test kernels "$few" "$sanitizer" --tool racecheck --error-exitcode 9 --kernel-regex kns=drop
  step sanitizer_graph "compute-sanitizer --tool memcheck, the graph engine" \
    run_gpu_test train 'GraphStepEngineTest.TrainsSeveralSeedsAtOnce' \
    "$sanitizer" --tool memcheck --report-api-errors no --error-exitcode 9
else
  say "no compute-sanitizer here; it comes with the CUDA toolkit"
fi

# ---- the engines against their reference, on a user's data
check_engines() {
  local file="$data"
  if [ -z "$file" ]; then
    file="$out/maze2d-umaze.hdf5"
    "$bin/drop_data" generate --task maze2d-umaze --steps 20000 --out "$file" --force || return 1
  fi
  # no task: the engines are compared on the data, whatever they are of
  "$bin/drop_train" --config configs/quickstart.yaml --set dataset="$file" --set 'task=""' \
    --device cuda --check-engines 100
}
step engines "drop_train --check-engines 100" check_engines

# ---- then fast
for seeds in 1 5; do
  step "bench_step_$seeds" "drop_bench step, seeds: $seeds" \
    "$bin/drop_bench" step --device cuda --num-seeds "$seeds"
done
for starts in 1 100 1000; do
  step "bench_ascent_$starts" "drop_bench ascent, N = $starts" \
    "$bin/drop_bench" ascent --device cuda --num-starts "$starts"
done

peers_python="${PEERS_PYTHON:-python3}"
if "$peers_python" -c 'import torch' >/dev/null 2>&1; then
  step peers "Beside PyTorch" "$peers_python" scripts/bench_peers.py --program "$bin/drop_bench" --device cuda \
    --json "$out/peers.jsonl"
else
  say "no torch in $peers_python: no comparison (PEERS_PYTHON=/path/to/python)"
fi

cat "$report"
say "report: $report; paste it into docs/gpu_results.md"
exit "$failed"
