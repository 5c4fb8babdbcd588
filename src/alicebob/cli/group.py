"""Group: the commands of this package, and those that others register.

A package registers a command of its own, e.g. those of a world, under the entry-point group
`alicebob.commands`, as "module:command". Invariant: a registered command is imported when it is
called and not before, so that one that cannot be is no trouble to the others.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import Any

import click

from alicebob.errors import AliceBobError, UsageError
from alicebob.untrusted import printable

__all__ = ["Commands", "registered"]

GROUP = "alicebob.commands"


class Commands(click.Group):
    """A group that shows our errors as click shows its own, and finds registered commands."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an AliceBobError leaves as one sentence and its exit code."""
        try:
            return super().invoke(ctx)
        except AliceBobError as error:
            click.echo(f"Error: {printable(str(error), lines=True)}", err=True)
            ctx.exit(error.exit_code)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands, in alphabetical order."""
        return sorted({*super().list_commands(ctx), *registered()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command; of a registered one what can be said of it before it is imported."""
        found = super().get_command(ctx, cmd_name)
        if found is None and cmd_name in registered():
            found = click.Command(cmd_name, help=f"Commands of {registered()[cmd_name].module}.")
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that is called, imported; raises UsageError where it cannot be."""
        name, command, rest = super().resolve_command(ctx, args)
        if name is not None and name not in self.commands and name in registered():
            command = _load(registered()[name])
        return name, command, rest


@functools.cache  # what is installed is read from many small files
def registered() -> Mapping[str, EntryPoint]:
    """Return what is registered, by name."""
    return MappingProxyType({point.name: point for point in entry_points(group=GROUP)})


def _load(point: EntryPoint) -> click.Command:
    try:
        command = point.load()
    except Exception as error:  # somebody else's module may raise anything
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise UsageError(
            f"The command {point.name!r} ({point.value}) cannot be imported ({reason})."
        ) from error
    if not isinstance(command, click.Command):
        raise UsageError(f"The command {point.name!r} ({point.value}) is no click command.")
    return command
