"""``python -m minirec`` is ``minirec``."""

import sys

from minirec.cli import main

if __name__ == "__main__":
    sys.exit(main())
