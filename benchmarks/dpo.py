"""An epoch of DPO, a pair's prompt read once, beside TRL's DPOTrainer on the same pairs.

    pip install trl
    python benchmarks/dpo.py
    python benchmarks/dpo.py --share 3 --answer 200

Both have the log-probabilities of the reference already, which TRL calls precomputed, and the same
adapter, order, optimiser and schedule; equality: the same adapter after the epoch. A Qwen2 of
random weights (4 layers, 256 wide, 16,000 words) on random tokens; answers are of equal length, so
that TRL has nothing to pad. `--share` is the prompt's length by that of both answers.
"""

from __future__ import annotations

import copy
import tempfile
import warnings
from pathlib import Path
from typing import Any

import click
import torch
from datasets import Dataset, disable_progress_bars
from language_model import CHATML, compare, new_model, new_tokenizer
from numpy.random import default_rng
from trl import DPOConfig, DPOTrainer

from alicebob.bob.dpo import Preference, referred, sides_of
from alicebob.bob.rows import Row
from alicebob.bob.sft import Lora, new_adapter
from alicebob.bob.training import Schedule, fit
from alicebob.policies.faithful import branches

BETA, RATE, BATCH = 0.1, 1e-3, 4
FAR = 1e-3  # how far the adapters may be from each other, by what they learnt


class Peer(DPOTrainer):  # type: ignore[misc]
    """TRL's, on token ids as they are."""

    def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
        return dataset


def adapter(model: Any) -> Any:
    """Return the weights of an adapter, one after the other."""
    named = sorted(model.named_parameters())
    return torch.cat([w.detach().flatten() for n, w in named if "lora_" in n and ".ref." not in n])


@click.command()
@click.option("--share", default=0.7, help="tokens of the prompt by those of both answers")
@click.option("--answer", default=120, help="tokens of an answer")
@click.option("--pairs", default=16)
def main(share: float, answer: int, pairs: int) -> None:
    """Measure an epoch."""
    warnings.simplefilter("ignore")
    disable_progress_bars()
    torch.set_num_threads(1)
    tokenizer = new_tokenizer(CHATML)
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(0)  # never needed
    draw, prompt = default_rng(0), round(share * 2 * answer)
    words = [draw.integers(300, len(tokenizer), (n,)).tolist() for n in [prompt] * pairs]
    answers = draw.integers(300, len(tokenizer), (2, pairs, answer)).tolist()
    model = new_adapter(new_model(len(tokenizer)), Lora(8, 2.0), 0)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.02)
    assert branches(model, prompt + answer)
    start = adapter(model)
    work = Path(tempfile.mkdtemp())
    runs = iter(range(1000))

    sides = [
        sides_of(*([Row((*words[n], *each[n]), (0,) * prompt + (1,) * answer)] for each in answers))
        for n in range(pairs)
    ]
    items = referred(Preference(model, BETA, 0), sides, BATCH, work)
    rows = Dataset.from_dict(
        {"prompt_ids": words, "chosen_ids": answers[0], "rejected_ids": answers[1]}
    )
    waiting: dict[str, Any] = {}

    def ready() -> None:
        """Make what is not timed: fresh models, and TRL's trainer with its reference."""
        waiting["ours"] = copy.deepcopy(model)
        waiting["ours"].base_fingerprint = model.base_fingerprint
        waiting["peer"] = Peer(
            model=copy.deepcopy(model),
            args=DPOConfig(
                str(work / "peer"),
                beta=BETA,
                learning_rate=RATE,
                num_train_epochs=1,
                per_device_train_batch_size=BATCH,
                lr_scheduler_type="linear",
                warmup_steps=0.05,
                adam_beta2=0.99,
                max_grad_norm=1.0,
                max_length=None,
                precompute_ref_log_probs=True,
                gradient_checkpointing=False,
                save_strategy="no",
                logging_strategy="no",
                report_to=[],
                use_cpu=True,
                bf16=False,
                disable_tqdm=True,
                seed=1,
                data_seed=1,
            ),
            train_dataset=rows,
            processing_class=tokenizer,
        )

    def peer() -> Any:
        waiting["peer"].train()
        return adapter(waiting["peer"].model)

    def ours() -> Any:
        mine = waiting["ours"]
        schedule = Schedule(RATE, 1, BATCH, every=1000, seed=1)
        fit(mine, items, [], schedule, work / f"{next(runs)}", objective=Preference(mine, BETA, 0))
        return adapter(mine)

    def same(theirs: Any, mine: Any) -> bool:
        ready()
        far = float((theirs - mine).norm() / (theirs - start).norm())
        click.echo(f"  adapters differ by {far:.1e} of what they learnt")
        return far <= FAR

    ready()
    told = f"an epoch, prompt {prompt}, answers {answer} each"
    ratio = compare(told, peer, ours, same)
    read = pairs * 2 * (prompt + answer) / sum(len(t.ids) for s in items for t in s.trees)
    click.echo(f"  the counts of tokens allow {read:.2f}; {ratio / read:.2f} of that")


if __name__ == "__main__":
    main()
