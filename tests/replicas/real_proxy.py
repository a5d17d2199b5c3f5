"""The operator-proxy in a process of its own, with nothing swapped: `python real_proxy.py operator-proxy FILE` (a Membership).

Its settings are the environment's.
"""

import json
import sys
from pathlib import Path

import uvloop
from operator_proxy.wiring import wire

from kiops.chaos.member import Membership, serve

if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1], Membership(**json.loads(Path(sys.argv[2]).read_text())), wire))
