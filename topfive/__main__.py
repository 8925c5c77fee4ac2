"""`python -m topfive`."""

import sys

from topfive.cli import main

if __name__ == "__main__":
    sys.exit(main())
