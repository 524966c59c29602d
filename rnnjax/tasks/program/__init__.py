"""A task: read a short program, and write what it prints."""

from rnnjax.tasks.program.programs import difficulty as difficulty
from rnnjax.tasks.program.programs import draw_program as draw_program
from rnnjax.tasks.program.programs import executed as executed
from rnnjax.tasks.program.programs import read_programs as read_programs
from rnnjax.tasks.program.programs import renamed as renamed
from rnnjax.tasks.program.task import Program as Program
