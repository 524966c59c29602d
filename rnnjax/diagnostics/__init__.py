"""Floor 4: seeing what a recurrence does: gradients through time, Jacobians, pictures of them.

What follows a cell, its steps or a loss may stand under `jax.jit`. What counts or searches, and so
cannot say beforehand how much it finds (`fixed_points`, `unit_statistics`, `gate_statistics`,
`time_constants`, `memory`, `recurrent_norms`, `descent`, `compare`), takes and gives NumPy.
"""

from rnnjax.diagnostics._state import as_vector as as_vector
from rnnjax.diagnostics.cliff import Cliff as Cliff
from rnnjax.diagnostics.cliff import cliff as cliff
from rnnjax.diagnostics.cliff import cliff_loss as cliff_loss
from rnnjax.diagnostics.cliff import plot_cliff as plot_cliff
from rnnjax.diagnostics.compare import Compared as Compared
from rnnjax.diagnostics.compare import compare as compare
from rnnjax.diagnostics.compare import plot_compare as plot_compare
from rnnjax.diagnostics.fixed_points import FixedPoints as FixedPoints
from rnnjax.diagnostics.fixed_points import fixed_points as fixed_points
from rnnjax.diagnostics.fixed_points import plot_fixed_points as plot_fixed_points
from rnnjax.diagnostics.gates import GateStatistics as GateStatistics
from rnnjax.diagnostics.gates import gate_statistics as gate_statistics
from rnnjax.diagnostics.gates import gates as gates
from rnnjax.diagnostics.gates import plot_gate_histogram as plot_gate_histogram
from rnnjax.diagnostics.gates import plot_gate_statistics as plot_gate_statistics
from rnnjax.diagnostics.gates import plot_gates as plot_gates
from rnnjax.diagnostics.gates import plot_time_constants as plot_time_constants
from rnnjax.diagnostics.gates import time_constants as time_constants
from rnnjax.diagnostics.gradients import GradientFlow as GradientFlow
from rnnjax.diagnostics.gradients import gradient_flow as gradient_flow
from rnnjax.diagnostics.gradients import plot_gradient_flow as plot_gradient_flow
from rnnjax.diagnostics.gradients import plot_gradient_pairs as plot_gradient_pairs
from rnnjax.diagnostics.jacobians import Operator as Operator
from rnnjax.diagnostics.jacobians import input_jacobian as input_jacobian
from rnnjax.diagnostics.jacobians import jacobian_operator as jacobian_operator
from rnnjax.diagnostics.jacobians import plot_input_jacobian as plot_input_jacobian
from rnnjax.diagnostics.jacobians import plot_step_jacobian as plot_step_jacobian
from rnnjax.diagnostics.jacobians import step_jacobian as step_jacobian
from rnnjax.diagnostics.landscape import Descent as Descent
from rnnjax.diagnostics.landscape import Slice as Slice
from rnnjax.diagnostics.landscape import descent as descent
from rnnjax.diagnostics.landscape import loss_slice as loss_slice
from rnnjax.diagnostics.landscape import plot_loss_slice as plot_loss_slice
from rnnjax.diagnostics.landscape import random_direction as random_direction
from rnnjax.diagnostics.lyapunov import lyapunov_exponents as lyapunov_exponents
from rnnjax.diagnostics.lyapunov import plot_lyapunov as plot_lyapunov
from rnnjax.diagnostics.memory import Memory as Memory
from rnnjax.diagnostics.memory import memory as memory
from rnnjax.diagnostics.memory import plot_memory as plot_memory
from rnnjax.diagnostics.products import JacobianProducts as JacobianProducts
from rnnjax.diagnostics.products import jacobian_products as jacobian_products
from rnnjax.diagnostics.products import plot_jacobian_products as plot_jacobian_products
from rnnjax.diagnostics.states import Trajectory as Trajectory
from rnnjax.diagnostics.states import UnitStatistics as UnitStatistics
from rnnjax.diagnostics.states import plot_state_norms as plot_state_norms
from rnnjax.diagnostics.states import plot_trajectory as plot_trajectory
from rnnjax.diagnostics.states import plot_unit_statistics as plot_unit_statistics
from rnnjax.diagnostics.states import state_norms as state_norms
from rnnjax.diagnostics.states import trajectory as trajectory
from rnnjax.diagnostics.states import unit_statistics as unit_statistics
from rnnjax.diagnostics.terms import gradient_share as gradient_share
from rnnjax.diagnostics.terms import gradient_terms as gradient_terms
from rnnjax.diagnostics.terms import plot_gradient_share as plot_gradient_share
from rnnjax.diagnostics.terms import plot_gradient_terms as plot_gradient_terms
from rnnjax.diagnostics.training import LossGradients as LossGradients
from rnnjax.diagnostics.training import draw_gradients as draw_gradients
from rnnjax.diagnostics.training import gradient_record as gradient_record
from rnnjax.diagnostics.training import loss_gradients as loss_gradients
from rnnjax.diagnostics.training import plot_gradient_groups as plot_gradient_groups
from rnnjax.diagnostics.training import plot_gradient_records as plot_gradient_records
from rnnjax.diagnostics.training import plot_loss_gradients as plot_loss_gradients
from rnnjax.diagnostics.weights import RecurrentNorms as RecurrentNorms
from rnnjax.diagnostics.weights import plot_power_norms as plot_power_norms
from rnnjax.diagnostics.weights import plot_recurrent_norms as plot_recurrent_norms
from rnnjax.diagnostics.weights import power_norms as power_norms
from rnnjax.diagnostics.weights import recurrent_norms as recurrent_norms
