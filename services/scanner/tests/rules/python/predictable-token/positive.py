"""Links by which people set a new password."""

import random
import secrets
import string
import time

LETTERS = string.ascii_letters + string.digits
ADDRESS = "https://shop.example.org/reset"
LENGTH = 32


def reset_token() -> str:
    return "".join(random.choice(LETTERS) for _ in range(LENGTH))


def reset_link(mail: str, kept: dict) -> str:
    token = reset_token()
    kept[token] = (mail, time.time() + 900)
    return f"{ADDRESS}/{token}"


def spare() -> str:
    return secrets.token_hex(4)
