"""The libraries' networks are made by what the tests of weights have."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent / "weights"))
