"""`python -m likewise` is the `likewise` command, for when its folder is not on the PATH."""

import sys

from likewise.cli import main

if __name__ == "__main__":
    sys.exit(main())
