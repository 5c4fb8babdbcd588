import multiprocessing
import os
import signal
import subprocess
import sys
import time

import pytest

from alicebob.errors import Busy
from alicebob.work import Folder, content_hash, publish


def test_another_key_empties_the_folder_and_the_same_key_keeps_it(tmp_path):
    folder = Folder("train", "r001", tmp_path)
    assert not folder.open({"lr": 1})
    (folder.scratch / "checkpoint").write_text("half way")
    (folder.out / "torn").write_text("")
    assert not folder.open({"lr": 1})
    assert (folder.scratch / "checkpoint").exists()
    assert not (folder.out / "torn").exists()
    folder.close()
    assert folder.open({"lr": 1})
    assert not folder.open({"lr": 2})
    assert not (folder.scratch / "checkpoint").exists()


def test_what_was_published_and_deleted_is_published_again(tmp_path):
    folder = Folder("skills", "r001", tmp_path / "work")
    folder.open({})
    (folder.out / "skills").mkdir()
    (folder.out / "skills" / "a").write_text("1")
    (folder.out / "m.json").write_text("2")
    folder.close()
    targets = tmp_path / "data" / "skills", tmp_path / "m.json"
    pairs = list(zip((folder.out / "skills", folder.out / "m.json"), targets, strict=True))
    publish(pairs)
    before = content_hash(*targets)
    (targets[0] / "a").unlink()
    targets[1].write_text("torn")
    assert content_hash(*targets) != before
    assert folder.open({})
    publish(pairs)
    assert content_hash(*targets) == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data", "m.json", "work"]


def _hold(root, entered):
    with Folder("train", "r001", root).held():
        entered.set()
        time.sleep(60)


def test_a_second_writer_is_told_who_is_at_work(tmp_path):
    context = multiprocessing.get_context("spawn")
    entered = context.Event()
    other = context.Process(target=_hold, args=(tmp_path, entered))
    other.start()
    try:
        assert entered.wait(30)
        with (
            pytest.raises(Busy, match=f"Process {other.pid} is at work in .*train/r001"),
            Folder("train", "r001", tmp_path).held(wait=0.6),
        ):
            pass
    finally:
        other.kill()
        other.join()
    with Folder("train", "r001", tmp_path).held(wait=0.0):
        pass  # a killed holder leaves no lock behind


ORPHAN = """
import os, subprocess, sys, time
if sys.argv[1:] == ["stage"]:
    from alicebob.work import die_with_dvc
    die_with_dvc()
    print(os.getpid(), flush=True)
    time.sleep(60)
else:
    os.environ["DVC_STAGE"] = "train@r001"
    subprocess.run(["sh", "-c", f"{sys.executable} {sys.argv[0]} stage; true"])
"""


def test_a_stage_ends_when_its_dvc_is_killed(tmp_path):
    script = tmp_path / "dvc"  # found by its name among the ancestors, whatever lies between
    script.write_text(ORPHAN)
    dvc = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert dvc.stdout is not None
    stage = int(dvc.stdout.readline())
    os.kill(dvc.pid, signal.SIGKILL)
    dvc.wait()
    for _ in range(100):
        if not os.path.exists(f"/proc/{stage}"):
            return
        time.sleep(0.1)
    os.kill(stage, signal.SIGKILL)
    pytest.fail("the stage outlived its DVC by 10 s")
