"""EEG of simulated heads: dipoles with 1/f noise, and an occipital rhythm whose frequency is the class, as in SSVEP."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

RATE = 128.0
_NAMES = "Fp1 Fp2 F7 F3 Fz F4 F8 FC5 FC1 FC2 FC6 T7 C3 Cz C4 T8 TP9 CP5 CP1 CP2 CP6 TP10 P7 P3 Pz P4 P8 PO9 O1 Oz O2 PO10"
CHANNELS = tuple(_NAMES.split())
FREQUENCIES = (7.5, 10.0, 12.0, 15.0)


@dataclass(frozen=True)
class Simulated:
    """Trials (N, C, T) in about microvolts, their classes and subjects."""

    x: np.ndarray
    labels: np.ndarray
    subjects: np.ndarray


def simulate(
    places: np.ndarray,
    subjects: int,
    trials: int,
    seed: int,
    *,
    samples: int = 536,
    sources: int = 30,
    strength: float = 0.7,
) -> Simulated:
    """Trials of several subjects, each with dipoles and gains of its own.

    Args:
        places: (C, 3) electrodes in metres.
        subjects: their number.
        trials: of each subject; classes take turns.
        seed: of everything.
        samples: of a trial at 128 Hz.
        sources: dipoles of background noise.
        strength: amplitude of the rhythm over that of the background, at the strongest electrode.
    """
    generator = np.random.default_rng(seed)
    centre = places.mean(0)
    back = centre + 0.75 * (places[CHANNELS.index("Oz")] - centre)
    xs, labels, who = [], [], []
    for subject in range(subjects):
        direction = generator.normal(size=(sources, 3))
        depth = 0.07 * generator.uniform(0.2, 1, (sources, 1)) ** (1 / 3)
        at = centre + depth * direction / np.linalg.norm(direction, axis=1, keepdims=True)
        mixing = leadfield(places, at, generator.normal(size=(sources, 3)))
        evoked = leadfield(places, back[None] + generator.normal(size=(1, 3)) * 0.01, (back - centre)[None])
        classes = np.arange(trials) % len(FREQUENCIES)
        noise = pink(generator, (trials, sources, samples))
        background = np.einsum("cs,nst->nct", mixing / np.abs(mixing).max(0), noise)
        phase = generator.uniform(0, 2 * np.pi, (trials, 1))
        time = np.arange(samples) / RATE
        rhythm = np.sin(2 * np.pi * np.array(FREQUENCIES)[classes, None] * time + phase)
        shape = evoked[:, 0] / np.abs(evoked).max()
        signal = background / background.std()
        signal += strength * shape[None, :, None] * rhythm[:, None]
        signal += 0.1 * generator.normal(size=signal.shape)
        xs.append(10 * generator.uniform(0.5, 2, (len(places), 1)) * signal)
        labels.append(classes)
        who.append(np.full(trials, subject))
    return Simulated(np.concatenate(xs).astype(np.float32), np.concatenate(labels), np.concatenate(who))


def leadfield(places: np.ndarray, at: np.ndarray, moments: np.ndarray) -> np.ndarray:
    """Potential (C, S) of dipoles in an infinite conductor: falls with the square of the distance."""
    apart = places[:, None] - at[None]
    unit = moments / np.linalg.norm(moments, axis=1, keepdims=True)
    return (apart * unit).sum(-1) / np.linalg.norm(apart, axis=-1) ** 3


def pink(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Noise of unit variance whose power falls as 1/f from 0.5 Hz on."""
    frequencies = np.fft.rfftfreq(shape[-1], 1 / RATE)
    spectrum = generator.normal(size=(*shape[:-1], len(frequencies))) + 1j * generator.normal(
        size=(*shape[:-1], len(frequencies))
    )
    noise = np.fft.irfft(spectrum / np.sqrt(np.maximum(frequencies, 0.5)), n=shape[-1])
    return noise / noise.std(-1, keepdims=True)
