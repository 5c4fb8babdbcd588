"""Files: written whole or not at all, hashed by what they hold, and vouched for.

A mark is a file that says of the others in a folder what they hold, so that what was damaged since
is not taken for what was written. Does not: know what is in them.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

__all__ = [
    "content_hash",
    "damage",
    "json_text",
    "remove",
    "sync",
    "vouch",
    "write_bytes",
    "write_json",
    "write_text",
]


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file so that it is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    spare = path.with_name(f".{path.name}.part")
    with spare.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(spare, path)


def write_text(path: Path, text: str) -> None:
    """Write a text file so that it is there whole or not at all."""
    write_bytes(path, text.encode("utf-8"))


def json_text(data: Any) -> str:
    """Return plain data as `write_json` writes it."""
    return json.dumps(data, indent=1, ensure_ascii=False) + "\n"


def write_json(path: Path, data: Any) -> None:
    """Write plain data as JSON, whole or not at all."""
    write_text(path, json_text(data))


def sync(path: Path) -> None:
    """Flush a file to the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def vouch(mark: Path, folder: Path, **facts: str) -> None:
    """Flush the files of a folder to the disk; then write their hashes, and facts, into a mark."""
    for path in _members(folder, mark):
        sync(path)
    write_json(mark, {**facts, "files": _hashes(folder, mark)})


def damage(mark: Path, folder: Path) -> str:
    """Say which files are not what a mark vouches for, or new, or that it says nothing; else ""."""
    try:
        expected = dict(json.loads(mark.read_bytes())["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return f"{mark.name} cannot be read"
    found = _hashes(folder, mark)
    wrong = [n for n in sorted({*found, *expected}) if found.get(n) != expected.get(n)]
    return f"{', '.join(wrong)}: not what {mark.name} vouches for" if wrong else ""


def _members(folder: Path, mark: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and path != mark]


def _hashes(folder: Path, mark: Path) -> dict[str, str]:
    found = {}
    for path in _members(folder, mark):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        found[path.relative_to(folder).as_posix()] = digest
    return found


def remove(path: Path) -> None:
    """Remove a file, a link or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def content_hash(*paths: Path) -> str:
    """Return a hash of the names and contents of files and folders; what is missing counts."""
    digest = hashlib.sha256()
    for path in paths:
        members = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        for member in members:
            digest.update(f"\0{member}\0".encode())
            if member.is_file():
                with member.open("rb") as file:
                    digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
