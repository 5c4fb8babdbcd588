"""A small model as Alice: what share of her answers is whole, what they agree with, and their time.

    python benchmarks/alice.py SmolLM2-135M-Instruct.Q4_1.gguf

The questions are those of a round in Crafter: skills of the embedded Alice to be labelled and
thought about, half of them told as trials of Bob's, beside trials of random play, to be judged, and
the verdicts of the rules to be advised on; a few turns to be explored; and steps of random play to
be corrected, of which the embedded Alice says her own. The peer is the plain
way with the same library: `generate` on whole prompts, padded at the left, eight at once, up to
`alice.max_new_tokens`. Times are of process CPU on one core.
"""

from __future__ import annotations

import functools
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import torch
from transformers import GenerationConfig

from alicebob import evaluation
from alicebob.alice import embedded
from alicebob.alice.correct import Corrected, Guided, Judged, counsel_in
from alicebob.alice.grid import ROOM
from alicebob.alice.model import advise, explore, judge, label, think
from alicebob.alice.model.correct import Correcting
from alicebob.alice.model.role import Role
from alicebob.bob.tiny import RandomPolicy
from alicebob.envs import World
from alicebob.envs.hooks import suite_of
from alicebob.experiment.params import load_params
from alicebob.policies import Live, Reply, Task
from alicebob.policies.answer import Completion
from alicebob.policies.chat import seed_of
from alicebob.policies.conversation import Conversation
from alicebob.rollout import Actor, play, play_all
from alicebob.trace import ERROR, MENDED, OPEN_PLAY, UNJUDGED, Episode, Outcome, Skill

WORLD = World("crafter", {"observation": "compact"})
SPACE = range(1_000_000)
TURNS = 12  # of a skill that is asked about, at most


class Generate:
    """The peer: the same questions through `generate`, whatever form is wanted."""

    def __init__(self, load: Callable[[], tuple[Any, Any]], most: int) -> None:
        self.model, tokenizer = load()
        self.model.generation_config = GenerationConfig()
        self.talk, self.most = Conversation(tokenizer), most

    def answers(self, questions: Sequence[Any], forms: Any = ()) -> Iterator[tuple[int, Any]]:
        """Answer eight at once."""
        for first in range(0, len(questions), 8):
            yield from enumerate(self._batch(questions[first : first + 8]), start=first)

    @torch.inference_mode()
    def _batch(self, questions: Sequence[Any]) -> list[Completion]:
        prompts = [self.talk.question(question) for question in questions]
        longest, end = max(map(len, prompts)), self.talk.end[-1]
        padded = torch.tensor([[0] * (longest - len(p)) + p for p in prompts])
        seen = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts])
        torch.manual_seed(seed_of(questions[0]))
        found = self.model.generate(
            input_ids=padded,
            attention_mask=seen,
            generation_config=GenerationConfig(
                max_new_tokens=self.most,
                do_sample=True,
                temperature=0.7,
                top_k=0,
                eos_token_id=end,
                pad_token_id=end,
            ),
        )[:, longest:].tolist()
        cut = [ids[: ids.index(end) + 1] if end in ids else ids for ids in found]
        return [
            Completion(self.talk.decode(ids), len(prompt), len(ids))
            for prompt, ids in zip(prompts, cut, strict=True)
        ]


class Round:
    """What is asked about: skills, trials and the verdicts of the rules on them."""

    def __init__(self, count: int, folder: Path) -> None:
        params = load_params("r001", Path(__file__).parent.parent / "params.yaml")
        tasks = [Task(f"r001-explore-{n:04d}", n, max_turns=400) for n in range(8)]
        journals = folder / "explored"
        played, self.memory = embedded.explore(ROOM, WORLD, ROOM.memory(), {}, tasks, 20, journals)
        found = ROOM.label(played, "r001", WORLD, params)
        short = [s for s in found if s.name != OPEN_PLAY and len(s.turns) <= TURNS]
        kinds = len({skill.name for skill in short})
        spread, _ = label.sample(short, -(-count // kinds))
        self.skills = [spread[i * len(spread) // count] for i in range(min(count, len(spread)))]
        self.thought = [ROOM.think(skill) for skill in self.skills]
        half = count // 2
        trials = evaluation.trial_tasks("validation", suite_of(WORLD()), 1, 1, SPACE, "r001")
        trials = trials[-(count - half) :]
        self.trials = [_told(skill) for skill in self.thought[::2][:half]]
        self.trials += play_all(trials, WORLD, Actor(RandomPolicy), folder / "tried")
        self.verdicts = ROOM.judge(self.trials, self.memory)


def _told(skill: Skill) -> Episode:
    """Return a skill as a trial that Bob did."""
    return Episode(
        f"r001-validation-{skill.name}-{skill.start:02d}",
        "crafter",
        skill.seed,
        skill.instruction,
        turns=skill.turns,
        outcome=Outcome.SUCCESS,
        meta={"target": skill.name},
    )


def asked(round_: Round, chat: Any, verb: str, count: int, folder: Path) -> dict[str, Any]:
    """Ask `count` questions of a verb; return the tally, the agreement and the CPU seconds."""
    begun, agree, folder = time.process_time(), "", Path(tempfile.mkdtemp(dir=folder))
    skills, trials = round_.skills[:count], round_.trials[-count:]
    if verb == "label":
        kept, tally = label.relabel(skills, chat, folder / "asked", ROOM.reworded)
        agree = f"{sum(map(ROOM.names, kept))} of {len(kept)} name what was achieved"
        said = [skill.instruction for skill in kept]
    elif verb == "think":
        kept, tally = think.add_thoughts(round_.thought[:count], chat, folder / "asked")
        said = [skill.turns[0].thought for skill in kept]
    elif verb == "judge":
        verdicts, tally = judge.judge_with(chat, trials, folder / "asked", ROOM.reasons)
        found = judge.agreement(verdicts, trials)
        agree = f"{found['both'] + found['neither']} of {len(verdicts)} ({found})"
        said = [f"{v.success} {v.reason} {v.detail}" for v in verdicts]
    else:
        parts = [round_.verdicts[n::count] for n in range(count)]
        ask = functools.partial(advise.write_with, chat, "r001")
        more = ({}, ROOM.reasons)
        found = [
            ask(part, round_.memory, *more, folder / f"asked-{n}") for n, part in enumerate(parts)
        ]
        tally = found[0][1]
        for _, other in found[1:]:
            for name in ("asked", "repaired", "rejected", "prompt_tokens", "reply_tokens"):
                setattr(tally, name, getattr(tally, name) + getattr(other, name))
            tally.refused += other.refused
        said = [str(feedback.prose) for feedback, _ in found]
    return {
        "asked": tally.asked,
        "whole": tally.asked - tally.repaired - tally.rejected,
        "mended": tally.repaired,
        "rejected": tally.rejected,
        "agreement": agree,
        "tokens": f"{tally.prompt_tokens}+{tally.reply_tokens}",
        "seconds": (time.process_time() - begun) / max(1, tally.asked),
        "said": said[:4],
        "why": [each["reason"] for each in tally.refused][:4],
    }


def explored(role: Role, count: int, folder: Path) -> dict[str, Any]:
    """Let the model explore in four worlds; return what its turns were and the CPU seconds."""
    begun = time.process_time()
    tasks = [Task(f"e{n}", n, max_turns=-(-count // 4)) for n in range(4)]
    found, _ = explore.explore(
        role, explore.texts(""), ROOM, WORLD, ROOM.memory(), tasks, folder / "explored-by-it"
    )
    turns = [turn for episode in found for turn in episode.turns]
    invalid = sum("invalid_action" in turn.tags for turn in turns)
    return {
        "asked": len(turns),
        "whole": len(turns) - invalid,
        "mended": 0,
        "rejected": invalid,
        "agreement": f"{len({turn.action for turn in turns})} actions",
        "tokens": str(sum(sum(turn.loss_mask) for turn in turns)),
        "seconds": (time.process_time() - begun) / max(1, len(turns)),
        "said": [f"{turn.thought} -> {turn.action}" for turn in turns[:3]],
        "why": [],
    }


class Both:
    """A teacher that asks the model, and sees what the embedded Alice says of the same steps."""

    def __init__(self, model: Correcting, room: Guided) -> None:
        self.model, self.room = model, room
        self.verdicts: list[tuple[bool, bool]] = []

    def start(self, wave: Sequence[Live]) -> None:
        """Let both watch."""
        self.model.start(wave)
        self.room.start(wave)

    def judge(self, lives: Sequence[Live], replies: Sequence[Reply]) -> list[Judged]:
        """Return what the model says; note where both say that a step is right."""
        found = self.model.judge(lives, replies)
        for its, hers in zip(found, self.room.judge(lives, replies), strict=True):
            if its.hers is not None:
                self.verdicts.append((its.his is not None, hers.his is not None))
        return found

    def took(self, live: Live, action: str) -> None:
        """Tell both."""
        self.model.took(live, action)
        self.room.took(live, action)

    def close(self, live: Live) -> Any:
        """Return what the episode taught."""
        self.room.close(live)
        return self.model.close(live)


def corrected(round_: Round, role: Role, loaded: Callable[[], Any], count: int) -> dict[str, Any]:
    """Let the model judge the steps of random play in four worlds, after each mistake its own."""
    model = Correcting(role, WORLD, functools.partial(ROOM.watch, round_.memory))
    model._chat._chat._load = loaded  # what threads share is around it
    model._chat._chat._ready()  # what loading takes is no question's
    begun = time.process_time()
    both = Both(model, Guided(functools.partial(ROOM.guide, round_.memory, ())))
    told = next(trial for trial in suite_of(WORLD()) if trial.name == "collect_wood").instruction
    tasks = [Task(f"c{n}", n, told, max_turns=-(-count // 4)) for n in range(4)]
    policy = Corrected(RandomPolicy(), both, 0.5, False)
    found = list(play([WORLD() for _ in tasks], policy, tasks, WORLD.spec))
    turns = [turn for episode in found for turn in episode.turns]
    tags = Counter(tag for turn in turns for tag in turn.tags)
    right = Counter(both.verdicts)
    alike = right[True, True] + right[False, False]
    return {
        "asked": len(turns),
        "whole": len(turns) - tags[MENDED] - tags[UNJUDGED],
        "mended": tags[MENDED],
        "rejected": tags[UNJUDGED],
        "agreement": f"{alike} of {right.total()} ({dict(right)})",
        "tokens": "",
        "seconds": (time.process_time() - begun) / max(1, len(turns)),
        "said": [" ".join(counsel_in(turn)) for turn in turns if ERROR in turn.tags][:4],
        "why": [],
    }


def shown(name: str, found: dict[str, Any], details: bool) -> None:
    """Print a row of the table, and what was said."""
    counts = [found[key] for key in ("asked", "whole", "mended", "rejected", "agreement")]
    cells = [name, *counts, found["tokens"], f"{found['seconds']:.1f}"]
    click.echo(f"| {' | '.join(map(str, cells))} |")
    for text in (*found["said"], *found["why"]) if details else ():
        click.echo(f"    {' '.join(text.split())[:200]}")


@click.command()
@click.argument("model")
@click.option("--questions", default=20, help="Questions for each verb.")
@click.option("--advices", default=4, help="Feedbacks, each on a part of the verdicts.")
@click.option("--peer", default=4, help="Questions that the peer is asked of label and judge.")
@click.option("--dtype", default="bfloat16")
@click.option("--verbs", default="label,think,judge,advise,explore,correct")
@click.option("--details", is_flag=True, help="Some of what is said, and why it was refused.")
def main(
    model: str, questions: int, advices: int, peer: int, dtype: str, verbs: str, details: bool
) -> None:
    """Ask a model all that Alice is asked."""
    torch.set_num_threads(1)
    role = Role(model, "", dtype, 8192, 2, 1024, 0.7, 1.0)
    click.echo("| verb | asked | whole | mended | rejected | agreement | tokens | s each |")
    click.echo("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        round_ = Round(questions, folder)
        loaded = functools.cache(role.load)
        before = Generate(loaded, role.max_new_tokens) if peer else None
        for verb in verbs.split(","):
            if verb == "explore":
                shown(verb, explored(role, 2 * questions, folder), details)
                continue
            if verb == "correct":
                shown(verb, corrected(round_, role, loaded, 2 * questions), details)
                continue
            chat: Any = role.chat()
            chat._load = loaded
            chat._ready()  # what loading takes is no question's
            count = advices if verb == "advise" else questions
            shown(verb, asked(round_, chat, verb, count, folder), details)
            if before and verb in ("label", "judge"):
                found = asked(round_, before, verb, peer, folder)
                shown(f"{verb}, generate", found, details)


if __name__ == "__main__":
    main()
