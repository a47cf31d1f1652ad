"""`JobService` over HTTP: a server for loopback addresses and the client that implements the same port."""
