"""Networks from a line of text, for any number of axes; nothing here knows astronomy."""
