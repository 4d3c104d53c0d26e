"""Public reports of parity bugs: which can be written as a case, which are found where they live."""
