"""Methods written out flat, each in one file that is read from top to bottom."""
