"""What the lessons and the demo are made of: digits, networks, trainings.  No use to a model of your own."""
