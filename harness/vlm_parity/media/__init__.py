"""Images, videos and audio: drawn, encoded, loaded, and passed to the backends."""
