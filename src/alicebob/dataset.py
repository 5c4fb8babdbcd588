"""Datasets: episodes and skills as Parquet with a card, opened by `datasets.load_dataset`.

A few large files, never one per episode. Invariant: the same episodes give the same bytes, so that
equal shards are stored once; a file without rows has no row group, and its card does not list it;
what is read back is checked, and an error names file and command. Does not: journal what is still
going on (see `alicebob.trace`).
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from alicebob.errors import DamagedData
from alicebob.files import write_text
from alicebob.trace import OPEN_PLAY, Episode, Outcome, Skill

__all__ = [
    "EPISODES",
    "SKILLS",
    "counts",
    "read_episodes",
    "read_names",
    "read_skills",
    "table",
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
NAMES = pa.schema([SKILLS.field(name) for name in ("id", "name", "instruction")])

#: What each column is, of whichever of these.
_MEANING = {
    "id": "its name, the only one in its lineage",
    "environment": "what `alicebob.make` makes the environment of, with its settings",
    "seed": "the world, as `reset(seed=...)` takes it",
    "instruction": "what was to be done; a skill's was written afterwards, free play has none",
    "options": "JSON object: what `reset(options=...)` was given, such as grants or a goal",
    "outcome": f"how it ended: {', '.join(Outcome)}",
    "summary": "JSON object: what the environment reports at the end",
    "budget": "JSON object: how many steps and tokens it took",
    "meta": "JSON object: what the player noted; `target` is the trial it was",
    "turns": "the decisions in order; with seed and options their actions give it again",
    "final": "what was seen after the last action",
    "name": f"the kind of skill: what it achieves, or {OPEN_PLAY} for a whole episode",
    "round": "the round whose episodes it was cut from",
    "episode": "the id of that episode",
    "start": "its first turn there, counted from 0",
    "end": "the turn there after its last",
    "context": "how many of its first turns are to be read and not learnt from",
    "observation": "what was seen before acting",
    "action": "what was done",
    "thought": "what was thought before; in a skill written afterwards",
    "reward": "the environment's own, for this action",
    "events": "what the environment says this action achieved",
    "tags": "judgements on the turn, such as invalid_action, error and right, or what it was for",
    "token_ids": "the reply as a model generated it, where one did",
    "loss_mask": "1 for each of these tokens that may be learnt from",
}


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


def read_names(*paths: Path) -> list[dict[str, str]]:
    """Read of skills their `id`, `name` and `instruction` alone; raises as `read_skills`."""
    return [named for path in paths for named in _read(path, NAMES, dict)]


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
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        if flat:  # `datasets` cannot read a group of no rows
            writer.write_table(pa.Table.from_pylist(flat, schema=schema), row_group_size=2_000)


def _storable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    return value


def _read(path: Path, schema: pa.Schema, build: Callable[[Mapping[str, Any]], T]) -> list[T]:
    repair = "Restore it with 'dvc checkout', or run 'dvc repro' to make it again."
    if path.is_dir():
        files = sorted(path.glob("*.parquet"))
        if not files:
            raise DamagedData(f"{path} holds no {_kind(schema)}: no Parquet file. {repair}")
        return [item for file in files for item in _read(file, schema, build)]
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
            if "turns" in row:
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


def write_card(
    folder: Path,
    where: Path,
    title: str,
    about: str,
    facts: Mapping[str, Any],
    *,
    splits: Mapping[str, str] | None = None,
    more: str = "",
) -> None:
    """Write the card of a folder of Parquet files: what it holds, how to open it, every column.

    With it `datasets.load_dataset` opens the folder: `splits` names the file of each split, or all
    files are one, `train`. `where` is where the folder will lie; `more` is Markdown.
    """
    files = sorted(folder.glob("*.parquet"))
    full = [path.name for path in files if pq.read_metadata(path).num_rows]
    parts = {split: [name] for split, name in splits.items()} if splits else {"train": full}
    parts = {split: names for split, names in parts.items() if names and {*names} <= {*full}}
    head = ["---", "license: apache-2.0"]
    use = ["There are no rows yet, and `datasets` opens no empty data set."]
    if parts:
        # `datasets` keeps what it once read under this header: other rows need another one.
        digest = hashlib.sha256(b"".join((folder / name).read_bytes() for name in full))
        head += ["configs:", "- config_name: default", f"  description: {digest.hexdigest()}"]
        head += ["  data_files:"]
        for split, names in parts.items():
            head += [f"  - split: {split}", "    path:", *(f"    - {name}" for name in names)]
        opened = f'data = datasets.load_dataset("{where.as_posix()}")  # {", ".join(parts)}'
        use = ["```python", "import datasets", "", opened, "```"]
    lines = [
        *head,
        "---",
        "",
        f"# {title}",
        "",
        about,
        "",
        *table(("fact", "value"), facts.items()),
    ]
    lines += ["", more] if more else []
    lines += ["", "## Use", "", *use, "", "## Columns", ""]
    lines += table(("column", "type", "what it is"), _columns(pq.read_schema(files[0])))
    write_text(folder / "README.md", "\n".join(lines) + "\n")


def _columns(schema: pa.Schema | pa.StructType, inside: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield name, type and meaning of every column, those of a turn after the column of turns."""
    for field in schema:
        kind, listed = field.type, pa.types.is_list(field.type)
        turns = listed and pa.types.is_struct(kind.value_type)
        told = "list of turns" if turns else f"list of {kind.value_type}" if listed else str(kind)
        yield f"`{inside}{field.name}`", told, _MEANING[field.name]
        if turns:
            yield from _columns(kind.value_type, f"{field.name}[].")


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    """Return the lines of a Markdown table; what stands in a cell cannot leave it."""
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(map(_cell, line))} |" for line in lines]


def _cell(value: Any) -> str:
    text = f"{value:.3f}" if isinstance(value, float) else str(value)
    return " ".join(text.split()).replace("|", "\\|")


def counts(skills: Sequence[Skill]) -> dict[str, int]:
    """Return how many skills there are of each name, sorted by name."""
    return dict(sorted(Counter(skill.name for skill in skills).items()))
