-- Asked of the restored copy in a restore drill: a query that returns rows, or raises an error, fails it. These are examples.

-- Orders must have come in within the last two days.
SELECT 'no order since ' || coalesce(max(created_at)::text, 'ever') AS problem
  FROM orders HAVING coalesce(max(created_at), '-infinity') < now() - interval '2 days';

-- No payment without its order.
SELECT 'payment ' || p.id || ' has no order' AS problem
  FROM payments p LEFT JOIN orders o ON o.id = p.order_id WHERE o.id IS NULL LIMIT 10;
