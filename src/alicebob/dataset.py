"""Datasets: episodes and skills as Parquet with a card, opened by `datasets.load_dataset`.

A few large files, never one per episode. Invariant: the same episodes give the same bytes, so that
equal shards are stored once; what is read back is checked, and an error names file and command.
Does not: journal what is still going on (see `alicebob.trace`).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from alicebob.errors import DamagedData
from alicebob.trace import Episode, Skill

__all__ = [
    "EPISODES",
    "SKILLS",
    "read_episodes",
    "read_skills",
    "write_card",
    "write_episodes",
    "write_skills",
]

T = TypeVar("T")

_TURN = pa.struct(
    [
        ("observation", pa.string()),
        ("action", pa.string()),
        ("thought", pa.string()),
        ("reward", pa.float64()),
        ("events", pa.list_(pa.string())),
        ("tags", pa.list_(pa.string())),
        ("token_ids", pa.list_(pa.int32())),
        ("loss_mask", pa.list_(pa.int8())),
    ]
)

#: One row per episode; `options`, `summary`, `budget` and `meta` are JSON objects.
EPISODES = pa.schema(
    [
        ("id", pa.string()),
        ("environment", pa.string()),
        ("seed", pa.int64()),
        ("instruction", pa.string()),
        ("options", pa.string()),
        ("outcome", pa.string()),
        ("summary", pa.string()),
        ("budget", pa.string()),
        ("meta", pa.string()),
        ("turns", pa.list_(_TURN)),
        ("final", pa.string()),
    ]
)

#: One row per skill; `options` is a JSON object.
SKILLS = pa.schema(
    [
        ("id", pa.string()),
        ("name", pa.string()),
        ("instruction", pa.string()),
        ("round", pa.string()),
        ("episode", pa.string()),
        ("environment", pa.string()),
        ("seed", pa.int64()),
        ("start", pa.int64()),
        ("end", pa.int64()),
        ("context", pa.int64()),
        ("options", pa.string()),
        ("turns", pa.list_(_TURN)),
    ]
)


def write_episodes(path: Path, episodes: Iterable[Episode]) -> None:
    """Write episodes to one Parquet file."""
    _write(path, EPISODES, (episode.to_json() for episode in episodes))


def read_episodes(*paths: Path) -> list[Episode]:
    """Read the episodes of files, or of all Parquet files of a folder, in order.

    Raises DamagedData for a file that is missing, torn or of another shape.
    """
    return [episode for path in paths for episode in _read(path, EPISODES, Episode.from_json)]


def write_skills(path: Path, skills: Iterable[Skill]) -> None:
    """Write skills to one Parquet file."""
    _write(path, SKILLS, (skill.to_json() for skill in skills))


def read_skills(*paths: Path) -> list[Skill]:
    """Read the skills of files, or of all Parquet files of a folder, in order.

    Raises DamagedData for a file that is missing, torn or of another shape.
    """
    return [skill for path in paths for skill in _read(path, SKILLS, Skill.from_json)]


def _nested(schema: pa.Schema) -> list[str]:
    return [name for name in ("options", "summary", "budget", "meta") if name in schema.names]


def _write(path: Path, schema: pa.Schema, rows: Iterable[dict[str, Any]]) -> None:
    flat = []
    for row in rows:
        for name in _nested(schema):
            row[name] = json.dumps(row[name], ensure_ascii=False, sort_keys=True)
        # Text from a model may hold half a surrogate pair, which no UTF-8 file can.
        row["turns"] = [{k: _storable(v) for k, v in turn.items()} for turn in row["turns"]]
        flat.append({name: _storable(value) for name, value in row.items()})
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist(flat, schema=schema)
    pq.write_table(table, path, compression="zstd", row_group_size=2_000)


def _storable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    return value


def _read(path: Path, schema: pa.Schema, build: Callable[[Mapping[str, Any]], T]) -> list[T]:
    if path.is_dir():
        return [
            item for file in sorted(path.glob("*.parquet")) for item in _read(file, schema, build)
        ]
    repair = "Restore it with 'dvc checkout', or run 'dvc repro' to make it again."
    try:
        table = pq.read_table(path, schema=schema)
    except (OSError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0][:200]
        raise DamagedData(
            f"{path} cannot be read as {_kind(schema)} ({reason}). {repair}"
        ) from error
    items = []
    for number, row in enumerate(table.to_pylist()):
        try:
            for name in _nested(schema):
                row[name] = json.loads(row[name])
            row["turns"] = [_sparse(turn) for turn in row["turns"]]
            items.append(build(row))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DamagedData(
                f"{path}, row {number}, is not one of {_kind(schema)} "
                f"({type(error).__name__}: {error}). {repair}"
            ) from error
    return items


def _sparse(turn: Mapping[str, Any]) -> dict[str, Any]:
    """Drop the fields that a turn leaves out when they are empty."""
    return {name: value for name, value in turn.items() if value is not None}


def _kind(schema: pa.Schema) -> str:
    return "episodes" if schema is EPISODES else "skills"


def write_card(folder: Path, title: str, facts: Mapping[str, Any], about: str) -> None:
    """Write the dataset card of a folder of Parquet files: what it holds, in measured facts.

    The card makes the folder open with `datasets.load_dataset(folder)`; it carries no dates.
    """
    files = sorted(path.name for path in folder.glob("*.parquet"))
    lines = ["---", "license: apache-2.0", "configs:", "- config_name: default", "  data_files:"]
    lines += [f"  - {name}" for name in files] + ["---", "", f"# {title}", "", about, ""]
    lines += ["| fact | value |", "|---|---|"]
    lines += [f"| {name} | {_cell(value)} |" for name, value in facts.items()]
    (folder / "README.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _cell(value: Any) -> str:
    text = f"{value:.3f}" if isinstance(value, float) else str(value)
    return " ".join(text.split()).replace("|", "\\|")


def counts(skills: Sequence[Skill]) -> dict[str, int]:
    """Return how many skills there are of each name, sorted by name."""
    return dict(sorted(Counter(skill.name for skill in skills).items()))
