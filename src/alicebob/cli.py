"""The command line: verbs of the domain, words for people on stderr, results on stdout.

Invariant: an AliceBobError leaves as one sentence and its exit code, never as a traceback.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from alicebob.errors import AliceBobError, UsageError

__all__ = ["main", "run_command"]


class _Group(click.Group):
    def invoke(self, ctx: click.Context) -> Any:
        """Run the command and show our errors as click shows its own."""
        try:
            return super().invoke(ctx)
        except AliceBobError as error:
            click.echo(f"Error: {error}", err=True)
            ctx.exit(error.exit_code)


def run_command(command: click.Command) -> None:
    """Run a command as a program: an AliceBobError leaves as one sentence and its exit code."""
    try:
        command()
    except AliceBobError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(error.exit_code)


@click.group(cls=_Group)
@click.version_option(package_name="alicebob")
def main() -> None:
    """Train language-model agents from exploration."""


@main.group()
def env() -> None:
    """List, check and play environments."""


@env.command("list")
def list_environments() -> None:
    """List the registered environments, with the class of each."""
    from alicebob.envs import available

    for name, target in available().items():
        click.echo(f"{name}\t{target}")


def _settings(pairs: tuple[str, ...]) -> dict[str, Any]:
    """Read key=value pairs; a value that is JSON counts as such, else it is a string."""
    settings: dict[str, Any] = {}
    for pair in pairs:
        key, found, value = pair.partition("=")
        if not found:
            raise click.BadParameter(f"{pair!r} is not of the form key=value.")
        try:
            settings[key] = json.loads(value)
        except ValueError:
            settings[key] = value
    return settings


def _environment(command: Callable[..., None]) -> Callable[..., None]:
    command = click.option("--seed", default=0, show_default=True, help="Seed of the world.")(
        command
    )
    command = click.argument("settings", nargs=-1, metavar="[KEY=VALUE]...")(command)
    return click.argument("spec")(command)


@env.command()
@_environment
def check(spec: str, settings: tuple[str, ...], seed: int) -> None:
    """Check that SPEC steps and that the same seed and actions give the same episode."""
    from alicebob.envs.check import transcript

    first = transcript(spec, _settings(settings), seed)
    if first != transcript(spec, _settings(settings), seed):
        raise AliceBobError(f"{spec} gives another episode for the same seed {seed} and actions.")
    click.echo(f"{spec}: {len(first) - 1} turns, twice the same for seed {seed}.")


@env.command()
@_environment
def play(spec: str, settings: tuple[str, ...], seed: int) -> None:
    """Play SPEC in the terminal: type an action, or nothing to leave."""
    from alicebob.envs import make

    world = make(spec, **_settings(settings))
    text, info = world.reset(seed=seed)
    told: list[str] = []
    total, over = 0.0, False
    while not over:
        click.echo(f"\n{text}\n")
        actions = info.get("admissible_actions") or ["free text"]
        if actions != told:
            click.echo(f"Actions: {', '.join(actions)}", err=True)
        told = actions
        action = click.prompt(">", default="", show_default=False, prompt_suffix=" ", err=True)
        if not action:
            break
        text, reward, terminated, truncated, info = world.step(action)
        total, over = total + reward, terminated or truncated
    click.echo(f"{text}\n\nReward: {total:.2f}" if over else f"Reward: {total:.2f}")


@env.command()
@click.argument("settings", nargs=-1, metavar="[KEY=VALUE]...")
@click.argument("spec")
def suite(spec: str, settings: tuple[str, ...]) -> None:
    """List the trials of SPEC: what Bob is tried on, and what each trial grants."""
    from alicebob.envs import make

    world: Any = make(spec, **_settings(settings))
    if not hasattr(world, "suite"):
        raise AliceBobError(f"{spec} has no suite of trials.")
    for trial in world.suite():
        granted = json.dumps(dict(trial.options))
        click.echo(f"{trial.name}\t{trial.instruction}\t{trial.max_turns} turns\t{granted}")


@main.group()
def webshop() -> None:
    """The data of WebShop."""


@webshop.command()
@click.option(
    "--from",
    "source",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    required=True,
    help="The folder with the original's files, under their own names.",
)
def prepare(source: Path) -> None:
    """Read the original's files once, so that they open at once later; say what there is."""
    from alicebob.envs.webshop.catalogue import KINDS, Files

    found = Files(source)
    click.echo(f"files\t{', '.join(found.facts['files'].values())}")
    click.echo(f"products\t{len(found):,} ({found.facts['passed_over']} passed over)")
    for kind in KINDS:
        goals = found.goals(kind, None)
        products = found.facts[f"with_{kind}_goals"]
        click.echo(f"{kind} goals\t{len(goals):,} over {products:,} products")
    click.echo(
        "The product texts were scraped from a shop and come with no licence: use them, but pass "
        f"on neither them nor what is made of them.\nPlay: alicebob env play webshop "
        f"catalogue={source}",
        err=True,
    )


@main.command()
@click.option("--preset", metavar="NAME", help="The preset to apply; without it they are listed.")
def init(preset: str | None) -> None:
    """Write a preset into params.yaml: its sizes, models and budgets; the rounds stay."""
    from alicebob.presets import about, apply, known

    if preset is None:
        for name in known():
            click.echo(f"{name}\t{about(name)}")
        return
    changed = apply(preset)
    click.echo(f"Applied {preset} to params.yaml: {changed} values changed.", err=True)


@main.command()
@click.option(
    "--url", required=True, help="An OpenAI-compatible address, e.g. http://host:8000/v1."
)
@click.option("--model", required=True, help="The model's name there.")
@click.option(
    "--adapter",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="A LoRA adapter of that model, e.g. models/bob/r003, for the server to load.",
)
@click.option("--key-env", default="", help="The environment variable that holds the key.")
@click.option("--split", type=click.Choice(["validation", "test"]), default="test")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder; by default data/served/MODEL."
)
@click.option("--concurrency", default=16, show_default=True, help="Episodes at once.")
@click.option("--context", default=8192, show_default=True, help="Tokens of prompt and reply.")
@click.option("--turns", default=0, show_default=True, help="Turns it sees; 0: as many as fit.")
@click.option("--max-new-tokens", default=256, show_default=True)
@click.option("--temperature", default=0.7, show_default=True)
@click.option("--top-p", default=1.0, show_default=True)
@click.option("--max-requests", type=int, help="Stop, with all saved, after so many.")
@click.option("--max-tokens", type=int, help="Stop after so many, read and written.")
@click.option("--max-cost", type=float, help="Stop at this cost; needs --prices.")
@click.option("--prices", nargs=2, type=float, help="Of a million tokens read, and written.")
@click.argument("settings", nargs=-1, metavar="[KEY=VALUE]...")
def evaluate(
    url: str,
    model: str,
    adapter: Path | None,
    key_env: str,
    split: str,
    out: Path | None,
    concurrency: int,
    max_requests: int | None,
    max_tokens: int | None,
    max_cost: float | None,
    prices: tuple[float, float] | None,
    settings: tuple[str, ...],
    **sampling: Any,
) -> None:
    """Try a served model on the trials and the open play of the rounds; figures go to stdout.

    KEY=VALUE change the environment of params.yaml, e.g. observation=smartplay.
    """
    from tqdm import tqdm

    from alicebob.endpoint import Endpoint, Limits
    from alicebob.params import load_params
    from alicebob.tried import evaluate_served

    if max_cost is not None and prices is None:
        raise UsageError("--max-cost needs --prices, e.g. --prices 0.15 0.60.")
    if concurrency < 1:
        raise UsageError(f"--concurrency must be at least 1, not {concurrency}.")
    params = load_params("r000")
    endpoint = Endpoint(
        url,
        model,
        key_env=key_env,
        concurrency=concurrency,
        prices=prices or (0.0, 0.0),
        limits=Limits(max_requests, max_tokens, max_cost),
    )
    if adapter is not None:
        model = endpoint.load_adapter(adapter)
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", model).strip(".-") or "model"
    folder = out or Path("data/served") / safe
    with tqdm(unit="episode", desc=safe, mininterval=1) as bar:
        found = evaluate_served(
            endpoint,
            params,
            split,
            folder,
            settings=_settings(settings),
            done=lambda _: bar.update(),
            **sampling,
        )
    click.echo(f"Episodes and figures are in {folder}.", err=True)
    click.echo(json.dumps(found, indent=1))


@main.command("estimate")
@click.option("--prices", nargs=2, type=float, help="Of a million tokens read, and written.")
def estimate_rounds(prices: tuple[float, float] | None) -> None:
    """Say what the rounds of params.yaml may take at most; nothing is run.

    Tokens read and written are those of Alice's model. Time is given for stages that have run here
    before, at their speed then.
    """
    from alicebob.estimate import estimate, table

    click.echo(table(estimate(), prices or (0.0, 0.0)))


@main.command()
def sync() -> None:
    """Make MLflow agree with the files: every round, its metrics, parameters and feedback."""
    from alicebob.tracking import sync as bring

    click.echo(f"MLflow: {bring()} rounds brought up to date.", err=True)


@main.group("round")
def round_() -> None:
    """Add, list and compare rounds."""


@round_.command("list")
def list_rounds() -> None:
    """List the rounds with their parents and main figures."""
    from alicebob.rounds import table

    click.echo(table())


@round_.command("add")
@click.option("--from", "parent", default=None, help="Parent; by default the newest round.")
@click.argument("words", nargs=-1, metavar="[ID] [KEY=VALUE]...")
def add_round(parent: str | None, words: tuple[str, ...]) -> None:
    """Append a round to params.yaml, with what it changes, e.g. train.learning_rate=0.001."""
    from alicebob.rounds import add

    names = [word for word in words if "=" not in word]
    if len(names) > 1:
        raise click.UsageError(f"Give at most one id, not {' and '.join(names)}.")
    changes = _settings(tuple(word for word in words if "=" in word))
    added = add(names[0] if names else None, parent, changes)
    click.echo(f"Added {added} to params.yaml; 'dvc repro' runs it.", err=True)


@round_.command("try")
@click.option("--split", type=click.Choice(["validation", "test"]), default="test")
@click.option("--out", type=click.Path(path_type=Path), help="Folder; by default data/tried/ID.")
@click.option("--context", type=int, help="Tokens he sees; by default those of his round.")
@click.argument("round_id", metavar="ID")
@click.argument("settings", nargs=-1, metavar="[KEY=VALUE]...")
def try_round(
    split: str, out: Path | None, context: int | None, round_id: str, settings: tuple[str, ...]
) -> None:
    """Try a round's Bob again, in other settings of its environment; figures go to stdout.

    KEY=VALUE change the environment of params.yaml, e.g. catalogue=DIR.
    """
    from tqdm import tqdm

    from alicebob.params import load_params
    from alicebob.tried import evaluate_round

    params = load_params(round_id)
    changed = _settings(settings)
    folder = out or Path("data/tried") / round_id
    with tqdm(unit="episode", desc=round_id, mininterval=1) as bar:
        found = evaluate_round(
            round_id,
            params,
            split,
            folder,
            settings=changed,
            context=context,
            done=lambda _: bar.update(),
        )
    click.echo(f"Episodes and figures are in {folder}.", err=True)
    click.echo(json.dumps(found, indent=1))


@round_.command("diff")
@click.argument("first")
@click.argument("second")
def diff_rounds(first: str, second: str) -> None:
    """Compare parameters and figures of two rounds."""
    from alicebob.rounds import difference

    click.echo(difference(first, second))


@main.group()
def episode() -> None:
    """Look at single episodes."""


def _episode(episode_id: str) -> Any:
    """Find an episode by its id, e.g. r001-test-open_play-03, in what its round wrote."""
    from alicebob.dataset import read_episodes
    from alicebob.rounds import place

    round_id = episode_id.partition("-")[0]
    for kind in ("evaluations", "episodes"):
        folder = place(kind, round_id)
        for found in read_episodes(folder) if folder.is_dir() else ():
            if found.id == episode_id:
                return found
    raise UsageError(f"There is no episode {episode_id!r}; see the ids in data/feedback.")


@episode.command("show")
@click.argument("episode_id")
def show_episode(episode_id: str) -> None:
    """Print an episode, turn by turn: what was seen, thought and done."""
    found = _episode(episode_id)
    click.echo(f"{found.id}, {found.environment}, seed {found.seed}: {found.instruction}")
    for number, turn in enumerate(found.turns):
        thought = f" ({turn.thought})" if turn.thought else ""
        events = f" -> {', '.join(turn.events)}" if turn.events else ""
        click.echo(f"\n[{number}] {turn.observation}\n> {turn.action}{thought}{events}")
    click.echo(f"\n{found.outcome.value} after {len(found.turns)} turns")


@episode.command("gif")
@click.argument("episode_id")
@click.argument("path", type=click.Path(path_type=Path))
def draw_episode(episode_id: str, path: Path) -> None:
    """Replay an episode from its seed and actions and write it as a GIF to PATH."""
    from alicebob.replay import write_gif

    write_gif(_episode(episode_id), path)
    click.echo(f"Wrote {path}.", err=True)
