"""Floor 6: `python -m rnnjax`."""

import sys

from rnnjax.cli import main

if __name__ == "__main__":
    sys.exit(main())
