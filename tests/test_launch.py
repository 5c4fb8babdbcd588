import subprocess
import sys

import pytest

SCRIPT = """
import os, sys
print("rank", os.environ.get("RANK", "0"), sys.argv[1:])
if sys.argv[1] == "bad":
    print("Error: one sentence.", file=sys.stderr)
    sys.exit(2)
"""


# The script asks for no GPU, so that two processes can be launched anywhere.
@pytest.mark.parametrize("options", ["", "--multi_gpu --num_processes 2"])
@pytest.mark.parametrize(("word", "code"), [("good", 0), ("bad", 2)])
def test_a_launched_script_has_the_last_word(tmp_path, monkeypatch, options, word, code):
    (tmp_path / "script.py").write_text(SCRIPT)
    monkeypatch.setenv("ALICEBOB_LAUNCH", options)
    command = [sys.executable, "-m", "alicebob.launch", "script.py", word, "two words"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == code, run.stderr
    assert f"['{word}', 'two words']" in run.stdout
    assert run.stdout.count("rank") == 1 + bool(options)
    assert "Traceback" not in run.stderr
    assert ("Error: one sentence." in run.stderr) == (word == "bad")


@pytest.mark.parametrize("options", ["'x", "--nonsense", "--config_file none.yaml", "--multi_gpu"])
def test_options_that_do_not_work_are_told_in_a_sentence(tmp_path, monkeypatch, options):
    (tmp_path / "script.py").write_text(SCRIPT)
    monkeypatch.setenv("ALICEBOB_LAUNCH", options)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    command = [sys.executable, "-m", "alicebob.launch", "script.py", "good"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 2, run.stderr
    assert run.stderr.splitlines()[-1].startswith("Error: accelerate launch does not start (")
    assert "mend ALICEBOB_LAUNCH" in run.stderr
    assert "Traceback" not in run.stderr
