"""The cells, one file each: equations, parameters, state, factory."""

from rnnjax.cells._common import LSTMState as LSTMState
from rnnjax.cells.activation import activation as activation
from rnnjax.cells.dropout import DropoutState as DropoutState
from rnnjax.cells.dropout import dropout as dropout
from rnnjax.cells.elman import ElmanParams as ElmanParams
from rnnjax.cells.elman import elman as elman
from rnnjax.cells.embed import EmbedParams as EmbedParams
from rnnjax.cells.embed import embed as embed
from rnnjax.cells.gru import GRUParams as GRUParams
from rnnjax.cells.gru import gru as gru
from rnnjax.cells.layer_norm import LayerNormParams as LayerNormParams
from rnnjax.cells.layer_norm import layer_norm as layer_norm
from rnnjax.cells.layer_norm_gru import LayerNormGRUParams as LayerNormGRUParams
from rnnjax.cells.layer_norm_gru import layer_norm_gru as layer_norm_gru
from rnnjax.cells.layer_norm_lstm import LayerNormLSTMParams as LayerNormLSTMParams
from rnnjax.cells.layer_norm_lstm import layer_norm_lstm as layer_norm_lstm
from rnnjax.cells.linear import LinearParams as LinearParams
from rnnjax.cells.linear import linear as linear
from rnnjax.cells.lstm import LSTMParams as LSTMParams
from rnnjax.cells.lstm import lstm as lstm
from rnnjax.cells.mgu import MGUParams as MGUParams
from rnnjax.cells.mgu import mgu as mgu
