#!/usr/bin/env bash
# From a fresh clone to a trained agent, its scores, pictures and a video, in one command.
#
#   ./scripts/quickstart.sh
#
# Sets up, builds the programs, makes a small Maze2D data set, trains configs/quickstart.yaml into
# runs/quickstart, evaluates the four inference rules, draws runs/quickstart/plot.png and trace.png
# and films an episode as episode.mp4.
# A second call repeats nothing that is done; one that was interrupted goes on where it stopped.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

case "${1:-}" in
  "") ;;
  -h | --help)
    print_help
    exit 0
    ;;
  *) fail 2 "unknown option '$1'; known: --help" ;;
esac

cd "$repo_root"
episodes=20
bin=build/release/bin
data=data/maze2d-umaze-quickstart.hdf5
run=runs/quickstart
table="$run/evaluations.txt"
json="$run/evaluations.json"
trace="$run/trace.h5"

# step TITLE COMMAND...: runs it, with its time
step() {
  local title="$1" begin="$SECONDS"
  shift
  say "$title"
  "$@"
  say "  done in $((SECONDS - begin)) s"
}

build_programs() {
  local log=build/quickstart-build.log
  if ! build_preset release --target programs >"$log" 2>&1; then
    tail -n 30 "$log" >&2
    fail 1 "the build failed; its whole output: $log"
  fi
}

# its standard output is the run's folder, which we know
train() { "$bin/drop_train" --config configs/quickstart.yaml --out "$run" --resume >/dev/null; }

# the table goes to a file as well, so that a second call can show it again
evaluate() {
  "$bin/drop_eval" --checkpoint "$run" --rule best,grad,best-ada,grad-ada --episodes "$episodes" \
    --json "$json" --trace "$trace" >"$table.part"
  mv "$table.part" "$table"
}

film() {
  "$bin/drop_eval" --checkpoint "$run" --rule grad-ada --episodes 1 --video "$run/episode.mp4" >/dev/null
}

# up_to_date RESULT SOURCE...: RESULT is there and no SOURCE is newer
up_to_date() {
  local result="$1" source
  shift
  [ -s "$result" ] || return 1
  for source in "$@"; do
    if [ "$source" -nt "$result" ]; then return 1; fi
  done
}

mkdir -p build data
step "set-up" ./scripts/setup.sh
step "building the programs (the first time takes minutes)" build_programs
if [ ! -s "$data" ]; then
  step "generating $data" "$bin/drop_data" generate --task maze2d-umaze --steps 100000 --seed 0 --out "$data"
fi
step "training $run" train

checkpoints=("$run"/checkpoints/step_?????????.safetensors)
newest="${checkpoints[-1]}"
if ! up_to_date "$json" "$newest" || ! up_to_date "$table" "$newest" || ! up_to_date "$trace" "$newest"; then
  step "evaluating four rules, $episodes episodes each" evaluate
fi
if ! up_to_date "$run/plot.png" "$json" "$run/metrics.csv" scripts/plot.py; then
  step "drawing the run" .venv/bin/python3 scripts/plot.py "$run"
fi
if ! up_to_date "$run/trace.png" "$trace" scripts/plot.py; then
  step "drawing an episode" .venv/bin/python3 scripts/plot.py --trace "$trace"
fi
if ! up_to_date "$run/episode.mp4" "$newest"; then
  step "filming an episode" film || say "no video (message above); all else is done"
fi

echo
cat "$table"
echo "plots: $repo_root/$run/plot.png, $repo_root/$run/trace.png"
if [ -s "$run/episode.mp4" ]; then echo "video: $repo_root/$run/episode.mp4"; fi
say "all done in $SECONDS s"
