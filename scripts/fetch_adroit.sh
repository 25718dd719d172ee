#!/usr/bin/env bash
# Fetches the models of the Adroit tasks (pen, hammer, door, relocate): MJCF, meshes and textures
# from the PyPI wheel gymnasium-robotics, of which nothing else is kept or installed.
#
#   ./scripts/fetch_adroit.sh
#
# They go to third_party/adroit (2 MB), where the programs look for them; the environment variable
# DROP_ADROIT_DIR names another folder to the programs. Run it as often as you like: what is there
# already is not fetched again. It needs the Python environment of ./scripts/setup.sh.
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

# shellcheck source-path=SCRIPTDIR source=../third_party/versions.env
source "$repo_root/third_party/versions.env"
folder="$repo_root/third_party/adroit"
stamp="gymnasium-robotics $GYMNASIUM_ROBOTICS_VERSION"
if [ -f "$folder/VERSION" ] && [ "$(cat "$folder/VERSION")" = "$stamp" ]; then
  say "everything is here ($stamp)"
  exit 0
fi

venv_python="$repo_root/.venv/bin/python3"
[ -x "$venv_python" ] || fail 1 "no $venv_python; run ./scripts/setup.sh first"

work="$(mktemp -d "$folder.part.XXXXXX")"
trap 'rm -rf "$work"' EXIT
say "fetching the Adroit models of $stamp (26 MB)"
"$venv_python" -m pip download --disable-pip-version-check --quiet --no-deps --only-binary :all: \
  --dest "$work/wheel" "gymnasium-robotics==$GYMNASIUM_ROBOTICS_VERSION" ||
  fail 1 "pip could not fetch $stamp (its message is above); is the network there?"
found="$(cat "$work"/wheel/*.whl | sha256sum | cut -d ' ' -f 1)"
[ "$found" = "$GYMNASIUM_ROBOTICS_SHA256" ] ||
  fail 1 "the wheel of $stamp has the SHA-256 $found, expected is $GYMNASIUM_ROBOTICS_SHA256; nothing of it was used"

# the models, the meshes and textures that they name, and the licences
"$venv_python" - "$work" <<'PYTHON' || fail 1 "the wheel of $stamp does not hold the models as expected (message above)"
import pathlib, re, sys, zipfile

work = pathlib.Path(sys.argv[1])
wheel = zipfile.ZipFile(next((work / "wheel").glob("*.whl")))
assets = "gymnasium_robotics/envs/assets/"
hand = assets + "adroit_hand/"
wanted = {}
for part in ("pen", "hammer", "door", "relocate", "model", "assets"):
    name = f"adroit_{part}.xml"
    wanted[name] = wheel.read(hand + name)
for text in list(wanted.values()):
    for name in re.findall(r"""file=["']([^"']+)""", text.decode()):
        # what a file names is a file below its own folder, or nothing that we write
        if not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)*", name):
            sys.exit(f"a model names {name!r}, which is no file of its folder")
        folder = {".stl": "resources/meshes/", ".png": "resources/textures/"}.get(name[-4:], "")
        wanted[folder + name] = wheel.read(hand + folder + name)
wanted["LICENSE.md"] = wheel.read(assets + "LICENSE.md")
licence = next(n for n in wheel.namelist() if n.endswith("licenses/LICENSE"))
wanted["LICENSE.gymnasium-robotics"] = wheel.read(licence)
for name, content in wanted.items():
    target = work / "adroit" / name
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
PYTHON

echo "$stamp" >"$work/adroit/VERSION"
if [ -e "$folder" ]; then mv "$folder" "$work/old"; fi
mv "$work/adroit" "$folder"
say "done: $folder"
