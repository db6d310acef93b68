"""`python3 -m vrrpd`."""

import sys

from vrrpd.cli import main

sys.exit(main())
