"""Code that the backends share; imports no engine."""
