"""What others wrote or send: servers, models, pages and files that mean harm, or are odd."""

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file
from scripted import serving

from alicebob import environment
from alicebob.alice.feedback import Verdict, quoted
from alicebob.alice.grid import ROOM as GRID
from alicebob.alice.grid.memory import Knowledge
from alicebob.alice.model.advise import write_with
from alicebob.alice.model.judge import judge_with
from alicebob.cli import main
from alicebob.cli.pairs import pairs
from alicebob.dataset import write_episodes
from alicebob.errors import AliceBobError, DamagedData, ProviderError, UsageError
from alicebob.policies.adapters import loaded
from alicebob.policies.chat import ServedChat
from alicebob.policies.conversation import Conversation
from alicebob.policies.endpoint import Endpoint
from alicebob.policies.models import load_base
from alicebob.rollout import workers
from alicebob.trace import Episode, Outcome, Turn
from alicebob.untrusted import hidden, markdown, masked, printable, secrets

HELLO = [{"role": "user", "content": "Hello."}]
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
GZIP = (
    HEAD + b"Content-Encoding: gzip\r\nContent-Length: 99999999\r\n\r\n\x1f\x8b\x08\x08" + bytes(6)
)


# a server that sends what it likes


@contextmanager
def sending(first, again, pause=0.0):
    """Serve raw bytes on loopback: `first` to each request, then `again` without an end."""
    listening = socket.create_server(("127.0.0.1", 0))
    ended, sent = threading.Event(), [0]

    def answer(connection):
        with connection:
            connection.recv(65536)
            try:
                connection.sendall(first)
                while again and not ended.wait(pause):
                    connection.sendall(again)
                    sent[0] += len(again)
                ended.wait()
            except OSError:
                pass

    def accept():
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1", sent
    finally:
        ended.set()
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()


HANGING = {
    "nothing": (b"", b"", 0),
    "a head that drips": (b"HTTP/1.1 200 OK\r\n", b"X: 1\r\n", 0.05),
    "a status that drips": (b"", b"H", 0.05),
    "a chunk's extension that drips": (CHUNKED + b"1;", b"x", 0.05),
    "a flood of 100 Continue": (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 500, 0),
    "a body that drips": (HEAD + b"Content-Length: 9999\r\n\r\n", b" ", 0.05),
    "a trailer that drips": (CHUNKED + b"0\r\n", b"X: 1\r\n", 0.05),
}
ENDLESS = {
    "a packed name without end": (GZIP, b"a" * 65536, 0),
    "a body without end": (CHUNKED, b"10000\r\n" + b" " * 65536 + b"\r\n", 0),
    "a body as long as it says": (HEAD + b"Content-Length: 99999999999\r\n\r\n", b" " * 65536, 0),
    "a head without end": (HEAD, b"X: " + b"x" * 65000 + b"\r\n", 0),
    "a chunk's extension without end": (CHUNKED + b"1;", b"x" * 65536, 0),
}
ASKED = {
    "complete": lambda endpoint, folder: endpoint.complete(HELLO),
    "load_adapter": lambda endpoint, folder: loaded(endpoint, folder).__enter__(),
}


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("name", [*HANGING, *ENDLESS])
def test_no_server_holds_us_longer_or_with_more_than_we_allow(tmp_path, name, asked):
    first, again, pause = (HANGING | ENDLESS)[name]
    caught = []

    def ask(endpoint):
        try:
            ASKED[asked](endpoint, tmp_path)
        except ProviderError as error:
            caught.append(str(error))

    with sending(first, again, pause) as (url, sent):
        limit = 0.5 if name in HANGING else 20.0
        endpoint = Endpoint(url, "m", retries=0, read_timeout=limit)
        begun = time.monotonic()
        thread = threading.Thread(target=ask, args=(endpoint,), daemon=True)
        thread.start()
        thread.join(10)
        assert not thread.is_alive(), "it hangs"
        # Nobody was asked before who answers; to load an adapter that is a second exchange.
        assert time.monotonic() - begun < (2 * limit + 1 if name in HANGING else 8)
        if name in ENDLESS:
            assert sent[0] < 40 * 2**20
        else:
            assert "no whole answer in 0.5 s" in caught[0]
    assert caught
    assert "\n" not in caught[0]


def test_a_name_that_is_none_is_told_in_a_sentence():
    endpoint = Endpoint(f"http://{'a' * 64}.example:80/v1", "m", retries=0)
    with pytest.raises(ProviderError, match="Nobody answers at http://aaa"):
        endpoint.reach()


# what is secret


@pytest.mark.parametrize(
    ("address", "shown", "secret"),
    [
        ("http://h:80/v1", "http://h:80/v1", []),
        ("http://h/v1?api_key=k123&v=2", "http://h/v1?api_key=***&v=***", ["k123"]),
        ("https://me:p%40ss@h/v1", "https://***@h/v1", ["me:p%40ss", "me:p@ss", "p%40ss", "p@ss"]),
        ("https://token@h/v1", "https://***@h/v1", ["token"]),
        ("http://me:odd?/@h/v1", "http://***@h/v1", ["me:odd?/", "odd?/"]),
        ("http://me:odd#@h/v1", "http://***@h/v1", ["me:odd#", "odd#"]),
        ("mysql+pymysql://r:secret@db:3306/m", "mysql+pymysql://***@db:3306/m", ["secret"]),
        ("sqlite:///mlflow.db", "sqlite:///mlflow.db", []),
        ("r:secret@db\x1b", "***@db\\x1b", []),
        ("", "", []),
    ],
)
def test_an_address_is_shown_without_what_is_secret(address, shown, secret):
    assert masked(address) == shown
    assert set(secret) <= set(secrets(address))
    assert hidden(f"<{'> <'.join(secret)}>", secrets(address)).count("***") == max(
        1, len(secret)
    ) * (secret != [])


@pytest.mark.parametrize("status", ["401", "500"])
def test_a_key_with_a_newline_and_a_secret_address_are_used_and_never_shown(monkeypatch, status):
    monkeypatch.setenv("CANARY_KEY", "canary-4711\n")
    with serving(lambda *_: status) as server:
        url = server.url.replace("http://", "http://me:hush-hush@") + "?api_key=psst-psst"
        endpoint = Endpoint(url, "m", retries=0)
        with pytest.raises(ProviderError) as caught:
            endpoint.complete(HELLO)
        assert server.paths == ["/v1/chat/completions?api_key=psst-psst"]
        assert server.requests[0][1]["Authorization"].startswith("Basic ")
        told = f"{caught.value} {endpoint!r}"
        endpoint = Endpoint(server.url, "m", key_env="CANARY_KEY", retries=0)
        with pytest.raises(ProviderError) as caught:
            endpoint.complete(HELLO)
        assert server.requests[1][1]["Authorization"] == "Bearer canary-4711"
        told += str(caught.value)
    assert "luck for" in told
    assert "http://***@127.0.0.1" in told
    for secret in ("hush", "psst", "4711"):
        assert secret not in told
    assert server.requests[0][1]["Authorization"].split()[1] not in told


@pytest.mark.parametrize("key", ["käse-4711", "two\nlines-4711", "\x00-4711"[1:] + "\x07"])
def test_a_key_that_no_request_can_carry_is_refused_and_not_shown(monkeypatch, key):
    monkeypatch.setenv("CANARY_KEY", key)
    with pytest.raises(UsageError, match="CANARY_KEY holds characters") as caught:
        Endpoint("http://127.0.0.1:9/v1", "m", key_env="CANARY_KEY")
    assert "4711" not in str(caught.value)


def test_a_key_in_place_of_its_variable_is_not_shown():
    with pytest.raises(UsageError, match="name of an environment variable") as caught:
        Endpoint("http://127.0.0.1:9/v1", "m", key_env="sk-4711")
    assert "4711" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://", "http://[::1/v1", "http://u:hush@h:port/v1", "ftp://h"])
def test_an_address_that_is_none_is_refused(url):
    with pytest.raises(UsageError, match="must begin with http") as caught:
        Endpoint(url, "m")
    assert "hush" not in str(caught.value)


# text that others wrote

ODD = "a\x1b[31mb\x9b2Jc\u202ed\u200be\ud800f\rg\x07"
LIVE = (
    "[here](http://evil.example) ![x](https://evil.example/p.png) [a][b]\n\n[b]: http://e.example\n"
    "<img src=x onerror=alert(1)> <https://e.example> www.evil.example me@evil.example "
    "&#91;x&#93;(javascript:alert) \\[x\\](y)"
)


def test_what_others_wrote_drives_no_terminal():
    assert printable(ODD) == "a\\x1b[31mb\\x9b2Jc\\u202ed\\u200be\\ud800f g\\x07"
    assert printable("é 漢\u00a0\U0001f600\n\tx", lines=True) == "é 漢 \U0001f600\n\tx"
    assert quoted(f"{ODD}`|<>\\").isprintable()


def test_what_others_wrote_makes_nothing_live_in_markdown():
    found = markdown(f"# He rests\n\n- *too* much\n\n{ODD} {LIVE}")
    assert found.startswith("# He rests\n\n- *too* much\n\n")
    for live in ("[", "]", "<", ">", "://", "@", "\x1b", "\x9b"):
        assert live not in found
    assert "&#91;" not in found
    assert "www." not in found


def test_a_model_gets_nothing_live_into_feedback(tmp_path):
    name = "r001-validation-collect_wood-00"
    odd = ODD.replace("\ud800", "")  # with it, an answer is rejected
    detail = f"rest {odd} {LIVE}"[:300]
    judged = {"success": False, "reason": "strayed", "detail": detail, "turn": 1}
    counsel = {"prose": f"He {odd} {LIVE}", "explore": {"collect_wood": 1}, "evidence": [name]}
    turn = Turn("a tree", "noop")
    trial = Episode(name, "crafter", 1, "?", turns=(turn,), meta={"target": "collect_wood"})

    def answer(body):
        asked = body["messages"][0]["content"]
        return json.dumps(judged if "Judge whether" in asked else counsel)

    with serving(answer=answer) as server:
        chat = ServedChat(Endpoint(server.url, "m"))
        (verdict,), _ = judge_with(chat, [trial], tmp_path / "j.jsonl", GRID.reasons)
        by_rule = GRID.advise("r001", [verdict], [trial], Knowledge(episodes=1), {})
        spoken, tally = write_with(
            chat, "r001", [verdict], Knowledge(), {}, GRID.reasons, tmp_path / "f.jsonl"
        )
    assert tally.rejected == 0
    assert isinstance(verdict, Verdict)
    for number, feedback in enumerate((by_rule, spoken)):
        feedback.save(tmp_path / str(number))
        text = (tmp_path / str(number) / "feedback.md").read_text(encoding="utf-8")
        assert "rest" in text or "He" in text
        assert all(c.isprintable() or c == "\n" for c in text)
        for live in ("[", "<", "://", "@", "www."):
            assert live not in text, text


def test_an_episode_is_shown_without_what_drives_a_terminal(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text("rounds: {}\n")
    odd = ODD.replace("\ud800", "")
    turn = Turn(f"one\n{odd}", odd, odd, events=(odd,))
    episode = Episode("r000-test-eat-00", "crafter", 3, odd, turns=(turn,), outcome=Outcome.FAILURE)
    write_episodes(tmp_path / "data/evaluations/r000/test.parquet", [episode])
    shown = CliRunner().invoke(main, ["episode", "show", episode.id])
    assert shown.exit_code == 0, shown.output
    assert all(c.isprintable() or c in "\n\t" for c in shown.output)
    assert shown.output.count("\\x1b[31mb\\x9b2J") == 5
    refused = CliRunner().invoke(main, ["episode", "show", f"r000-{odd}"])
    assert refused.exit_code == 2
    assert all(c.isprintable() or c == "\n" for c in refused.output)


# a dead server


def test_a_server_that_is_not_there_is_told_before_anything_is_asked():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://me:hush@127.0.0.1:{free.getsockname()[1]}/v1"
    endpoint = Endpoint(url, "m")
    for _ in range(2):
        with pytest.raises(ProviderError, match=r"^Nobody answers at http://\*\*\*@127"):
            list(ServedChat(endpoint).answers([["?"]]))
    assert endpoint.usage.requests == 0
    assert list(ServedChat(endpoint).answers([])) == []  # nothing to ask, nobody needed


# numbers from the environment and the command line


@pytest.mark.parametrize("word", ["abc", "nan", "inf", "-1", "0", "1.5", "1e999", "--"])
def test_a_variable_that_is_no_number_is_told_by_name(monkeypatch, word):
    monkeypatch.setenv("ALICEBOB_WORKERS", word)
    with pytest.raises(UsageError, match=r"^ALICEBOB_WORKERS must be a number from 1, and a whole"):
        workers()
    monkeypatch.setenv("X", word)
    if word not in ("0", "1.5"):
        with pytest.raises(UsageError, match=r"^X must be a number from 0, not"):
            environment.number("X", 3.0)
    with pytest.raises(UsageError, match=r"^X must be "):
        environment.numbers("X", (0.0, 0.0))


def test_a_variable_that_is_a_number_is_read(monkeypatch):
    monkeypatch.setenv("ALICEBOB_WORKERS", " 3\n")
    assert workers() == 3
    monkeypatch.setenv("X", "1e6")
    assert environment.whole("X", None) == 10**6
    monkeypatch.setenv("X", " 0.15  2 ")
    assert environment.numbers("X", (0.0, 0.0)) == (0.15, 2.0)
    monkeypatch.setenv("X", " ")
    assert environment.number("X", 7.0) == 7.0
    assert environment.whole("X", None) is None


NUMBERS = [
    *(("--temperature", word) for word in ("nan", "inf", "-1", "x")),
    *(("--top-p", word) for word in ("nan", "0", "1.5")),
    *(("--max-cost", word) for word in ("nan", "inf", "-1")),
    *((option, "0") for option in ("--context", "--max-new-tokens", "--concurrency")),
    *((option, "0") for option in ("--max-requests", "--max-tokens")),
    ("--turns", "-1"),
    *(("--timeout", word) for word in ("0", "nan", "inf")),
    ("--prices", "nan", "1"),
    ("--prices", "1", "-1"),
]


@pytest.mark.parametrize("words", NUMBERS, ids=" ".join)
def test_an_option_that_is_no_number_is_refused_before_anything_runs(words):
    done = CliRunner().invoke(main, ["evaluate", "--url", "http://h/v1", "--model", "m", *words])
    assert done.exit_code == 2, done.output
    assert f"Invalid value for '{words[0]}'" in done.output
    assert done.output.count("Error") == 1


def test_an_estimate_takes_no_price_that_is_none():
    done = CliRunner().invoke(main, ["estimate", "--prices", "nan", "1"])
    assert done.exit_code == 2
    assert "not a finite number" in done.output


def test_words_of_settings_are_pairs_of_json():
    assert pairs(["a=1", "b=x=y", 'c="2"', "d=NaN", "e=-Infinity", "f=", "g=1" + "0" * 5000]) == {
        **{"a": 1, "b": "x=y", "c": "2", "d": "NaN", "e": "-Infinity", "f": ""},
        "g": "1" + "0" * 5000,
    }
    for words in (["a"], ["=1"], ["a=1", "a=2"], [f"a={'[' * 100_000}"]):
        with pytest.raises(Exception, match=r"form key=value|given twice|too deep"):
            pairs(words)


# models that are no models


@pytest.fixture
def folder(base, tmp_path):
    return shutil.copytree(base, tmp_path / "model")


def change(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def weights(folder):
    return folder / "model.safetensors"


def pickled(folder):
    torch.save(load_file(weights(folder)), folder / "pytorch_model.bin")
    weights(folder).unlink()


def torn(folder):
    whole = weights(folder).read_bytes()
    weights(folder).write_bytes(whole[: len(whole) // 2])


def lacking(folder):
    kept = load_file(weights(folder))
    del kept["model.layers.0.mlp.gate_proj.weight"]
    save_file(kept, weights(folder), metadata={"format": "pt"})


def own_model(folder):
    names = {"AutoConfig": "evil.EvilConfig", "AutoModelForCausalLM": "evil.EvilForCausalLM"}
    change(folder / "config.json", model_type="evil", architectures=["Evil"], auto_map=names)


def own_tokenizer(folder):
    names = {"AutoTokenizer": ["evil.Evil", None]}
    change(folder / "tokenizer_config.json", tokenizer_class="Evil", auto_map=names)


def unlike(folder):
    change(folder / "config.json", hidden_size=96)


def no_tokenizer(folder):
    (folder / "tokenizer.json").write_text('{"model": 3}')


DAMAGES = [
    (pickled, UsageError, r"pickled \(pytorch_model.bin\)"),
    (torn, DamagedData, r"model/model.safetensors is torn"),
    (lacking, DamagedData, r"lacks 1 of its weights"),
    (own_model, UsageError, r"would run code of its own"),
    (own_tokenizer, UsageError, r"would run code of its own"),
    (unlike, UsageError, r"cannot be loaded"),
    (no_tokenizer, UsageError, r"cannot be loaded"),
    (lambda folder: (folder / "config.json").write_text("[]"), UsageError, r"cannot be loaded"),
]


@pytest.mark.parametrize(("damage", "kind", "told"), DAMAGES)
def test_a_model_that_is_none_is_one_sentence_and_runs_nothing(folder, damage, kind, told):
    damage(folder)
    with pytest.raises(kind, match=told) as caught:
        load_base(str(folder))
    assert "\n" not in str(caught.value)


def test_a_model_runs_no_code_even_where_somebody_says_yes(folder, tmp_path):
    own_model(folder)
    (folder / "evil.py").write_text(
        f"open({str(tmp_path / 'ran')!r}, 'w').close()\n"
        "from transformers import LlamaConfig, LlamaForCausalLM\n"
        "class EvilConfig(LlamaConfig):\n    model_type = 'evil'\n"
        "class EvilForCausalLM(LlamaForCausalLM):\n    pass\n"
    )
    code = f"from alicebob.policies.models import load_base; load_base({str(folder)!r})"
    done = subprocess.run(
        [sys.executable, "-c", code],
        input="y\n" * 20,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hub")},
        capture_output=True,
        text=True,
    )
    assert "would run code of its own" in done.stderr
    assert "[y/N]" not in done.stdout + done.stderr
    assert not (tmp_path / "ran").exists()


def test_a_chat_template_that_is_none_is_one_sentence(folder):
    (folder / "chat_template.jinja").write_text("{% for")
    _, tokenizer = load_base(str(folder))
    with pytest.raises(AliceBobError, match=r"chat template of bob\.model cannot"):
        Conversation(tokenizer)
