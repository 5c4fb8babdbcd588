import re
from collections import Counter
from pathlib import Path

import pytest

from alicebob.bob.tiny import RandomPolicy, aims_of, build_tokenizer, train_base, words_of
from alicebob.envs import make
from alicebob.envs.shopping import MARKS
from alicebob.errors import UsageError
from alicebob.policies import Task
from alicebob.policies.conversation import Conversation
from alicebob.policies.models import load_base
from alicebob.rollout import play
from alicebob.trace import Episode

README = Path(__file__).parent.parent / "README.md"
SMALL = {
    "vocabulary": 400,
    "layers": 1,
    "width": 32,
    "context": 512,
    "pack_tokens": 300,
    "batch": 2,
    "epochs": 1,
    "learning_rate": 3e-3,
    "seed": 0,
}


@pytest.fixture
def door():
    """The environment that the README shows to who has one of their own."""
    code = re.search(r"```python\n(class Door:.*?)```", README.read_text("utf-8"), re.DOTALL)
    names = {}
    exec(code[1], names)
    return names["Door"]()


def played(env, count=6, turns=12, instruction=""):
    tasks = [Task(f"b{number}", number, instruction, max_turns=turns) for number in range(count)]
    return [e for task in tasks for e in play([env], RandomPolicy(), [task], "door")]


def test_an_environment_that_offers_nothing_gets_a_base(door, tmp_path):
    episodes = played(door)
    train_base(episodes, door, tmp_path / "model", tmp_path / "work", **SMALL)
    model, tokenizer = load_base(str(tmp_path / "model"))
    assert model.num_parameters() > 10_000
    conversation = Conversation(tokenizer)
    ids = conversation.first("Take key.", episodes[0].turns[0].observation)
    assert "a door, a key" in tokenizer.decode(ids)
    assert len(conversation.plain(" open")) == 1  # a word of its actions is one token
    # Brackets mark nothing here: what stands in one is the word that it is elsewhere.
    assert conversation.plain("[door")[-1:] == conversation.plain(" door")


def test_aims_are_what_is_offered_else_what_happened_else_the_actions(door):
    crafter = make("crafter", observation="compact", limit=5)
    assert aims_of(crafter, played(crafter, 1)) == list(crafter.events)
    assert crafter.events[0] == "collect_coal"
    assert len(crafter.events) == 22
    episodes = played(door, 12)
    assert aims_of(door, episodes) == ["open_door", "take_key"]
    idle = [Episode("idle", "door", 0)]
    assert aims_of(door, idle) == ["take key", "open door", "wait"]
    assert aims_of(door, played(door, 2, instruction="Open the door.")) == []


def test_the_interfaces_own_words_are_known_to_the_tokenizer():
    words = words_of(make("crafter", observation="compact"))
    assert {"wood_pickaxe", "pickaxe", "iron", "collect_diamond", "noop", "water_left"} <= set(
        words
    )
    assert words == sorted(set(words))
    assert "search[...]" in words_of(make("webshop", catalogue="generated:50"))


def test_random_play_takes_every_action_and_says_where_there_is_none(door):
    taken = Counter(action for episode in played(door, 20) for action in episode.actions)
    assert set(taken) == {"take key", "open door", "wait"}

    class Mute:
        def reset(self, *, seed=None, options=None):
            return "dark", {}

    with pytest.raises(UsageError, match="admissible_actions"):
        next(play([Mute()], RandomPolicy(), [Task("m", 0)], "mute"))


def test_marks_say_what_a_tokenizer_keeps_whole_and_what_goes_by_letters():
    texts = ["[button] Buy Now [button_] see [lamp] G0WSABCDEF"] * 50
    plain = build_tokenizer(texts, [], 600)
    marked = build_tokenizer(texts, [], 600, MARKS)
    assert len(marked.encode(" [button_]")) == 1 < len(plain.encode(" [button_]"))
    assert len(marked.encode(" G0WSABCDEF")) >= 10 > len(plain.encode(" G0WSABCDEF"))
    for tokenizer in (plain, marked):
        assert tokenizer.decode(tokenizer.encode(texts[0])) == texts[0]
        assert tokenizer.encode("[lamp")[1:] == tokenizer.encode(" lamp")
