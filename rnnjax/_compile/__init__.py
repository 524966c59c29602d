"""Floor 1: the recurrence compiler, `scan` and `plan`."""

from rnnjax._compile._plan import Plan as Plan
from rnnjax._compile._plan import plan as plan
from rnnjax._compile._scan import scan as scan
