"""Attempts: to crash the interpreter. Seen from outside: a signal."""
import ctypes


def main(query):
    ctypes.string_at(0)
