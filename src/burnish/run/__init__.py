"""Where things run: `local` is one process with its verifier workers. Not for: what is learned, or how."""
