"""Files, folders and pipes of this machine, through what this floor promises."""
