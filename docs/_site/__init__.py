"""What Sphinx needs to make the pages of the catalogue from its contracts."""
