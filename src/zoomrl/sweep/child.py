"""One run of a sweep in a process of its own: ``python -m zoomrl.sweep.child SWEEP NAME``."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

FINISHED, FAILED, HELD, STOPPED = 0, 1, 75, 76
"""Exit statuses: the run is finished; it failed, and its log says why; another process is at it; it was stopped, and
goes on where it was."""
_PR_SET_PDEATHSIG = 1


def main(words: list[str]) -> int:
    """Train the run, or go on with it."""
    from rich.console import Console

    from zoomrl.errors import RunHeldError, ZoomrlError
    from zoomrl.sweep.plan import read_sweep
    from zoomrl.sweep.state import finished
    from zoomrl.training.run import train

    end_with_parent()
    sweep, name = read_sweep(Path(words[0])), words[1]
    config = sweep.config(name)
    if finished(sweep.run_dir(name), config) is not None:
        return FINISHED
    try:
        result = train(config, console=Console(file=sys.stderr, width=200, force_terminal=False, emoji=False))
    except RunHeldError:
        return HELD
    except ZoomrlError as error:
        if "--debug" in words:
            raise
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    return FINISHED if result.finished else STOPPED


def end_with_parent() -> None:
    """Ask Linux for SIGTERM when the worker dies, however it dies: the run is saved, and free for other workers."""
    if sys.platform == "linux":
        import ctypes
        import signal

        parent = os.getppid()
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:  # it died in between
            sys.exit(STOPPED)


def predict() -> int:
    """Print what the run will take whose config comes as JSON, as JSON."""
    from zoomrl.sweep.predict import measure
    from zoomrl.training.config import TrainConfig

    print(json.dumps(measure(TrainConfig.from_dict(json.load(sys.stdin)))))
    return 0


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    arguments = sys.argv[1:]
    sys.exit(predict() if arguments[:1] == ["--predict"] else main(arguments))
