"""Every parameter of every job, once: the form, the flags, the JSON file and the docs come from here.

A field has a title (form label), a description (help), bounds, and where it applies a
`unit` in `json_schema_extra`. A parameter that stands here is obeyed by its script.
Each job imports its own model alone: pydantic takes its time with every one.
"""
