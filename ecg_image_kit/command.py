"""command: what all commands do with errors: a line on stderr, and an exit status."""

from __future__ import annotations

import functools
import os
import stat
import sys
from collections.abc import Callable
from typing import ParamSpec

from .errors import EcgError, UsageError

Args = ParamSpec("Args")
_NOBODY_READS, _INTERRUPTED = 141, 130  # 128 and the number of the signal that would have ended it, as shells say it


def command(stopped: str = "stopped") -> Callable[[Callable[Args, int]], Callable[Args, int]]:
    """Decorate a command's main, which returns 0, or 1 if some of the work failed.

    What it raises becomes an exit status, too: 2 a wrong request (UsageError), 1 other failures (EcgError, OSError),
    130 Ctrl-C, which says ``stopped`` and what the interrupt itself has to say; and 141 where nobody reads the output
    any more (``... | head``), which is no error to be told of.
    """

    def decorate(main: Callable[Args, int]) -> Callable[Args, int]:
        @functools.wraps(main)
        def run(*args: Args.args, **kwargs: Args.kwargs) -> int:
            try:
                status = main(*args, **kwargs)
                if sys.stdout is not None:
                    sys.stdout.flush()
                return status
            except UsageError as error:
                return _failed(error, 2)
            except BrokenPipeError as error:
                if not _is_pipe():
                    return _failed(error, 1)
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, sys.stdout.fileno())  # or the interpreter complains when it flushes at its end
                os.close(nowhere)
                return _NOBODY_READS
            except (EcgError, OSError) as error:
                return _failed(error, 1)
            except KeyboardInterrupt as stop:
                print(f"{stopped}: {stop}" if str(stop) else stopped, file=sys.stderr)
                return _INTERRUPTED

        return run

    return decorate


def _is_pipe() -> bool:
    """Whether standard output is a pipe, so that nobody may read it any more."""
    try:
        return stat.S_ISFIFO(os.fstat(sys.stdout.fileno()).st_mode)
    except (AttributeError, OSError, ValueError):  # none, or not a file
        return False


def _failed(error: Exception, status: int) -> int:
    print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
    return status
