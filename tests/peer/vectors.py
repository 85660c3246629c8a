"""Write the test vectors, proto/tests/vectors/*.json, or check those on disk with --check.

Owns the files: it writes what is missing or differs and removes what no case makes. The cases
are in admitted.py and dropped.py, the recipe is in recipe.py.
"""

import argparse
import json
import sys
from pathlib import Path

import admitted
import dropped

FOLDER = Path(__file__).resolve().parents[2] / "proto" / "tests" / "vectors"


def all_vectors() -> list[dict]:
    """Every vector; names do not repeat."""
    made = [*admitted.cases(), *dropped.cases()]
    names = {one["name"] for one in made}
    if len(names) != len(made):
        raise AssertionError("two vectors share a name")
    return made


def files() -> dict[str, str]:
    """File name to content."""
    return {f"{one['name']}.json": json.dumps(one, indent=2) + "\n" for one in all_vectors()}


def differences(wanted: dict[str, str], folder: Path) -> list[str]:
    """What the folder lacks, has too much or has otherwise."""
    found = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.json")}
    return sorted(
        name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name)
    )


def main() -> int:
    """Write or check."""
    parser = argparse.ArgumentParser(description="write the test vectors")
    parser.add_argument("--check", action="store_true", help="compare with the files, write none")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="default: %(default)s")
    options = parser.parse_args()

    wanted = files()
    changed = differences(wanted, options.folder)
    if options.check:
        for name in changed:
            print(f"differs: {options.folder / name}", file=sys.stderr)
        return 1 if changed else 0
    options.folder.mkdir(parents=True, exist_ok=True)
    for name in changed:
        if name in wanted:
            (options.folder / name).write_text(wanted[name], encoding="utf-8")
        else:
            (options.folder / name).unlink()
    print(f"{len(wanted)} vectors in {options.folder}, {len(changed)} written or removed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
