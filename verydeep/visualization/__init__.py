"""Layers made visible: their maps, and images that are changed until a layer sees in them what it is to see."""
