"""Policies that need no weights of their own: whatever answers asks."""

from concord.policies.scripted import Line, Script, Scripted

__all__ = ["Line", "Script", "Scripted"]
