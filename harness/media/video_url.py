"""A decoded video as one URL, in the form that vLLM's and LMDeploy's chats take."""

from __future__ import annotations

from harness.media.clip_url import clip_url
from harness.media.frames_url import frames_url
from harness.media.load import Video


def video_url(video: Video) -> str:
    """Single frames, since no decoder then has a say; a file where there is a sound to hear with them."""
    return frames_url(video) if video.sound is None else clip_url(video, video.sound)
