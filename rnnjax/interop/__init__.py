"""Weights in and out: exact conversion from and to other libraries.

    params  = from_torch(model, module or state dict)
    weights = to_torch(model, params)

Every pair is alike: `from_*` reads what another library has into the parameters of a model of ours,
`to_*` is its inverse. They take plain arrays and trees, so that the library need not be installed.
The model says what the weights are of, and nothing is guessed: a name that is missing or unknown, a
shape that is another, a function that the other library has not, are errors that say so.

What is moved, turned or negated keeps its bits, so `from_x(model, to_x(model, params))` is
`params`, bit for bit. Two things are sums and are rounded once: two biases that become one, and a
forget bias which another library adds at run time (Haiku, and Flax's `ConvLSTMCell`).

`rnnjax.interop.linen`, `.nnx`, `.haiku` and `.equinox` are imported by themselves: each has `RNN`,
a model of ours as a module there, and `cell`, a cell of theirs as one of ours.
"""

from rnnjax.interop._equinox import from_equinox as from_equinox
from rnnjax.interop._equinox import to_equinox as to_equinox
from rnnjax.interop._files import load_params as load_params
from rnnjax.interop._files import save_params as save_params
from rnnjax.interop._flax import from_flax as from_flax
from rnnjax.interop._flax import to_flax as to_flax
from rnnjax.interop._haiku import from_haiku as from_haiku
from rnnjax.interop._haiku import to_haiku as to_haiku
from rnnjax.interop._keras import from_keras as from_keras
from rnnjax.interop._keras import to_keras as to_keras
from rnnjax.interop._onnx import from_onnx as from_onnx
from rnnjax.interop._onnx import to_onnx as to_onnx
from rnnjax.interop._torch import from_torch as from_torch
from rnnjax.interop._torch import to_torch as to_torch
