"""The ports' real and in-memory sides; nothing here knows the controller."""
