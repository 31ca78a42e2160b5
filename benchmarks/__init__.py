"""Claims about speed and memory, each a script that measures this package and its peers in turns, in one run."""
