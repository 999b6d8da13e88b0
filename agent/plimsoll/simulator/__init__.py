"""A whole node in a folder, and an API server for it: what the demo and the tests run the unmodified agent on."""
