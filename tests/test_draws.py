"""Chance is keyed by the experiment's seed, by what it is for, and by what tells one draw apart."""

from alicebob.alice.grid.label import label
from alicebob.bob.rows import held_out
from alicebob.draws import generator, share_of
from alicebob.policies import Task
from alicebob.rollout import play, seeds
from alicebob.trace import Episode, Skill, Turn


class Still:
    """A world in which nothing happens, whatever its seed."""

    def reset(self, *, seed=None, options=None):
        return "here", {"admissible_actions": list("abcdefgh")}

    def step(self, action):
        return "here", 0.0, False, False, {"admissible_actions": list("abcdefgh")}


class Chance:
    def start(self, wave):
        pass

    def act(self, lives):
        from alicebob.policies import Reply

        return [Reply(str(live.draw.choice(live.info["admissible_actions"]))) for live in lives]

    def finish(self, live):
        return {}


def played(seed):
    (episode,) = play([Still()], Chance(), [Task("r001-e0", seed, max_turns=20)], "still")
    return episode.actions


def test_what_a_policy_draws_differs_between_worlds_of_one_name():
    assert played(1) == played(1)
    assert played(1) != played(2)


def test_worlds_differ_between_seeds_and_purposes():
    space = range(1_000_000)
    found = [
        tuple(seeds(purpose, master, 50, space))
        for purpose in ("explore r001", "explore r002")
        for master in (1, 2, 12)
    ]
    assert len(set(found)) == len(found)
    # Parts of a key do not run together.
    assert share_of("a", "b", 12) != share_of("a", "b1", 2)


def skill(seed):
    turns = (Turn("o", "do", events=("collect_wood",), tags=("intent:use tree",)),)
    episodes = [Episode(f"r001-e{n}", "w", seed + n, turns=turns) for n in range(60)]
    return label(episodes, "r001", open_play=False)


def test_the_wording_of_instructions_and_the_held_out_part_differ_between_seeds():
    one, other = skill(100), skill(900)
    assert [s.id for s in one] == [s.id for s in other]
    assert [s.instruction for s in one] != [s.instruction for s in other]
    sides = [[held_out(s, 0.5) for s in some] for some in (one, other)]
    assert sides[0] != sides[1]
    assert sides[0] == [held_out(s, 0.5) for s in skill(100)]
    assert 15 < sum(sides[0]) < 45


def test_a_generator_is_the_same_wherever_it_is_made():
    assert generator("play", "e", 1).random() == generator("play", "e", 1).random()
    assert generator("play", "e", 1).random() != generator("play", "e", 2).random()
    assert isinstance(skill(1)[0], Skill)
