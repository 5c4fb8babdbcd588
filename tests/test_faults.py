"""Kills, full disks and damaged files: one sentence, nothing lost, nothing silently different."""

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures.process import _ExecutorManagerThread
from multiprocessing.context import SpawnProcess
from pathlib import Path
from types import SimpleNamespace

import pytest
from numpy.random import default_rng
from safetensors import SafetensorError

from alicebob.alice.model.asking import Answer, Asker
from alicebob.bob.rows import Row, pack
from alicebob.bob.sft import Lora, new_adapter, train
from alicebob.bob.training import Schedule
from alicebob.errors import AliceBobError
from alicebob.experiment.work import Folder
from alicebob.pipeline import run
from alicebob.policies.answer import Completion
from alicebob.policies.models import load_base
from alicebob.processes import pool

ROOT = Path(__file__).parent.parent
WORKERS = """
import os, signal, sys, time
from alicebob.experiment.work import die_with_dvc
from alicebob.processes import pool, surviving

def work(number):
    if sys.argv[1:] == ["killed"] and number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.05)

if __name__ == "__main__":
    from alicebob.cli import run_command
    import click
    if sys.argv[1:] == ["stage"]:
        die_with_dvc()

    def main():
        print("begun", flush=True)
        with surviving(), pool(2) as hands:
            list(hands.map(work, range(200)))

    run_command(click.command()(click.argument("how")(lambda how: main())))
"""


def with_workers(tmp_path, how):
    script = tmp_path / "workers.py"
    script.write_text(WORKERS)
    return subprocess.Popen(
        [sys.executable, str(script), how],
        env={k: v for k, v in os.environ.items() if k != "DVC_STAGE"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def all_gone(group, seconds=10.0):
    for _ in range(int(seconds * 10)):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


# While the first worker is made, while both import, and while they work.
@pytest.mark.parametrize("moment", [0.0, 0.02, 0.06, 0.15, 0.4, 1.5])
@pytest.mark.parametrize(("how", "code", "said"), [("stage", 130, ""), ("command", 1, "Aborted!")])
def test_ctrl_c_while_workers_start_ends_all_without_a_traceback(tmp_path, moment, how, code, said):
    process = with_workers(tmp_path, how)
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    time.sleep(moment)
    os.killpg(process.pid, signal.SIGINT)
    _, told = process.communicate(timeout=20)
    assert (process.returncode, told.strip()) == (code, said)
    assert all_gone(process.pid)


def test_a_signal_another_thread_takes_waits_until_the_worker_is_started(monkeypatch):
    done = []
    whole = SpawnProcess.start

    def start(self):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.05)
        done.append(signal.pthread_sigmask(signal.SIG_BLOCK, ()) >= {signal.SIGINT})
        whole(self)

    monkeypatch.setattr(SpawnProcess, "start", start)
    over = threading.Event()
    other = threading.Thread(target=over.wait)
    other.start()
    try:
        with pytest.raises(KeyboardInterrupt), pool(1) as hands:
            hands.submit(print)
    finally:
        over.set()
        other.join()
    assert done == [True]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_signal_while_the_pool_starts_its_thread_waits_and_the_pool_ends(monkeypatch):
    class Interrupted(_ExecutorManagerThread):
        def start(self):
            os.kill(os.getpid(), signal.SIGINT)
            super().start()

    monkeypatch.setattr("concurrent.futures.process._ExecutorManagerThread", Interrupted)
    with pytest.raises(KeyboardInterrupt), pool(1) as hands:
        hands.submit(print)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_killed_worker_is_one_sentence_and_the_others_end(tmp_path):
    process = with_workers(tmp_path, "killed")
    _, told = process.communicate(timeout=60)
    assert process.returncode == 1
    assert told.startswith("Error: A worker process was killed, for a reason that stands above or")
    assert len(told.splitlines()) == 1


def trained(base, work, room=0):
    """Train with a checkpoint every second step, where no file has more than `room` bytes."""
    if room:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
    draw = default_rng(0)
    rows = [Row(tuple(draw.integers(10, 400, 32).tolist()), (1,) * 32) for _ in range(6)]
    network = new_adapter(load_base(base)[0], Lora(2), 1)
    train(network, pack(rows, 32, 0), [], Schedule(1e-3, 1, 1, 2, seed=1), work)
    return [p.detach().tolist() for p in network.parameters() if p.requires_grad]


FULL = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_faults import trained
try:
    trained(sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))
except OSError as error:
    print(error.filename, "|", error.strerror)
"""


@pytest.mark.parametrize("room", [2_000, 20_000, 60_000])
def test_a_full_disk_at_a_checkpoint_names_it_and_training_goes_on_later(base, tmp_path, room):
    """What does not fit is first a text, then the weights, then what the optimizer knows."""
    words = [sys.executable, "-c", FULL, str(Path(__file__).parent), base, str(tmp_path / "full")]
    full = subprocess.run([*words, str(room)], capture_output=True, text=True, check=False)
    where, _, told = full.stdout.splitlines()[-1].partition(" | ")
    assert where == str(tmp_path / "full" / "checkpoint-2"), full.stderr
    assert told.startswith("a checkpoint could not be written with ")
    assert trained(base, tmp_path / "full") == trained(base, tmp_path / "roomy")


NO_ROOM = "No space left on device"
NO_MEMORY = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"
NO_PLACE = "libquadmath.so: failed to map segment from shared object"
REFUSALS = [
    (OSError(28, NO_ROOM, "data/x.parquet"), f"{NO_ROOM} (data/x.parquet)"),
    (SafetensorError(f"I/O error: {NO_ROOM} (os error 28)"), f"{NO_ROOM} (.work/train/r001)"),
    (Exception(f"{NO_ROOM} (os error 28)"), f"{NO_ROOM} (.work/train/r001)"),
    (MemoryError(), "there is not enough memory (.work/train/r001)"),
    (RuntimeError(NO_MEMORY), f"there is not enough memory ({NO_MEMORY})"),
    (ImportError(NO_PLACE), f"there is not enough memory ({NO_PLACE})"),
]


@pytest.mark.parametrize(("error", "words"), REFUSALS, ids=lambda value: type(value).__name__)
def test_whatever_tells_of_a_full_disk_or_memory_is_one_sentence(error, words):
    stage = SimpleNamespace(stage="train", id="r001", folder=Folder("train", "r001"))
    with pytest.raises(AliceBobError) as caught, run._machine(stage):
        raise error
    told = " ".join(str(caught.value).split())
    assert told.startswith(f"train of r001 stopped: {words}. What is finished is kept;")


def test_another_error_is_not_taken_for_the_machines():
    with pytest.raises(ZeroDivisionError), run._machine(SimpleNamespace()):
        raise ZeroDivisionError
    ours = AliceBobError("bob.model cannot be loaded (os error 2)")
    with pytest.raises(AliceBobError) as caught, run._machine(SimpleNamespace()):
        raise ours
    assert caught.value is ours


class Word(Answer):
    word: str


class Chat:
    """Answers with how often it was asked."""

    def __init__(self):
        self.asked = []

    def answers(self, questions, forms):
        for number, question in enumerate(questions):
            self.asked.append(question[0])
            yield number, Completion(f'{{"word": "{question[0]}!"}}', 1, 1)


def test_a_damaged_answer_of_alice_is_asked_for_again(tmp_path, capsys):
    journal, chat = tmp_path / "asked.jsonl", Chat()

    def ask():
        return [answer.word for answer in Asker(chat, Word, journal).ask(["a", "b", "c"])]

    said = ask()
    data = journal.read_bytes()
    middle = data.index(b'"b!"')
    journal.write_bytes(data[: middle + 1] + b"z" + data[middle + 2 :])
    assert ask() == said == ["a!", "b!", "c!"]
    assert chat.asked == ["a", "b", "c", "b"]
    assert f"{journal} is damaged in line 2 (" in capsys.readouterr().err


@pytest.mark.slow
def test_no_fault_makes_anything_silently_different(tmp_path):
    """Some of what `scripts/faults.py` tries; the whole table is in docs/reliability.md."""
    for some in (["--trials", "2"], ["F5", "--trials", "10"]):
        script = [sys.executable, str(ROOT / "scripts/faults.py"), *some, "--at", str(tmp_path)]
        found = subprocess.run(script, capture_output=True, text=True, check=False)
        assert found.returncode == 0, found.stdout + found.stderr[-3000:]
    assert "| F5 | mlflow.db, truncated | 1 |" in found.stdout
