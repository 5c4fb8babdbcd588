"""Border: an environment, checked wherever it is touched.

Whoever plays environments gets them by way of a `Border`, which looks at what they answer, what
they raise and how long they take. Invariant: what comes over the border can be recorded; anything
else that an environment does (raise, exit, hang, return another shape) is an EnvError of one
sentence. Does not: judge what an environment means.
"""

from __future__ import annotations

import importlib
import json
import math
import signal
import threading
import traceback
from collections.abc import Callable, Mapping
from numbers import Real
from pathlib import Path
from typing import Any, NoReturn

from alicebob.envs import limit
from alicebob.errors import AliceBobError, EnvError
from alicebob.untrusted import printable

__all__ = ["Border", "told", "written"]

MESSAGE = 200  # characters of an error's text that are told
NOBODYS: memoryview[int] | list[int] = [0]  # a page that nobody looks at


class Border:
    """An environment by its name, made and used in one thread; what else it has is there too.

    Raises EnvError where the environment raises or gives what cannot be recorded; an AliceBobError
    of its own passes as it is.
    """

    def __init__(self, make: Callable[[], Any], name: str) -> None:
        self._name = name
        self._slot, self._numbers = 0, NOBODYS  # to be made may take long
        self._env = self._call("its constructor", make)
        self._slot, self._numbers = limit.slot(), limit.numbers()
        limit.say(self._slot, name)

    def reset(
        self, *, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Start an episode and return its first observation and info."""
        limit.say(self._slot, f"{self._name}, seed {seed},")
        own = None if options is None else dict(options)
        found = self._call("reset", self._env.reset, seed=seed, options=own)
        try:
            observation, info = found
        except (TypeError, ValueError):
            self._refuse("what reset returns", found, "an observation and an info")
        return self._seen("reset", observation, info)

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Take one action; return observation, reward, terminated, truncated and info."""
        found = self._call("step", self._env.step, action)
        try:
            observation, reward, terminated, truncated, info = found
        except (TypeError, ValueError):
            shape = "observation, reward, terminated, truncated and info"
            self._refuse("what step returns", found, shape)
        observation, info = self._seen("step", observation, info)
        if type(reward) is not float or not math.isfinite(reward):
            reward = self._number("the reward of step", reward)
        if type(terminated) is not bool or type(truncated) is not bool:
            terminated = self._truth("terminated, of step,", terminated)
            truncated = self._truth("truncated, of step,", truncated)
        return observation, reward, terminated, truncated, info

    def close(self) -> None:
        """Close the environment, where it can be."""
        self._call("close", getattr(self._env, "close", lambda: None))

    def __getattr__(self, name: str) -> Any:
        """Return what else the environment has; a method of it is called over the border."""
        if name.startswith("_"):
            raise AttributeError(name)
        found = self._call(name, getattr, self._env, name, None)
        if found is None:
            raise AttributeError(name)
        if not callable(found):
            return found
        return lambda *given, **named: self._call(name, found, *given, **named)

    def _call(self, what: str, function: Callable[..., Any], *given: Any, **named: Any) -> Any:
        self._numbers[self._slot] = next(limit.CALLS)
        try:
            return function(*given, **named)
        except AliceBobError:
            raise
        except limit.Overdue:
            raise EnvError(
                f"{self._name}: {what} did not come back within {limit.seconds():g} s; mend it, or "
                f"raise {limit.VARIABLE}."
            ) from None
        except BaseException as error:  # whatever it is, an environment ends its own episode only
            if isinstance(error, KeyboardInterrupt) and _may_be_typed():
                raise
            raise EnvError(f"{self._name}: {what} raised {told(error)}.") from error
        finally:
            self._numbers[self._slot] = 0

    def _seen(self, call: str, observation: Any, info: Any) -> tuple[str, dict[str, Any]]:
        """Return what is seen as it can be recorded; raises EnvError where it cannot be."""
        if type(observation) is not str or not observation.isascii():
            if not isinstance(observation, str):
                self._refuse(f"the observation of {call}", observation, "a string")
            observation = written(observation)
        if not isinstance(info, dict):
            self._refuse(f"the info of {call}", info, "a dict")
        for name in ("events", "admissible_actions"):
            if name in info:
                info = self._named(call, name, info)
        for name in ("success", "invalid_action"):
            if name in info and type(info[name]) is not bool:
                self._truth(f"info[{name!r}] of {call}", info[name])
        progress = info.get("progress", 0.0)
        if type(progress) is not float or not 0.0 <= progress <= 1.0:
            self._share(f"info['progress'] of {call}", progress)
        if "result" in info:
            try:
                json.dumps(info["result"], allow_nan=False)
            except (TypeError, ValueError, RecursionError):
                self._refuse(f"info['result'] of {call}", info["result"], "plain data, as in JSON")
        return observation, info

    def _named(self, call: str, name: str, info: dict[str, Any]) -> dict[str, Any]:
        found: Any = info[name]
        if not found and type(found) is list:
            return info
        try:
            if isinstance(found, list | tuple) and "".join(found).isascii():
                return info
        except TypeError:
            found = None
        if not isinstance(found, list | tuple):
            self._refuse(f"info[{name!r}] of {call}", info[name], "a list of strings")
        return info | {name: [written(word) for word in found]}

    def _share(self, what: str, found: Any) -> None:
        if not isinstance(found, int | float) or not 0 <= found <= 1:
            self._refuse(what, found, "a number from 0 to 1")

    def _number(self, what: str, found: Any) -> float:
        try:
            value = float(found) if isinstance(found, Real) else math.nan
        except (OverflowError, ValueError):
            value = math.nan
        if not math.isfinite(value):
            self._refuse(what, found, "a finite number")
        return value

    def _truth(self, what: str, found: Any) -> bool:
        try:
            good = found in (True, False)
        except ValueError:  # an array of several
            good = False
        if not good:
            self._refuse(what, found, "True or False")
        return bool(found)

    def _refuse(self, what: str, found: Any, wanted: str) -> NoReturn:
        shown = repr(found) if isinstance(found, str | int | float | None) else ""
        if not shown or len(shown) > 60:
            kind = type(found).__name__
            shown = f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"
            shown += f" of {len(found)}" if isinstance(found, list | tuple | str) else ""
        raise EnvError(f"{self._name}: {what} must be {wanted}, and is {_line(shown)}.")


def written(text: str) -> str:
    """Return a text as UTF-8 can hold it: half of a surrogate pair is spelt out."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def told(error: BaseException) -> str:
    """Return an error's type, text and place on one line, without control characters."""
    try:
        text = _line(str(error))
    except Exception:  # noqa: BLE001 - an error of somebody else's may not even be told
        text = ""
    frames = [(Path(f.filename), f.lineno) for f in traceback.extract_tb(error.__traceback__)]
    ways = (Path(__file__).parent, Path(importlib.__file__).parent, Path())  # the last: "<frozen>"
    theirs = [(path.name, line) for path, line in frames if path.parent not in ways]
    where = "".join(f", {name} line {line}" for name, line in theirs[-1:])
    return f"{type(error).__name__} ({text}{where})" if text else f"{type(error).__name__}{where}"


def _line(text: str) -> str:
    return " ".join(printable(text[:MESSAGE]).split())


def _may_be_typed() -> bool:
    """Say whether a KeyboardInterrupt may be somebody's Ctrl-C: elsewhere it cannot be one."""
    here = threading.current_thread() is threading.main_thread()
    return here and signal.getsignal(signal.SIGINT) is signal.default_int_handler
