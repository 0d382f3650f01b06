"""Makes `data/spoken_digits.npz`, the spoken half of the example; needs espeak-ng and scipy.

    python examples/av_digits/make_audio.py

Nobody has to run this: its output is committed. 192 speakers (8 English accents x 24 voice
variants) say "zero" to "nine" in two takes each. Speakers are split before anything else, so that
no voice is heard in two splits, not even as babble. Each clip lasts 0.8 s, is drowned in one of
seven kinds of noise, and becomes a log-mel spectrogram of 32 bands x 32 frames in 16 grey levels.
"""

from __future__ import annotations

import io
import subprocess
import sys
import wave
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample_poly, stft

Wave = NDArray[np.float64]

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
ACCENTS = (
    "en-gb",
    "en-us",
    "en-gb-scotland",
    "en-gb-x-gbclan",
    "en-gb-x-rp",
    "en-gb-x-gbcwmd",
    "en-029",
    "en-us-nyc",
)
VARIANTS = (
    *("m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8"),
    *("f1", "f2", "f3", "f4", "f5", "klatt", "klatt2", "klatt3"),
    *("Andy", "Annie", "adam", "belinda", "grandpa", "linda", "steph", "travis"),
)
TAKES = 2
SPLITS = {"train": (125, 4000), "valid": (25, 1000), "test": (42, 1500)}  # speakers, clips

RATE = 16_000
ESPEAK_RATE = 22_050
LENGTH = int(0.8 * RATE)
BANDS = FRAMES = 32
LOWEST_HZ, HIGHEST_HZ = 80.0, 8_000.0
RANGE_DB = 48.0
LEVELS = 16
LOUDEST_SNR_DB, QUIETEST_SNR_DB = -3.0, -15.0
SEED = 20_190_616


@dataclass(frozen=True, slots=True)
class Utterance:
    """One spoken digit, clean and trimmed."""

    digit: int
    speaker: int
    wave: Wave


def speak(word: str, voice: str, speed: int, pitch: int) -> Wave:
    """What espeak-ng says, at 16 kHz, without the silence around it."""
    answer = subprocess.run(
        ["espeak-ng", "-v", voice, "-s", str(speed), "-p", str(pitch), "--stdout", word],
        check=True,
        capture_output=True,
    )
    with wave.open(io.BytesIO(answer.stdout)) as reader:
        if reader.getframerate() != ESPEAK_RATE:
            raise SystemExit(f"espeak-ng answered at {reader.getframerate()} Hz, not {ESPEAK_RATE}")
        # A streamed header does not know its length: take what is there.
        pcm = np.frombuffer(reader.readframes(10 * ESPEAK_RATE), dtype="<i2").astype(np.float64)
    sound = np.asarray(resample_poly(pcm, RATE, ESPEAK_RATE), dtype=np.float64)
    loud = np.flatnonzero(np.abs(sound) > 0.02 * np.abs(sound).max())
    trimmed = sound[loud[0] : loud[-1] + 1][:LENGTH]
    return trimmed / np.sqrt(np.mean(trimmed**2))


def coloured(rng: np.random.Generator, exponent: float) -> Wave:
    """Noise whose power falls with frequency^exponent: 0 white, 1 pink, 2 brown."""
    spectrum = np.fft.rfft(rng.standard_normal(LENGTH))
    frequency = np.maximum(np.fft.rfftfreq(LENGTH, 1 / RATE), 40.0)
    return np.fft.irfft(spectrum * frequency ** (-exponent / 2), LENGTH)


def band(rng: np.random.Generator, low_hz: float, high_hz: float) -> Wave:
    """White noise between two frequencies."""
    spectrum = np.fft.rfft(rng.standard_normal(LENGTH))
    frequency = np.fft.rfftfreq(LENGTH, 1 / RATE)
    return np.fft.irfft(spectrum * ((frequency >= low_hz) & (frequency <= high_hz)), LENGTH)


def modulated_band(rng: np.random.Generator) -> Wave:
    """A band of noise that swells and fades two to eight times a second, as syllables do."""
    centre = float(np.exp(rng.uniform(np.log(300.0), np.log(3_000.0))))
    time = np.arange(LENGTH) / RATE
    swell = 1.0 + np.cos(2 * np.pi * (rng.uniform(2.0, 8.0) * time + rng.uniform()))
    return band(rng, centre / 2, centre * 2) * swell


def tone(rng: np.random.Generator) -> Wave:
    """A gliding tone with harmonics, over a little white noise."""
    pitch = np.exp(rng.uniform(np.log(150.0), np.log(1_200.0)))
    glide = np.linspace(1.0, rng.uniform(0.7, 1.4), LENGTH)
    phase = 2 * np.pi * np.cumsum(pitch * glide) / RATE
    harmonics = sum(np.sin(k * phase) / k for k in range(1, 6))
    return np.asarray(harmonics) + 0.2 * rng.standard_normal(LENGTH)


def clicks(rng: np.random.Generator) -> Wave:
    """A dozen or more short bursts, over a little white noise."""
    sound = 0.15 * rng.standard_normal(LENGTH)
    for start in rng.integers(0, LENGTH, size=int(rng.integers(12, 30))):
        burst = rng.standard_normal(240) * np.exp(-np.arange(240) / 50.0)
        end = min(int(start) + 240, LENGTH)
        sound[start:end] += 4.0 * burst[: end - int(start)]
    return sound


def babble(rng: np.random.Generator, voices: list[Utterance]) -> Wave:
    """Five other utterances of the same split at once, each twice over."""
    sound = np.zeros(LENGTH)
    for index in rng.integers(0, len(voices), size=5):
        sound += np.roll(np.resize(voices[int(index)].wave, LENGTH), int(rng.integers(LENGTH)))
    return sound


def noise(rng: np.random.Generator, voices: list[Utterance]) -> Wave:
    """One of the seven kinds, with unit power."""
    kinds: tuple[Callable[[], Wave], ...] = (
        lambda: coloured(rng, 0.0),
        lambda: coloured(rng, 1.0),
        lambda: coloured(rng, 2.0),
        lambda: babble(rng, voices),
        lambda: modulated_band(rng),
        lambda: tone(rng),
        lambda: clicks(rng),
    )
    sound = kinds[int(rng.integers(len(kinds)))]()
    return sound / np.sqrt(np.mean(sound**2))


def mel_filters(bins: int) -> NDArray[np.float64]:
    """Triangular filters, even on the mel scale: (bands, bins)."""

    def to_mel(hz: NDArray[np.float64]) -> NDArray[np.float64]:
        return 2595.0 * np.log10(1.0 + hz / 700.0)

    low, high = to_mel(np.array([LOWEST_HZ, HIGHEST_HZ]))
    edges = 700.0 * (10.0 ** (np.linspace(low, high, BANDS + 2) / 2595.0) - 1.0)
    frequency = np.linspace(0.0, RATE / 2, bins)
    rising = (frequency - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - frequency) / (edges[2:] - edges[1:-1])[:, None]
    return np.maximum(0.0, np.minimum(rising, falling))


def spectrogram(sound: Wave, filters: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Log-mel, 32 bands x 32 frames; the loudest is 15 and 48 dB below it is 0."""
    hop = LENGTH // FRAMES
    window = 2 * (filters.shape[1] - 1)
    _, _, lines = stft(sound, RATE, nperseg=window, noverlap=window - hop)
    power = filters @ (np.abs(lines[:, :FRAMES]) ** 2)
    decibel = 10.0 * np.log10(np.maximum(power, 1e-12))
    grey = 1.0 + (decibel - decibel.max()) / RANGE_DB
    return np.round(np.clip(grey, 0.0, 1.0) * (LEVELS - 1)).astype(np.uint8)


def contaminate(rng: np.random.Generator, clean: Wave, voices: list[Utterance]) -> Wave:
    """The utterance somewhere in 0.8 s, under noise that is 3 to 15 dB louder."""
    sound = np.zeros(LENGTH)
    start = int(rng.integers(0, LENGTH - len(clean) + 1))
    sound[start : start + len(clean)] = clean
    decibel = rng.uniform(QUIETEST_SNR_DB, LOUDEST_SNR_DB)
    return sound + noise(rng, voices) * 10.0 ** (-decibel / 20.0)


def utterances(rng: np.random.Generator, speakers: NDArray[np.int64]) -> list[Utterance]:
    """Two takes of every digit by each of these speakers, speed and pitch drawn per take."""
    found: list[Utterance] = []
    for speaker in speakers.tolist():
        accent, variant = divmod(speaker, len(VARIANTS))
        voice = f"{ACCENTS[accent]}+{VARIANTS[variant]}"
        for _ in range(TAKES):
            for digit, word in enumerate(WORDS):
                speed, pitch = int(rng.integers(130, 231)), int(rng.integers(20, 81))
                found.append(Utterance(digit, speaker, speak(word, voice, speed, pitch)))
    return found


def main() -> None:
    """Writes the file beside this script and says how large it is."""
    rng = np.random.default_rng(SEED)
    filters = mel_filters(bins=401)
    order = rng.permutation(len(ACCENTS) * len(VARIANTS))
    arrays: dict[str, NDArray[np.uint8]] = {}
    first = 0
    for split, (speakers, clips) in SPLITS.items():
        spoken = utterances(rng, order[first : first + speakers])
        first += speakers
        pictures: list[NDArray[np.uint8]] = []
        digits: list[int] = []
        voices: list[int] = []
        for digit in range(10):
            same = [u for u in spoken if u.digit == digit]
            for take in range(clips // 10):
                said = same[take % len(same)]
                pictures.append(spectrogram(contaminate(rng, said.wave, spoken), filters))
                digits.append(digit)
                voices.append(said.speaker)
        flat = np.stack(pictures).reshape(clips, -1)
        packed = (flat[:, 0::2] << 4) | flat[:, 1::2]
        arrays[f"{split}_spectrograms"] = packed.astype(np.uint8)
        arrays[f"{split}_digits"] = np.array(digits, dtype=np.uint8)
        arrays[f"{split}_speakers"] = np.array(voices, dtype=np.uint8)
        print(f"{split}: {speakers} speakers, {len(spoken)} utterances, {clips} clips", flush=True)
    file = Path(__file__).parent / "data" / "spoken_digits.npz"
    np.savez_compressed(file, allow_pickle=False, **arrays)
    print(f"{file.name}: {file.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    sys.exit(main())
