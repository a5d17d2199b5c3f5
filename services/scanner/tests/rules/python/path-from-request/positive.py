"""Hands out the invoices of a customer."""

import os

from flask import Flask, abort, request, send_file
from werkzeug.utils import secure_filename

app = Flask(__name__)
FOLDER = "/srv/invoices"


@app.get("/invoice")
def invoice():
    name = request.args.get("name", "")
    if not name:
        abort(400)
    path = os.path.join(FOLDER, name)
    return send_file(path, as_attachment=True)


@app.get("/count")
def count():
    return {"invoices": len(os.listdir(FOLDER)), "name": secure_filename("all")}
