"""What each `prism` command does; `prismlib.cli` finds it, parses for it and calls it."""
