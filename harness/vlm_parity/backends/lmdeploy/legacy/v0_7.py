"""LMDeploy 0.7 to 0.9, at depth ``tokens`` only.

Its pipeline is a ``VLAsyncEngine``, for language models an ``AsyncEngine``: engine and frontend in one
object. Only the frontend is built, and called through the method that ``generate`` calls first.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from logging import ERROR, Handler, LogRecord, getLogger
from typing import Any, ClassVar

from vlm_parity.backends.base import Backend, Inputs, Outputs, Request
from vlm_parity.backends.common.openai_messages import build_openai_messages
from vlm_parity.backends.common.template_arguments import select_template_arguments
from vlm_parity.backends.common.token_text import decode_token_texts
from vlm_parity.backends.common.tower_inputs import TowerInputs
from vlm_parity.backends.lmdeploy.cpu.internals import PrivateApi
from vlm_parity.backends.lmdeploy.cpu.redirect import Redirection, apply_redirections
from vlm_parity.backends.lmdeploy.entry_points import build_image_data_part
from vlm_parity.backends.lmdeploy.tower_inputs import build_media
from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.models.registry import FAMILIES, load_family
from vlm_parity.schema.engine_setup import Depth
from vlm_parity.schema.trace import Span, Stage
from vlm_parity.util.errors import UnsupportedError

TESTED_VERSIONS = "0.7.3"
TOKENS_DEPTH_ONLY = "LMDeploy before 0.12 is supported without its engine only: --depth tokens"
_NO_CONSTRUCTOR = (
    "{}: created without its constructor, which starts the engine; the frontend is built as there"
)
_UNSUPPORTED_MODEL = "unsupported vl model"
_DROPPED_PART = "unexpected content type"
"""Start of the error that LMDeploy logs when it drops a part that is neither text nor image."""

_MARKER = "<IMAGE_TOKEN>"
"""Text at which ``to_pytorch_aux`` splits the prompt for the positions of an image; it is never tokenized."""
_MARKER_NOTE = (
    f"prompts: {_MARKER}, the place of an image, which LMDeploy does not tokenize, is shown as {{}}"
)

PRIVATE_APIS = (
    PrivateApi("lmdeploy.archs", "get_task", ("model_path",), TESTED_VERSIONS),
    PrivateApi("lmdeploy.tokenizer", "Tokenizer", (), TESTED_VERSIONS),
    PrivateApi("lmdeploy.model", "ChatTemplateConfig.chat_template", (), TESTED_VERSIONS),
    PrivateApi("lmdeploy.vl.engine", "ImageEncoder", ("model_path", "backend"), TESTED_VERSIONS),
    PrivateApi(
        "lmdeploy.serve.vl_async_engine",
        "VLAsyncEngine._get_prompt_input",
        ("messages", "do_preprocess", "sequence_start", "adapter_name"),
        TESTED_VERSIONS,
    ),
)


def _skip_memory_check(_original: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *_: (0, 0)


GPU_MEMORY = Redirection(
    PrivateApi("torch.cuda", "mem_get_info"),
    "load_vl_model reads the memory of a GPU, for weights that it does not load here",
    _skip_memory_check,
    Depth.TOKENS,
)


class Lmdeploy07(Backend):
    """The frontend of a pipeline with the PyTorch engine."""

    name = "lmdeploy"
    engine = "lmdeploy"
    tensor_parallel = "tp"
    packages = (
        "lmdeploy",
        "transformers",
        "tokenizers",
        "torch",
        "torchvision",
        "numpy",
        "pillow",
        "opencv-python-headless",
        "qwen-vl-utils",
    )
    redirections: ClassVar[Sequence[Redirection]] = (GPU_MEMORY,)
    private_apis: ClassVar[Sequence[PrivateApi]] = (
        *PRIVATE_APIS,
        PrivateApi("lmdeploy.serve.async_engine", "get_names_from_model", ("model_path",), TESTED_VERSIONS),
    )

    def load(self, checkpoint: Checkpoint) -> None:
        if self.settings.depth is not Depth.TOKENS:
            raise UnsupportedError(TOKENS_DEPTH_ONLY)
        for private_api in self.private_apis:
            private_api.find()
        self._redirected = ExitStack()
        if self.settings.device == "cpu":
            self.workarounds += apply_redirections(self.redirections, self._redirected)
        self._tower, self._checkpoint = TowerInputs(checkpoint), checkpoint
        try:
            self._engine = self._build_frontend(str(checkpoint.path))
        except ValueError as error:
            if _UNSUPPORTED_MODEL in str(error):
                raise UnsupportedError(str(error).splitlines()[0][:500]) from error
            raise

    def _build_frontend(self, path: str) -> Any:
        """Return a pipeline with the attributes that its constructor sets before it starts the engine."""
        from lmdeploy.archs import get_task
        from lmdeploy.tokenizer import Tokenizer
        from lmdeploy.vl.engine import ImageEncoder

        task, pipeline_class = get_task(path)
        engine = pipeline_class.__new__(pipeline_class)
        engine.backend = "pytorch"
        engine.chat_template = self.build_chat_template(path)
        engine.tokenizer = Tokenizer(path)
        if task == "vlm":
            engine.vl_encoder = ImageEncoder(path, "pytorch")
        self.workarounds.append(_NO_CONSTRUCTOR.format(pipeline_class.__name__))
        return engine

    def build_chat_template(self, path: str) -> Any:
        """Return the chat template that the constructor of ``AsyncEngine`` selects by the path."""
        from lmdeploy.model import ChatTemplateConfig
        from lmdeploy.serve.async_engine import get_names_from_model

        return ChatTemplateConfig(get_names_from_model(path)[1]).chat_template

    def inputs(self, request: Request) -> Inputs:
        select_template_arguments(request.case, (), "this adapter for LMDeploy before 0.12")
        coroutine = self._engine._get_prompt_input(
            build_openai_messages(request, build_image_data_part),
            do_preprocess=True,
            sequence_start=True,
            adapter_name=None,
        )
        with _collect_errors() as errors:
            processed = asyncio.run(coroutine)
        if any(error.startswith(_DROPPED_PART) for error in errors):
            raise UnsupportedError(f"{_DROPPED_PART}: LMDeploy logs this as an error and drops the part")
        ids = tuple(int(token) for token in processed["input_ids"])
        entries = list(processed.get("multimodal") or ())
        spans = build_spans(entries)
        media = build_media(self._tower, {"image": [[entry] for entry in entries]}, spans)
        not_captured = dict(self._tower.not_captured)
        not_captured[Stage.POSITIONS] = (
            "LMDeploy computes them inside its engine, which does not run at this depth"
        )
        prompt = self._replace_marker(processed["prompt"])
        return Inputs(prompt, ids, spans, media=media, not_captured=not_captured)

    def _replace_marker(self, prompt: str) -> str:
        """Return the prompt with the model's own placeholder in place of LMDeploy's marker for an image."""
        placeholder = get_placeholder_text(self._checkpoint, self._engine.tokenizer.model.model)
        if _MARKER not in prompt or placeholder is None:
            return prompt
        note = _MARKER_NOTE.format(placeholder)
        if note not in self.workarounds:
            self.workarounds.append(note)
        return prompt.replace(_MARKER, placeholder)

    def outputs(
        self,
        inputs: Inputs,
        continuation: tuple[int, ...] | None,
        new_tokens: int,
    ) -> Outputs:
        raise UnsupportedError(TOKENS_DEPTH_ONLY)

    def decode_token_texts(self, ids: Iterable[int]) -> dict[int, str]:
        return decode_token_texts(self._engine.tokenizer.model.model, ids)

    def close(self) -> None:
        self._redirected.close()


def build_spans(entries: Iterable[Mapping[str, Any]]) -> tuple[Span, ...]:
    """Return the positions that the engine replaces by the features of each image, regardless of their ids.

    Args:
        entries: ``multimodal`` of the engine's inputs, one for each image, in order; with its ``offset`` in
            the prompt and its number of positions, ``image_tokens``.

    Source: ``to_pytorch_aux`` of the image processors; ``InputMultiModal`` of the PyTorch engine.
    """
    ranges = ((int(entry["offset"]), int(entry["image_tokens"])) for entry in entries)
    return tuple(
        Span.of("image", item, range(offset, offset + count)) for item, (offset, count) in enumerate(ranges)
    )


def get_placeholder_text(checkpoint: Checkpoint, tokenizer: Any) -> str | None:
    """Return the placeholder of an image in the model's own prompts; None if no family is registered.

    Args:
        checkpoint: of the model.
        tokenizer: a Hugging Face tokenizer.
    """
    if checkpoint.family not in FAMILIES:
        return None
    config = json.loads((checkpoint.path / "config.json").read_text(encoding="utf-8"))
    placeholder: str = tokenizer.convert_ids_to_tokens(
        load_family(checkpoint.family).get_placeholder_ids(config)["image"]
    )
    return placeholder


@contextmanager
def _collect_errors() -> Iterator[list[str]]:
    """Collect the messages that LMDeploy logs as errors while the block runs."""
    messages: list[str] = []

    class MessageCollector(Handler):
        def emit(self, record: LogRecord) -> None:
            messages.append(record.getMessage())

    logger, handler = getLogger("lmdeploy"), MessageCollector(ERROR)
    logger.addHandler(handler)
    try:
        yield messages
    finally:
        logger.removeHandler(handler)
