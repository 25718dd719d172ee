# Sourced by the other scripts: where the repository is, how to speak, how many jobs fit.
# shellcheck shell=bash

# shellcheck disable=SC2034  # for the scripts that source this
repo_root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"

say() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; }

# quoted PATH: for an option of the sanitizers, which take either kind of quotes, and no path with both
quoted() {
  case "$1" in
    *\'*\"* | *\"*\'*) fail 1 "$1: the sanitizers take no path with both kinds of quotes; move the repository" ;;
    *\'*) printf '"%s"' "$1" ;;
    *) printf "'%s'" "$1" ;;
  esac
}

# fail STATUS MESSAGE
fail() {
  say "error: $2"
  exit "$1"
}

# prints the comment block at the top of the calling script
print_help() { awk 'NR > 1 && /^#/ { sub(/^# ?/, ""); print; next } NR > 1 { exit }' "$0"; }

# compile jobs: one for each core, as long as each has 2 GiB of memory
build_jobs() {
  if [ -n "${CMAKE_BUILD_PARALLEL_LEVEL:-}" ]; then
    echo "$CMAKE_BUILD_PARALLEL_LEVEL"
    return
  fi
  local cores free_kib limit used by_memory
  cores="$(nproc)"
  free_kib="$(awk '$1 == "MemAvailable:" { print $2 }' /proc/meminfo)"
  # a container may have less than the machine
  limit="$(cat /sys/fs/cgroup/memory.max 2>/dev/null || true)"
  if [[ "$limit" =~ ^[0-9]+$ ]]; then
    used="$(cat /sys/fs/cgroup/memory.current 2>/dev/null || echo 0)"
    if [ $(((limit - used) / 1024)) -lt "$free_kib" ]; then free_kib=$(((limit - used) / 1024)); fi
  fi
  by_memory=$((free_kib / (2 * 1024 * 1024)))
  if [ "$by_memory" -lt 1 ]; then by_memory=1; fi
  if [ "$by_memory" -lt "$cores" ]; then echo "$by_memory"; else echo "$cores"; fi
}

# build_preset PRESET [cmake --build arguments...]: configures and builds into build/PRESET
build_preset() {
  local preset="$1"
  shift
  cmake --preset "$preset" && cmake --build --preset "$preset" -j "$(build_jobs)" "$@"
}
