"""Numbers only: rigid and similarity transforms, cameras, rays, the object sphere, alignment."""
