"""The slow engine that leaves nothing out: the real controller, store and runner on a manual clock and memory."""
