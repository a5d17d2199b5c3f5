"""The small site of the canteen."""

import os

from flask import Flask, jsonify

app = Flask(__name__)
MENU = {"monday": "soup", "tuesday": "pasta", "wednesday": "curry"}


@app.get("/menu")
def menu():
    return jsonify(MENU)


@app.get("/menu/<day>")
def one_day(day):
    return jsonify(dish=MENU.get(day, "closed"))


def days() -> list[str]:
    """The days on which it is open."""
    return sorted(MENU)


if __name__ == "__main__":
    app.run(host="0.0.0.0", port=int(os.environ.get("PORT", "8080")))
