"""Shows a preview of a link that somebody posts in the chat."""

import re

import requests
from flask import Flask, abort, request

app = Flask(__name__)
TITLE = re.compile(r"<title>([^<]{1,200})</title>")
PAGES = {"news": "https://news.example.org/", "status": "https://status.example.org/"}


@app.post("/preview")
def preview():
    address = request.get_json()["address"]
    answer = requests.get(address, timeout=5)
    if answer.status_code != 200:
        abort(422)
    found = TITLE.search(answer.text)
    return {"title": found[1] if found else ""}
