import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from alicebob.errors import AliceBobError, Busy
from alicebob.experiment import work
from alicebob.experiment.work import Folder, code_hash, publish
from alicebob.files import content_hash


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


def test_finished_work_is_done_anew_by_other_code_and_unfinished_work_goes_on(tmp_path):
    folder = Folder("train", "r001", tmp_path)
    folder.open({}, "old")
    (folder.scratch / "checkpoint").write_text("half way")
    assert not folder.open({}, "new")
    assert (folder.scratch / "checkpoint").exists()
    (folder.out / "bob").write_text("old")
    folder.close("new")
    assert folder.open({}, "new")
    assert not folder.open({}, "newer")
    assert not (folder.out / "bob").exists()


def flip(path):
    data = path.read_bytes()
    path.write_bytes(data[:-2] + bytes([data[-2] ^ 1]) + data[-1:])


SPOILS = {
    "flipped": ("m.json", flip),
    "truncated": ("skills/a.parquet", lambda path: path.write_bytes(path.read_bytes()[:3])),
    "emptied": ("m.json", lambda path: path.write_bytes(b"")),
    "replaced": ("m.json", lambda path: path.write_text('{"success": 0.9}')),
    "gone": ("skills/a.parquet", Path.unlink),
    "new": ("skills/b.parquet", Path.touch),
}


@pytest.fixture
def finished(tmp_path):
    folder = Folder("skills", "r001", tmp_path)
    folder.open({"lr": 1}, "code")
    (folder.out / "skills").mkdir()
    (folder.out / "skills" / "a.parquet").write_bytes(b"PAR1 data")
    (folder.out / "m.json").write_text('{"success": 0.1}')
    folder.close("code")
    assert folder.open({"lr": 1}, "code")
    return folder


@pytest.mark.parametrize(("name", "spoil"), SPOILS.values(), ids=SPOILS)
def test_finished_work_that_was_damaged_is_said_and_done_anew(finished, capsys, name, spoil):
    spoil(finished.out / name)
    assert not finished.open({"lr": 1}, "code")
    told = f"{finished.out} is not as it was finished ({name}: not what DONE vouches for)"
    assert capsys.readouterr().err == f"{told}; this is done anew.\n"
    assert list(finished.out.iterdir()) == []


@pytest.mark.parametrize(
    "mark", [b"", b"{", b"[]", b'"code"', b"{}", b'{"files": 3}', b'{"code": "code", "files": {}}']
)
def test_a_mark_that_is_damaged_vouches_for_nothing(finished, capsys, mark):
    (finished.path / "DONE").write_bytes(mark)
    assert not finished.open({"lr": 1}, "code")
    assert "DONE" in capsys.readouterr().err


@pytest.mark.parametrize("spoil", [flip, lambda path: path.write_bytes(b"")])
def test_work_whose_key_was_damaged_is_said_and_done_anew(finished, capsys, spoil):
    spoil(finished.path / "KEY")
    assert not finished.open({"lr": 1}, "code")
    assert f"{finished.path}/KEY is of other parameters or inputs, or damaged" in (
        capsys.readouterr().err
    )


def test_the_first_work_in_a_folder_says_nothing(tmp_path, capsys):
    Folder("skills", "r001", tmp_path).open({}, "code")
    assert capsys.readouterr().err == ""


def test_a_kill_while_the_folder_is_emptied_leaves_nothing_that_looks_finished(
    tmp_path, monkeypatch
):
    folder = Folder("train", "r001", tmp_path)
    folder.open({"lr": 1})
    (folder.out / "bob").write_text("whole")
    folder.close()

    def killed(path):
        (folder.out / "bob").unlink()
        raise KeyboardInterrupt

    monkeypatch.setattr("alicebob.experiment.work.remove", killed)
    with pytest.raises(KeyboardInterrupt):
        folder.open({"lr": 2})
    monkeypatch.undo()
    assert not folder.open({"lr": 1})


def test_other_processes_join_under_the_same_key_and_only_where_there_is_work(tmp_path):
    folder = Folder("train", "r001", tmp_path)
    folder.open({"lr": 1})
    assert folder.joined({"lr": 1})
    with pytest.raises(AliceBobError, match=r"did not open .*train/r001"):
        folder.joined({"lr": 2}, wait=0.0)
    folder.close("code")
    assert not folder.joined({"lr": 1}, "code")
    with pytest.raises(AliceBobError, match="did not open"):
        folder.joined({"lr": 1}, "other code", wait=0.0)  # the main process is to do it anew


def test_the_code_is_the_same_in_another_process():
    words = "from alicebob.experiment.work import code_hash; print(code_hash())"
    other = subprocess.run([sys.executable, "-c", words], stdout=subprocess.PIPE, text=True)
    assert other.stdout.strip() == code_hash()


def test_the_code_is_its_sources_and_data_and_not_what_is_compiled_from_them(tmp_path):
    package = tmp_path / "alicebob"
    origin = Path(work.__file__).parent.parent
    shutil.copytree(origin, package, ignore=shutil.ignore_patterns("__pycache__"))

    def said(words):
        words += "; from alicebob.experiment.work import code_hash; print(code_hash())"
        environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
        found = subprocess.run([sys.executable, "-c", words], env=environment, capture_output=True)
        return found.stdout.split()[-1]

    fresh = said("pass")
    assert said("import alicebob; alicebob.make('crafter').reset(seed=0)") == fresh
    assert list(package.rglob("*.nbi"))  # something was compiled indeed
    data = next(iter(sorted(package.rglob("*.yaml"))))
    data.write_text(data.read_text() + "# a word more")
    assert said("pass") != fresh


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


STAGE = """
import os, subprocess, sys, time
role, *roles = sys.argv[1:] or ["dvc", "launcher", "stage"]
if role == "stage":
    from alicebob.experiment.work import die_with_dvc
    while "alone" in roles and os.getppid() == int(roles[1]):
        time.sleep(0.1)
    die_with_dvc()
    print(os.getpid(), os.getppid(), flush=True)
    time.sleep(60)
else:
    environment = {**os.environ, "DVC_STAGE": "train@r001"}
    script = os.path.join(os.path.dirname(sys.argv[0]), "stage.py")
    subprocess.run([sys.executable, script, *roles], env=environment)
"""


def ends(process, seconds=10.0):
    for _ in range(int(seconds * 10)):
        if not os.path.exists(f"/proc/{process}"):
            return True
        time.sleep(0.1)
    os.kill(process, signal.SIGKILL)
    return False


@pytest.mark.parametrize("killed", ["dvc", "launcher"])
def test_a_stage_ends_with_its_dvc_and_what_lies_between(tmp_path, killed):
    script = tmp_path / "dvc"  # found by its name among the ancestors
    for path in (script, tmp_path / "stage.py"):
        path.write_text(STAGE)
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as dvc:
        assert dvc.stdout is not None
        stage, launcher = map(int, dvc.stdout.readline().split())
        os.kill(dvc.pid if killed == "dvc" else launcher, signal.SIGKILL)
        assert ends(stage)
        assert ends(launcher) or killed == "dvc"


def test_an_ancestor_that_ends_while_it_is_asked_has_ended():
    class Vanishing(psutil.Process):
        def status(self):
            raise psutil.NoSuchProcess(self.pid)

    assert work._alive(psutil.Process())
    assert not work._alive(Vanishing())


@pytest.mark.skipif(
    any(word in Path("/proc/1/cmdline").read_text() for word in ("python", "dvc")),
    reason="here the process that adopts orphans looks like a DVC",
)
def test_a_stage_whose_dvc_ended_first_does_not_begin(tmp_path):
    script = tmp_path / "stage.py"
    script.write_text(STAGE)
    words = f"DVC_STAGE=train@r001 {sys.executable} {script} stage alone $$ & sleep 0.5"
    done = subprocess.run(["sh", "-c", words], stdout=subprocess.PIPE, text=True, timeout=30)
    assert done.stdout == ""  # it would have said its process id, and slept


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_stage_at_once_without_a_traceback(tmp_path, number):
    script = tmp_path / "stage.py"
    script.write_text(STAGE)
    environment = {k: v for k, v in os.environ.items() if k != "DVC_STAGE"}
    stage = subprocess.Popen(
        [sys.executable, script, "stage"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert stage.stdout is not None
    stage.stdout.readline()
    stage.send_signal(number)
    _, told = stage.communicate(timeout=5)
    assert (stage.returncode, told) == (128 + number, "")
