"""The self-check: faults injected into real engines show that the harness detects and names them."""
