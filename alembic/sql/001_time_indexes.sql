-- Indexes that hold a time whose type changes. Inputs: table; times; retyped, a condition on a row of pg_attribute.
SELECT indexrelid::regclass FROM pg_index WHERE indrelid = '{{table}}'::regclass AND EXISTS (
        SELECT FROM pg_attribute WHERE attrelid = indrelid AND attnum = ANY (indkey) AND attname = ANY ('{{{times}}}') AND {{retyped}})
 ORDER BY indexrelid::regclass::text
