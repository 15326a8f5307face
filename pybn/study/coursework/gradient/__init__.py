"""dx, dgamma and dbeta: the terms that they are made of, their names, and the verdict."""
