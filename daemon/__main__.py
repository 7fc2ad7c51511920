"""`python -m fastmlx.daemon`: the same as `fastmlx`, without needing PATH; what services run."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
