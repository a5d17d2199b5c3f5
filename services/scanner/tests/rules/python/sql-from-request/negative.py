"""Orders of a shop, found by what a customer types."""

import sqlite3

from flask import Flask, jsonify, request

app = Flask(__name__)


def connection():
    opened = sqlite3.connect("shop.db")
    opened.row_factory = sqlite3.Row
    return opened


@app.get("/orders")
def orders():
    term = request.args.get("q", "")
    page = int(request.args.get("page", "1"))
    statement = "select id, placed_at, total from orders where ref like ? order by placed_at limit 50"
    with connection() as db:
        rows = db.execute(statement, (f"%{term}%",)).fetchall()
    return jsonify(page=page, orders=[dict(row) for row in rows])
