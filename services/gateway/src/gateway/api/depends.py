"""What routes of the API ask for: who is asking, and how much."""

from typing import Annotated

from fastapi import Depends, Query, Request

from gateway.access import Actor
from gateway.api.paging import MOST


async def _actor(request: Request) -> Actor:
    # The site is put on the request's scope by the router that `assembled` makes: nothing is global.
    return await request.scope["kiops.site"].access.actor(request)


Who = Annotated[Actor, Depends(_actor)]
"""The person or program that asks; refused with 401 when there is none."""

Cursor = Annotated[str, Query(max_length=500, description="`next` of the page before")]
Limit = Annotated[int, Query(ge=1, le=MOST)]
