"""``python -m ecg_image_kit`` is ``ecg-image-gen``."""

import sys

from .cli import main

if __name__ == "__main__":  # worker processes import this module too
    sys.exit(main())
