"""The fuzzer: conversations that nobody thought of, drawn by Hypothesis and shrunk to what it takes."""
