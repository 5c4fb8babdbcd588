import json
import random
import socket
import time
from itertools import pairwise
from types import SimpleNamespace

import pytest
from scripted import ANSWER, serving

from alicebob.alice.model.asking import Answer, Asker
from alicebob.envs import World
from alicebob.errors import ProviderError, UsageError
from alicebob.policies import Task
from alicebob.policies import endpoint as module
from alicebob.policies.adapters import loaded
from alicebob.policies.answer import Completion, read
from alicebob.policies.chat import ServedChat
from alicebob.policies.endpoint import Endpoint, Limits, Spent
from alicebob.policies.server import Server
from alicebob.rollout import Actor, play_all

KEY = "canary-4711-key"
HELLO = [{"role": "user", "content": "Hello."}]
FAULTS = ("429", "500", "502", "503", "reset", "stall", "drip", "empty", "html")
FAULTS += ("json", "schema", "null", "error", "huge")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(module, "FIRST", 0.01)
    monkeypatch.setenv("CANARY_KEY", KEY)


def endpoint(url, **settings):
    return Endpoint(url, "m", **{"read_timeout": 0.6, "connect_timeout": 0.5, **settings})


@pytest.mark.parametrize("fault", FAULTS)
def test_trouble_that_passes_is_tried_again(fault):
    with serving(lambda number, _: fault if number == 0 else "ok") as server:
        asked = endpoint(server.url)
        found = asked.complete(HELLO, temperature=0.5)
    assert (found.text, found.prompt_tokens, found.reply_tokens) == (ANSWER, 11, 7)
    assert (asked.usage.requests, asked.usage.retries) == (2, 1)
    assert server.requests[1][2] == {"model": "m", "messages": HELLO, "temperature": 0.5}


def test_the_server_says_how_long_to_wait(monkeypatch):
    slept, asked_at = [0.0], []
    clock = SimpleNamespace(monotonic=lambda: sum(slept), sleep=slept.append)
    monkeypatch.setattr(module, "time", clock)

    def answer(number, _):
        asked_at.append(sum(slept))
        return "429 after 1" if number == 0 else "ok"

    with serving(answer) as server:
        endpoint(server.url).complete(HELLO)
    assert asked_at == [0.0, 1.0]
    assert module._seconds("Sat, 01 Jan 2000 00:00:00 GMT") == 0.0
    assert module._seconds("soon") is None
    assert module._seconds("Mon, 99999999999999 Jan 2000 00:00:00 GMT") is None
    assert module._seconds("nan") == 0.0


def test_tries_are_bounded_and_the_cause_is_one_harmless_line():
    with serving(lambda *_: "500") as server:
        with pytest.raises(ProviderError, match="did not answer in 3 tries") as caught:
            endpoint(server.url, retries=2, key_env="CANARY_KEY").complete(HELLO)
        assert len(server.requests) == 3
    text = str(caught.value)
    assert "\x1b" not in text
    assert "\n" not in text
    assert "luck for Bearer ***" in text
    assert KEY not in text


def test_a_wrong_key_ends_all_at_once():
    with serving(lambda *_: "401") as server:
        asked = endpoint(server.url, key_env="CANARY_KEY")
        for _ in range(2):
            with pytest.raises(ProviderError, match=r"HTTP 401.*Check the key in CANARY_KEY"):
                asked.complete(HELLO)
        assert len(server.requests) == 1
        assert server.requests[0][1]["Authorization"] == f"Bearer {KEY}"
    assert KEY not in repr(asked)


def test_an_endpoint_that_is_dead_is_given_up(monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    asked = endpoint(url, retries=1000, patience=0.3)
    begun = time.monotonic()
    with pytest.raises(ProviderError, match="has not answered for"):
        asked.complete(HELLO)
    assert time.monotonic() - begun < 5
    spent = asked.usage.requests
    with pytest.raises(ProviderError, match="has not answered for"):
        asked.complete(HELLO)
    assert asked.usage.requests == spent


@pytest.mark.parametrize(
    ("limits", "name"),
    [(Limits(requests=2), "requests"), (Limits(tokens=36), "tokens"), (Limits(cost=2e-4), "cost")],
)
def test_a_budget_stops_cleanly(limits, name):
    with serving() as server:
        asked = endpoint(server.url, limits=limits, prices=(1.0, 20.0))
        asked.complete(HELLO)
        asked.complete(HELLO)
        with pytest.raises(Spent, match=f"budget of .* {name} for m is used up"):
            asked.complete(HELLO)
        assert len(server.requests) == 2
    assert asked.usage.cost == pytest.approx(2 * (11 + 7 * 20) / 1e6)


def test_addresses_and_keys_are_checked_before_anything_is_sent(monkeypatch):
    with pytest.raises(UsageError, match="must begin with http"):
        Endpoint("localhost:8000", "m")
    monkeypatch.delenv("CANARY_KEY")
    with pytest.raises(UsageError, match="environment variable CANARY_KEY"):
        Endpoint("http://localhost:8000/v1", "m", key_env="CANARY_KEY")


# what a body says, and what it took


def said(content="hi", usage=None, **more):
    body = {"choices": [{"message": {"content": content}, **more}]}
    return json.dumps(body | ({"usage": usage} if usage is not None else {})).encode()


def counted(read=11, written=7):
    return {"prompt_tokens": read, "completion_tokens": written}


ASKED = (40, 20)  # tokens that the question may have taken, by estimate


@pytest.mark.parametrize(
    ("raw", "found"),
    [
        (said(usage=counted()), Completion("hi", 11, 7)),
        (said(usage=counted(10.0, 7.0)), Completion("hi", 10, 7)),
        (said(usage=counted(11, None)), Completion("hi", 11, 1, estimated=True)),
        (said(usage=counted(10**400, True)), Completion("hi", 40, 1, estimated=True)),
        (said(usage=counted(float("nan"), -1)), Completion("hi", 40, 1, estimated=True)),
        (said(usage=counted(0, 0)), Completion("hi", 40, 1, estimated=True)),
        (said(), Completion("hi", 40, 1, estimated=True)),
        (said(usage=["?"]), Completion("hi", 40, 1, estimated=True)),
        (said("a\ud800b", counted()), Completion("a?b", 11, 7)),
        (said("\ud83d\ude00", counted()), Completion("\U0001f600", 11, 7)),
        (said(None, counted(11, 256), finish_reason="length"), Completion("", 11, 256)),
        (said(None, finish_reason="length"), Completion("", 40, 20, estimated=True)),
        (said(5, counted(11, 0), finish_reason="stop"), Completion("", 11, 0)),
        (said([{"text": "a"}, {"text": None}, {"text": "b"}], counted()), Completion("ab", 11, 7)),
        (
            b'{"choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":'
            + b"9" * 5000
            + b"}}",
            Completion("hi", 40, 1, estimated=True),
        ),
    ],
)
def test_a_body_that_is_an_answer_is_one_however_odd(raw, found):
    assert read(raw, ASKED) == (found, "")
    with serving(lambda number, _: raw) as server:
        asked = endpoint(server.url, retries=0, limits=Limits(tokens=10**6))
        text = asked.complete(HELLO, max_tokens=20).text
    assert text.encode("utf-8") == found.text.encode("utf-8")


@pytest.mark.parametrize(
    ("raw", "taken"),
    [
        (said(None, counted()), (11, 7)),
        (b'{"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 1}}', (9, 1)),
        *((raw, ASKED) for raw in (b"", b"<html>", b"[1]", b"3", b'"x"', b"{}", b"[" * 100_000)),
        *((raw, ASKED) for raw in (b'{"choices": 5}', b'{"choices": [{"message": null}]}')),
        (said(usage=counted())[:-9], ASKED),
        (b'{"error": {"message": "busy"}}', (0, 0)),
    ],
)
def test_a_body_that_is_no_answer_is_none_and_counts(raw, taken):
    found, why = read(raw, ASKED)
    assert why
    assert found == Completion("", *taken, estimated=taken == ASKED)


def spent_on(asked, questions, **sampling):
    """Ask so often and return what is said when the budget is used up."""
    for _ in range(questions):
        try:
            asked.complete(HELLO, **sampling)
        except Spent as error:
            return str(error)
        except ProviderError:
            pass
    raise AssertionError("no limit was kept")


@pytest.mark.parametrize("kind", ["thought", "half", "stall", "reset", "429"])
def test_what_is_rejected_or_lost_counts_towards_the_caps(kind):
    """What a cap cannot be measured by is estimated, and said; what is refused costs nothing."""
    bodies = {
        "thought": said(None, counted(11, 249), finish_reason="length"),
        "half": said(None, counted(11, 249)),
    }
    with serving(lambda number, _: bodies.get(kind, kind)) as server:
        limits = Limits(tokens=1000, requests=29)
        asked = endpoint(server.url, limits=limits, retries=2, read_timeout=0.1)
        caught = spent_on(asked, 30, max_tokens=247)
        sent = len(server.requests)
    if kind == "429":
        assert sent == 29
        assert asked.usage.tokens == 0
    else:
        assert sent == 4
        assert 1000 <= asked.usage.tokens < 1300
    assert (asked.usage.estimated > 0) == (kind in ("stall", "reset"))
    assert ("are estimates" in caught) == (kind in ("stall", "reset"))
    assert ("requests had no answer, the last because of" in caught) == (kind != "thought")


def test_a_cap_holds_without_a_count_from_the_server():
    with serving(lambda *_: said("x" * 300)) as server:
        asked = endpoint(server.url, limits=Limits(cost=0.0001), prices=(0.1, 0.2))
        assert "the tokens of 5 are estimates" in spent_on(asked, 500)
    assert asked.usage.requests == 5
    assert asked.usage.estimated == 5


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -1])
def test_a_limit_that_cannot_be_kept_is_refused(number):
    for settings in (
        {"limits": Limits(cost=number), "prices": (1.0, 1.0)},
        {"limits": Limits(tokens=number)},
        {"prices": (number, 1.0)},
    ):
        with pytest.raises(UsageError, match="must be numbers from 0"):
            endpoint("http://127.0.0.1:9/v1", **settings)
    with pytest.raises(UsageError, match="needs prices"):
        endpoint("http://127.0.0.1:9/v1", limits=Limits(cost=1.0))


def test_a_damaged_line_of_a_ledger_is_told_and_counts_no_more(tmp_path, capsys):
    ledger = tmp_path / "r001.jsonl"
    with serving() as server:
        for _ in range(3):
            endpoint(server.url, ledger=ledger).complete(HELLO)
    lines = ledger.read_bytes().splitlines(keepends=True)
    ledger.write_bytes(lines[0] + lines[1].replace(b"11", b"99") + lines[2])
    again = endpoint(server.url, ledger=ledger)
    assert (again.budget.before.requests, again.budget.before.tokens) == (2, 36)
    assert f"{ledger} is damaged in line 2" in capsys.readouterr().err


# whole episodes through a server


WORLD = crafter = World("crafter", {"observation": "compact", "limit": 6})


def play_through(asked, journals, count=12, workers=4):
    actions = crafter().reset(seed=0)[1]["admissible_actions"]
    tasks = [Task(f"e{n:02d}", n, "Get wood.", max_turns=6) for n in range(count)]
    return play_all(
        tasks,
        WORLD,
        Actor(lambda: Server(asked, actions), workers=workers, threads=True),
        journals,
    )


def sometimes(share):
    """Fail about that share of the requests, with each kind of fault in turn."""
    kinds = [fault for fault in FAULTS if fault not in ("stall", "drip", "huge")]
    return lambda number, _: (
        kinds[number % len(kinds)] if (number * 7) % 100 < share * 100 else "ok"
    )


def test_under_trouble_every_episode_ends_and_no_reward_is_made_up(tmp_path):
    with serving() as server:
        calm = play_through(endpoint(server.url), tmp_path / "calm")
    with serving(sometimes(0.1)) as server:
        asked = endpoint(server.url)
        rough = play_through(asked, tmp_path / "rough")
    assert asked.usage.retries > 0
    assert rough == calm
    assert all(e.meta == {"model": "m"} and e.budget["reply_tokens"] == 42 for e in rough)
    for episode in rough:
        env = crafter()
        env.reset(seed=episode.seed)
        assert [env.step(a)[1] for a in episode.actions] == [t.reward for t in episode.turns]


def test_what_was_not_answered_is_owed_and_played_when_run_again(tmp_path):
    with serving(sometimes(0.4)) as server:
        with pytest.raises(ProviderError, match=r"are owed: .* Run again"):
            play_through(endpoint(server.url, retries=2), tmp_path)
        server.script = lambda *_: "ok"
        before = len(server.requests)
        kept = len((tmp_path / "episodes.jsonl").read_text().splitlines())
        episodes = play_through(endpoint(server.url), tmp_path)
        assert 0 < kept < 12
        assert len(server.requests) - before == 6 * (12 - kept)
    assert [e.id for e in episodes] == [f"e{n:02d}" for n in range(12)]


def test_a_reply_without_text_loses_its_turn_and_not_the_run(tmp_path):
    thinking = said(None, counted(11, 40), finish_reason="length")
    with serving(lambda number, _: thinking if number % 2 else "ok") as server:
        asked = endpoint(server.url)
        actions = crafter().reset(seed=0)[1]["admissible_actions"]
        tasks = [Task("e", 3, "Get wood.", max_turns=6)]
        policy = Server(asked, actions)
        (episode,) = play_all(tasks, WORLD, Actor(lambda: policy, threads=True), tmp_path)
        shown = server.requests[-1][2]["messages"]
    assert [turn.action for turn in episode.turns] == ["move_left", ""] * 3
    assert [turn.tags for turn in episode.turns] == [(), ("silent", "invalid_action")] * 3
    assert episode.budget["reply_tokens"] == 3 * (7 + 40)
    assert (asked.usage.requests, asked.usage.retries, asked.usage.silent) == (6, 0, 3)
    assert all(message["content"] for message in shown)


def test_no_more_requests_are_under_way_than_workers(tmp_path):
    with serving(latency=0.02) as server:
        play_through(endpoint(server.url), tmp_path, workers=3)
        assert server.most == 3


def test_a_conversation_grows_and_forgets_in_blocks(tmp_path):
    with serving() as server:
        actions = crafter().reset(seed=0)[1]["admissible_actions"]
        policy = Server(endpoint(server.url), actions, context=330, max_new_tokens=40)
        tasks = [Task("e", 3, "Get wood.", max_turns=6)]
        play_all(tasks, WORLD, Actor(lambda: policy, threads=True), tmp_path)
        asked = [body["messages"] for _, _, body in server.requests]
    grown = [b[: len(a)] == a for a, b in pairwise(asked)]
    assert True in grown
    assert False in grown
    assert all(m[0]["content"].startswith("Get wood.\n") and m[-1]["role"] == "user" for m in asked)
    assert all("move_left" in m[0]["content"] for m in asked)


def test_a_server_loads_an_adapter_under_a_name_that_follows_from_its_content(tmp_path):
    folder = tmp_path / "r003"
    folder.mkdir()
    (folder / "adapter_model.safetensors").write_bytes(b"one")
    with serving() as server:
        endpoint = Endpoint(server.url, "base")
        with loaded(endpoint, folder) as first:
            endpoint.complete(HELLO)
        (folder / "adapter_model.safetensors").write_bytes(b"two")
        with loaded(endpoint, folder) as second:
            pass
        endpoint.complete(HELLO)
    assert first.startswith("r003-")
    assert first != second
    kinds = ("load_lora_adapter", "chat/completions", "unload_lora_adapter")
    assert server.paths[:3] == [f"/v1/{kind}" for kind in kinds]
    bodies = [body for _, _, body in server.requests]
    assert bodies[0] == {"lora_name": first, "lora_path": str(folder)}
    assert bodies[2] == {"lora_name": first}
    assert [bodies[1]["model"], bodies[-1]["model"]] == [first, "base"]


def test_a_server_that_loads_no_adapters_says_so(tmp_path):
    with (
        serving(lambda number, body: "503") as server,
        pytest.raises(ProviderError, match="did not load the adapter"),
        loaded(Endpoint(server.url, "base"), tmp_path),
    ):
        pass


def test_whoever_answers_in_an_adapters_place_is_refused(tmp_path):
    def as_it_is(_, body):
        return json.dumps(json.loads(said(usage=counted())) | {"model": "base"}).encode()

    with serving(lambda n, body: as_it_is(n, body) if "messages" in body else "ok") as server:
        asked = Endpoint(server.url, "base")
        with loaded(asked, tmp_path):
            for _ in range(2):
                with pytest.raises(ProviderError, match=r"asked for .* and answered as base"):
                    asked.complete(HELLO)
    assert [path.rpartition("/")[2] for path in server.paths] == [
        "load_lora_adapter",
        "completions",
        "unload_lora_adapter",
    ]


def test_a_budget_holds_over_processes_and_a_torn_ledger(tmp_path):
    ledger = tmp_path / "alice" / "r001.jsonl"
    with serving(lambda number, _: "500" if number == 1 else "ok") as server:
        for _ in range(2):
            endpoint(server.url, ledger=ledger, limits=Limits(requests=5)).complete(HELLO)
        with ledger.open("ab") as file:
            file.write(b'{"requests": 9')  # killed while it wrote
        again = endpoint(server.url, ledger=ledger, limits=Limits(requests=5))
        assert (again.budget.before.requests, again.budget.before.tokens) == (3, 36)
        again.complete(HELLO)
        again.complete(HELLO)
        with pytest.raises(Spent, match=r"budget of 5 requests for m is used up \(.*r001.jsonl"):
            again.complete(HELLO)
    assert len(server.requests) == 5
    assert len(ledger.read_text().splitlines()) == 4


@pytest.mark.parametrize("share", [0.1, 0.5])
@pytest.mark.parametrize("fault", FAULTS)
def test_each_trouble_by_itself_spoils_no_episode_and_no_answer(tmp_path, fault, share):
    class Said(Answer):
        text: str

    def script(number, _):
        return fault if random.Random(number).random() < share else "ok"

    def answer(body):
        told = body["messages"][0]["content"]
        return '{"text": "' + told + '"}' if told.startswith("say") else ANSWER

    with serving(answer=answer) as server:
        calm = play_through(endpoint(server.url), tmp_path / "calm", 4)
    with serving(script, answer) as server:
        asked = endpoint(server.url, read_timeout=0.2, retries=16, concurrency=4)
        rough = play_through(asked, tmp_path / "rough", 4)
        chat = ServedChat(asked)
        said = Asker(chat, Said, tmp_path / "said.jsonl").ask([f"say {n}" for n in range(8)])
    assert rough == calm
    assert [found.text for found in said] == [f"say {n}" for n in range(8)]
    assert asked.usage.requests == 24 + 8 + asked.usage.retries
    assert asked.usage.retries > 0
