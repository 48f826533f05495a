"""`python -m server` is the `rowlock` command."""

import sys

from server.cli import main

sys.exit(main())
