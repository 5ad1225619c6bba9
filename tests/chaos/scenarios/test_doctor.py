"""With one engine away `argus doctor` says which, and what it says of the others is that they are well."""
