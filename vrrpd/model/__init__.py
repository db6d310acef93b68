"""The meaning of a configuration: one dataclass per block, one kw() line per keyword, and the rules between blocks."""
