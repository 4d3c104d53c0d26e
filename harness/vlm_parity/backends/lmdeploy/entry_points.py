"""LMDeploy's entry points other than ``chat``, and their prompts.

Both ``text`` and ``token_ids`` use ``do_preprocess=False``, with which LMDeploy adds no template of its own.
"""

from __future__ import annotations

from typing import Any

from vlm_parity.backends.base import Request
from vlm_parity.backends.common.chat_template import HfPrompt
from vlm_parity.backends.common.openai_messages import build_medium_part
from vlm_parity.media.load import EncodedMedium, Image
from vlm_parity.schema.engine_setup import EntryPoint
from vlm_parity.util.errors import PrivateApiChangedError, UnsupportedError

ENTRY_POINTS = {
    EntryPoint.TEXT: "pipeline((prompt, images), do_preprocess=False): text by the processor's chat template",
    EntryPoint.TOKEN_IDS: "as POST /generate processes input_ids and image_data: the same text, tokenized",
    EntryPoint.SERVER: "lmdeploy serve api_server, queried over HTTP with the openai client",
}
_IMAGES_ONLY_REASON = {
    EntryPoint.TEXT: "a pipeline accepts a prompt alone or (prompt, image or [images]), but no {}",
    EntryPoint.TOKEN_IDS: "POST /generate accepts input_ids with image_data, but has no field for {}",
}
_PLACEHOLDERS_REASON = (
    "LMDeploy's older image processors insert the placeholders themselves, at <IMAGE_TOKEN> or after the "
    "prompt, and count those that the prompt already has as further images"
)


def build_image_data_part(image: Image) -> dict[str, Any]:
    """Return the content part of a decoded image in LMDeploy's own form."""
    return {"type": "image_data", "image_data": {"data": image}}


def check_placeholder_support(encoder: Any, request: Request) -> None:
    """Check that LMDeploy can process a prompt with the model's own placeholders.

    Args:
        encoder: the ``ImageEncoder`` of a ``MultimodalProcessor``.
        request: for the entry point ``text`` or ``token_ids``.

    Raises:
        UnsupportedError: it would count them as further images.
        PrivateApiChangedError: LMDeploy has moved a name.

    Source: ``proc_messages`` and ``to_pytorch_aux`` of the image processors without ``input_prompt``.
    """
    if not hasattr(encoder, "_uses_new_preprocess"):
        raise PrivateApiChangedError("lmdeploy.vl.engine.ImageEncoder._uses_new_preprocess is gone")
    if request.entry_point is EntryPoint.TEXT and request.media and not encoder._uses_new_preprocess:
        raise UnsupportedError(_PLACEHOLDERS_REASON)


def build_prompt(request: Request, template: HfPrompt) -> str | list[int] | list[dict[str, Any]]:
    """Return the prompt for ``AsyncEngine.preprocess``: text or ids alone, or one message with images.

    Raises:
        UnsupportedError: the request has media other than images.
    """
    entry_point = request.entry_point
    others = {modality for modality, _ in request.case.media} - {"image"}
    if others:
        raise UnsupportedError(_IMAGES_ONLY_REASON[entry_point].format(" and ".join(sorted(others))))
    prompt = (
        template.render_text(request.case)
        if entry_point is EntryPoint.TEXT
        else template.tokenize(request.case)
    )
    images = [medium for medium in request.media if isinstance(medium, Image | EncodedMedium)]
    return _add_images(prompt, images) if images else prompt


def _add_images(prompt: str | list[int], images: list[Image | EncodedMedium]) -> list[dict[str, Any]]:
    from lmdeploy.serve.processors import MultimodalProcessor

    if isinstance(prompt, str):
        pipeline_images = [
            image.build_url() if isinstance(image, EncodedMedium) else image for image in images
        ]
        (messages,) = MultimodalProcessor.format_prompts((prompt, pipeline_images))
        return list(messages)
    # As in ``serve.openai.endpoints.generate``, except for decoded images.
    parts = [build_medium_part(image, build_image_data_part) for image in images]
    return [{"role": "user", "content": [{"type": "text", "text": prompt}, *parts]}]
