"""Begin: a project of one's own, laid down in a folder: parameters, pipeline and stages.

The package carries in `project/`, beside this file, what its own repository has; a test holds the
two together. Invariant: nothing that is there is written over, and params.yaml comes last, so that
where it is all the rest is. Does not: choose parameters, or make a git repository.
"""

from __future__ import annotations

import subprocess
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from alicebob.errors import UsageError
from alicebob.experiment.params import PATH
from alicebob.experiment.presets import shipped
from alicebob.files import write_text

__all__ = ["carried", "lay_down"]

#: What is carried under another name, for here it would be heeded.
HIDDEN = {"gitignore": ".gitignore", "dvcignore": ".dvcignore", "dvc": ".dvc"}
LISTS = (".gitignore", ".dvcignore")  # of which it is enough that every line is there


def carried() -> dict[str, str]:
    """Return the files of a project, by where they go, params.yaml as the last."""
    project = files(__package__) / "project"
    return {**dict(sorted(_under(project, Path()).items())), str(PATH): shipped()}


def _under(folder: Traversable, place: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for each in folder.iterdir():
        there = place / HIDDEN.get(each.name, each.name)
        if each.is_dir() and each.name != "__pycache__":
            found |= _under(each, there)
        elif each.is_file():
            found[there.as_posix()] = each.read_text(encoding="utf-8")
    return found


def lay_down(folder: Path = Path()) -> list[str]:
    """Write what a project lacks into a folder; return the names of what was written.

    Raises UsageError where another file is in the way, and writes nothing.
    """
    wanted = carried()
    if not _in_git(folder):
        wanted[".dvc/config"] += "    no_scm = true\n"
    there = {
        name: (folder / name).read_text(encoding="utf-8")
        for name in wanted
        if (folder / name).exists()
    }
    for name, text in there.items():
        if name in LISTS:
            lacking = [line for line in wanted[name].splitlines() if line not in text.splitlines()]
            wanted[name] = "\n".join([*text.splitlines(), *lacking, ""])
        elif text != wanted[name]:
            raise UsageError(
                f"{folder / name} is there and is another one than a project begins with; begin in "
                "an empty folder, or move it away."
            )
    written = [name for name, text in wanted.items() if there.get(name) != text]
    for name in written:
        write_text(folder / name, wanted[name])
    return written


def _in_git(folder: Path) -> bool:
    """Say whether a folder is in a git repository; where there is no git, it is in none."""
    try:
        asked = subprocess.run(["git", "rev-parse"], cwd=folder, capture_output=True, check=False)
    except OSError:
        return False
    return asked.returncode == 0
