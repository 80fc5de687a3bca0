"""Pure: the payload formats, one module each, and the table that knows them all."""
