"""Engines side by side, as a sceptic would measure them: each in a process of its own, taking turns."""
