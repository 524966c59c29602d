"""A task: the four studies of Elman, Finding Structure in Time, 1990, redrawn."""

from rnnjax.tasks.elman1990.expected import conditional_means as conditional_means
from rnnjax.tasks.elman1990.expected import expected as expected
from rnnjax.tasks.elman1990.expected import peaks as peaks
from rnnjax.tasks.elman1990.expected import squared_errors as squared_errors
from rnnjax.tasks.elman1990.studies import STUDIES as STUDIES
from rnnjax.tasks.elman1990.studies import Stream as Stream
from rnnjax.tasks.elman1990.studies import Study as Study
from rnnjax.tasks.elman1990.studies import read_units as read_units
from rnnjax.tasks.elman1990.studies import stream as stream
from rnnjax.tasks.elman1990.task import Elman1990 as Elman1990
