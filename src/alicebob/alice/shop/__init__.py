"""The embedded Alice in a shop: what she reads, knows, does, writes down and says of Bob."""
