"""Fault injectors for the front end of vLLM: template, messages, tokenizer and prompt updates."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any
from unittest.mock import patch

from vlm_parity.selfcheck.fault import FaultInjector
from vlm_parity.selfcheck.message_edits import Messages
from vlm_parity.selfcheck.patching import Function, change_result, wrap_function

Media = dict[str, list[Any]]


def change_template(change: Callable[[str], str]) -> FaultInjector:
    """Return an injector that changes the chat template."""

    def inject(_: Any) -> AbstractContextManager[None]:
        from vllm.renderers import hf

        return change_result(hf, "resolve_chat_template", change)

    return inject


def change_messages(change: Callable[[Messages], Messages]) -> FaultInjector:
    """Return an injector that changes the messages after vLLM has parsed them."""

    def inject(_: Any) -> AbstractContextManager[None]:
        from vllm.renderers import hf

        return change_result(hf, "parse_chat_messages", lambda parsed: (change(parsed[0]), *parsed[1:]))

    return inject


def join_texts(_: Any) -> AbstractContextManager[None]:
    """Treat the template as one without content parts: vLLM joins the texts itself, after the media."""
    from vllm.renderers import hf

    return change_result(hf, "resolve_chat_template_content_format", lambda _: "string")


def change_ids(change: Callable[[list[int], Any], list[int]]) -> FaultInjector:
    """Return an injector that changes the ids of the tokenizer before placeholders are expanded.

    Args:
        change: called with the ids and the tokenizer, returns the changed ids.
    """

    def inject(backend: Any) -> AbstractContextManager[None]:
        renderer = backend._renderer

        def change_prompt(prompt: dict[str, Any]) -> dict[str, Any]:
            return {
                **prompt,
                "prompt_token_ids": change(prompt["prompt_token_ids"], renderer.get_tokenizer()),
            }

        return change_result(renderer, "_tokenize_prompt", change_prompt)

    return inject


def reverse_media(backend: Any) -> AbstractContextManager[None]:
    """Assign the media to the placeholders in reverse order."""
    return _change_media(backend, lambda media: {modality: items[::-1] for modality, items in media.items()})


def keep_every_second_frame(backend: Any) -> AbstractContextManager[None]:
    """Drop every second frame of videos that are sampled already."""

    def drop_frames(media: Media) -> Media:
        videos = [(frames[::2], metadata) for frames, metadata in media.get("video", [])]
        return {**media, **({"video": videos} if videos else {})}

    return _change_media(backend, drop_frames)


def _change_media(backend: Any, change: Callable[[Media], Media]) -> AbstractContextManager[None]:
    def wrap(original: Function) -> Function:
        return lambda prompt, media, *args, **options: original(prompt, change(media), *args, **options)

    return wrap_function(backend._renderer, "_process_multimodal", wrap)


def limit_image_pixels(pixels: int) -> FaultInjector:
    """Return an injector that changes the maximum number of pixels of the image processor."""

    def inject(backend: Any) -> AbstractContextManager[Any]:
        processor = backend._renderer.get_mm_processor().info.get_image_processor()
        return patch.object(processor, "size", replace(processor.size, longest_edge=pixels))

    return inject


def replace_image_with_pad(backend: Any) -> AbstractContextManager[None]:
    """Expand the placeholder of an image to the pad token of the tokenizer."""
    pad = backend._renderer.get_tokenizer().pad_token_id
    return _change_expansion(backend, lambda ids, _: [pad] * len(ids))


def drop_feature_row(backend: Any) -> AbstractContextManager[None]:
    """Expand the placeholder of an image to one grid row less."""
    merge = backend._renderer.get_mm_processor().info.get_hf_config().vision_config.spatial_merge_size
    return _change_expansion(backend, lambda ids, grid: ids[int(grid[-1]) // merge :])


def shift_span(_: Any) -> AbstractContextManager[None]:
    """Move each span by one position, so that the first placeholder gets no feature."""
    return _change_range(lambda span: replace(span, offset=span.offset + 1))


def shorten_span(_: Any) -> AbstractContextManager[None]:
    """Shorten each span by one position, so that the last placeholder gets no feature."""
    return _change_range(lambda span: replace(span, length=span.length - 1))


def _change_range(change: Callable[[Any], Any]) -> AbstractContextManager[None]:
    from vllm.multimodal.processing.processor import PlaceholderFeaturesInfo

    return change_result(PlaceholderFeaturesInfo, "to_range", change)


@contextmanager
def _change_expansion(backend: Any, change: Callable[[list[int], Any], list[int]]) -> Iterator[None]:
    """Expand image placeholders to other ids; ``change`` is called with the original ids and the grid."""

    def wrap(original: Function) -> Function:
        def updates(*, out_mm_kwargs: Any, **options: Any) -> Sequence[Any]:
            def expand_changed(item: int, expand: Callable[[int], list[int]]) -> list[int]:
                return change(expand(item), out_mm_kwargs["image"][item]["image_grid_thw"].data)

            return [
                replace(update, replacement=partial(expand_changed, expand=update.replacement))
                if update.modality == "image"
                else update
                for update in original(out_mm_kwargs=out_mm_kwargs, **options)
            ]

        return updates

    with wrap_function(backend._renderer.get_mm_processor(), "_get_prompt_updates", wrap):
        yield
