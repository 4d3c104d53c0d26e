"""Model families, one module each, with their chat templates beside them."""
