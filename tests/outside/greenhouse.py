"""A world and a method as somebody else would write them, in a package of their own.

Found by the entry points beside this file; nothing in alicebob names either.
"""

from dataclasses import replace

from pydantic import Field

from alicebob.methods import exif
from alicebob.methods.parts import Exploration, part
from alicebob.settings import Block


class Greenhouse:
    """Fill the can, water the seed until it grows, pick the fruit; the beds differ by seed."""

    instructions = "Pick a fruit."

    def __init__(self, beds: int = 2) -> None:
        self.beds = beds

    def reset(self, *, seed=None, options=None):
        self.right, self.at = (seed or 0) % self.beds, 0
        self.water, self.grown = False, 0
        return self._text(), self._info()

    def step(self, action):
        events, over = [], False
        known = action in self._info()["admissible_actions"]
        if action == "go on":
            self.at = (self.at + 1) % self.beds
        elif action == "fill can" and not self.water:
            self.water, events = True, ["fill_can"]
        elif action == "pour water" and self.water:
            self.water = False
            if self.at == self.right:
                self.grown += 1
                events = ["grow"]
        elif action == "pick fruit" and self.at == self.right and self.grown:
            events, over = ["pick_fruit"], True
        info = {**self._info(events), "success": over, "invalid_action": not known}
        return self._text(), float(over), over, False, info

    def _text(self):
        plant = ("a seed", "a plant with a fruit")[min(self.grown, 1)]
        there = plant if self.at == self.right else "bare soil"
        return f"You stand at bed {self.at}: {there}. Your can is {'full' * self.water or 'empty'}."

    def _info(self, events=()):
        actions = ["go on", "fill can", "pour water", "pick fruit"]
        return {"events": list(events), "admissible_actions": actions}


class Settings(Block):
    """The block `patient` in params.yaml."""

    share: float = Field(default=0.5, gt=0, le=1)


@part(*exif.EXPLORE, "patient.share", alice=["explore"])
def half_as_long(round_):
    """Explore as EXIF does without feedback, in shorter episodes."""
    params, alice = round_.params, round_.alice
    limit = max(1, round(params.explore.max_turns * params.patient.share))
    tasks = alice.free_tasks(params.explore.episodes, limit, params.seeds.of("explore"))
    known = alice.recall(round_.inherited("episodes"))
    episodes, memory, _ = alice.explore(tasks, known, {}, "")
    return Exploration(episodes, memory, "Short episodes.")


METHOD = replace(
    exif.METHOD, name="patient", source="a test", explore=half_as_long, settings=Settings
)
