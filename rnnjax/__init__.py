"""Recurrent neural networks in JAX: cells as equations, unrolled over time."""

from rnnjax import _export
from rnnjax import attention as attention
from rnnjax import ctc as ctc
from rnnjax import decoding as decoding
from rnnjax import host as host
from rnnjax._cell import Cell as Cell
from rnnjax._cell import Held as Held
from rnnjax._cell import tokens as tokens
from rnnjax._combine import FeedbackState as FeedbackState
from rnnjax._combine import HighwayParams as HighwayParams
from rnnjax._combine import LearnedLeakyParams as LearnedLeakyParams
from rnnjax._combine import LearnedStateParams as LearnedStateParams
from rnnjax._combine import NoisyState as NoisyState
from rnnjax._combine import cast as cast
from rnnjax._combine import clip_gradient as clip_gradient
from rnnjax._combine import clip_state as clip_state
from rnnjax._combine import drop_weights as drop_weights
from rnnjax._combine import emit_state as emit_state
from rnnjax._combine import feedback as feedback
from rnnjax._combine import highway as highway
from rnnjax._combine import input_dropout as input_dropout
from rnnjax._combine import leaky as leaky
from rnnjax._combine import learned_leaky as learned_leaky
from rnnjax._combine import learned_state as learned_state
from rnnjax._combine import orthogonal as orthogonal
from rnnjax._combine import parallel as parallel
from rnnjax._combine import recurrent_dropout as recurrent_dropout
from rnnjax._combine import residual as residual
from rnnjax._combine import scheduled_sampling as scheduled_sampling
from rnnjax._combine import spectral as spectral
from rnnjax._combine import stack as stack
from rnnjax._combine import teacher_forcing as teacher_forcing
from rnnjax._combine import weight_drop as weight_drop
from rnnjax._combine import zoneout as zoneout
from rnnjax._compile import Plan as Plan
from rnnjax._compile import plan as plan
from rnnjax._compile import scan as scan
from rnnjax._factory import Positive as Positive
from rnnjax._factory import Rate as Rate
from rnnjax._factory import Size as Size
from rnnjax._factory import cell_factory as cell_factory
from rnnjax._fields import decays as decays
from rnnjax._held import hold as hold
from rnnjax._layer import Layer as Layer
from rnnjax._layer import LayerCall as LayerCall
from rnnjax._noise import noise_keys as noise_keys
from rnnjax._noise import rekey as rekey
from rnnjax._noise import set_rates as set_rates
from rnnjax._unroll import unroll as unroll
from rnnjax.attention import AdditiveParams as AdditiveParams
from rnnjax.attention import AttendParams as AttendParams
from rnnjax.attention import AttendState as AttendState
from rnnjax.attention import LocalParams as LocalParams
from rnnjax.attention import LocationParams as LocationParams
from rnnjax.attention import Memory as Memory
from rnnjax.attention import ScaledDotParams as ScaledDotParams
from rnnjax.attention import attend as attend
from rnnjax.attention import attend_after as attend_after
from rnnjax.cells import *  # noqa: F403  (a cell is one line, in its own package)
from rnnjax.initializers import PRESETS as PRESETS
from rnnjax.initializers import Initializers as Initializers
from rnnjax.layers import BidirectionalParams as BidirectionalParams
from rnnjax.layers import bidirectional as bidirectional
from rnnjax.layers import pyramid as pyramid
from rnnjax.layers import recurrent as recurrent
from rnnjax.layers import serial as serial
from rnnjax.sequences import Packed as Packed
from rnnjax.sequences import bucket as bucket
from rnnjax.sequences import last as last
from rnnjax.sequences import max_pool as max_pool
from rnnjax.sequences import mean_pool as mean_pool
from rnnjax.sequences import pack as pack
from rnnjax.sequences import pad as pad
from rnnjax.sequences import reverse_sequences as reverse_sequences
from rnnjax.sequences import unpack as unpack
from rnnjax.sequences import unpad as unpad

__version__ = "0.2.0"

_export.register(globals())
