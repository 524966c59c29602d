"""Floor 4: seeing what a recurrence does: gradients through time, Jacobians, pictures of them."""

from rnnjax.diagnostics._state import as_vector as as_vector
