"""The first lines that an isolated simulator's interpreter runs: they say what it is, and load zoomrl into it.

Run by path with the numbers of two inherited descriptors: the connection to the parent, and the shared memory.
Every Python 3 must be able to read this file, so that one that is too old can say so. The parent judges.
"""

import json
import os
import signal
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
AGREED = {}  # type: ignore[var-annotated]
# Read, not imported: nothing of this folder may be found by the name of a module.
with open(os.path.join(HERE, "protocol.py")) as _file:
    exec(_file.read(), AGREED)


def main():  # type: ignore[no-untyped-def]
    """Say what this interpreter is; where it will do, serve until the parent hangs up."""
    # Ctrl-C reaches the whole process group; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Python searches the folder of a script first. A simulator that imports "gym" does not mean ours.
    sys.path[:] = [path for path in sys.path if os.path.abspath(path) != HERE]
    connection, memory = int(sys.argv[1]), int(sys.argv[2])
    # Some simulators read the arguments of the command line.
    del sys.argv[1:]
    facts = {"protocol": AGREED["PROTOCOL"], "python": list(sys.version_info[:3]), "numpy": "", "problem": ""}
    if sys.version_info >= AGREED["OLDEST"]:
        try:
            import numpy

            facts["numpy"] = numpy.__version__
        except ImportError as error:
            facts["problem"] = str(error)
    os.write(connection, (json.dumps(facts) + "\n").encode())
    if facts["numpy"]:
        load_package(os.path.dirname(os.path.dirname(HERE)))
        from zoomrl.envs.isolation.server import serve

        serve(connection, memory)


def load_package(folder):  # type: ignore[no-untyped-def]
    """Make ``zoomrl`` importable from ``folder``, and nothing else that is installed alongside it."""
    import importlib.util

    start = os.path.join(folder, "__init__.py")
    spec = importlib.util.spec_from_file_location("zoomrl", start, submodule_search_locations=[folder])
    assert spec is not None
    assert spec.loader is not None
    package = importlib.util.module_from_spec(spec)
    sys.modules["zoomrl"] = package
    spec.loader.exec_module(package)


if __name__ == "__main__":
    main()
