"""FastAPI + onnxruntime as their documentation advises, under uvicorn with uvloop and httptools.

An `async def` endpoint and one thread per inference: the fastest of four combinations measured, the others being a
`def` endpoint (which FastAPI runs in its thread pool) and onnxruntime's default of all cores.
"""

from digit_model import DigitModel
from fastapi import FastAPI
from pydantic import BaseModel

model = DigitModel()
app = FastAPI()


class Digit(BaseModel):
    image: list[int]


@app.post("/predict")
async def predict(digit: Digit):
    return {"prediction": model.digits([digit.image])[0]}
