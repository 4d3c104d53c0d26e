"""The engines behind their own OpenAI-compatible servers, asked over HTTP as clients ask them."""
