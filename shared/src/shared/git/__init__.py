"""How every service speaks to Git: which addresses it may read, with nothing of this machine's configuration taking part, and what
git's complaints mean.

A service reads an address (`read_address`), makes a Workplace in a folder of its own, and calls `run_git` there. What it asks git
for is its own matter.
"""

from shared.git.address import PROTOCOLS, Address, Credential, check_commit, read_address, read_credential
from shared.git.environment import Child, Options, Workplace, run_git
from shared.git.failures import Hints, SourceAway, SourceRefused, explain

__all__ = [
    "PROTOCOLS",
    "Address",
    "Child",
    "Credential",
    "Hints",
    "Options",
    "SourceAway",
    "SourceRefused",
    "Workplace",
    "check_commit",
    "explain",
    "read_address",
    "read_credential",
    "run_git",
]
