"""Contenders that compute next to nothing."""

import os
import time

import numpy as np
from worker import Contender


def toy(job):
    """Takes `seconds`, and is `wrong` by so much in its gradient; one library is not there."""
    if job.get("library") == "none":
        raise NotImplementedError("has no such thing")
    gradient = np.linspace(-2, 2, 5) + job.get("wrong", 0) * np.eye(5)[2]
    results = {"outputs": np.arange(3.0), "gradient": gradient}
    print("what a library prints is no answer")
    return Contender({"forward": lambda: time.sleep(job["seconds"])}, {}, results)


def environment(job):
    """Says what it finds in its environment."""
    return Contender({}, {"environment": dict(os.environ)}, {"nothing": np.zeros(1)})


def raising(job):
    raise KeyError("a fault of ours")
