"""The former name of the command line: `python -m rokuga.api` runs `python -m rokuga`."""

import sys

from rokuga.cli.__main__ import main

if __name__ == "__main__":
    sys.exit(main())
