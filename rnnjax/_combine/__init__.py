"""Floor 3: functions from cells to cells, one file each."""

from rnnjax._combine._feedback import FeedbackState as FeedbackState
from rnnjax._combine._noise import NoisyState as NoisyState
from rnnjax._combine.cast import cast as cast
from rnnjax._combine.clip_gradient import clip_gradient as clip_gradient
from rnnjax._combine.clip_state import clip_state as clip_state
from rnnjax._combine.emit_state import emit_state as emit_state
from rnnjax._combine.feedback import feedback as feedback
from rnnjax._combine.highway import HighwayParams as HighwayParams
from rnnjax._combine.highway import highway as highway
from rnnjax._combine.input_dropout import input_dropout as input_dropout
from rnnjax._combine.leaky import leaky as leaky
from rnnjax._combine.learned_leaky import LearnedLeakyParams as LearnedLeakyParams
from rnnjax._combine.learned_leaky import learned_leaky as learned_leaky
from rnnjax._combine.learned_state import LearnedStateParams as LearnedStateParams
from rnnjax._combine.learned_state import learned_state as learned_state
from rnnjax._combine.orthogonal import orthogonal as orthogonal
from rnnjax._combine.parallel import parallel as parallel
from rnnjax._combine.recurrent_dropout import recurrent_dropout as recurrent_dropout
from rnnjax._combine.residual import residual as residual
from rnnjax._combine.scheduled_sampling import scheduled_sampling as scheduled_sampling
from rnnjax._combine.spectral import spectral as spectral
from rnnjax._combine.stack import stack as stack
from rnnjax._combine.teacher_forcing import teacher_forcing as teacher_forcing
from rnnjax._combine.weight_drop import drop_weights as drop_weights
from rnnjax._combine.weight_drop import weight_drop as weight_drop
from rnnjax._combine.zoneout import zoneout as zoneout
