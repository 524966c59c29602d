"""Floor 4: training. Any loss over any model: losses, steps, the loop, runs, checkpoints."""

from rnnjax.train.checkpoint import CheckpointError as CheckpointError
from rnnjax.train.checkpoint import best_checkpoint as best_checkpoint
from rnnjax.train.checkpoint import checkpoints as checkpoints
from rnnjax.train.checkpoint import load_checkpoint as load_checkpoint
from rnnjax.train.checkpoint import load_meta as load_meta
from rnnjax.train.checkpoint import save_checkpoint as save_checkpoint
from rnnjax.train.folder import tensorboard as tensorboard
from rnnjax.train.loop import fit as fit
from rnnjax.train.losses import TokenLoss as TokenLoss
from rnnjax.train.losses import binary_cross_entropy as binary_cross_entropy
from rnnjax.train.losses import bits_per_token as bits_per_token
from rnnjax.train.losses import cross_entropy as cross_entropy
from rnnjax.train.losses import ctc as ctc
from rnnjax.train.losses import gaussian_nll as gaussian_nll
from rnnjax.train.losses import mean_absolute_error as mean_absolute_error
from rnnjax.train.losses import mean_squared_error as mean_squared_error
from rnnjax.train.losses import perplexity as perplexity
from rnnjax.train.losses import quantile_loss as quantile_loss
from rnnjax.train.losses import token_nats as token_nats
from rnnjax.train.optimizer import clip_by_global_norm as clip_by_global_norm
from rnnjax.train.optimizer import global_norm as global_norm
from rnnjax.train.optimizer import optimizer as optimizer
from rnnjax.train.optimizer import schedule as schedule
from rnnjax.train.placement import Placement as Placement
from rnnjax.train.placement import placed as placed
from rnnjax.train.placement import placement as placement
from rnnjax.train.plot import plot_training as plot_training
from rnnjax.train.regularizers import activation_penalty as activation_penalty
from rnnjax.train.regularizers import gradient_norm_regularizer as gradient_norm_regularizer
from rnnjax.train.regularizers import temporal_activation_penalty as temporal_activation_penalty
from rnnjax.train.regularizers import weight_noise as weight_noise
from rnnjax.train.run import Result as Result
from rnnjax.train.run import Run as Run
from rnnjax.train.run import load_run as load_run
from rnnjax.train.run import run_task as run_task
from rnnjax.train.sources import Bucketed as Bucketed
from rnnjax.train.sources import Examples as Examples
from rnnjax.train.sources import Generated as Generated
from rnnjax.train.sources import Iterated as Iterated
from rnnjax.train.sources import Sequences as Sequences
from rnnjax.train.sources import Source as Source
from rnnjax.train.sources import Streams as Streams
from rnnjax.train.sources import Window as Window
from rnnjax.train.sources import Windows as Windows
from rnnjax.train.sources import examples as examples
from rnnjax.train.sources import generated as generated
from rnnjax.train.sources import iterated as iterated
from rnnjax.train.sources import sequences as sequences
from rnnjax.train.sources import sliding_windows as sliding_windows
from rnnjax.train.sources import streams as streams
from rnnjax.train.step import Loss as Loss
from rnnjax.train.step import Metrics as Metrics
from rnnjax.train.step import NonFiniteError as NonFiniteError
from rnnjax.train.step import TrainState as TrainState
from rnnjax.train.step import check_finite as check_finite
from rnnjax.train.step import init_train_state as init_train_state
from rnnjax.train.step import make_train_step as make_train_step
from rnnjax.train.sweep import Seeds as Seeds
from rnnjax.train.sweep import Sweep as Sweep
from rnnjax.train.sweep import plot_sweep as plot_sweep
from rnnjax.train.sweep import sweep as sweep
from rnnjax.train.sweep import train_seeds as train_seeds
from rnnjax.train.task import Data as Data
from rnnjax.train.task import GeneratedTask as GeneratedTask
from rnnjax.train.task import System as System
from rnnjax.train.task import Task as Task
from rnnjax.train.truncated import truncated as truncated

# What was here and is not about training alone.
_MOVED = dict.fromkeys(
    """
    CONFIGS baselines compressors interpolated_ngram Text Vocabulary Words read_text
    standard_library_docstrings standard_library_text words evaluate loss_by_position
    token_losses window_losses Evaluation evaluate_run generate_from_run
    recurrent_language_model tied_readout generate generate_batch
    """.split(),
    "rnnjax.tasks.language_model",
)
_MOVED |= {
    "LanguageModelConfig": "rnnjax.tasks.language_model as LanguageModel",
    "train_language_model": "rnnjax.train as run_task, which takes any task",
}


def __getattr__(name: str) -> object:
    if name in _MOVED:
        # Not an AttributeError, which `from rnnjax.train import ...` would put its own words for.
        raise ImportError(f"rnnjax.train.{name} is in {_MOVED[name]} now")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
