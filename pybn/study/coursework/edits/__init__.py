"""One edit of the student's own text that makes a part right: where no formula names a slip, it is found so."""
