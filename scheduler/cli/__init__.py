"""The command groups `job`, `pool` and `scheduler`; the program `millpond` loads each when it is used."""
