"""`python -m prismlib` is the `prism` command."""

import sys

from prismlib.cli import main

if __name__ == "__main__":
    sys.exit(main())
