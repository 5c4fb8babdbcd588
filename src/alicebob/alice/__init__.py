"""Alice, who teaches: one voice, eight verbs.

`voice` is her; `room` says what a room must have, and `grid`, `shop` and `anywhere` are the rooms,
by kind of world; `model` has the same verbs by a language model. `validity` checks what she labels
by playing it again.
"""

from alicebob.alice.feedback import Feedback, Verdict
from alicebob.alice.voice import Alice, Said, reads

__all__ = ["Alice", "Feedback", "Said", "Verdict", "reads"]
