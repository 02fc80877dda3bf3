"""`python -m humanpose_cli` is `hpc`."""

import sys

from humanpose_cli.cli.main import main

sys.exit(main())
