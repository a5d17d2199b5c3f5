"""Makes small pictures of the ones people upload."""

import os
import subprocess

from flask import Flask, abort, request

app = Flask(__name__)
FOLDER = "/srv/pictures"


@app.post("/thumbnail")
def thumbnail():
    name = request.form["name"]
    width = int(request.form.get("width", "200"))
    if not os.path.isdir(FOLDER):
        abort(503)
    done = subprocess.run(["convert", f"{FOLDER}/{name}", "-resize", str(width), f"{FOLDER}/small/{name}"], check=False)
    if done.returncode:
        abort(422)
    return {"made": True}
