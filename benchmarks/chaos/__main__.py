"""``python -m benchmarks.chaos``."""

import sys

if __name__ == "__main__":
    from benchmarks.chaos.program import main

    sys.exit(main())
