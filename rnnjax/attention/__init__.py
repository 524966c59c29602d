"""Floor 3: cells that look at a memory, such as an encoder's outputs.

    decoder = rnnjax.attend(rnnjax.gru(256), 512, attention.additive(128))
    state   = attention.start(decoder, params, encoded, lengths=lengths)
    state, ys = rnnjax.unroll(decoder, params, state, xs)

`attend` looks before each step, as Bahdanau et al. do, `attend_after` after it, as Luong et al. do;
a score says how places are compared. The memory enters once, by `start`, wherever in a stack the
decoder stands, and is held in the state.
"""

from rnnjax.attention._common import AttendParams as AttendParams
from rnnjax.attention._common import AttendState as AttendState
from rnnjax.attention._score import Memory as Memory
from rnnjax.attention._score import Score as Score
from rnnjax.attention.attend import attend as attend
from rnnjax.attention.attend_after import attend_after as attend_after
from rnnjax.attention.scores import AdditiveParams as AdditiveParams
from rnnjax.attention.scores import LocationParams as LocationParams
from rnnjax.attention.scores import ScaledDotParams as ScaledDotParams
from rnnjax.attention.scores import additive as additive
from rnnjax.attention.scores import concat as concat
from rnnjax.attention.scores import dot as dot
from rnnjax.attention.scores import general as general
from rnnjax.attention.scores import location as location
from rnnjax.attention.scores import scaled_dot as scaled_dot
from rnnjax.attention.start import start as start
from rnnjax.attention.windows import LocalParams as LocalParams
from rnnjax.attention.windows import local as local
from rnnjax.attention.windows import monotonic as monotonic
