import re

import pytest

from alicebob.bob.fitting import check_room
from alicebob.envs import World
from alicebob.envs.hooks import actions_of
from alicebob.errors import UsageError
from alicebob.policies.conversation import Conversation


@pytest.fixture
def env():
    return World("crafter", {"observation": "compact"})()


@pytest.mark.parametrize(
    ("preamble", "context", "new", "told"),
    [
        ("full", 160, 60, "a prompt of [0-9]+ tokens and a reply of 60 do not fit"),
        ("brief", 400, 2, "most replies are cut, which take up to [0-9]+"),
        ("full", 64, 4, "do not fit and most replies are cut"),
    ],
)
def test_what_does_not_fit_is_said_with_values_that_would(model, env, preamble, context, new, told):
    talk = Conversation(model[1], preamble, actions_of(env))
    with pytest.raises(UsageError, match=told) as caught:
        check_room(talk, env, range(9), context, new)
    numbers = re.search(r"context=(\d+) bob.max_new_tokens=(\d+)", str(caught.value)).groups()
    assert check_room(talk, env, range(9), *map(int, numbers)) == ""


def test_replies_that_are_cut_are_a_warning(model, env):
    talk = Conversation(model[1])
    assert check_room(talk, env, range(9), 500, 80) == ""
    assert "most replies are cut" in check_room(talk, env, range(9), 400, 6)
