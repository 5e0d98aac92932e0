"""Named attacks built on the one search, and the audit that every attack result carries."""
