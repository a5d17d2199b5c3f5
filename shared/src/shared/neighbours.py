"""Whether another service knows more of the stream than there is: then nothing may be published on it.

A stream that was cut short (an older copy of nats-server's store) looks whole to a service that had not read beyond the cut. What
it published there would get numbers that others have passed already, and so be heard by nobody. So each relay asks the other
services how far they are, once for each connection to the bus, before it publishes.
"""

from __future__ import annotations

import asyncio

from shared.bus import SERVICES, Bus
from shared.errors import Broken, KiopsError
from shared.queries.every import AskReached, Reached
from shared.stream import stream_now

ADVICE = "Restore bus/store and the databases of one time; if the old stream is lost, `kiops stream accept`"
ASK_SECONDS = 1.0


async def check_neighbours(service: str, bus: Bus, organisation: str) -> bool:
    """Raise Broken `bus.position_beyond` or `bus.stream_changed` when another service stands where this stream does not reach.

    Returns whether all answered: what one that is away knows, nobody knows.
    """
    others = [name for name in SERVICES if name != service]
    answers = await asyncio.gather(*(_reached(bus, name, organisation) for name in others))
    if not any(reached and reached.stream_created for reached in answers):
        return all(answers)
    created, last = await stream_now(bus)  # after the answers: a position that moved on meanwhile is on the stream
    for name, reached in zip(others, answers, strict=True):
        if reached is None or not reached.stream_created:
            continue
        if reached.stream_created != created:
            raise Broken(
                "bus.stream_changed",
                f"the stream is not the one that {name} knows: it stands at {reached.position} of another one",
                ADVICE,
            )
        if reached.position > last:
            raise Broken(
                "bus.position_beyond",
                f"the stream is shorter than {name} knows: it stands at {reached.position}, the stream ends at {last}",
                ADVICE,
            )
    return all(answers)


async def _reached(bus: Bus, name: str, organisation: str) -> Reached | None:
    try:
        answer = await bus.ask(AskReached(organisation=organisation, asked=name), timeout_seconds=ASK_SECONDS)
    except KiopsError:
        return None
    assert isinstance(answer, Reached)
    return answer
