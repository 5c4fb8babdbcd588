"""The command line: verbs of the domain, words for people on stderr, results on stdout.

A file per group; what a command needs is imported when it runs, so that `--help` is quick.
Invariant: an AliceBobError leaves as one sentence and its exit code, never as a traceback. Does
not: work; a command reads its words, calls one function and shows what comes back.
"""

from __future__ import annotations

import sys
from types import TracebackType

import click

from alicebob.cli.compare import compare
from alicebob.cli.env import env
from alicebob.cli.episode import episode
from alicebob.cli.evaluate import evaluate
from alicebob.cli.experiment import doctor, estimate, init, report, sync
from alicebob.cli.group import Commands
from alicebob.cli.rounds import rounds
from alicebob.environment import threads_yield
from alicebob.errors import AliceBobError
from alicebob.untrusted import printable

__all__ = ["main", "run_command"]


def _told(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Say nothing of a Ctrl-C while modules are imported; it ends the program as it is."""
    if not issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)


# A program begins here, its stages too, before any of it imports torch.
threads_yield()
sys.excepthook = _told


@click.group(cls=Commands)
@click.version_option(package_name="alicebob")
def main() -> None:
    """Train language-model agents from exploration."""


for command in (compare, doctor, env, episode, estimate, evaluate, init, report, rounds, sync):
    main.add_command(command)


def run_command(command: click.Command) -> None:
    """Run a command as a program: an AliceBobError leaves as one sentence and its exit code."""
    try:
        command()
    except AliceBobError as error:
        click.echo(f"Error: {printable(str(error), lines=True)}", err=True)
        sys.exit(error.exit_code)
