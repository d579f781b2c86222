SELECT relid, attnum, sibling IS NOT NULL FROM ({{columns}}) AS c WHERE misfit
