#!/usr/bin/env python3
"""Checks that every folder includes only from floors below its own.

Reads the #include lines of include/, src/, apps/, examples/ and tests/ and prints one line for
each that breaks a rule, as file:line: what is wrong. Says as well, as notes that do not fail,
where tests/ does not mirror src/ and apps/.

Exit status: 0 all good, 1 a rule is broken, 2 wrong usage.
"""

import argparse
import re
import sys
from pathlib import Path

# lowest floor first; folders of one floor do not include each other
FLOORS = [
    ["base"],
    ["config", "log"],
    ["data"],
    ["env", "kernels"],
    ["nn"],
    ["search"],
    ["train"],
    ["deploy"],
    ["apps"],
]
FLOOR_OF = {folder: number for number, folders in enumerate(FLOORS, 1) for folder in folders}

SOURCE_SUFFIXES = {".h", ".hpp", ".cuh", ".inc", ".cc", ".cpp", ".cu"}
# a comment, a #include line or a string, whichever comes first
TOKEN = re.compile(
    r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|^[ \t]*#[ \t]*include[ \t]*[<"](?P<path>[^>"\n]+)[>"]',
    re.DOTALL | re.MULTILINE,
)


def includes(text):
    """(line number, included path) of every #include outside comments."""
    for match in TOKEN.finditer(text):
        if match["path"]:
            yield text.count("\n", 0, match.start("path")) + 1, match["path"]


def source_files(folder):
    return sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix in SOURCE_SUFFIXES)


class Tree:
    """A checkout, and where each of its files stands."""

    def __init__(self, root):
        self.root = root
        self.problems = []

    def problem(self, file, line, text):
        self.problems.append(f"{file.relative_to(self.root)}:{line}: {text}")

    def target(self, file, path):
        """(folder, is_public) that an include leads to, or None for what is not of this project."""
        parts = path.split("/")
        if parts[0] == "drop" and len(parts) > 2:
            return parts[1], True
        if len(parts) > 1 and (self.root / "apps" / path).is_file():
            return "apps", False
        if len(parts) > 1 and parts[0] in FLOOR_OF:
            return parts[0], False
        # relative to the including file
        near = (file.parent / path).resolve()
        for base, public in ((self.root / "include/drop", True), (self.root / "src", False)):
            if near.is_file() and base in near.parents and near.parent != base:
                return near.relative_to(base).parts[0], public
        if near.is_file() and self.root / "apps" in near.parents:
            return "apps", False
        return None

    def check_file(self, file, folder, is_public_header=False, is_test=False):
        """Holds the includes of a file in `folder` against that folder's floor."""
        floor = FLOOR_OF[folder]
        for line, path in includes(file.read_text(encoding="utf-8", errors="replace")):
            found = self.target(file, path)
            if found is None:
                continue
            target, target_is_public = found
            if target not in FLOOR_OF:
                self.problem(file, line, f'"{path}": folder {target} stands on no floor; '
                                         "name it in FLOORS of scripts/check_layers.py")
                continue
            if is_public_header and not target_is_public:
                self.problem(file, line, f'"{path}" is private to src/; a header under include/ '
                                         "may include only public ones")
            target_floor = FLOOR_OF[target]
            if target == folder or target_floor < floor or (is_test and target_floor == floor):
                continue
            relation = "is on the same floor as" if target_floor == floor else "stands above"
            self.problem(file, line, f'"{path}": {target} (floor {target_floor}) {relation} '
                                     f"{folder} (floor {floor}); a folder includes only from "
                                     "floors below its own")

    def check_folders(self, base, **kind):
        """Checks base/X/... for every X; returns the number of files."""
        count = 0
        for file in source_files(base):
            count += 1
            folder = file.relative_to(base).parts[0]
            if file.parent == base:
                # a precompiled header or the like: part of every floor, so it may lean on none
                for line, path in includes(file.read_text(encoding="utf-8", errors="replace")):
                    if self.target(file, path):
                        self.problem(file, line, f'"{path}": a file directly in '
                                                 f"{base.relative_to(self.root)}/ belongs to no "
                                                 "floor and may include from none")
            elif folder in FLOOR_OF:
                self.check_file(file, folder, **kind)
            else:
                self.problem(file, 1, f"folder {folder} stands on no floor; "
                                      "name it in FLOORS of scripts/check_layers.py")
        return count

    def check(self):
        count = self.check_folders(self.root / "include/drop", is_public_header=True)
        count += self.check_folders(self.root / "src")
        # programs and examples stand on top of everything
        for top in ("apps", "examples"):
            for file in source_files(self.root / top):
                count += 1
                self.check_file(file, "apps", is_public_header=(top == "examples"))
        # a test stands where what it tests stands; tests/support and the like serve all floors
        tests = self.root / "tests"
        for file in source_files(tests):
            count += 1
            folder = file.relative_to(tests).parts[0]
            if folder in FLOOR_OF:
                self.check_file(file, folder, is_test=True)
        return count

    def mirror_notes(self):
        """Sources without a test of their name, and tests without a source."""
        tests = {p.relative_to(self.root / "tests") for p in source_files(self.root / "tests")
                 if p.stem.endswith("_test")}
        sources = {p.relative_to(self.root / "src") for p in source_files(self.root / "src")
                   if p.suffix == ".cc" and p.parent != self.root / "src"}
        sources |= {p.relative_to(self.root) for p in source_files(self.root / "apps")
                    if p.suffix == ".cc"}
        expected = {p.with_name(p.stem + "_test.cc"): p for p in sources}
        for test in sorted(expected.keys() - tests):
            yield f"note: {expected[test]} has no tests/{test}"
        for test in sorted(tests - expected.keys()):
            if test.parts[0] in FLOOR_OF:
                yield f"note: tests/{test} mirrors no source"


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parent.parent,
                        help="the checkout to look at (default: the one of this script)")
    parser.add_argument("--quiet", action="store_true", help="no notes about the mirror")
    arguments = parser.parse_args()
    root = arguments.root.resolve()
    if not (root / "src").is_dir():
        parser.error(f"{root} has no folder src; --root takes a checkout of this project")

    tree = Tree(root)
    count = tree.check()
    if not arguments.quiet:
        for note in tree.mirror_notes():
            print(note)
    for problem in tree.problems:
        print(problem)
    print(f"check_layers: {count} files, {len(tree.problems)} broken rules")
    return 1 if tree.problems else 0


if __name__ == "__main__":
    sys.exit(main())
