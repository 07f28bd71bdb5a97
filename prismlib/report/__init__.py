"""What people look at: tables, figures, claims and the page that shows them together.

`artefacts` is where notebooks leave tables and figures, `figures` draws, `claims` holds them
against the paper, `site` puts them on one page, `provenance` says what made them.
"""
