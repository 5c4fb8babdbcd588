"""Launch: `accelerate launch` for a stage, which ends as the stage ended.

    python -m alicebob.launch SCRIPT ARGUMENTS

Options for this machine are in ALICEBOB_LAUNCH, which DVC does not track. Accelerate itself would
follow a stage's own sentence about what was wrong with a traceback of the launcher. Does not:
choose how to launch; Accelerate's configuration does.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Sequence

__all__ = ["launch"]


def launch(words: Sequence[str]) -> int:
    """Launch a script with its arguments; return its exit code."""
    from accelerate.commands.launch import launch_command, launch_command_parser
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    options = shlex.split(os.environ.get("ALICEBOB_LAUNCH", ""))
    try:
        launch_command(launch_command_parser().parse_args([*options, *words]))
    except subprocess.CalledProcessError as error:
        return error.returncode if error.returncode > 0 else 1
    except ChildFailedError as error:  # of several processes, the one that failed first
        return max(1, int(error.get_first_failure()[1].exitcode))
    return 0


if __name__ == "__main__":
    sys.exit(launch(sys.argv[1:]))
