"""The protocol, pure: bytes and `now` in, actions out.

Nothing here reads a clock, a socket or a file; nothing logs or sleeps. `net/` and the daemons own the
world, this package owns the rules (RFC 9568 section 6, keepalived.conf(5)).
"""
