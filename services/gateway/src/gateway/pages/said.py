"""What the next page confirms after a form. The cookie carries only the key, so nobody can make a page say something else."""

from __future__ import annotations

COOKIE = "kiops_said"

SAID = {
    "added": "The service is in the catalogue. Its first push, or Build, makes the first run.",
    "added-asked": "The service is stored; its environment is being set up.",
    "started": "The build was started.",
    "started-asked": "The build is stored and will be started; it was not yet accepted.",
    "cancelled": "The run is being stopped.",
    "cancelled-asked": "The stop is stored; it was not yet accepted.",
    "rolling-back": "The way back has begun.",
    "rolling-back-asked": "The way back is stored; it was not yet accepted.",
    "password": "The password is set.",
    "replayed": "The message is tried again. If it fails again, it comes back here.",
    "dismissed": "The message is let be.",
}
