"""Attempts: to end before main is called. Seen from outside: exited with status 0 is not success."""
import sys

sys.exit(0)
