#!/usr/bin/env bash
# Runs everything that a sweep file asks for: data, trainings, evaluations, fine-tunings, the report.
#
#   ./scripts/sweep.sh FILE [--tiny] [--dry-run | --status | --slurm] [--out DIR] [--jobs J]
#                      [--program-dir DIR]
#
#   --tiny         the file's small form (its key `tiny`)
#   --dry-run      print one line for each run and start nothing
#   --status       print where each run stands and start nothing
#   --slurm        submit what is left to SLURM as job arrays instead of running it here
#   --out DIR      the sweep's folder (default: runs/<name>, with --tiny runs/<name>-tiny)
#   --jobs J       jobs at once (default: one for each GPU, else one for each core)
#   --program-dir  where the programs are (default: build/release/bin)
#
# configs/sweeps/README.md explains the file. What is done is skipped, what failed is tried twice
# more, and the rest goes on meanwhile. Ctrl-C lets running jobs save; after that, or after a
# kill -9, the next call goes on where this one stopped. The log of each job is below DIR/jobs/, the
# state of all of them in DIR/sweep.json.
#
# Exit status: 0 all done or visibly skipped, 1 something failed, 2 wrong usage or sweep file,
# 130 interrupted.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

case "${1:-}" in
  -h | --help)
    print_help
    exit 0
    ;;
esac

python="$repo_root/.venv/bin/python3"
[ -x "$python" ] || fail 1 "there is no $python; run ./scripts/setup.sh once"
exec "$python" "$repo_root/scripts/sweep.py" "$@"
