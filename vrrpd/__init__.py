"""vrrpd: a VRRP daemon that reads keepalived.conf (RFC 9568, RFC 3768)."""

__version__ = "0.1.0"
