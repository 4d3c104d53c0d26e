"""Model families, one module each, with their chat templates next to them."""
