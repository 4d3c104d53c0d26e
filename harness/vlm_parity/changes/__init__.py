"""Changes from one run to another: their classes, the environments beside them, and the gate."""
