"""A process that runs the operator-proxy, orders one release and prints what it announces, until somebody kills it.

Arguments: the props' file, the platform's folder, the settings and the order as JSON.
"""

import asyncio
import importlib.util
import json
import sys
from pathlib import Path

from operator_proxy.settings import OperatorProxySettings
from shared.orders.operator_proxy import ApplyRelease

spec = importlib.util.spec_from_file_location("operator_proxy_props", sys.argv[1])
assert spec and spec.loader
props = importlib.util.module_from_spec(spec)
sys.modules["operator_proxy_props"] = props
spec.loader.exec_module(props)


async def main() -> None:
    settings = OperatorProxySettings(**json.loads(sys.argv[3]))
    order = ApplyRelease(**json.loads(sys.argv[4]))
    async with props.world(Path(sys.argv[2]), settings) as world:
        await world.send(order)
        told = 0
        while True:
            facts = await world.observed(order.release)
            for fact in facts[told:]:
                print(fact.phase.value, flush=True)
            told = len(facts)
            await asyncio.sleep(0.005)


asyncio.run(main())
