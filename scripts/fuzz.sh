#!/usr/bin/env bash
# Fuzzing: random and deliberate nonsense for the readers of checkpoints, data files and configs.
#
#   ./scripts/fuzz.sh [SECONDS] [TARGET...]
#
#   SECONDS  for each target (default: 60)
#   TARGET   of: checkpoint, config, hdf5, safetensors, sweep, training (default: all)
#
# Builds the targets of tests/fuzz with Clang's libFuzzer, AddressSanitizer and UBSan into build/fuzz
# and runs them one after the other. Prints a line for each: runs, features of the code reached,
# inputs that were accepted (a target that accepts none tries nothing, and fails), findings. What is found lies in build/fuzz/findings, each input beside a .txt with the command that
# repeats it. Interesting inputs are kept in build/fuzz/corpus and go on being used. `sweep` is the
# reader of sweep files, which is Python: random changes of a file with every key
# (tests/scripts/sweep_fuzz_test.py), which see nothing of the code that they reach.
#
# Exit status: 0 nothing found, or skipped without Clang; 1 a finding, or a target that does not run;
# 2 wrong usage.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

all=(safetensors checkpoint training hdf5 config sweep)
seconds=60
targets=()
while [ $# -gt 0 ]; do
  case "$1" in
    -h | --help)
      print_help
      exit 0
      ;;
    safetensors | checkpoint | training | hdf5 | config | sweep) targets+=("$1") ;;
    *)
      [[ "$1" =~ ^[1-9][0-9]{0,5}$ ]] || fail 2 "unknown option '$1'; known: SECONDS, ${all[*]}, --help"
      seconds="$1"
      ;;
  esac
  shift
done
if [ "${#targets[@]}" -eq 0 ]; then targets=("${all[@]}"); fi

cd "$repo_root"
fuzz=build/fuzz
mkdir -p "$fuzz"
# a compiler without the fuzzer's runtime fails here
if ! command -v clang++ >/dev/null ||
  ! echo 'extern "C" int LLVMFuzzerTestOneInput(const unsigned char*, unsigned long) { return 0; }' |
  clang++ -fsanitize=fuzzer -x c++ - -o "$fuzz/probe" 2>/dev/null; then
  say "skipped: no clang with libFuzzer (apt-get install clang)"
  exit 0
fi

if ! build_preset fuzz >"$fuzz/build.log" 2>&1; then
  tail -n 30 "$fuzz/build.log" >&2
  fail 1 "the build failed; its whole output: $fuzz/build.log"
fi

# ---- what to start from: small files that are here, and checkpoints made for it
seeds="$fuzz/seeds"
mkdir -p "$seeds/hdf5" "$seeds/config" "$fuzz/findings"
find tests/fixtures -name '*.hdf5' -size -40k -exec cp -t "$seeds/hdf5" {} +
find configs -name '*.yaml' -not -path '*/sweeps/*' -exec cp -t "$seeds/config" {} +
"$fuzz/bin/make_seeds" "$seeds" || fail 1 "make_seeds failed (message above)"
rm -rf "$seeds/safetensors"
cp -r "$seeds/checkpoint" "$seeds/safetensors"

export ASAN_OPTIONS="detect_leaks=1${ASAN_OPTIONS:+:$ASAN_OPTIONS}"
export UBSAN_OPTIONS="print_stacktrace=1:halt_on_error=1${UBSAN_OPTIONS:+:$UBSAN_OPTIONS}"
LSAN_OPTIONS="suppressions=$(quoted "$repo_root/tests/lsan.supp"):print_suppressions=0"
export LSAN_OPTIONS

# options_of TARGET: a limit for one allocation finds those that a file's claim alone decides
options_of() {
  case "$1" in
    safetensors | checkpoint | training) echo "-max_len=32768 -timeout=10 -malloc_limit_mb=256 -dict=tests/fuzz/json.dict" ;;
    config) echo "-max_len=16384 -timeout=10 -malloc_limit_mb=64 -dict=tests/fuzz/yaml.dict" ;;
    # the crash guard gives a child so much time at most; HDF5 leaks by itself where it refuses
    hdf5) echo "-max_len=40960 -timeout=300 -detect_leaks=0" ;;
  esac
}

# a child of the crash guard that asks for too much must die of ASan, which shows whose code asked; a
# small quarantine makes children quicker
asan_options_of() {
  if [ "$1" = hdf5 ]; then echo "$ASAN_OPTIONS:max_allocation_size_mb=600:allocator_may_return_null=0:quarantine_size_mb=4"; else echo "$ASAN_OPTIONS"; fi
}

# last_number PATTERN FILE: the last number behind PATTERN; 0 without any
last_number() { grep -oE "$1 *[0-9]+" "$2" | tail -n 1 | grep -oE '[0-9]+$' || echo 0; }

# keep_finding TARGET LOG: the input that the log names, and how to try it again
keep_finding() {
  local target="$1" log="$2" input name
  input="$(grep -oE 'Test unit written to .*' "$log" | tail -n 1 | sed 's/^Test unit written to //')" || true
  name="$target-$(basename "${input:-no-input}")"
  if [ -f "$input" ]; then cp "$input" "$fuzz/findings/$name"; fi
  {
    echo "# from $repo_root; UBSAN_OPTIONS=print_stacktrace=1 shows more"
    echo "ASAN_OPTIONS=$(asan_options_of "$target") $fuzz/bin/${target}_fuzz $(options_of "$target") $fuzz/findings/$name"
    echo
    tail -n 60 "$log"
  } >"$fuzz/findings/$name.txt"
  say "finding: $fuzz/findings/$name.txt"
}

# one_line TARGET RUNS FEATURES ACCEPTED FINDINGS
one_line() { printf '%-12s Done %s runs in %s s, %s features, %s accepted, %s findings\n' "$1" "$2" "$seconds" "$3" "$4" "$5"; }

failed=0
for target in "${targets[@]}"; do
  log="$fuzz/$target.log"
  if [ "$target" = sweep ]; then
    findings=0
    if ! DROP_SWEEP_FUZZ_SECONDS="$seconds" .venv/bin/python3 tests/scripts/sweep_fuzz_test.py >"$log" 2>&1; then
      findings=1
      failed=1
      say "finding: $log"
    fi
    one_line sweep "$(last_number 'sweep files:' "$log")" no "$(last_number 'accepted:' "$log")" "$findings"
    continue
  fi
  corpus="$fuzz/corpus/$target"
  artifacts="$fuzz/artifacts/$target"
  rm -rf "$artifacts"  # children of the crash guard may leave some here that mean nothing
  mkdir -p "$corpus" "$artifacts"
  read -r -a options <<<"$(options_of "$target")"
  status=0
  # killed where even the fuzzer's own limits do not help
  ASAN_OPTIONS="$(asan_options_of "$target")" \
    timeout -k 10 $((seconds + 600)) "$fuzz/bin/${target}_fuzz" -max_total_time="$seconds" -rss_limit_mb=3072 \
    -print_final_stats=1 -artifact_prefix="$artifacts/" "${options[@]}" "$corpus" "$seeds/$target" \
    >"$log" 2>&1 || status=$?
  findings=0
  accepted="$(last_number 'accepted:' "$log")"
  if [ "$status" -ne 0 ]; then
    findings=1
    failed=1
    keep_finding "$target" "$log"
  elif [ "$accepted" -eq 0 ]; then
    failed=1
    say "$target: no input was accepted, not even the good ones that it starts from: $log"
  fi
  one_line "$target" "$(last_number 'stat::number_of_executed_units:' "$log")" "$(last_number 'ft:' "$log")" "$accepted" "$findings"
done
exit "$failed"
