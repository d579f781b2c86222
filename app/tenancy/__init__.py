"""What a bot calls beside its models, what a maintainer runs, and what revisions are written with."""
