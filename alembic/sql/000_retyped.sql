SELECT relid, attnum, sibling IS NOT NULL, false FROM ({{columns}}) AS c WHERE misfit
