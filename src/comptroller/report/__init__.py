"""Tables, pages and pictures of plans and facts; reads only."""
