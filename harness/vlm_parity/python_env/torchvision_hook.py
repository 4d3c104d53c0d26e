"""Import hook for a CUDA build of torchvision next to a CPU build of PyTorch.

The compiled part of torchvision cannot be loaded then, so its operators are not registered, and the import
fails with ``operator torchvision::nms does not exist``. The processors need none of the compiled operators:
it is enough to declare the two that are looked up at import time.

``parity fix-torchvision`` copies this file into an environment in which the import fails, with a ``.pth``
file that imports it at every start of Python, because engines start processes of their own. The file is
therefore self-contained: it imports nothing of the harness, and torch only when torchvision is imported.
"""

import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

_LOOKED_UP_AT_IMPORT = ("nms", "qnms")
_LIBRARIES: list[object] = []  # a library's operators live as long as the object does


class _DeclaringLoader(Loader):
    """Loader that declares the operators before torchvision's own loader runs."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        import torch

        library = torch.library.Library("torchvision", "FRAGMENT")
        for operator in _LOOKED_UP_AT_IMPORT:
            library.define(operator + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _LIBRARIES.append(library)
        self._loader.exec_module(module)


class _Finder(MetaPathFinder):
    def find_spec(self, fullname, path=None, target=None):  # type: ignore[no-untyped-def]
        if fullname != "torchvision" or _LIBRARIES:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _DeclaringLoader(spec.loader)
        return spec


sys.meta_path.insert(0, _Finder())
