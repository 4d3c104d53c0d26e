"""LMDeploy 0.7 to 0.9, asked as its pipeline asks itself, at the depth ``tokens`` only.

Its pipeline is a ``VLAsyncEngine``, of a language model an ``AsyncEngine``: the engine and its front end in
one. Of it the front end is built, and asked by the method that its ``generate`` asks first.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from logging import ERROR, Handler, LogRecord, getLogger
from typing import Any, ClassVar

from vlm_parity.backends.base import Backend, Inputs, Outputs, Request
from vlm_parity.backends.common.token_text import decode_token_texts
from vlm_parity.backends.common.tower_inputs import TowerInputs
from vlm_parity.backends.lmdeploy.chat import build_openai_messages
from vlm_parity.backends.lmdeploy.cpu.internals import PrivateApi
from vlm_parity.backends.lmdeploy.cpu.redirect import Redirection, apply_redirections
from vlm_parity.backends.lmdeploy.tower_inputs import build_media
from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.models.registry import FAMILIES, load_family
from vlm_parity.schema.trace import Depth, Span, Stage
from vlm_parity.util.errors import UnsupportedError

TESTED_VERSIONS = "0.7.3"
TOKENS_DEPTH_ONLY = (
    "releases of LMDeploy before 0.12 are asked for what the model is fed, not run: --depth tokens"
)
_SHELL = "{}: made without its constructor, which starts the engine; its front end is built as there"
_NO_MODEL = "unsupported vl model"
_DROPPED = "unexpected content type"
"""How the error begins that is logged of a part that is neither text nor image; it is then left out."""

_MARKER = "<IMAGE_TOKEN>"
"""Where ``to_pytorch_aux`` cuts the prompt for an image's positions; it is never tokenized."""
_TEXT_LIMIT = (
    f"prompts: {_MARKER}, where LMDeploy cuts them for an image and which no tokenizer sees, is shown as {{}}"
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


def _skip_memory_check(original: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *_: (0, 0)


GPU_MEMORY = Redirection(
    PrivateApi("torch.cuda", "mem_get_info"),
    "load_vl_model asks how much memory a GPU has, for weights that it does not load here",
    _skip_memory_check,
    Depth.TOKENS,
)


class Lmdeploy07(Backend):
    """The front end of a pipeline with the PyTorch engine."""

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
    built_on: ClassVar[Sequence[PrivateApi]] = (
        *PRIVATE_APIS,
        PrivateApi("lmdeploy.serve.async_engine", "get_names_from_model", ("model_path",), TESTED_VERSIONS),
    )

    def load(self, checkpoint: Checkpoint) -> None:
        if self.settings.depth is not Depth.TOKENS:
            raise UnsupportedError(TOKENS_DEPTH_ONLY)
        for internal in self.built_on:
            internal.find()
        self._redirected = ExitStack()
        if self.settings.device == "cpu":
            self.workarounds += apply_redirections(self.redirections, self._redirected)
        self._tower, self._checkpoint = TowerInputs(checkpoint), checkpoint
        try:
            self._engine = self._front_end(str(checkpoint.path))
        except ValueError as problem:
            if _NO_MODEL in str(problem):
                raise UnsupportedError(str(problem).splitlines()[0][:500]) from problem
            raise

    def _front_end(self, path: str) -> Any:
        """What a pipeline is, as far as its constructor gets before it starts the engine."""
        from lmdeploy.archs import get_task
        from lmdeploy.tokenizer import Tokenizer
        from lmdeploy.vl.engine import ImageEncoder

        task, pipeline_class = get_task(path)
        engine = pipeline_class.__new__(pipeline_class)
        engine.backend = "pytorch"
        engine.chat_template = self.chat_template(path)
        engine.tokenizer = Tokenizer(path)
        if task == "vlm":
            engine.vl_encoder = ImageEncoder(path, "pytorch")
        self.workarounds.append(_SHELL.format(pipeline_class.__name__))
        return engine

    def chat_template(self, path: str) -> Any:
        """As the constructor of ``AsyncEngine`` has it: by the path of the checkpoint."""
        from lmdeploy.model import ChatTemplateConfig
        from lmdeploy.serve.async_engine import get_names_from_model

        return ChatTemplateConfig(get_names_from_model(path)[1]).chat_template

    def inputs(self, request: Request) -> Inputs:
        asked = self._engine._get_prompt_input(
            list(build_openai_messages(request)), do_preprocess=True, sequence_start=True, adapter_name=None
        )
        with _collect_errors() as errors:
            found = asyncio.run(asked)
        if any(error.startswith(_DROPPED) for error in errors):
            raise UnsupportedError(f"{_DROPPED}: LMDeploy logs this as an error and leaves the part out")
        ids = tuple(int(token) for token in found["input_ids"])
        entries = list(found.get("multimodal") or ())
        spans = build_spans(entries)
        media = build_media(self._tower, {"image": [[entry] for entry in entries]}, spans)
        missing = dict(self._tower.not_captured)
        missing[Stage.POSITIONS] = "LMDeploy makes them inside its engine, and at this depth there is none"
        return Inputs(self._shown(found["prompt"]), ids, spans, media=media, not_captured=missing)

    def _shown(self, prompt: str) -> str:
        """The prompt with the model's own placeholder where LMDeploy's marker stands for an image."""
        placeholder = get_placeholder_text(self._checkpoint, self._engine.tokenizer.model.model)
        if _MARKER not in prompt or placeholder is None:
            return prompt
        note = _TEXT_LIMIT.format(placeholder)
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
    """The positions that the engine writes each image's features over, whatever ids stand there.

    Args:
        entries: of ``multimodal``, one an image, in order; each with its ``offset`` in the prompt, and in
            ``image_tokens`` how many positions it takes.

    Source: ``to_pytorch_aux`` of the image processors; ``InputMultiModal`` of the PyTorch engine.
    """
    places = ((int(entry["offset"]), int(entry["image_tokens"])) for entry in entries)
    return tuple(
        Span.of("image", item, range(offset, offset + count)) for item, (offset, count) in enumerate(places)
    )


def get_placeholder_text(checkpoint: Checkpoint, tokenizer: Any) -> str | None:
    """What stands for an image in the model's own prompts; None where no family knows the model.

    Args:
        checkpoint: of the model.
        tokenizer: a Hugging Face tokenizer.
    """
    if checkpoint.family not in FAMILIES:
        return None
    config = json.loads((checkpoint.path / "config.json").read_text(encoding="utf-8"))
    found: str = tokenizer.convert_ids_to_tokens(
        load_family(checkpoint.family).get_placeholder_ids(config)["image"]
    )
    return found


@contextmanager
def _collect_errors() -> Iterator[list[str]]:
    """What LMDeploy logs as errors meanwhile."""
    found: list[str] = []

    class Kept(Handler):
        def emit(self, record: LogRecord) -> None:
            found.append(record.getMessage())

    logger, handler = getLogger("lmdeploy"), Kept(ERROR)
    logger.addHandler(handler)
    try:
        yield found
    finally:
        logger.removeHandler(handler)
