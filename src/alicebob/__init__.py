"""Train language-model agents from exploration: text environments and the trace.

env = alicebob.make("my_module:Door")
text, info = env.reset(seed=0)
text, reward, terminated, truncated, info = env.step("take key")
"""

from alicebob.envs import TextEnv, make
from alicebob.trace import Episode, Outcome, Skill, Turn

__all__ = ["Episode", "Outcome", "Skill", "TextEnv", "Turn", "make"]
