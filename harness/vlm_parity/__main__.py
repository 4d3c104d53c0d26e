"""Run the ``parity`` command as ``python -m vlm_parity``."""

import sys

from vlm_parity.cli.main import main

sys.exit(main())
