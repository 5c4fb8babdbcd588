"""Train language-model agents from exploration: text environments, the trace, and a finished Bob.

env = alicebob.make("my_module:Door")
text, info = env.reset(seed=0)
text, reward, terminated, truncated, info = env.step("take key")

model, tokenizer = alicebob.load_bob("models/bob/r003")
"""

from alicebob.envs import TextEnv, make
from alicebob.loading import load_bob
from alicebob.trace import Episode, Outcome, Skill, Turn

__all__ = ["Episode", "Outcome", "Skill", "TextEnv", "Turn", "load_bob", "make"]
