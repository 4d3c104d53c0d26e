"""Media as URLs: what comes out at the other end is what went in."""

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

AUDIO_CLIPS = st.builds(
    AudioRecipe,
    waveform=st.sampled_from(["tone", "sweep", "noise"]),
    seconds=st.floats(0.05, 0.5),
    rate=st.sampled_from([8000, 16000, 44100]),
    seed=st.integers(0, 9),
)


def loaded(part: AudioPart | VideoPart) -> DecodedAudio | DecodedVideo:
    case = Case.model_validate(
        {"name": "case", "summary": "s", "messages": [{"role": "user", "content": [part.model_dump()]}]}
    )
    (medium,) = load_media(case)
    assert isinstance(medium, DecodedAudio | DecodedVideo)
    return medium


@given(recipe=AUDIO_CLIPS)
def test_a_sound_keeps_every_sample(recipe: AudioRecipe) -> None:
    sound = loaded(AudioPart(audio=recipe))
    assert isinstance(sound, DecodedAudio)
    again = loaded(AudioPart.model_validate({"audio": {"url": encode_audio_url(sound)}}))
    assert isinstance(again, DecodedAudio)
    assert again.rate == sound.rate
    np.testing.assert_array_equal(again.samples, sound.samples)


@settings(max_examples=20)
@given(
    frames=st.integers(1, 9),
    fps=st.sampled_from([1.0, 2.0, 2.4, 7.0]),
    sound=AUDIO_CLIPS,
    width=st.integers(8, 40),
)
def test_a_clip_keeps_every_pixel_and_its_rate(
    frames: int, fps: float, sound: AudioRecipe, width: int
) -> None:
    recipe = VideoRecipe(pattern="gradient", size=(width, 12), frames=frames, fps=fps, audio_track=sound)
    clip = loaded(VideoPart(video=recipe))
    assert isinstance(clip, DecodedVideo)
    again = loaded(VideoPart.model_validate({"video": {"url": encode_video_url(clip)}}))
    assert isinstance(again, DecodedVideo)
    np.testing.assert_array_equal(again.frames, clip.frames)
    assert again.fps == pytest.approx(fps)


def test_a_clip_carries_its_sound() -> None:
    recipe = VideoRecipe(
        pattern="gradient", size=(16, 12), frames=4, audio_track=AudioRecipe(waveform="noise", seconds=2)
    )
    clip = loaded(VideoPart(video=recipe))
    assert isinstance(clip, DecodedVideo)
    assert clip.audio_track is not None
    heard = loaded(AudioPart.model_validate({"audio": {"url": encode_video_url(clip)}}))
    assert isinstance(heard, DecodedAudio)
    np.testing.assert_array_equal(heard.samples, clip.audio_track.samples)


def test_a_silent_video_goes_as_frames() -> None:
    clip = loaded(VideoPart(video=VideoRecipe(pattern="gradient", size=(16, 12), frames=3)))
    assert isinstance(clip, DecodedVideo)
    assert encode_video_url(clip).startswith("data:video/jpeg;base64,")


def test_the_rate_of_the_model_changes_nothing() -> None:
    sound = DecodedAudio(np.ones(5, np.float32), 16000)
    assert resample_audio(sound, 16000) is sound.samples


def test_another_rate_keeps_length_and_pitch() -> None:
    pytest.importorskip("soxr")
    rate, pitch = 44100, 440
    wave = np.sin(2 * np.pi * pitch * np.arange(rate) / rate).astype(np.float32)
    samples = resample_audio(DecodedAudio(wave, rate), 16000)
    assert samples.dtype == np.float32
    assert len(samples) == 16000
    assert np.abs(np.fft.rfft(samples)).argmax() == pitch  # one second: bins are Hertz
