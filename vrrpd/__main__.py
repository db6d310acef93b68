"""python3 -m vrrpd, or python3 -I -S FOLDER/vrrpd"""

import os
import sys

if not __package__:  # run by its path: the package is beside us, and its modules are not top-level ones
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from vrrpd.cli import main

if __name__ == "__main__":
    sys.exit(main())
