"""Published methods of other groups, for comparison."""
