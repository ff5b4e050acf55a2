"""The stand-in for Segment's Tracking API as a program: `stand_in.py --help`."""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).parents[1])
    from harness.segment_server import main

    main()
