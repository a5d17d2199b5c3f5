"""Copies the archive of a month to the store."""

import datetime
import logging
import subprocess

log = logging.getLogger(__name__)


def month_before(day: datetime.date) -> str:
    first = day.replace(day=1)
    return (first - datetime.timedelta(days=1)).strftime("%Y-%m")


def copy_archive(folder: str, target: str) -> bool:
    month = month_before(datetime.date.today())
    log.info("copying %s", month)
    done = subprocess.run(["rsync", "-a", "--", f"{folder}/{month}", f"{target}:archive/"], check=False)
    return done.returncode == 0


def copy_all(folder: str, targets: list[str]) -> list[str]:
    """The targets that did not get it."""
    return [target for target in targets if not copy_archive(folder, target)]
