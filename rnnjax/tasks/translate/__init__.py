"""Tasks: write in another language, answer in a dialogue, sum up a text."""

from rnnjax.tasks.translate.formats import Dialogue as Dialogue
from rnnjax.tasks.translate.formats import Summarise as Summarise
from rnnjax.tasks.translate.task import Translate as Translate
