"""The command line: finds the command, runs it, and turns errors into messages and exit codes."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence

from zoomrl.cli.rendering import broken_backend
from zoomrl.cli.tree import PROG, check_command, check_options, parse
from zoomrl.errors import ConfigError, ZoomrlError
from zoomrl.version import __version__

USAGE_ERROR = 2
FAILURE = 1
DEBUG_VARIABLE = "ZOOMRL_DEBUG"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the words after the program's name; those of this process by default.

    Returns:
        0 on success, 1 when something failed, 2 for a command or option that cannot work, 128 plus the
        signal's number when a signal stopped it.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words or os.environ.get(DEBUG_VARIABLE, "0") not in ("", "0")
    words = [word for word in words if word != "--debug"]
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a curve's dots should show question marks rather than fail.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    if words[:1] in (["--version"], ["-V"]):
        print(f"{PROG} {__version__}")
        return 0
    try:
        check_command(words)
        check_options(words)
        return parse(words or ["--help"]).run()
    except SystemExit as request:  # the parser has said what was wrong, or shown its help
        return request.code if isinstance(request.code, int) else USAGE_ERROR if request.code else 0
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 128 + signal.SIGINT
    except BrokenPipeError:
        # The reader of our output has left, as `head` does. Python's flush at exit must not fail over it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except (ZoomrlError, OSError, AttributeError) as error:
        text = _text(error)
        if debug or text is None:
            raise
        print(f"error: {text}", file=sys.stderr)
        return USAGE_ERROR if isinstance(error, ConfigError) else FAILURE


def _text(error: Exception) -> str | None:
    """What to tell the user; None for a mistake of ours, which needs its traceback."""
    if isinstance(error, AttributeError):
        return broken_backend(error)
    if isinstance(error, OSError) and error.strerror:
        where = f": {error.filename}" if error.filename else ""
        return f"{error.strerror}{where}"
    return str(error)
