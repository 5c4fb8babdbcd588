"""The command that tries a served model on the tasks of the rounds."""

from __future__ import annotations

import contextlib
import functools
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from alicebob.cli.numbers import COUNT, PRICES, Finite
from alicebob.cli.pairs import with_settings
from alicebob.errors import UsageError

if TYPE_CHECKING:
    from alicebob.policies.endpoint import Endpoint

__all__ = ["evaluate"]

Command = Callable[..., None]

SERVED = (
    click.option(
        "--url", required=True, help="An OpenAI-compatible address, e.g. http://host:8000/v1."
    ),
    click.option("--model", required=True, help="The model's name there."),
    click.option("--key-env", default="", help="The environment variable that holds the key."),
    click.option(
        "--concurrency",
        type=COUNT,
        default=16,
        show_default=True,
        help="Episodes at once, at most: fewer where answers take over a third of --timeout.",
    ),
    click.option(
        "--timeout",
        type=Finite(min=1),
        default=120.0,
        show_default=True,
        help="Seconds that an answer may take.",
    ),
    click.option("--max-requests", type=COUNT, help="Stop, with all saved, after so many."),
    click.option("--max-tokens", type=COUNT, help="Stop after so many, read and written."),
    click.option("--max-cost", type=Finite(min=0), help="Stop at this cost; needs --prices."),
    PRICES,
)
SAMPLING = (
    click.option(
        "--context",
        type=COUNT,
        default=8192,
        show_default=True,
        help="Tokens of prompt and reply.",
    ),
    click.option(
        "--turns",
        type=click.IntRange(min=0),
        default=0,
        show_default=True,
        help="Turns it sees; 0: as many as fit.",
    ),
    click.option(
        "--system",
        help="A system text, 'none' for an empty one, 'template' for the server's own; by default "
        "bob.system with --adapter, else the server's own.",
    ),
    click.option("--max-new-tokens", type=COUNT, default=256, show_default=True),
    click.option("--temperature", type=Finite(min=0), default=0.7, show_default=True),
    click.option(
        "--top-p", type=Finite(min=0, max=1, min_open=True), default=1.0, show_default=True
    ),
)


def _with(options: tuple[Callable[[Command], Command], ...], command: Command) -> Command:
    for option in reversed(options):
        command = option(command)
    return command


def _with_endpoint(command: Command) -> Command:
    """Give a command the options that describe an endpoint, and that endpoint itself."""

    @functools.wraps(command)
    def given(
        url: str,
        model: str,
        key_env: str,
        concurrency: int,
        timeout: float,
        max_requests: int | None,
        max_tokens: int | None,
        max_cost: float | None,
        prices: tuple[float, float] | None,
        **rest: Any,
    ) -> None:
        from alicebob.policies.endpoint import Endpoint, Limits

        if max_cost is not None and prices is None:
            raise UsageError("--max-cost needs --prices, e.g. --prices 0.15 0.60.")
        endpoint = Endpoint(
            url,
            model,
            key_env=key_env,
            concurrency=concurrency,
            read_timeout=timeout,
            prices=prices or (0.0, 0.0),
            limits=Limits(max_requests, max_tokens, max_cost),
        )
        with contextlib.closing(endpoint):
            command(endpoint, **rest)

    return _with(SERVED, given)


@click.command()
@_with_endpoint
@click.option(
    "--adapter",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="A LoRA adapter of that model, e.g. models/bob/r003, for the server to load.",
)
@click.option("--split", type=click.Choice(["validation", "test"]), default="test")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder; by default data/served/MODEL.",
)
@functools.partial(_with, SAMPLING)
@with_settings
def evaluate(
    endpoint: Endpoint,
    adapter: Path | None,
    split: str,
    out: Path | None,
    settings: dict[str, Any],
    system: str | None,
    **sampling: Any,
) -> None:
    """Try a served model on the trials and the open play of the rounds; figures go to stdout.

    KEY=VALUE change the environment of params.yaml, e.g. observation=smartplay.
    """
    from alicebob.experiment.params import load_params
    from alicebob.pipeline.tried import evaluate_served, requests
    from alicebob.policies.adapters import loaded
    from alicebob.policies.template import Template
    from alicebob.progress import Bar

    params = load_params("r000")
    template = Template.of(params.bob) if adapter is not None else Template()
    template = template if system is None else replace(template, system=system)
    _say_cost(requests(params, split, settings), endpoint.limits.requests)
    with contextlib.ExitStack() as held:
        if adapter is not None:
            held.enter_context(loaded(endpoint, adapter))
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", endpoint.model).strip(".-")[:100] or "model"
        folder = out or Path("data/served") / name
        bar = held.enter_context(Bar(name))
        found = evaluate_served(
            endpoint,
            params,
            split,
            folder,
            settings=settings,
            done=bar.tick,
            template=template,
            **sampling,
        )
    _say_oddities(found["used_now"], sampling["max_new_tokens"])
    click.echo(f"Episodes and figures are in {folder}.", err=True)
    click.echo(json.dumps(found, indent=1))


def _say_cost(each: list[int], limit: int | None) -> None:
    """Say how many requests episodes may take, before any is sent."""
    short = (
        f" With --max-requests {limit} perhaps none ends." if limit and limit < max(each) else ""
    )
    click.echo(
        f"{len(each)} episodes, a request a turn: at most {max(each):,} for one and "
        f"{sum(each):,} for all.{short}",
        err=True,
    )


def _say_oddities(used: dict[str, Any], limit: int) -> None:
    """Say what makes figures and counts worth less than they look."""
    if silent := used["silent"]:
        click.echo(
            f"Warning: {silent} of {used['requests']} replies had no text and lost their turn; a "
            f"model that thinks before it answers needs more than --max-new-tokens {limit}.",
            err=True,
        )
    if estimated := used["estimated"]:
        click.echo(
            f"Tokens and cost of {estimated} of {used['requests']} requests are estimates, of "
            "three characters a token: the server did not count them, or did not answer.",
            err=True,
        )
