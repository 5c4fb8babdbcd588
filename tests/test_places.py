"""How many requests are under way at once: as many as a server answers in time."""

import threading
import time
from contextlib import suppress

import pytest
from scripted import ANSWER, serving

from alicebob.envs import World
from alicebob.errors import ProviderError
from alicebob.policies import Task, places
from alicebob.policies.endpoint import Endpoint
from alicebob.policies.places import Places
from alicebob.policies.server import Server
from alicebob.policies.wire import Lost
from alicebob.rollout import Actor, play_all

TIMEOUT = 90.0


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(places, "monotonic", lambda: now[0])
    return now


def crowded(size=1):
    """Return places for which somebody always waits, grown to a size."""
    room = Places(4, TIMEOUT)
    room._waiting.append(99)
    for _ in range(size - 1):
        with room.taken():
            pass
    assert room.free == size
    return room


def ask(room, clock, seconds, trouble=None):
    """Hold a place for so long; return how many are free after."""
    with suppress(Lost), room.taken():
        clock[0] += seconds
        if trouble:
            raise trouble
    return room.free


def test_room_follows_how_soon_answers_come(clock, capsys):
    room = crowded()
    assert [ask(room, clock, 20) for _ in range(5)] == [2, 3, 4, 4, 4]
    assert not capsys.readouterr().err
    assert [ask(room, clock, seconds) for seconds in (40, 50, 70, 70, 70)] == [4, 4, 2, 1, 1]
    assert capsys.readouterr().err == (
        "An answer took 40 s with 1 at once: no more are asked for while that is over a third of "
        "the timeout, 90 s (--timeout, ALICEBOB_ALICE_TIMEOUT or ALICEBOB_BOB_TIMEOUT may be "
        "longer).\n"
    )
    assert [ask(room, clock, 1, Lost("reset")) for _ in range(3)] == [1, 1, 1]  # no answer
    alone = Places(4, TIMEOUT)
    assert [ask(alone, clock, 1) for _ in range(3)] == [1, 1, 1]  # nobody waits for more


def test_what_is_given_up_keeps_its_place_while_it_may_still_be_computed(clock):
    late = Lost("late", late=True)
    room = crowded()
    assert ask(room, clock, 90, late) == 0
    clock[0] += 89
    assert room.free == 0
    clock[0] += 1
    assert room.free == 1
    room = crowded(4)
    assert ask(room, clock, 90, late) == 1
    assert ask(room, clock, 10) == 3  # whoever answers what came later is done with it


def test_what_is_late_together_halves_the_room_once_and_a_stop_lets_all_through(clock):
    room = crowded(4)
    held = [room.taken() for _ in range(4)]
    for place in held:
        place.__enter__()
    clock[0] += 90
    for place in held:
        with suppress(Lost):
            place.__exit__(Lost, Lost("late", late=True), None)
    assert room.free == 2 - 4
    room.open()
    with room.taken():
        assert room.free == 2 - 5


def test_who_came_first_goes_first_so_that_what_is_begun_ends(clock):
    room, order = Places(1, TIMEOUT), []
    with room.taken():
        pass  # who begins an episode

    def another():
        with room.taken():
            order.append("another")

    def leave():
        while len(room._waiting) < 2:
            time.sleep(0.001)
        held.__exit__(None, None, None)

    held = room.taken()
    threads = [threading.Thread(target=target, daemon=True) for target in (another, leave)]
    held.__enter__()
    for thread in threads:
        thread.start()
    while not room._waiting:
        time.sleep(0.001)
    with room.taken():  # and asks for its next turn
        order.append("first")
    threads[0].join()
    assert order == ["first", "another"]


def played(url, folder, **settings):
    world = World("crafter", {"observation": "compact", "limit": 2})
    actions = world().reset(seed=0)[1]["admissible_actions"]
    endpoint = Endpoint(url, "m", **settings)
    tasks = [Task(f"e{n:02d}", n, "Get wood.", max_turns=2) for n in range(16)]
    actor = Actor(lambda: Server(endpoint, actions), workers=16, threads=True)
    return play_all(tasks, world, actor, folder)


def test_a_server_that_computes_one_after_the_other_answers_all(tmp_path):
    turn = threading.Lock()

    def slowly(_):  # and to the end, whoever has given it up
        with turn:
            time.sleep(0.1)
        return ANSWER

    with serving() as server:
        calm = played(server.url, tmp_path / "calm")
    with serving(answer=slowly) as server:
        slow = played(server.url, tmp_path / "slow", read_timeout=1.0)
    assert slow == calm
    assert server.most < 16


def test_a_server_that_never_answers_in_time_is_given_up_with_advice(tmp_path):
    with serving(lambda *_: "stall") as server:
        asked = Endpoint(server.url, "m", read_timeout=0.1, patience=0.15)
        for _ in range(2):
            with pytest.raises(ProviderError, match=r"0.1 s \(--timeout, .* may be longer\)"):
                asked.complete([{"role": "user", "content": "Hello."}])
