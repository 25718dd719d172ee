#!/usr/bin/env bash
# Fetches everything the build needs: Debian/Ubuntu packages, a Python environment in .venv and the
# models of the Adroit tasks.
#
#   ./scripts/setup.sh [--cuda | --cpu] [--no-apt] [--tools]
#
#   --cuda    LibTorch with all its CUDA libraries (4.7 GB)
#   --cpu     LibTorch's CPU part alone (1.3 GB)
#             without either: --cuda where an NVIDIA driver is found, else --cpu
#   --no-apt  leave the system's packages alone; only say what is missing
#   --tools   also Clang, its fuzzer and clang-tidy, which the tests use (0.3 GB)
#
# Run it as often as you like: what is there already is not fetched again. Versions are pinned in
# third_party/versions.env. PYTHON=... chooses the interpreter (3.11 or newer).
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

form=""
use_apt=1
tools=0
while [ $# -gt 0 ]; do
  case "$1" in
    --cuda) form=cuda ;;
    --cpu) form=cpu ;;
    --no-apt) use_apt=0 ;;
    --tools) tools=1 ;;
    -h | --help)
      print_help
      exit 0
      ;;
    *) fail 2 "unknown option '$1'; known: --cuda, --cpu, --no-apt, --tools, --help" ;;
  esac
  shift
done
if [ -z "$form" ]; then
  if [ -e /proc/driver/nvidia/version ] || nvidia-smi -L >/dev/null 2>&1; then form=cuda; else form=cpu; fi
fi

# ---- packages of the system ------------------------------------------------------------------
packages=(build-essential cmake ninja-build pkg-config ccache git python3 python3-venv
  libhdf5-dev libyaml-cpp-dev libspdlog-dev libcli11-dev nlohmann-json3-dev libssl-dev libisal-dev
  nanopb libnanopb-dev libcurl4-openssl-dev libegl-dev libosmesa6-dev ffmpeg libgtest-dev
  libgmock-dev valgrind)
if [ "$tools" -eq 1 ]; then packages+=(clang libclang-rt-dev clang-tidy); fi

missing_packages() {
  local package
  for package in "${packages[@]}"; do
    # shellcheck disable=SC2016  # the format is dpkg's, not the shell's
    dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || echo "$package"
  done
}

# as_root COMMAND...
as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  elif [ -t 0 ]; then
    sudo "$@"
  else
    sudo -n "$@"
  fi
}

if ! command -v dpkg-query >/dev/null; then
  say "this is no Debian or Ubuntu; install by hand what these packages hold: ${packages[*]}"
else
  mapfile -t missing < <(missing_packages)
  if [ "${#missing[@]}" -gt 0 ]; then
    cure="apt-get install ${missing[*]}"
    if [ "$use_apt" -eq 0 ]; then
      say "missing packages, left alone because of --no-apt: ${missing[*]}"
    elif [ "$(id -u)" -ne 0 ] && ! command -v sudo >/dev/null; then
      fail 1 "missing packages, and this user is not root and has no sudo. Ask for: $cure"
    else
      say "installing ${missing[*]}"
      as_root apt-get update -q || say "apt-get update failed; trying with the lists that are here"
      as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -q -y --no-install-recommends "${missing[@]}" ||
        fail 1 "apt-get failed (its message is above). By hand: $cure"
    fi
  fi
fi

# ---- Python environment ----------------------------------------------------------------------
venv="$repo_root/.venv"
venv_python="$venv/bin/python3"
versions="$repo_root/third_party/versions.env"
stamp="$venv/drop-setup-stamp"
# shellcheck source-path=SCRIPTDIR source=../third_party/versions.env
source "$versions"

# the pinned numpy and matplotlib need 3.11
python_is_new_enough() {
  "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

venv_works() {
  python_is_new_enough "$venv_python" &&
    [ -d "$("$venv_python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/pip" ]
}

# without them everything but Adroit's tasks works
fetch_adroit() {
  "$repo_root/scripts/fetch_adroit.sh" ||
    say "no Adroit models (message above); the other tasks work, scripts/fetch_adroit.sh tries again"
}

# a stamp of the larger CUDA form also serves the CPU form
stamp_of() { { cat "$versions" && echo "form=$1"; } | sha256sum | cut -d ' ' -f 1; }
if venv_works && [ -f "$stamp" ]; then
  found="$(cat "$stamp")"
  if [ "$found" = "$(stamp_of cuda)" ] || [ "$found" = "$(stamp_of "$form")" ]; then
    fetch_adroit
    say "everything is here ($form form)"
    exit 0
  fi
fi

if ! venv_works; then
  if [ -e "$venv" ] && [ ! -f "$venv/pyvenv.cfg" ] && [ -n "$(ls -A "$venv")" ]; then
    fail 1 "$venv is there but is no Python environment; move it away and run this again"
  fi
  if [ -n "${PYTHON:-}" ]; then candidates=("$PYTHON"); else candidates=(python3 python3.{14,13,12,11}); fi
  python=""
  for candidate in "${candidates[@]}"; do
    if python_is_new_enough "$candidate"; then
      python="$candidate"
      break
    fi
  done
  [ -n "$python" ] || fail 1 "${candidates[0]} is $("${candidates[0]}" --version 2>/dev/null || echo missing), \
but Python 3.11 or newer is needed; install one and run PYTHON=/path/to/python3.11 ./scripts/setup.sh"
  say "making $venv with $("$python" --version)"
  "$python" -m venv --clear "$venv" ||
    fail 1 "$python cannot make a virtual environment; install python3-venv"
fi

pip_install() {
  "$venv_python" -m pip install --disable-pip-version-check --quiet "$@" ||
    fail 1 "pip could not install $* (its message is above); is the network there?"
}

rm -f "$stamp"
constraints="$venv/drop-constraints.txt"
printf '%s\n' "${PYTHON_CONSTRAINTS//,/$'\n'}" >"$constraints"
# these first: once a wheel is there without its dependencies, pip complains about it each time
say "installing the Python packages for plots and tests"
pip_install --constraint "$constraints" "numpy==$NUMPY_VERSION" "h5py==$H5PY_VERSION" "matplotlib==$MATPLOTLIB_VERSION" \
  "safetensors==$SAFETENSORS_VERSION" "tensorboard==$TENSORBOARD_VERSION" "pyyaml==$PYYAML_VERSION"
say "installing LibTorch $TORCH_VERSION ($form form) and MuJoCo $MUJOCO_VERSION"
if [ "$form" = cuda ]; then
  pip_install "torch==$TORCH_VERSION"
fi
pip_install --no-deps "torch==$TORCH_VERSION" "mujoco==$MUJOCO_VERSION" \
  "nvidia-cuda-runtime==$NVIDIA_CUDA_RUNTIME_VERSION" "nvidia-cuda-cupti==$NVIDIA_CUDA_CUPTI_VERSION"

# what the build reads must really be there before the stamp says so
site_packages="$("$venv_python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
for file in torch/include/ATen/ATen.h torch/lib/libtorch_cpu.so mujoco/include/mujoco/mujoco.h \
  "mujoco/libmujoco.so.$MUJOCO_VERSION"; do
  [ -f "$site_packages/$file" ] ||
    fail 1 "no $site_packages/$file after the installation; remove $venv and run this again"
done
"$venv_python" -c 'import h5py, matplotlib, numpy, safetensors, tensorboard, yaml' ||
  fail 1 "the Python packages do not load (message above); remove $venv and run this again"
stamp_of "$form" >"$stamp"
fetch_adroit
say "done ($form form)"
