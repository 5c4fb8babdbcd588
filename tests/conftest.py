import functools

import pytest

from alicebob.bob.sft import load_base
from alicebob.bob.tiny import RandomPolicy, train_base
from alicebob.envs import make
from alicebob.policies import Task
from alicebob.rollout import play
from alicebob.trace import Skill


@pytest.fixture(scope="session")
def crafter():
    return functools.partial(make, "crafter", observation="compact", limit=40)


@pytest.fixture(scope="session")
def random_episodes(crafter):
    tasks = [Task(f"random-{number}", number) for number in range(4)]
    return [e for task in tasks for e in play([crafter()], RandomPolicy(), [task], "crafter")]


@pytest.fixture(scope="session")
def base(tmp_path_factory, crafter, random_episodes):
    """A real tiny base, hardly trained: an ordinary Hugging Face directory."""
    folder = tmp_path_factory.mktemp("base")
    train_base(
        random_episodes,
        crafter(),
        folder / "model",
        folder / "work",
        vocabulary=500,
        layers=2,
        width=64,
        context=512,
        epochs=1,
        learning_rate=3e-3,
        seed=0,
    )
    return str(folder / "model")


@pytest.fixture
def model(base):
    return load_base(base)


@pytest.fixture(scope="session")
def skills(random_episodes):
    """Skills that could be learnt: what random play did, as if it had been meant."""
    return [
        Skill(
            id=f"{episode.id}-{start}",
            name="wander",
            instruction="Wander.",
            round="r001",
            episode=episode.id,
            environment="crafter",
            seed=episode.seed,
            start=start,
            end=start + 5,
            turns=episode.turns[start : start + 5],
        )
        for episode in random_episodes
        for start in range(0, 35, 5)
    ]
