"""What was measured: records, their declarations, the claims held against them."""
