"""Where the quickstart's model and texts come from."""
