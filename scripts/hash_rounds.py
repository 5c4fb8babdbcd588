"""Run tiny rounds of a checkout and print the hash of every output, to compare with another's.

    python scripts/hash_rounds.py                               # this checkout, both worlds
    python scripts/hash_rounds.py --root OTHER > other.txt      # then: diff this.txt other.txt

The same settings, r000 to r002; nothing of either checkout is touched.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import click
from tiny_rounds import ROOT, begin, hashes, lay_out

#: More exploring and trying than the tiniest, so that more of Alice is seen.
MORE = {
    "laptop": {
        "explore": {"episodes": 12, "max_turns": 400, "generation": 5},
        "evaluate": {"worlds": 1, "open_play": 4, "max_turns": 100},
    },
    "webshop": {
        "explore": {"episodes": 40, "max_turns": 15, "generation": 10},
        "evaluate": {"open_play": 8, "max_turns": 6},
    },
}


@click.command()
@click.option(
    "--root", default=ROOT, type=click.Path(path_type=Path, exists=True), help="The checkout."
)
@click.option("--preset", "presets", multiple=True, default=sorted(MORE), show_default=True)
@click.option("--keep", type=click.Path(path_type=Path), help="Keep the runs in this folder.")
def main(root: Path, presets: tuple[str, ...], keep: Path | None) -> None:
    """Run, and print `preset path hash`, a line each, in order."""
    with tempfile.TemporaryDirectory() as temporary:
        for preset in presets:
            folder = (keep or Path(temporary)) / preset
            lay_out(folder, preset, root.resolve(), MORE.get(preset))
            if begin(folder).wait():
                sys.exit(f"{preset} failed:\n{(folder / 'log.txt').read_text()[-3000:]}")
            for path, found in sorted(hashes(folder).items()):
                click.echo(f"{preset} {path} {found}")


if __name__ == "__main__":
    main()
