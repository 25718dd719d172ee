#!/usr/bin/env bash
# Injects faults into the programs and counts what survives: kill -9 at every write point, full disk,
# signals, damaged files, a jumping clock, and a soak with random faults. Prints a table.
#
#   ./scripts/torture.sh [--short] [--minutes M] [--seed S] [--jobs J] [--bin DIR] [--only PARTS]
#                        [--document FILE | --no-document]
#
#   --short        some tries of each fault, in about two minutes, and no table in the document
#   --minutes M    length of the soak (default: 45, with --short 0.25; 0 leaves it out)
#   --seed S       of everything random (default: 0)
#   --jobs J       programs at once (default: one for each core)
#   --bin DIR      where the programs are (default: build/release/bin)
#   --only PARTS   comma-separated: writes, space, others, signals, sweeps, corruption, fuzzing, soak
#   --document     where the table goes (default: docs/reliability.md, of a whole long run)
#
# Works as root and as an ordinary user: what cannot be tried on this machine is said in the table.
# All runs are in a temporary folder, which stays only when something was lost. Mounts are made in a
# namespace of their own, so that none is left behind.
#
# Exit status: 0 nothing lost, 1 something lost (or a fault never met), 2 wrong usage or no programs,
# 130 interrupted.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

for argument in "$@"; do
  case "$argument" in
    -h | --help)
      print_help
      exit 0
      ;;
  esac
done

python="$repo_root/.venv/bin/python3"
[ -x "$python" ] || fail 1 "there is no $python; run ./scripts/setup.sh once"
exec "$python" -B "$repo_root/scripts/torture.py" "$@"
