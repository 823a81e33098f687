"""The archives: members to raw bytes and back, and the index of what stands where."""
