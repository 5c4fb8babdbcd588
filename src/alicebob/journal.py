"""Journals: what is finished, line by line, as it happens.

Each line is a JSON object that begins with the checksum of all that follows in it. Invariant: no
line is read that is not as it was written; what is torn or damaged is owed, as if it had not
happened. Does not: know what a line means; its reader says so.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from alicebob.files import write_bytes

__all__ = ["append_line", "read_lines"]


def append_line(path: Path, *data: Mapping[str, Any]) -> None:
    """Append plain data, each as one line with its checksum, and flush them to the disk.

    The caller is the only writer. A kill in here leaves a torn last line: what it held is owed,
    `read_lines` passes it over, and the next append writes over it.
    """
    lines = b"".join(map(_line, data))
    with path.open("r+b" if path.exists() else "xb") as file:
        file.seek(_whole(path))
        file.truncate()
        file.write(lines)
        file.flush()
        os.fsync(file.fileno())


def _line(data: Mapping[str, Any]) -> bytes:
    """Return plain data as JSON in a line, whose first field is the checksum of all after it."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    rest = text[1:].encode("utf-8", "backslashreplace")
    return b'{"sum":"%s",%s\n' % (_sum(rest), rest)


def _sum(rest: bytes) -> bytes:
    return hashlib.sha256(rest).hexdigest()[:16].encode()


def _read(line: bytes) -> dict[str, Any]:
    """Return the data of a line; raises ValueError where it is not as it was written."""
    head, rest = line[:26], line[26:-1]
    if head != b'{"sum":"%s",' % _sum(rest):
        raise ValueError("its checksum does not fit")
    data: dict[str, Any] = json.loads(b"{" + rest)
    return data


def _whole(path: Path) -> int:
    """Return the length in bytes of the whole lines of a file, read from its end."""
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        while end > 0:
            start = max(0, end - 65536)
            file.seek(start)
            found = file.read(end - start).rfind(b"\n")
            if found >= 0:
                return start + found + 1
            end = start
    return 0


def read_lines(path: Path, build: Callable[[dict[str, Any]], Any] = dict) -> list[Any]:
    """Return what `build` makes of each line of a journal; a torn last line is passed over.

    A line that is not as it was written, or of which `build` raises ValueError, KeyError, TypeError
    or AttributeError, is said to be damaged and put aside, into a file beside the journal: what it
    held is owed.
    """
    if not path.exists():
        return []
    kept: list[bytes] = []
    found = []
    damaged: dict[int, bytes] = {}
    why: Exception | None = None
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                break
            try:
                found.append(build(_read(line)))
                kept.append(line)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                damaged[number] = line
                why = why or error
    if damaged:
        aside = path.with_name(f"{path.name}.damaged")
        with aside.open("ab") as file:
            file.writelines(damaged.values())
        write_bytes(path, b"".join(kept))
        print(
            f"{path} is damaged in line {', '.join(map(str, damaged))} ({type(why).__name__}: "
            f"{why}); what stood there counts no more and is kept in {aside.name}.",
            file=sys.stderr,
        )
    return found
