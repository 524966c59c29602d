"""What is heard in a sound: the energy of bands as wide as an ear's, a hundred times a second."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import scipy.fft

Array = jax.Array

WINDOW, HOP = 0.025, 0.010  # seconds
LOWEST = 60.0  # Hz
CEPSTRA = 13
FLOOR = 1e-5  # of the mean energy of a bin


def mel(hertz: np.ndarray | float) -> np.ndarray:
    """Hz as mel: m = 2595 log10(1 + f / 700)."""
    return 2595 * np.log10(1 + np.asarray(hertz) / 700)


def hertz(mel: np.ndarray | float) -> np.ndarray:
    """The inverse of `mel`."""
    return 700 * (10 ** (np.asarray(mel) / 2595) - 1)


def edges(bands: int, rate: int) -> np.ndarray:
    """Where bands begin, are strongest and end, Hz [bands + 2]: equally far apart in mel."""
    return hertz(np.linspace(mel(LOWEST), mel(rate / 2), bands + 2))


@functools.cache
def filters(bands: int, rate: int, size: int) -> np.ndarray:
    """Triangles over the bins of a Fourier transform of so many samples, [bins, bands].

    Band k rises from edge k to edge k + 1, where it is 1, and falls to edge k + 2.

    Reference:
      Davis & Mermelstein, Comparison of Parametric Representations for Monosyllabic Word
      Recognition in Continuously Spoken Sentences, IEEE Transactions on Acoustics, Speech and
      Signal Processing 28(4), 1980.
    """
    low, middle, high = (edges(bands, rate)[k : bands + k] for k in range(3))
    bins = np.fft.rfftfreq(size, 1 / rate)[:, None]
    return np.maximum(0, np.minimum((bins - low) / (middle - low), (high - bins) / (high - middle)))


def log_mel(sound: np.ndarray, rate: int, bands: int) -> np.ndarray:
    """The log energy of each band in each window, whatever the loudness of the whole.

        x_{t,k} = log(Σ_f w_{f,k} |FFT(hamming * sound_t)_f|² + floor)

    Args:
      sound: [samples].
      rate: samples a second.
      bands: D.

    Returns:
      float32 [T, D], a window for each hop that has all of its samples; one at least.
    """
    width, hop = round(WINDOW * rate), round(HOP * rate)
    size = 2 ** math.ceil(math.log2(width))
    sound = np.asarray(sound, float)
    sound = sound / max(float(np.sqrt(np.mean(np.square(sound)))), 1e-9)
    sound = np.pad(sound, (0, max(0, width - len(sound))))
    windows = np.lib.stride_tricks.sliding_window_view(sound, width)[::hop]
    energy = np.square(np.abs(np.fft.rfft(windows * np.hamming(width), size))) / width
    return np.log(energy @ filters(bands, rate, size) + FLOOR).astype(np.float32)


def cepstra(log_mels: np.ndarray) -> np.ndarray:
    """Mel-frequency cepstral coefficients [T, 13] of log energies [T, D]: their cosine transform.

    c_k = s_k Σ_d x_d cos(π k (2d + 1) / 2D)      s_0 = √(1/D), else √(2/D)
    """
    return np.asarray(scipy.fft.dct(log_mels, type=2, norm="ortho", axis=-1))[:, :CEPSTRA]


def warps(alphas: Array, bands: int, rate: int) -> Array:
    """What turns log energies [D] into those of longer or shorter vocal tracts, [B, D, D].

        x'_k = Σ_j max(0, 1 - |κ(α f_k) - j|) x_j

    f_k is where band k is strongest, and κ(f) the place of f among them, a fraction between two.

    Args:
      alphas: how many times as long each tract is, [B].
      bands: D.
      rate: samples a second.

    Reference:
      Jaitly & Hinton, Vocal Tract Length Perturbation (VTLP) Improves Speech Recognition, ICML
      Workshop on Deep Learning for Audio, Speech and Language Processing, 2013.
    """
    middles = jnp.asarray(edges(bands, rate)[1:-1], alphas.dtype)
    places = jnp.arange(bands, dtype=alphas.dtype)
    found = jnp.interp(alphas[:, None] * middles, middles, places)
    return jnp.maximum(0, 1 - jnp.abs(found[..., None] - places))
