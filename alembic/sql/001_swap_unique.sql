-- One customer per business instead of one per database; the old bot's look-up keeps an index of its own.
SELECT CASE WHEN conname IS NULL THEN format('DROP INDEX %s', indexrelid::regclass)
            ELSE format('ALTER TABLE customers DROP CONSTRAINT %I', conname) END
  FROM pg_index LEFT JOIN pg_constraint ON conindid = indexrelid AND contype = 'u'
 WHERE indrelid = 'customers'::regclass AND {{global_unique}}
