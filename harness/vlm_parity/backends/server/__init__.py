"""OpenAI-compatible servers of the engines, queried over HTTP."""
