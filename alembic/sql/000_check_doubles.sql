(SELECT format('customers.whatsapp_id must be unique, but is not: %s; merge those rows and run the same command again',
               string_agg(format('%s (%s rows)', whatsapp_id, n), ', '))
   FROM (SELECT whatsapp_id, count(*) AS n FROM customers GROUP BY whatsapp_id HAVING count(*) > 1
          ORDER BY n DESC, whatsapp_id LIMIT 5) AS doubles
 HAVING count(*) > 0)
