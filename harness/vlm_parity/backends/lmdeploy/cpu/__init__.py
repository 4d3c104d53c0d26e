"""LMDeploy's PyTorch engine on a machine without a GPU, by redirections from outside.

``attention`` is plain PyTorch, ``ops`` makes it an operator backend, ``redirect`` lists the redirections and
their reasons, ``internals`` finds the private names that they depend on. Only ``attention`` and ``internals``
can be imported without LMDeploy.
"""
