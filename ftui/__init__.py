"""The two faces: the terminal app and the command line."""
