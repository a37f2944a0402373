"""``python -m digitizer`` is ``ecg-digitize``."""

import sys

from .cli import main

sys.exit(main())
