"""Slots, pools and threads: who computes, through what this floor promises."""
