"""Records, the workspace (every path), image files and foreign formats."""
