"""The syntax of keepalived.conf: text -> statements with places. Knows no keyword; imports nothing of vrrpd."""
