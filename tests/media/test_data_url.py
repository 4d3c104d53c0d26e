"""Media as data URLs, decoded again without loss."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlm_parity.media.data_url import encode_audio_url, encode_video_url
from vlm_parity.media.load import DecodedAudio, DecodedVideo, load_media
from vlm_parity.media.resample import resample_audio
from vlm_parity.schema.case import AudioPart, Case, VideoPart
from vlm_parity.schema.media_source import AudioRecipe, VideoRecipe

AUDIO = st.builds(
    AudioRecipe,
    waveform=st.sampled_from(["tone", "sweep", "noise"]),
    seconds=st.floats(0.05, 0.5),
    rate=st.sampled_from([8000, 16000, 44100]),
    seed=st.integers(0, 9),
)


def load(part: AudioPart | VideoPart) -> DecodedAudio | DecodedVideo:
    case = Case.model_validate(
        {"name": "case", "summary": "s", "messages": [{"role": "user", "content": [part.model_dump()]}]}
    )
    (medium,) = load_media(case)
    assert isinstance(medium, DecodedAudio | DecodedVideo)
    return medium


@given(recipe=AUDIO)
def test_audio_keeps_every_sample(recipe: AudioRecipe) -> None:
    audio = load(AudioPart(audio=recipe))
    assert isinstance(audio, DecodedAudio)
    again = load(AudioPart.model_validate({"audio": {"url": encode_audio_url(audio)}}))
    assert isinstance(again, DecodedAudio)
    assert again.rate == audio.rate
    np.testing.assert_array_equal(again.samples, audio.samples)


@settings(max_examples=20)
@given(
    frames=st.integers(1, 9),
    fps=st.sampled_from([1.0, 2.0, 2.4, 7.0]),
    audio_track=AUDIO,
    width=st.integers(8, 40),
)
def test_video_with_audio_keeps_every_pixel_and_its_rate(
    frames: int, fps: float, audio_track: AudioRecipe, width: int
) -> None:
    recipe = VideoRecipe(
        pattern="gradient", size=(width, 12), frames=frames, fps=fps, audio_track=audio_track
    )
    video = load(VideoPart(video=recipe))
    assert isinstance(video, DecodedVideo)
    again = load(VideoPart.model_validate({"video": {"url": encode_video_url(video)}}))
    assert isinstance(again, DecodedVideo)
    np.testing.assert_array_equal(again.frames, video.frames)
    assert again.fps == pytest.approx(fps)


def test_video_file_contains_the_audio_track() -> None:
    recipe = VideoRecipe(
        pattern="gradient", size=(16, 12), frames=4, audio_track=AudioRecipe(waveform="noise", seconds=2)
    )
    video = load(VideoPart(video=recipe))
    assert isinstance(video, DecodedVideo)
    assert video.audio_track is not None
    audio = load(AudioPart.model_validate({"audio": {"url": encode_video_url(video)}}))
    assert isinstance(audio, DecodedAudio)
    np.testing.assert_array_equal(audio.samples, video.audio_track.samples)


def test_video_without_audio_is_sent_as_frames() -> None:
    video = load(VideoPart(video=VideoRecipe(pattern="gradient", size=(16, 12), frames=3)))
    assert isinstance(video, DecodedVideo)
    assert encode_video_url(video).startswith("data:video/jpeg;base64,")


def test_resampling_to_the_same_rate_changes_nothing() -> None:
    audio = DecodedAudio(np.ones(5, np.float32), 16000)
    assert resample_audio(audio, 16000) is audio.samples


def test_resampling_keeps_duration_and_pitch() -> None:
    pytest.importorskip("soxr")
    rate, pitch = 44100, 440
    wave = np.sin(2 * np.pi * pitch * np.arange(rate) / rate).astype(np.float32)
    samples = resample_audio(DecodedAudio(wave, rate), 16000)
    assert samples.dtype == np.float32
    assert len(samples) == 16000
    assert np.abs(np.fft.rfft(samples)).argmax() == pitch  # one second: bins are Hertz
