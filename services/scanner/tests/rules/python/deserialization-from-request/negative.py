"""Keeps the basket of a customer between visits."""

import base64
import json

from flask import Flask, jsonify, request

app = Flask(__name__)
EMPTY = {"items": []}


@app.get("/basket")
def basket():
    kept = request.cookies.get("basket")
    if not kept:
        return jsonify(EMPTY)
    raw = base64.b64decode(kept)
    found = json.loads(raw)
    return jsonify(items=found["items"], count=len(found["items"]))


@app.get("/health")
def health():
    return json.dumps({"ok": True})
