"""Each figure that the README states, as a command."""
