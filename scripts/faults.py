"""Kill, fill, damage and crowd tiny rounds, run them again, and compare with rounds left alone.

    python scripts/faults.py                     # every fault, as often as it is to be tried: hours
    python scripts/faults.py F1 F3 --trials 20   # some trials of some faults
    python scripts/faults.py --table             # what was tried so far, as Markdown

The faults are those of docs/reliability.md. Each trial is noted in a journal as soon as it ends, so
that the script can be stopped at any time and goes on where it was; trial n of a fault is the same
whenever it is run. Exits 1 where one did not hold: how it ended is then in capitals.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

import click
from faults_damage import damage_file, damage_lines
from faults_kill import end, full, kill, point, points
from faults_many import crowd, lose_index, orphan
from forked import Outcome, Rounds, preload
from numpy.random import Generator, default_rng

#: What is tried, in which trial, and how often; 0: every point at which a file is touched.
FAULTS: dict[str, tuple[Callable[[Rounds, Generator, int], Outcome], int]] = {
    "F1": (kill, 200),
    "F2": (orphan, 50),
    "F3": (end, 200),
    "F4": (point, 0),
    "F5": (damage_file, 800),
    "F6": (damage_lines, 1100),
    "F9": (full, 100),
    "F10": (crowd, 20),
    "F11": (lose_index, 20),
}


def noted(journal: Path) -> list[dict[str, str]]:
    """Return the trials that were noted."""
    lines = journal.read_text().splitlines() if journal.exists() else []
    return [json.loads(line) for line in lines]


def table(trials: list[dict[str, str]]) -> str:
    """Return how often each outcome came, by fault and where, in Markdown."""
    rows: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for trial in trials:
        rows[trial["fault"], trial["where"]][trial["outcome"]] += 1
    lines = ["| fault | where | trials | outcomes |", "|---|---|---|---|"]
    for fault, where in sorted(rows, key=lambda row: (list(FAULTS).index(row[0]), row[1])):
        counts = rows[fault, where]
        told = ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items()))
        lines.append(f"| {fault} | {where} | {counts.total()} | {told} |")
    return "\n".join(lines)


@click.command()
@click.argument("faults", nargs=-1, type=click.Choice(list(FAULTS)))
@click.option("--trials", type=int, help="Trials of each fault; by default all there are to be.")
@click.option(
    "--at",
    default=Path(tempfile.gettempdir()) / "alicebob-faults",
    show_default=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the rounds and of the journal, trials.jsonl.",
)
@click.option("--table", "only_table", is_flag=True, help="Only print the table.")
def main(faults: tuple[str, ...], trials: int | None, at: Path, only_table: bool) -> None:
    """Try faults, and note how each trial ended."""
    at = at.resolve()
    journal = at / "trials.jsonl"
    if not only_table:
        at.mkdir(parents=True, exist_ok=True)
        preload()
        rounds = Rounds(at)
        for fault in faults or FAULTS:
            try_fault(rounds, fault, trials, journal)
    found = [trial for trial in noted(journal) if trial["fault"] in (faults or FAULTS)]
    click.echo(table(found))
    sys.exit(any(trial["outcome"].isupper() for trial in found))


def try_fault(rounds: Rounds, fault: str, trials: int | None, journal: Path) -> None:
    """Try a fault in the trials that are not noted yet."""
    try_it, amount = FAULTS[fault]
    done = {trial["number"] for trial in noted(journal) if trial["fault"] == fault}
    amount = trials or amount or len(points(rounds))
    for number in (n for n in range(amount) if n not in done):
        begun = time.monotonic()
        where, outcome, said = try_it(rounds, default_rng([int(fault[1:]), number]), number)
        trial = {"fault": fault, "number": number, "where": where, "outcome": outcome, "said": said}
        with journal.open("a") as file:
            file.write(json.dumps(trial) + "\n")
        for log in rounds.at.glob("log*.txt"):
            log.unlink()
        took = time.monotonic() - begun
        click.echo(
            f"{fault} {number} | {where} | {outcome} | {took:.1f} s | {said[-300:]}", err=True
        )


if __name__ == "__main__":
    main()
