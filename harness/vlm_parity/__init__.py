"""Differential parity tests of vision-language serving engines against transformers."""
