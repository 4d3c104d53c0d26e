"""Faults for vLLM's front end: its template, its parsed messages, its tokenizer, its prompt updates."""

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
    """The chat template that vLLM finds is another one."""

    def plant(_: Any) -> AbstractContextManager[None]:
        from vllm.renderers import hf

        return change_result(hf, "resolve_chat_template", change)

    return plant


def change_messages(change: Callable[[Messages], Messages]) -> FaultInjector:
    """The conversation is another one once vLLM has parsed it."""

    def plant(_: Any) -> AbstractContextManager[None]:
        from vllm.renderers import hf

        return change_result(hf, "parse_chat_messages", lambda found: (change(found[0]), *found[1:]))

    return plant


def join_texts(_: Any) -> AbstractContextManager[None]:
    """The template is taken for one that knows no parts: vLLM joins the texts itself, behind the media."""
    from vllm.renderers import hf

    return change_result(hf, "resolve_chat_template_content_format", lambda _: "string")


def change_ids(change: Callable[[list[int], Any], list[int]]) -> FaultInjector:
    """The tokenizer gives other ids, before placeholders are expanded; ``change`` is given it too."""

    def plant(backend: Any) -> AbstractContextManager[None]:
        renderer = backend._renderer

        def other(prompt: dict[str, Any]) -> dict[str, Any]:
            return {
                **prompt,
                "prompt_token_ids": change(prompt["prompt_token_ids"], renderer.get_tokenizer()),
            }

        return change_result(renderer, "_tokenize_prompt", other)

    return plant


def reverse_media(backend: Any) -> AbstractContextManager[None]:
    """The media are given to the placeholders from the last to the first."""
    return _change_media(backend, lambda media: {kind: items[::-1] for kind, items in media.items()})


def keep_every_second_frame(backend: Any) -> AbstractContextManager[None]:
    """Videos that were sampled already are sampled again."""

    def thinned(media: Media) -> Media:
        videos = [(frames[::2], facts) for frames, facts in media.get("video", [])]
        return {**media, **({"video": videos} if videos else {})}

    return _change_media(backend, thinned)


def _change_media(backend: Any, change: Callable[[Media], Media]) -> AbstractContextManager[None]:
    def wrap(original: Function) -> Function:
        return lambda prompt, media, *args, **options: original(prompt, change(media), *args, **options)

    return wrap_function(backend._renderer, "_process_multimodal", wrap)


def limit_image_pixels(pixels: int) -> FaultInjector:
    """The image processor has another upper limit of the size."""

    def plant(backend: Any) -> AbstractContextManager[Any]:
        processor = backend._renderer.get_mm_processor().info.get_image_processor()
        return patch.object(processor, "size", replace(processor.size, longest_edge=pixels))

    return plant


def replace_image_with_pad(backend: Any) -> AbstractContextManager[None]:
    """A picture's placeholder is expanded to the tokenizer's pad token."""
    pad = backend._renderer.get_tokenizer().pad_token_id
    return _change_expansion(backend, lambda ids, _: [pad] * len(ids))


def drop_feature_row(backend: Any) -> AbstractContextManager[None]:
    """A picture's placeholder is expanded to one row of its grid too few."""
    merge = backend._renderer.get_mm_processor().info.get_hf_config().vision_config.spatial_merge_size
    return _change_expansion(backend, lambda ids, grid: ids[int(grid[-1]) // merge :])


def shift_span(_: Any) -> AbstractContextManager[None]:
    """A picture's features go to the positions from the one behind its first placeholder on."""
    return _change_range(lambda found: replace(found, offset=found.offset + 1))


def shorten_span(_: Any) -> AbstractContextManager[None]:
    """A medium's last placeholder gets no feature."""
    return _change_range(lambda found: replace(found, length=found.length - 1))


def _change_range(change: Callable[[Any], Any]) -> AbstractContextManager[None]:
    from vllm.multimodal.processing.processor import PlaceholderFeaturesInfo

    return change_result(PlaceholderFeaturesInfo, "to_range", change)


@contextmanager
def _change_expansion(backend: Any, change: Callable[[list[int], Any], list[int]]) -> Iterator[None]:
    """Pictures' placeholders are expanded to other ids; ``change`` is given vLLM's, and the grid."""

    def wrap(original: Function) -> Function:
        def updates(*, out_mm_kwargs: Any, **options: Any) -> Sequence[Any]:
            def other(item: int, expand: Callable[[int], list[int]]) -> list[int]:
                return change(expand(item), out_mm_kwargs["image"][item]["image_grid_thw"].data)

            return [
                replace(update, replacement=partial(other, expand=update.replacement))
                if update.modality == "image"
                else update
                for update in original(out_mm_kwargs=out_mm_kwargs, **options)
            ]

        return updates

    with wrap_function(backend._renderer.get_mm_processor(), "_get_prompt_updates", wrap):
        yield
