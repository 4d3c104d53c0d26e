"""A minimal engine: a backend as a third party would write it, with outputs from numpy.

Engine arguments make it fail at certain moments: ``{"load": "raise"}``, ``{"inputs two": "die"}``. The
reference, which accepts no engine arguments, reads them from ``$TINY_ENGINE``.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from vlm_parity.backends.base import CapturedMedium, Inputs, Outputs, ReferenceBackend, Request
from vlm_parity.backends.server.process import ServerProcess
from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.schema.case import Modality, TextPart
from vlm_parity.schema.engine_setup import Dtype, EntryPoint
from vlm_parity.schema.media_source import ImageRecipe
from vlm_parity.schema.trace import EncoderBudget, Span, Stage
from vlm_parity.util.errors import (
    EngineCrashedError,
    ModeNotApplicableError,
    PrivateApiChangedError,
    UnsupportedError,
)

VOCABULARY = 256
IMAGE_PAD, IMAGE_TOKENS = 255, 3
LARGEST = (12, 8)
"""Width and height of the largest image, for which it sets its encoder budget."""
LOGITS_AFTER = np.random.default_rng(7).normal(0, 2, (VOCABULARY, VOCABULARY)).astype(np.float32)
"""Logits after each id, independent of all ids before it."""


def hang_in_server() -> None:
    program = "setsid sleep 600 & setsid sh -c 'setsid sleep 600 & sleep 600' & sleep 600"
    ServerProcess(lambda _: ["sh", "-c", program], {}).wait_until_ready()


HANGS: dict[str, Callable[[], object]] = {
    "hang": lambda: time.sleep(600),
    # Holds the interpreter's lock, so no thread of this process runs.
    "hang with the interpreter": lambda: ctypes.PyDLL(None).sleep(600),
    "hang in a server": hang_in_server,
}


class TinyEngine(ReferenceBackend):
    """A backend whose ids are the bytes of the prompt; each medium becomes three image tokens."""

    name = "tiny_engine"
    engine = "numpy"
    packages = ("numpy",)
    modes = {
        "prefix_cached": "as if all but the last position had been cached",
        "picky": "with images only",
    }
    entry_points = {EntryPoint.TEXT: "the same as chat, because it has no template"}
    server_target = "tiny_engine:TinyServer"

    def load(self, checkpoint: Checkpoint) -> None:
        print(f"loading {checkpoint.name} in process {os.getpid()}", flush=True)
        self.workarounds.append("outputs from numpy")
        self._passes: Counter[str] = Counter()
        self.applied_engine_args["orders"] = str(dict(self.settings.engine_args))
        self._obey("load")

    @cached_property
    def _orders(self) -> dict[str, str]:
        return {**json.loads(os.getenv("TINY_ENGINE", "{}")), **self.settings.engine_args}

    def inputs(self, request: Request) -> Inputs:
        by = f" by {request.entry_point}" if request.entry_point is not EntryPoint.CHAT else ""
        name = request.case.name + by
        self._obey(f"inputs {name}")
        prompt, items = "", count()
        ids: list[int] = []
        spans: list[Span] = []
        for part in (part for message in request.case.messages for part in message.parts):
            text = part.text if isinstance(part, TextPart) else "<image>"
            prompt += text
            if not isinstance(part, TextPart):
                spans.append(Span.of("image", next(items), range(len(ids), len(ids) + IMAGE_TOKENS)))
            ids += text.encode() if isinstance(part, TextPart) else [IMAGE_PAD] * IMAGE_TOKENS
        ids[-1] += self._has_order(f"wrong id {name}")
        pixels = {"pixel_values": np.zeros((IMAGE_TOKENS, 2), np.float32)}
        media: tuple[Any, ...] = tuple(
            CapturedMedium("image", span.item, {"grid": (1, 1, IMAGE_TOKENS)}, pixels) for span in spans
        )
        if self._has_order(f"odd media {name}"):
            media = ("no medium at all",)
        not_captured = {Stage.POSITIONS: "the logits depend on no position"}
        return Inputs(prompt, tuple(ids), tuple(spans), prepared=name, media=media, not_captured=not_captured)

    def outputs(self, inputs: Inputs, continuation: tuple[int, ...] | None, new_tokens: int) -> Outputs:
        self._obey(f"outputs {inputs.prepared}")
        greedy = [int(LOGITS_AFTER[inputs.input_ids[-1]].argmax())]
        while len(greedy) < new_tokens:
            greedy.append(int(LOGITS_AFTER[greedy[-1]].argmax()))
        forced = continuation or tuple(greedy)
        cached = len(inputs.input_ids) - 1 if self.settings.mode == "prefix_cached" else 0
        if self.settings.mode == "picky" and not inputs.spans:
            raise ModeNotApplicableError("there is no image")
        prefill = LOGITS_AFTER[list(inputs.input_ids[cached:])]
        prefill[0, 0] += 0.5 * self._has_order(f"wrong logit {inputs.prepared}")
        self._passes[inputs.prepared] += 1
        number = self._passes[inputs.prepared]
        prefill[0, 0] += 0.5 * (number % 2) * self._has_order(f"flickering logit {inputs.prepared}")
        prefill[0, 0] += number * self._has_order(f"noisy logit {inputs.prepared}")
        mode_note = f"{cached} cached" if cached else ""
        decode = LOGITS_AFTER[list(forced[:-1])]
        return Outputs(
            prefill,
            decode,
            forced,
            tuple(greedy),
            cached_tokens=cached,
            mode_note=mode_note,
            not_captured={Stage.VISION: "there is no vision tower"},
        )

    def measure_encoder_budget(self, modality: Modality) -> EncoderBudget:
        self._obey("encoder_budget")
        if modality != "image":
            return super().measure_encoder_budget(modality)
        tokens = IMAGE_TOKENS + self._has_order("wrong encoder_budget")
        medium = ImageRecipe(pattern="plain", size=LARGEST)
        return EncoderBudget(modality=modality, tokens=tokens, medium=medium, condition="by itself")

    def samples(
        self,
        inputs: Inputs,
        continuation: tuple[int, ...],
        dtype: Dtype,  # noqa: ARG002
    ) -> Iterator[tuple[str, Outputs]]:
        self._obey(f"samples {inputs.prepared}")
        clean = self.outputs(inputs, continuation, 1)
        for seed in range(2):
            draw = np.random.default_rng(seed)
            assert clean.prefill is not None
            assert clean.decode is not None
            rows = (array + draw.normal(0, 1e-6, array.shape) for array in (clean.prefill, clean.decode))
            prefill, decode = (array.astype(np.float32) for array in rows)
            yield f"seed {seed}", replace(clean, prefill=prefill, decode=decode)

    def decode_token_texts(self, ids: Iterable[int]) -> dict[int, str]:
        return {token: chr(token) for token in ids}

    def close(self) -> None:
        print("closing", flush=True)

    def _has_order(self, order: str) -> bool:
        return order in self._orders

    def record_modules(self, folder: Path, inputs: Inputs, within: str = "") -> AbstractContextManager[None]:
        self._obey("modules")
        return super().record_modules(folder, inputs, within)

    def _obey(self, moment: str) -> None:
        sys.audit("tiny_engine", moment)
        order = self._orders.get(moment)
        if order is None:
            return
        print(f"{order} at {moment}", flush=True)
        self._obey_once(moment, order)
        if order == "raise":
            raise ValueError(f"cannot do {moment}")
        if order == "confuse the harness":
            Span.of("image", 0, [None, 1])  # type: ignore[list-item]
        if order == "move a name":
            raise PrivateApiChangedError("tiny_engine.forward is gone")
        if order == "say no":
            raise UnsupportedError(f"{moment}: not served")
        if order == "engine dies":
            raise EngineCrashedError("its inner process is gone")
        if order == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if order == "fork and die":
            if os.fork() == 0:
                time.sleep(600)
            os.kill(os.getpid(), signal.SIGKILL)
        if order == "exit":
            os._exit(3)
        if order in HANGS:
            HANGS[order]()
        if order == "start a helper":
            helper = subprocess.Popen(["sleep", "600"])
            print(f"helper in process {helper.pid}", flush=True)

    def _obey_once(self, moment: str, order: str) -> None:
        """Obey an order about the first or the second time only."""
        if order in {"die once", "die second"} and self._count(moment) == 1 + (order == "die second"):
            os.kill(os.getpid(), signal.SIGKILL)
        if order == "run out of memory once" and self._count(moment) == 1:
            raise MemoryError("27 GiB wanted")

    def _count(self, moment: str) -> int:
        """Return the number of times that this was called, in all processes of the test."""
        mark = Path(self._orders["marks"]) / moment
        mark.parent.mkdir(exist_ok=True)
        with mark.open("a") as file:
            file.write(".")
        return mark.stat().st_size


class TinyServer(TinyEngine):
    """The engine as if behind a server; it says so where it is loaded."""

    entry_points = {EntryPoint.SERVER: "a class of its own"}

    def load(self, checkpoint: Checkpoint) -> None:
        print("through a server", flush=True)
        super().load(checkpoint)
