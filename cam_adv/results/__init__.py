"""Every figure that the project states: the command behind it, what it gave, and the pages that show it."""
