"""LMDeploy's PyTorch engine on a machine without a GPU, by redirections from outside.

``attention`` is plain PyTorch, ``ops`` plugs it in as an operator backend, ``redirect`` lists what
is redirected and why, ``internals`` finds the private names that all of this builds on. Only
``attention`` and ``internals`` may be imported where LMDeploy is not installed.
"""
