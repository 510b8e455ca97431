"""A whole experiment from one file: settings, data parts, the two pipelines, and the report."""
