"""`python -m maquette` is the program `maquette`."""

from maquette.app.main import main

main()
