"""Finds out who sent a request by the token in its header."""

from dataclasses import dataclass

import jwt


@dataclass
class Caller:
    name: str
    roles: list[str]


class Tokens:
    def __init__(self, key: str):
        self.key = key

    def caller(self, header: str) -> Caller:
        token = header.removeprefix("Bearer ")
        claims = jwt.decode(token, self.key, algorithms=["RS256"], audience="shop")
        return Caller(claims["sub"], claims.get("roles", []))


def may(caller: Caller, role: str) -> bool:
    return role in caller.roles
