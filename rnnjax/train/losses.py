"""Losses over real tokens: what is padding never matters, forward or backward."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from rnnjax._check import check_lengths
from rnnjax._dtypes import at_least_float32
from rnnjax._factory import natural, real
from rnnjax._unroll import before_end, select_rows

Array = jax.Array


class TokenLoss(NamedTuple):
    """What a loss returns.

    Attributes:
      mean: the loss of a real token, []; 0 where there is none.
      total: the loss of all real tokens together, [].
      count: how many real tokens there are, [].
    """

    mean: Array
    total: Array
    count: Array


# --- symbols -------------------------------------------------------------------------------------


def cross_entropy(
    logits: Array, targets: Array, mask: Array | None = None, *, label_smoothing: float = 0.0
) -> TokenLoss:
    """Cross-entropy of predicted symbols, over real tokens alone.

        total = -Σ_{t,b real} log softmax(logits[t, b])[targets[t, b]],   mean = total / count

    What logits and targets hold at a masked token never matters, forward or backward. A target
    outside [0, V) at a real token gives NaN, which no run overlooks.

    Args:
      logits: [T, *B, V], floating; summed in float32 or better.
      targets: integers [T, *B] in [0, V).
      mask: bool [T, *B], False at padding; None when every token is real.
      label_smoothing: ε in [0, 1), the share of the target's weight that is spread over all V
        symbols; a logit of -inf then makes the loss infinite.

    Returns:
      A `TokenLoss`, in nats.

    Raises:
      TypeError: `logits` are not floating, `targets` not integers, or `mask` is not bool.
      ValueError: the shapes disagree, there is no token at all (T = 0 or B = 0), or
        `label_smoothing` is outside [0, 1).

    Example:
      >>> import jax.numpy as jnp
      >>> from rnnjax.train import bits_per_token, cross_entropy, token_nats
      >>> logits, targets = jnp.zeros((3, 2, 4)), jnp.zeros((3, 2), int)
      >>> float(bits_per_token(cross_entropy(logits, targets).mean))
      2.0
      >>> token_nats(logits, targets).shape
      (3, 2)

    Reference:
      For the smoothing: Szegedy et al., Rethinking the Inception Architecture for Computer Vision,
      CVPR 2016, arXiv:1512.00567.
    """
    return _summed(token_nats(logits, targets, mask, label_smoothing=label_smoothing), mask)


def token_nats(
    logits: Array, targets: Array, mask: Array | None = None, *, label_smoothing: float = 0.0
) -> Array:
    """The loss of every token by itself, 0 at padding; arguments and errors of `cross_entropy`.

    Returns:
      Nats, [T, *B].
    """
    smoothing = real("label_smoothing", label_smoothing, "a number in [0, 1)", lambda x: 0 <= x < 1)
    _check_floating("logits", logits)
    _check_integers("targets", targets)
    _check_mask(mask, targets.shape, whole=True)
    if targets.shape != logits.shape[:-1]:
        raise _disagree("targets", targets, "logits", logits, logits.shape[:-1])
    _check_some(targets)
    logits, targets = _cleaned(mask, logits), _cleaned(mask, targets)
    logits = logits.astype(at_least_float32(logits.dtype))
    # Widened, since V may be beyond a narrow dtype; and a negative one would count from the end.
    targets, size = targets.astype(int), logits.shape[-1]
    targets = jnp.where((targets < 0) | (targets >= size), size, targets)
    chosen = jnp.take_along_axis(logits, targets[..., None], axis=-1, mode="fill")[..., 0]
    if smoothing:
        chosen = (1 - smoothing) * chosen + smoothing * logits.mean(axis=-1)
    return _cleaned(mask, jax.nn.logsumexp(logits, axis=-1) - chosen)


def ctc(
    logits: Array,
    lengths: Array,
    labels: Array,
    label_lengths: Array,
    *,
    mask: Array | None = None,
    blank: int = 0,
) -> TokenLoss:
    """Connectionist temporal classification: labels of which no one knows where they stand.

        total = -Σ_b log Σ_π Π_t softmax(logits[t, b])[π_t]

    over all π of row b's length that give its labels once repeats are merged and blanks taken out.
    It is `optax.ctc_loss`, where what logits and labels hold beyond their lengths never matters. A
    sequence too short for its labels has no such π, and its loss is inf. A label outside [0, V), or
    the blank among the labels, gives NaN.

    Args:
      logits: [T, B, V], floating; summed in float32 or better.
      lengths: integers [B] in [0, T], how many steps each sequence has.
      labels: integers [B, S].
      label_lengths: integers [B] in [0, S], how many labels each sequence has.
      mask: bool [B], False for rows that only fill the batch; None when every row is real.
      blank: the symbol that stands for none.

    Returns:
      A `TokenLoss`, in nats, whose tokens are the sequences.

    Raises:
      TypeError: `logits` are not floating, `labels` or lengths not integers, or `mask` not bool.
      ValueError: the shapes disagree, a length is out of its range, there is no sequence or no
        step, or `blank` is no symbol.

    Example:
      >>> import jax.numpy as jnp
      >>> from rnnjax.train import ctc
      >>> one = jnp.ones(1, int)
      >>> loss = ctc(jnp.zeros((2, 1, 2)), 2 * one, one[:, None], one)  # 11, 01 and 10, of four
      >>> float(jnp.exp(-loss.total))
      0.75

    Reference:
      Graves, Fernández, Gomez & Schmidhuber, Connectionist Temporal Classification: Labelling
      Unsegmented Sequence Data with Recurrent Neural Networks, ICML 2006.
    """
    _check_floating("logits", logits)
    _check_integers("labels", labels)
    if logits.ndim != 3:
        raise ValueError(f"logits must be [T, B, V], got shape {list(logits.shape)}")
    (time, batch, size), blank = logits.shape, natural("blank", blank)
    if labels.ndim != 2 or len(labels) != batch:
        raise ValueError(f"labels has shape {list(labels.shape)}, expected [{batch}, S]")
    if blank >= size:
        raise ValueError(f"blank is {blank}, logits have {size} symbols")
    _check_mask(mask, (batch,))
    _check_some(logits[..., 0])
    check_lengths(lengths, time, (batch,), 0)
    check_lengths(label_lengths, labels.shape[1], (batch,), 0, "label_lengths")
    step = before_end(time, lengths)
    label = before_end(labels.shape[1], label_lengths).T
    if mask is not None:
        step, label = step & mask, label & mask[:, None]
    logits = _cleaned(step, logits)
    logits = logits.astype(at_least_float32(logits.dtype))
    labels = labels.astype(int)
    wrong = (label & ((labels < 0) | (labels >= size) | (labels == blank))).any(axis=1)
    labels = jnp.where(label, labels, blank)
    with jax.numpy_dtype_promotion("standard"):  # optax relies on it
        nats = optax.ctc_loss(
            jnp.swapaxes(logits, 0, 1),
            1 - step.T.astype(logits.dtype),
            labels,
            1 - label.astype(logits.dtype),
            blank_id=blank,
        ).astype(logits.dtype)
    repeats = (labels[:, 1:] == labels[:, :-1]) & label[:, 1:]
    needed = label.sum(axis=1) + repeats.sum(axis=1)  # a blank between two of a kind
    nats = jnp.where(needed > step.sum(axis=0), jnp.inf, nats)
    return _summed(_cleaned(mask, jnp.where(wrong, jnp.nan, nats)), mask)


def binary_cross_entropy(logits: Array, targets: Array, mask: Array | None = None) -> TokenLoss:
    """Cross-entropy of yes and no, over real entries alone.

        total = -Σ_{real} (z log σ(l) + (1 - z) log(1 - σ(l)))

    Args:
      logits: l, floating, [T, *B, ...]; summed in float32 or better.
      targets: z, bool or numbers in [0, 1], of the same shape; anything else at a real entry gives
        NaN.
      mask: bool, False at padding: the shape of `logits` or its first axes, such as [T, *B]; None
        when everything is real.

    Returns:
      A `TokenLoss`, in nats, whose tokens are the entries.

    Raises:
      TypeError: `logits` are not floating, or `mask` is not bool.
      ValueError: the shapes disagree, or there is no entry at all.

    Example:
      >>> import jax.numpy as jnp
      >>> from rnnjax.train import binary_cross_entropy, bits_per_token
      >>> float(bits_per_token(binary_cross_entropy(jnp.zeros((3, 2)), jnp.ones((3, 2))).mean))
      1.0
    """
    logits, targets = _pair("logits", logits, targets, mask)
    nats = targets * jax.nn.softplus(-logits) + (1 - targets) * jax.nn.softplus(logits)
    wrong = (targets < 0) | (targets > 1)
    return _summed(jnp.where(wrong, jnp.nan, nats), mask)


# --- numbers -------------------------------------------------------------------------------------


def mean_squared_error(predictions: Array, targets: Array, mask: Array | None = None) -> TokenLoss:
    """The squares of what predictions miss by, over real entries alone.

        total = Σ_{real} (prediction - target)²

    Args:
      predictions: floating, [T, *B, ...]; summed in float32 or better.
      targets: numbers of the same shape.
      mask: bool, False at padding: the shape of `predictions` or its first axes, such as [T, *B];
        None when everything is real.

    Returns:
      A `TokenLoss`, whose tokens are the entries.

    Raises:
      TypeError: `predictions` are not floating, or `mask` is not bool.
      ValueError: the shapes disagree, or there is no entry at all.

    Example:
      >>> import jax.numpy as jnp
      >>> from rnnjax.train import mean_squared_error
      >>> xs, mask = jnp.array([[1.0, 3.0], [jnp.nan, 5.0]]), jnp.array([True, False])
      >>> float(mean_squared_error(xs, jnp.zeros((2, 2)), mask).mean)
      5.0
    """
    predictions, targets = _pair("predictions", predictions, targets, mask)
    return _summed(jnp.square(predictions - targets), mask)


def mean_absolute_error(predictions: Array, targets: Array, mask: Array | None = None) -> TokenLoss:
    """What predictions miss by, over real entries alone.

        total = Σ_{real} |prediction - target|

    Arguments, result and errors are those of `mean_squared_error`.

    Example:
      >>> import jax.numpy as jnp
      >>> from rnnjax.train import mean_absolute_error
      >>> float(mean_absolute_error(jnp.array([1.0, -3.0]), jnp.zeros(2)).mean)
      2.0
    """
    predictions, targets = _pair("predictions", predictions, targets, mask)
    return _summed(jnp.abs(predictions - targets), mask)


def gaussian_nll(
    mean: Array, log_std: Array, targets: Array, mask: Array | None = None
) -> TokenLoss:
    """Minus the log-likelihood under normal distributions, over real entries alone.

        total = Σ_{real} log σ + ½ log 2π + ½ ((target - μ) / σ)²

    Args:
      mean: μ, floating, [T, *B, ...]; summed in float32 or better.
      log_std: log σ, of the same shape.
      targets: numbers of the same shape.
      mask: bool, False at padding: the shape of `mean` or its first axes, such as [T, *B]; None
        when everything is real.

    Returns:
      A `TokenLoss`, in nats, whose tokens are the entries.

    Raises:
      TypeError: `mean` or `log_std` are not floating, or `mask` is not bool.
      ValueError: the shapes disagree, or there is no entry at all.

    Example:
      >>> import jax.numpy as jnp
      >>> from rnnjax.train import gaussian_nll
      >>> print(f"{gaussian_nll(jnp.zeros(3), jnp.zeros(3), jnp.zeros(3)).mean:.4f}")
      0.9189
    """
    _check_floating("log_std", log_std)
    if log_std.shape != mean.shape:
        raise _disagree("log_std", log_std, "mean", mean, mean.shape)
    mean, targets = _pair("mean", mean, targets, mask)
    log_std = _cleaned(mask, log_std).astype(mean.dtype)
    missed = (targets - mean) * jnp.exp(-log_std)
    return _summed(log_std + 0.5 * math.log(2 * math.pi) + 0.5 * jnp.square(missed), mask)


def quantile_loss(
    predictions: Array,
    targets: Array,
    quantiles: tuple[float, ...],
    mask: Array | None = None,
) -> TokenLoss:
    """The pinball loss, which is least where predictions are quantiles; over real entries alone.

        total = Σ_{real} Σ_q max(q e, (q - 1) e),   e = target - prediction

    Args:
      predictions: floating, [T, *B, ..., Q], one of each quantile; summed in float32 or better.
      targets: numbers [T, *B, ...].
      quantiles: Q numbers in (0, 1), such as (0.1, 0.5, 0.9).
      mask: bool, False at padding: the shape of `targets` or its first axes, such as [T, *B]; None
        when everything is real.

    Returns:
      A `TokenLoss`, whose tokens are the predictions: the mean is over quantiles too.

    Raises:
      TypeError: `predictions` are not floating, or `mask` is not bool.
      ValueError: the shapes disagree, there is no entry at all, or a quantile is outside (0, 1).

    Example:
      >>> import jax.numpy as jnp
      >>> from rnnjax.train import quantile_loss
      >>> print(quantile_loss(jnp.zeros((2, 1)), jnp.array([10.0, -10.0]), (0.9,)).mean)
      5.0

    Reference:
      Koenker & Bassett, Regression Quantiles, Econometrica 46(1), 1978.
    """
    for n, q in enumerate(quantiles):
        real(f"quantiles[{n}]", q, "a number in (0, 1)", lambda x: 0 < x < 1)
    expected = (*targets.shape, len(quantiles))
    if predictions.shape != expected:
        raise ValueError(
            f"predictions has shape {list(predictions.shape)}, targets are {list(targets.shape)} "
            f"and quantiles {len(quantiles)}: expected {list(expected)}"
        )
    _check_mask(mask, targets.shape)
    targets = jnp.broadcast_to(jnp.asarray(targets)[..., None], expected)
    predictions, targets = _pair("predictions", predictions, targets, mask)
    q, missed = jnp.asarray(quantiles, predictions.dtype), targets - predictions
    return _summed(jnp.maximum(q * missed, (q - 1) * missed), mask)


# --- what losses share ---------------------------------------------------------------------------


def _pair(name: str, predictions: Array, targets: Any, mask: Array | None) -> tuple[Array, Array]:
    """Predictions and targets of one shape, checked, 0 at padding, in float32 or better."""
    _check_floating(name, predictions)
    targets = jnp.asarray(targets)
    if targets.shape != predictions.shape:
        raise _disagree("targets", targets, name, predictions, predictions.shape)
    _check_mask(mask, predictions.shape)
    _check_some(predictions)
    wide = at_least_float32(predictions.dtype)
    if jnp.issubdtype(targets.dtype, jnp.floating):
        wide = jnp.promote_types(wide, at_least_float32(targets.dtype))
    return _cleaned(mask, predictions).astype(wide), _cleaned(mask, targets).astype(wide)


def _cleaned(mask: Array | None, array: Array) -> Array:
    """An array with 0 at padding: what stands there has no value and no gradient."""
    return array if mask is None else select_rows(mask, array, jnp.zeros_like(array))


def _summed(losses: Array, mask: Array | None) -> TokenLoss:
    """The losses of all entries as a `TokenLoss`, with 0 at padding."""
    total = _cleaned(mask, losses).sum()
    count = jnp.asarray(losses.size, losses.dtype)
    if mask is not None:
        each = losses.size // max(mask.size, 1)  # entries of one place of the mask
        count = jnp.sum(mask).astype(losses.dtype) * each
    return TokenLoss(total / jnp.maximum(count, 1), total, count)


def _check_floating(name: str, array: Array) -> None:
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise TypeError(f"{name} must be floating, got {array.dtype}")


def _check_integers(name: str, array: Array) -> None:
    if not jnp.issubdtype(array.dtype, jnp.integer):
        raise TypeError(f"{name} must be integers, got {array.dtype}")


def _check_mask(mask: Array | None, shape: tuple[int, ...], *, whole: bool = False) -> None:
    """Raises unless the mask is bool, of a shape or, unless it has to be whole, its first axes."""
    if mask is None:
        return
    if mask.dtype != bool:
        raise TypeError(f"mask must be bool, got {mask.dtype}")
    if mask.shape != (shape if whole else shape[: max(1, mask.ndim)]):
        raise ValueError(
            f"mask has shape {list(mask.shape)}, expected {list(shape)}"
            + ("" if whole else " or its first axes")
        )


def _check_some(targets: Array) -> None:
    if not targets.size:
        raise ValueError(f"a loss needs at least one token, targets are {list(targets.shape)}")


def _disagree(
    name: str, array: Array, other: str, array2: Array, expected: tuple[int, ...]
) -> ValueError:
    return ValueError(
        f"{name} has shape {list(array.shape)}, {other} are {list(array2.shape)}: "
        f"expected {list(expected)}"
    )


# --- units ---------------------------------------------------------------------------------------


def bits_per_token(nats: Array | float) -> Array | float:
    """Nats a token as bits a token (bits per character, where tokens are characters)."""
    return nats / math.log(2)


def perplexity(nats: Array | float) -> Array:
    """Nats a token as perplexity, exp(nats)."""
    return jnp.exp(nats)
