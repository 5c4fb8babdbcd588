"""Launch: `accelerate launch` for a stage, which ends as the stage ended.

    python -m alicebob.launch SCRIPT ARGUMENTS

Options for this machine are in ALICEBOB_LAUNCH, which DVC does not track. Accelerate itself would
follow a stage's own sentence about what was wrong with a traceback of the launcher. Does not:
choose how to launch; Accelerate's configuration does.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Sequence
from typing import NoReturn

from alicebob import environment
from alicebob.errors import UsageError

__all__ = ["launch"]

VARIABLE = "ALICEBOB_LAUNCH"


def launch(words: Sequence[str]) -> int:
    """Launch a script with its arguments; return its exit code.

    Raises UsageError where the options for this machine are none, or none that work on it.
    """
    from accelerate.commands.launch import launch_command, launch_command_parser
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    parser = launch_command_parser()
    parser.error = _refuse  # it would print all options there are
    try:
        options = shlex.split(environment.text(VARIABLE))
        launch_command(parser.parse_args([*options, *words]))
    except subprocess.CalledProcessError as error:
        return error.returncode if error.returncode > 0 else 1
    except ChildFailedError as error:  # of several processes, the one that failed first
        return max(1, int(error.get_first_failure()[1].exitcode))
    except (ArithmeticError, AssertionError, AttributeError, OSError, TypeError, ValueError) as e:
        _refuse(f"{type(e).__name__}: {' '.join(str(e).split())}".rstrip(": "))
    return 0


def _refuse(reason: str) -> NoReturn:
    raise UsageError(
        f"accelerate launch does not start ({reason}); mend {VARIABLE}, which is "
        f"{environment.text(VARIABLE)!r}."
    )


if __name__ == "__main__":
    try:
        sys.exit(launch(sys.argv[1:]))
    except UsageError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
