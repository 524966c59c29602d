"""A task: a label for every token, of Python source or of a user's own sentences."""

from rnnjax.tasks.tag.baselines import BigramTagger as BigramTagger
from rnnjax.tasks.tag.conll import read_conll as read_conll
from rnnjax.tasks.tag.conll import write_conll as write_conll
from rnnjax.tasks.tag.python_source import KINDS as KINDS
from rnnjax.tasks.tag.python_source import kinds as kinds
from rnnjax.tasks.tag.python_source import soft_lines as soft_lines
from rnnjax.tasks.tag.sentence import Sentence as Sentence
from rnnjax.tasks.tag.task import Tag as Tag
from rnnjax.tasks.tag.vocabulary import Vocabulary as Vocabulary
