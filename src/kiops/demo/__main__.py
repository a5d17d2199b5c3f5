"""`python -m kiops.demo URL DATA-FOLDER`, the token on standard input: the demo's own process."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

from kiops.setup.screen import Screen
from kiops.terminal import Exit


def main() -> int:
    import httpx

    from kiops.demo.api import Api, Refused
    from kiops.demo.engine import Engine, EngineError
    from kiops.demo.repository import RepositoryError
    from kiops.demo.story import NotAsItMustBe, run_demo
    from kiops.demo.telling import Teller
    from kiops.sample.base import CannotAssemble

    url, root = sys.argv[1], Path(sys.argv[2])
    token = sys.stdin.read().strip()
    teller = Teller(Screen())

    async def tell() -> None:
        api = Api(url, token)
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        try:
            await run_demo(api, root, teller, Engine())
        finally:
            await api.close()

    try:
        asyncio.run(tell())
    except NotAsItMustBe as error:
        teller.wrong(str(error), advice=error.advice, code=error.code)
        return Exit.NO
    except RepositoryError as error:
        teller.wrong(str(error), code="demo.git")
        return Exit.NO
    except Refused as error:
        teller.wrong(str(error), advice=error.advice, code=error.code)
        return Exit.NO
    except (EngineError, CannotAssemble) as error:
        teller.wrong(str(error), advice="kiops doctor", code="demo.engine")
        return Exit.AWAY
    except httpx.HTTPError as error:
        teller.wrong(f"KIOPS does not answer: {type(error).__name__}", advice="kiops status", code="client.away")
        return Exit.AWAY
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 130
    return Exit.DONE


if __name__ == "__main__":
    raise SystemExit(int(main()))
