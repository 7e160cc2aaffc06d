-- Sorting, hashing, aggregates, indexes, JSON, functions, in one connection and with parallel workers.
CREATE TABLE words AS SELECT i AS id, md5(i::text) AS word, repeat(md5((i * 7)::text), i % 10) AS long FROM generate_series(1, 100000) i;
CREATE INDEX ON words (word);
CREATE INDEX ON words USING gin (to_tsvector('simple', long));
ANALYZE words;
SET work_mem = '1MB';
SELECT md5(string_agg(word, ',' ORDER BY word)) FROM words;
SET work_mem = '64MB';
SELECT md5(string_agg(word, ',' ORDER BY long, id)) FROM words;
SELECT left(word, 2), count(*), sum(length(long)) FROM words GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 5;
SELECT count(*) FROM words a JOIN words b ON left(a.word, 3) = right(b.word, 3) WHERE a.id < 20000;
SELECT md5(jsonb_agg(jsonb_build_object('id', id, 'words', regexp_split_to_array(word, '[a-c]')) ORDER BY id)::text) FROM words WHERE id < 20000;
CREATE FUNCTION chain(n int) RETURNS text LANGUAGE plpgsql AS $$
DECLARE text text := ''; parts text[] := '{}';
BEGIN
    FOR i IN 1 .. n LOOP
        text := md5(text || i);
        parts := parts || text;
        BEGIN
            IF i % 10 = 0 THEN RAISE EXCEPTION 'undone'; END IF;
        EXCEPTION WHEN OTHERS THEN text := text || '!';
        END;
    END LOOP;
    RETURN md5(array_to_string(parts, ','));
END $$;
SELECT chain(3000);
WITH RECURSIVE f (a, b, n) AS (SELECT 0::numeric, 1::numeric, 0 UNION ALL SELECT b, a + b, n + 1 FROM f WHERE n < 2000) SELECT md5(max(a)::text) FROM f;
UPDATE words SET long = long || word WHERE id % 3 = 0;
DELETE FROM words WHERE id % 5 = 0;
VACUUM FULL words;
SELECT count(*), sum(length(long)) FROM words;
SELECT sum(xmlserialized) FROM (SELECT length(query_to_xml('SELECT * FROM words WHERE id < 2000 ORDER BY id', true, false, '')::text) AS xmlserialized) x;
