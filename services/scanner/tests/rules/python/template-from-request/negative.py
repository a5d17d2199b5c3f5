"""A page that greets people in the words of their team."""

from flask import Flask, render_template_string, request

app = Flask(__name__)
PAGE = "<!doctype html><title>Greeting</title><p>{{ greeting }}</p>"


def shortened(text: str) -> str:
    return text[:200]


@app.route("/greeting")
def greeting():
    words = request.args.get("words", "Hello")
    team = request.args.get("team", "")
    text = shortened(words)
    if team:
        text = f"{text}, {team}"
    return render_template_string(PAGE, greeting=text)


@app.route("/empty")
def empty():
    return render_template_string(PAGE, greeting="")
