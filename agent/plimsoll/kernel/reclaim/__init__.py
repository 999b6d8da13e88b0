"""Ways to find cold memory and to move it out, one module each."""
