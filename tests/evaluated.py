"""A repository whose rounds look as if they had been run: parameters, plan, figures and lock.

Shared by the tests of what reads them. The hashes of what is not there are made up.
"""

import hashlib
import json
from pathlib import Path

from alicebob.experiment import plan
from alicebob.experiment.lock import stages_of
from alicebob.experiment.params import Experiment
from alicebob.experiment.places import place
from alicebob.experiment.results import MADE_WITH, headline, made_with
from alicebob.experiment.stages import STAGES, address
from alicebob.experiment.tree import ROOT_ROUND

__all__ = ["figures", "lay_out", "note", "number", "write"]

PARAMS = (Path(__file__).parent.parent / "params.yaml").read_text()


def number(value):
    return {"mean": value, "low": round(value - 0.1, 6), "high": round(value + 0.1, 6), "n": 10}


def figures(round_id, value, **events):
    """Return what a metrics file holds, with the same value everywhere."""
    play = {name: number(value) for name in ("progress", "score", "reward", "achievements")}
    play["by_event"] = {name: number(share) for name, share in events.items()}
    split = {
        "skills": {"success": number(value), "by_skill": {"eat_cow": number(value)}},
        "open_play": play,
        "invalid_actions": number(value),
    }
    return {
        "round": round_id,
        "test": split,
        "validation": split,
        "data": {"episodes": 5, "skills": 7, "valid_share": 1.0},
        "alice": {"progress": number(value)},
        "budget": {"explore.env_steps": 100, "evaluate.env_steps": 200, "train.tokens": 70},
    }


def write(values, **events):
    """Plan the rounds of params.yaml here, and write figures for some of them."""
    plan.write()
    for round_id, value in values.items():
        made = made_with(plan.planned("evaluate", round_id)["params"])
        found = figures(round_id, value, **events) | {MADE_WITH: made}
        for kind, data in (("metrics", found), ("headline", headline(found))):
            place(kind, round_id).parent.mkdir(exist_ok=True)
            place(kind, round_id).write_text(json.dumps(data))


def note(changed=(), stages=()):
    """Write dvc.lock as if every stage had run; where some are named, as if these had run again.

    `changed` are paths that come out with other hashes than they else would.
    """
    lock = Path("dvc.lock")
    entries = json.loads(lock.read_text())["stages"] if lock.exists() and stages else {}
    parents = {name: item["prev"] for name, item in Experiment().rounds.items()}

    def hashed(path):
        content = (
            path.read_bytes() if path.is_file() else f"{path} {path.as_posix() in changed}".encode()
        )
        return {"path": path.as_posix(), "md5": hashlib.md5(content).hexdigest()}

    for round_id in (ROOT_ROUND, *parents):
        for stage in stages_of(round_id) if place("metrics", round_id).exists() else ():
            spec, name = STAGES[stage], address(stage, round_id)
            deps = [plan.PLAN / round_id / f"{stage}.json"]
            deps += [place(kind, round_id) for kind in spec.own]
            deps += [place(kind, parents[round_id]) for kind in spec.parent]
            outs = [place(kind, round_id) for kind in spec.outs]
            if not stages or name in stages:
                sides = {"deps": [*map(hashed, deps)], "outs": [*map(hashed, outs)]}
                entries[name] = {"cmd": "true", **sides}
    lock.write_text(json.dumps({"schema": "2.0", "stages": entries}))


def lay_out(values):
    """Lay a repository out in the current folder, with figures for these rounds."""
    Path("params.yaml").write_text(PARAMS)
    write(values)
    note()
