"""Layers made visible: their maps, and pictures that are changed until a layer sees in them what it is to see."""
