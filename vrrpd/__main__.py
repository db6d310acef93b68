"""python3 -m vrrpd"""

import sys

from vrrpd.cli import main

if __name__ == "__main__":
    sys.exit(main())
