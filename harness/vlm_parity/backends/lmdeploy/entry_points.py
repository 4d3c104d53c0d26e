"""The ways into LMDeploy beside its chat path.

Both go through ``do_preprocess=False``, with which LMDeploy adds no template of its own.
"""

from __future__ import annotations

from typing import Any

from vlm_parity.backends.base import Request
from vlm_parity.backends.common.chat_template import HfPrompt
from vlm_parity.media.load import EncodedMedium, Image
from vlm_parity.schema.engine_setup import EntryPoint
from vlm_parity.util.errors import PrivateApiChangedError, UnsupportedError

ENTRY_POINTS = {
    EntryPoint.TEXT: "pipeline((prompt, images), do_preprocess=False): the text by the processor's own chat template",
    EntryPoint.TOKEN_IDS: "what POST /generate hands on for input_ids and image_data: that text by the tokenizer",
    EntryPoint.SERVER: "lmdeploy serve api_server, asked over HTTP with the openai client",
}
_IMAGES_ONLY_REASON = {
    EntryPoint.TEXT: "a pipeline takes a prompt alone, or (prompt, image or [images]): there is no such form for {}",
    EntryPoint.TOKEN_IDS: "POST /generate takes input_ids with image_data: it has no field for {}",
}


_PLACEHOLDERS_REASON = (
    "LMDeploy's older image processors write the placeholders themselves, where the prompt has <IMAGE_TOKEN> "
    "or behind it, and count the model's own as images more"
)


def check_placeholder_support(encoder: Any, request: Request) -> None:
    """Raises ``UnsupportedError`` where a prompt by the model's own template holds a placeholder too many.

    Args:
        encoder: the ``ImageEncoder`` of a ``MultimodalProcessor``.
        request: what is to be handed over.

    Source: ``proc_messages`` and ``to_pytorch_aux`` of the image processors without ``input_prompt``.
    """
    if not hasattr(encoder, "_uses_new_preprocess"):
        raise PrivateApiChangedError("lmdeploy.vl.engine.ImageEncoder._uses_new_preprocess is gone")
    if request.entry_point is EntryPoint.TEXT and request.media and not encoder._uses_new_preprocess:
        raise UnsupportedError(_PLACEHOLDERS_REASON)


def build_prompt(request: Request, template: HfPrompt) -> str | list[int] | list[dict[str, Any]]:
    """A request as it reaches ``AsyncEngine.preprocess``: a text or ids alone, or one message with images.

    Raises:
        UnsupportedError: it holds something else than images.
    """
    entry_point = request.entry_point
    others = {modality for modality, _ in request.case.media} - {"image"}
    if others:
        raise UnsupportedError(_IMAGES_ONLY_REASON[entry_point].format(" and ".join(sorted(others))))
    prompt = (
        template.render_text(request.case) if entry_point is EntryPoint.TEXT else template.ids(request.case)
    )
    images = [medium for medium in request.media if isinstance(medium, Image | EncodedMedium)]
    return _insert_images(prompt, images) if images else prompt


def _insert_images(prompt: str | list[int], images: list[Image | EncodedMedium]) -> list[dict[str, Any]]:
    from lmdeploy.serve.processors import MultimodalProcessor

    if isinstance(prompt, str):
        given = [image.build_url() if isinstance(image, EncodedMedium) else image for image in images]
        (messages,) = MultimodalProcessor.format_prompts((prompt, given))
        return list(messages)
    # As ``serve.openai.endpoints.generate`` writes it, but for what is decoded already.
    parts = [_image_part(image) for image in images]
    return [{"role": "user", "content": [{"type": "text", "text": prompt}, *parts]}]


def _image_part(image: Image | EncodedMedium) -> dict[str, Any]:
    if isinstance(image, EncodedMedium):
        return {"type": "image_url", "image_url": {"url": image.build_url()}}
    return {"type": "image_data", "image_data": {"data": image}}
