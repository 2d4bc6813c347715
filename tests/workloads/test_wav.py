"""Recordings: every coding that is taken, and headers that lie."""

from __future__ import annotations

import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.kernels.spectrogram import spectrogram
from workloads.wav import samples_from_wav

EXTENSIBLE = 0xFFFE


def chunk(name, data, size=None):
    return name + struct.pack("<I", len(data) if size is None else size) + data


def wav(data, *, coding=1, channels=1, rate=8000, bits=16, size=None, before=b"", guid=None):
    block = channels * bits // 8
    form = struct.pack("<HHIIHH", coding, channels, rate, rate * block % 2**32, block, bits)
    if guid is not None:
        form += struct.pack("<HHIH", 22, bits, 0, guid) + bytes(14)
    body = b"WAVE" + before + chunk(b"fmt ", form) + chunk(b"data", data, size)
    return chunk(b"RIFF", body)


def test_sixteen_bit_samples_are_read_at_full_scale():
    samples, rate = samples_from_wav(wav(struct.pack("<3h", 0, 16384, -32768)))
    assert (samples.tolist(), rate) == ([0.0, 0.5, -1.0], 8000)
    assert samples.dtype == np.float32


@pytest.mark.parametrize(
    ("coding", "bits", "data"),
    [
        (1, 8, bytes([128, 192, 0])),
        (1, 24, b"\0\0\0" + b"\0\0\x40" + b"\0\0\x80"),
        (1, 32, struct.pack("<3i", 0, 2**30, -(2**31))),
        (3, 32, struct.pack("<3f", 0, 0.5, -1)),
        (3, 64, struct.pack("<3d", 0, 0.5, -1)),
    ],
)
@pytest.mark.parametrize("extensible", [False, True])
def test_every_coding_reads_the_same_sound(coding, bits, data, extensible):
    body = (
        wav(data, coding=EXTENSIBLE, bits=bits, guid=coding)
        if extensible
        else wav(data, coding=coding, bits=bits)
    )
    assert samples_from_wav(body)[0].tolist() == [0.0, 0.5, -1.0]


def test_channels_are_averaged():
    samples, _ = samples_from_wav(wav(struct.pack("<4h", 16384, 0, -32768, 0), channels=2))
    assert samples.tolist() == [0.25, -0.5]


def test_chunks_before_the_format_are_passed_over():
    samples, _ = samples_from_wav(wav(struct.pack("<h", 16384), before=chunk(b"LIST", b"odd\0")))
    assert samples.tolist() == [0.5]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"RIFF",
        b"OggS" + bytes(60),
        chunk(b"RIFF", b"WAVE"),
        chunk(b"RIFF", b"WAVE" + chunk(b"data", b"1234")),
        chunk(b"RIFF", b"WAVE" + chunk(b"fmt ", b"short") + chunk(b"data", b"1234")),
        wav(b""),
        wav(b"1"),
        wav(b"12", coding=85),  # MP3 in a WAVE file
        wav(b"12", bits=12),
        wav(b"12", bits=0),  # a block of no bytes
        wav(b"12", bits=4),
        wav(b"1234", coding=EXTENSIBLE),  # without its extension
        wav(b"12", rate=0),
        wav(b"12", channels=0),
        wav(bytes(600_000), channels=60_000, bits=8),
    ],
)
def test_a_body_that_is_no_usable_recording_is_refused(body):
    with pytest.raises(ValueError):
        samples_from_wav(body)


def test_a_lying_size_is_cut_to_what_is_there_and_allocates_nothing():
    body = wav(struct.pack("<h", 16384), size=0xFFFF_FFF0)
    tracemalloc.start()
    samples, _ = samples_from_wav(body)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert samples.tolist() == [0.5]
    assert peak < 100_000


def test_floats_of_any_size_have_a_finite_spectrogram():
    loudest = struct.pack("<64f", *[3e38] * 64) + struct.pack("<64f", *[-3e38] * 64)
    for channels in (1, 64):
        samples, _ = samples_from_wav(wav(loudest, coding=3, bits=32, channels=channels))
        assert np.isfinite(spectrogram(samples)).all()


def test_floats_that_are_no_numbers_become_silence_or_full_scale():
    body = wav(struct.pack("<3f", float("nan"), float("inf"), float("-inf")), coding=3, bits=32)
    assert samples_from_wav(body)[0].tolist() == [0.0, 1.0, -1.0]


@settings(max_examples=150, deadline=None)
@given(
    st.fixed_dictionaries(
        {
            "coding": st.sampled_from([0, 1, 3, 85, EXTENSIBLE]),
            "channels": st.sampled_from([0, 1, 2, 64, 65, 1000]),
            "bits": st.sampled_from([0, 1, 8, 12, 16, 24, 32, 64]),
            "rate": st.sampled_from([0, 1, 8000, 2**31]),
            "guid": st.sampled_from([None, 0, 1, 3]),
        }
    ),
    st.binary(max_size=80),
)
def test_every_combination_of_formats_is_refused_or_read(form, data):
    try:
        samples, rate = samples_from_wav(wav(data, **form))
    except ValueError:
        return
    assert samples.size
    assert np.isfinite(samples).all()
    assert rate == form["rate"]


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=120), st.integers(0, 60))
def test_rubbish_is_refused_or_read_never_a_crash(rubbish, at):
    body = bytearray(wav(struct.pack("<8h", *range(8))))
    body[at : at + len(rubbish)] = rubbish
    for candidate in (bytes(body), rubbish):
        try:
            samples, _ = samples_from_wav(candidate)
        except ValueError:
            continue
        assert np.isfinite(samples).all()
