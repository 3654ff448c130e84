"""``python -m zoomrl``: the command line."""

import sys

from zoomrl.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
