"""A task: recurrent models of language, by characters or by words."""

from rnnjax.tasks.language_model.baselines import baselines as baselines
from rnnjax.tasks.language_model.baselines import compressors as compressors
from rnnjax.tasks.language_model.baselines import interpolated_ngram as interpolated_ngram
from rnnjax.tasks.language_model.corpora import Text as Text
from rnnjax.tasks.language_model.corpora import read_text as read_text
from rnnjax.tasks.language_model.corpora import (
    standard_library_docstrings as standard_library_docstrings,
)
from rnnjax.tasks.language_model.corpora import standard_library_text as standard_library_text
from rnnjax.tasks.language_model.evaluate import Evaluation as Evaluation
from rnnjax.tasks.language_model.evaluate import evaluate as evaluate
from rnnjax.tasks.language_model.evaluate import loss_by_position as loss_by_position
from rnnjax.tasks.language_model.evaluate import token_losses as token_losses
from rnnjax.tasks.language_model.evaluate import window_losses as window_losses
from rnnjax.tasks.language_model.loss import Symbols as Symbols
from rnnjax.tasks.language_model.loss import next_symbol_loss as next_symbol_loss
from rnnjax.tasks.language_model.model import recurrent_language_model as recurrent_language_model
from rnnjax.tasks.language_model.model import tied_readout as tied_readout
from rnnjax.tasks.language_model.run import evaluate_run as evaluate_run
from rnnjax.tasks.language_model.run import generate_from_run as generate_from_run
from rnnjax.tasks.language_model.sample import generate as generate
from rnnjax.tasks.language_model.sample import generate_batch as generate_batch
from rnnjax.tasks.language_model.task import CONFIGS as CONFIGS
from rnnjax.tasks.language_model.task import LanguageModel as LanguageModel
from rnnjax.tasks.language_model.vocabulary import Vocabulary as Vocabulary
from rnnjax.tasks.language_model.vocabulary import Words as Words
from rnnjax.tasks.language_model.vocabulary import words as words
