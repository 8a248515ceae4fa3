"""Files that hold networks: our own folders, published layouts, and telling them apart."""
