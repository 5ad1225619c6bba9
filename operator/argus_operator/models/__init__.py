"""The custom resources as frozen pydantic models; a test holds them equal to crds/*.yaml."""
