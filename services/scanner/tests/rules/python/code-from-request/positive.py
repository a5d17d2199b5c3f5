"""A calculator for prices with a formula that the caller chooses."""

from fastapi import FastAPI, HTTPException

app = FastAPI()
RATES = {"normal": 0.19, "reduced": 0.07}


@app.get("/price/{kind}")
def price(kind: str, net: float):
    if kind not in RATES:
        raise HTTPException(404, "no such rate")
    return {"gross": round(net * (1 + RATES[kind]), 2)}


@app.get("/formula")
def formula(text: str, net: float):
    value = eval(text, {"net": net})
    return {"gross": value}


@app.get("/rates")
def rates():
    return RATES
