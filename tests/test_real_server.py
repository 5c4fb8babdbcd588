import pytest

from alicebob.envs import World
from alicebob.policies import Task
from alicebob.policies.endpoint import Endpoint
from alicebob.policies.server import Server
from alicebob.rollout import Actor, play_all


@pytest.mark.slow
def test_a_model_behind_a_real_server_plays(serve, base, crafter, tmp_path):
    with serve(base) as url:
        plays(Endpoint(url, base, concurrency=2, read_timeout=60), crafter, tmp_path)


def plays(endpoint, crafter, tmp_path):
    actions = crafter().reset(seed=0)[1]["admissible_actions"]
    policy = {"context": 400, "max_new_tokens": 12}
    tasks = [Task(f"e{n}", n, "Collect wood.", max_turns=3) for n in range(4)]
    episodes = play_all(
        tasks,
        World("crafter", {"observation": "compact", "limit": 40}),
        Actor(lambda: Server(endpoint, actions, **policy), workers=2, threads=True),
        tmp_path / "journals",
    )
    assert [len(episode.turns) for episode in episodes] == [3] * 4
    assert endpoint.usage.requests == 12
    assert endpoint.usage.retries == 0
    assert endpoint.usage.reply_tokens == sum(e.budget["reply_tokens"] for e in episodes) > 0
    assert all(e.budget["prompt_tokens"] > 0 for e in episodes)
