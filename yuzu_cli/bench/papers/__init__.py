"""Models, tables and figures of the papers, and the page that is made of one run of them."""
