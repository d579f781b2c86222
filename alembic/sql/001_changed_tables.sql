((SELECT statement FROM {{memory}} WHERE kind = 'the new tables as made') IS DISTINCT FROM {{as_made}})
