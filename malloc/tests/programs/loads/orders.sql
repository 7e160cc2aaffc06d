-- Customers and their orders, made by recursion; read, changed, undone, checked.
PRAGMA journal_mode = WAL;
PRAGMA cache_size = -8000;
CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT NOT NULL, city TEXT, notes TEXT);
CREATE TABLE orders (id INTEGER PRIMARY KEY, customer INTEGER REFERENCES customers, total REAL, state TEXT, detail TEXT);
CREATE TABLE log (at INTEGER PRIMARY KEY, what TEXT);
CREATE TRIGGER changed AFTER UPDATE OF state ON orders BEGIN
    INSERT INTO log (what) VALUES (old.id || ': ' || old.state || ' -> ' || new.state);
END;
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
INSERT INTO customers SELECT i, 'customer ' || (i * 7919 % 20011), 'city ' || (i % 97), hex(zeroblob(i % 60)) FROM n;
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 150000)
INSERT INTO orders SELECT i, 1 + i * 7919 % 20000, (i * 31 % 10007) / 100.0, 'open',
    json_object('lines', i % 9, 'items', json_array(i, i * 2, 'text ' || i)) FROM n;
CREATE INDEX orders_customer ON orders (customer, total);
CREATE INDEX customers_city ON customers (city, name);
ANALYZE;
SELECT city, count(*), round(sum(total), 2) FROM customers JOIN orders ON customer = customers.id GROUP BY city ORDER BY 3 DESC LIMIT 10;
SELECT state, count(*), avg(json_extract(detail, '$.lines')) FROM orders GROUP BY state;
SELECT name, rank () OVER (ORDER BY sum(total) DESC) AS place FROM customers JOIN orders ON customer = customers.id
    GROUP BY customers.id ORDER BY place, name LIMIT 10;
BEGIN;
UPDATE orders SET state = 'sent' WHERE id % 3 = 0;
SAVEPOINT one;
DELETE FROM orders WHERE id % 5 = 0;
SELECT count(*) FROM orders;
ROLLBACK TO one;
COMMIT;
SELECT count(*), max(what) FROM log;
CREATE TABLE wide AS SELECT customer, group_concat(detail, '|') AS all_of_them FROM (SELECT * FROM orders ORDER BY id) GROUP BY customer;
SELECT sum(length(all_of_them)) FROM wide;
SELECT count(*) FROM customers a JOIN customers b ON a.city = b.city AND a.name < b.name WHERE a.id < 3000;
DELETE FROM orders WHERE id % 7 = 0;
DROP TABLE wide;
VACUUM;
PRAGMA integrity_check;
PRAGMA foreign_key_check;
SELECT count(*), round(sum(total), 2), min(detail), max(detail) FROM orders;
