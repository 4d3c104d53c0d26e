"""The harness tested against itself: faults planted in real engines, and what is made of them."""
