-- Statements that copy the column, tenth by tenth. More inputs: chunk, widen_chunk.sql with the places :first: and :last:;
-- pages.
-- Inputs of `Widening.fill`: chunk, pages, t, unproved.
SELECT replace(replace({{'chunk'}}, ':first:', (pages * part / parts)::text), ':last:', (pages * (part + 1) / parts)::text)
  FROM (SELECT pages, CASE WHEN pages < {{pages}} * 10 THEN 1 ELSE 10 END AS parts
          FROM (SELECT pg_relation_size(to_regclass({{'t'}})) / current_setting('block_size')::bigint AS pages) AS size) AS size,
       generate_series(0, parts - 1) AS part WHERE pages > 0 AND {{unproved}} ORDER BY part
