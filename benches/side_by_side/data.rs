//! The data: the same rows on every machine, by hashes of the row's number and no clock or random source.

/// Names of all sets; the last ones only run when they are named.
pub const SETS: [&str; 9] = ["mixed", "wide", "many", "toast", "pgbench", "lobs", "tables10k", "tables50k", "lobs500k"];

/// How many of them run when none is named.
pub const USUAL: usize = 7;

/// Words of the texts; 64, so that six bits of a hash pick one.
const WORDS: &str = "\
    order payment customer invoice shipped pending refund the a of to and for with from by update failed \
    retry session login logout token cart item price stock warehouse delivery address email confirmed \
    cancelled partner request response timeout queue worker job started finished warning error notice \
    user account plan trial upgraded monthly yearly discount voucher support ticket answered closed \
    reopened priority high low normal renewal";

/// `count` words of the text that belongs to row `g`, as an SQL expression over the array `w`.
fn words(count: u32) -> String {
    // One hash picks five words.
    let picks: Vec<String> =
        (0..count).map(|i| format!("w[1 + ((hashint8extended(g, {}) >> {}) & 63)::int]", i / 5, i % 5 * 6)).collect();
    format!("concat_ws(' ', {})", picks.join(", "))
}

fn vocabulary() -> String {
    let list: Vec<String> = WORDS.split_whitespace().map(|w| format!("'{w}'")).collect();
    format!("(SELECT ARRAY[{}] AS w) vocabulary", list.join(","))
}

/// A number of row `g`: its hash with this seed, below `below`.
fn number(seed: u32, below: u32) -> String {
    format!("((hashint8extended(g, {seed}) & 1073741823) % {below})")
}

/// Rows of an events table, as the body of CREATE TABLE … AS: about 340 bytes of COPY text each.
fn events(rows: u64) -> String {
    format!(
        "SELECT g AS id, timestamptz '2025-01-01 00:00:00+00' + g * interval '7.31 s' AS at, \
           md5(g::text)::uuid AS session, \
           w[1 + {kind}::int] AS kind, \
           jsonb_build_object('user', {user}, 'path', '/api/v1/' || w[1 + {part}::int] || '/' || {object}, \
             'ms', round({ms} / 100.0, 2), \
             'status', (ARRAY[200,200,200,201,204,301,404,500])[1 + {status}::int], \
             'agent', 'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.' || {agent}) AS data, \
           {note} || ' #' || {ticket} AS note \
         FROM generate_series(1, {rows}) g, {vocabulary}",
        kind = number(101, 12),
        user = number(102, 100_000),
        part = number(103, 64),
        object = number(104, 1_000_000),
        ms = number(105, 90_000),
        status = number(106, 8),
        agent = number(107, 40),
        ticket = number(108, 10_000_000),
        note = words(17),
        vocabulary = vocabulary(),
    )
}

/// Small tables `prefix1` … of `rows` rows each, with a primary key; made one by one, as one transaction could not
/// lock them all.
fn small_tables(prefix: &str, count: u64, rows: u64) -> String {
    format!(
        "SELECT format('CREATE TABLE {prefix}%s (id int PRIMARY KEY, name text, at timestamptz); \
           INSERT INTO {prefix}%1$s SELECT g, md5(g::text), \
             timestamptz ''2025-01-01 00:00:00+00'' + g * interval ''1 min'' \
           FROM generate_series(1, {rows}) g', n) FROM generate_series(1, {count}) n \\gexec\n"
    )
}

/// A table of files whose contents are large objects, of 0.5 to 10 KB each.
fn large_objects(count: u64) -> String {
    format!(
        "CREATE TABLE files AS SELECT g AS id, lo_from_bytea(0,
           (SELECT string_agg(decode(md5(g || '/' || i) || repeat('00', 16), 'hex'), '' ORDER BY i)
              FROM generate_series(1, 16 + {}) i)) AS content FROM generate_series(1, {count}) g;
         ALTER TABLE files ADD PRIMARY KEY (id);\n",
        number(301, 300)
    )
}

fn scaled(size: u64, scale: f64) -> u64 {
    ((size as f64 * scale) as u64).max(1)
}

/// Statements (for psql) that fill an empty database with a set; `None` for `pgbench`, which pgbench itself makes.
pub fn sql(set: &str, scale: f64) -> Option<String> {
    let mut sql = "SET synchronous_commit = off; SET TimeZone = 'UTC';\n".to_owned();
    match set {
        "mixed" => {
            let (events_, users, orders, files) =
                (scaled(1_450_000, scale), scaled(150_000, scale), scaled(500_000, scale), scaled(4_000, scale));
            sql += &format!(
                "CREATE TABLE events AS {events};
                 ALTER TABLE events ADD PRIMARY KEY (id);
                 CREATE INDEX ON events (at);
                 CREATE INDEX ON events (session);
                 CREATE TABLE users AS SELECT g AS id, 'user' || g || '@example.com' AS email,
                   md5(g::text)::uuid AS token, {note} AS about,
                   timestamptz '2024-01-01 00:00:00+00' + g * interval '97 s' AS created
                   FROM generate_series(1, {users}) g, {vocabulary};
                 ALTER TABLE users ADD PRIMARY KEY (id);
                 CREATE UNIQUE INDEX ON users (email);
                 CREATE TABLE orders AS SELECT g AS id, 1 + {user} AS user_id,
                   ({cents} / 100.0)::numeric(10, 2) AS total,
                   w[1 + {state}::int] AS state, date '2024-01-01' + (g / 1000)::int AS day
                   FROM generate_series(1, {orders}) g, {vocabulary};
                 ALTER TABLE orders ADD PRIMARY KEY (id), ADD FOREIGN KEY (user_id) REFERENCES users;
                 CREATE INDEX ON orders (user_id);
                 CREATE TABLE files AS SELECT g AS id,
                   (SELECT string_agg(decode(md5(g || '/' || i) || repeat('00', 16), 'hex'), '' ORDER BY i)
                     FROM generate_series(1, 256) i) AS content FROM generate_series(1, {files}) g;
                 ALTER TABLE files ADD PRIMARY KEY (id);\n",
                events = events(events_),
                note = words(5),
                user = number(201, users as u32),
                cents = number(202, 100_000),
                state = number(203, 9),
                vocabulary = vocabulary(),
            );
            sql += &small_tables("small_", scaled(300, scale.clamp(0.03, 1.0)), 100);
        }
        "wide" => {
            sql += &format!(
                "CREATE TABLE wide AS {};\nALTER TABLE wide ADD PRIMARY KEY (id);\n",
                events(scaled(1_200_000, scale))
            );
        }
        "many" => sql += &small_tables("tiny_", scaled(3_000, scale), 5),
        "tables10k" => sql += &small_tables("tiny_", scaled(10_000, scale), 5),
        "tables50k" => sql += &small_tables("tiny_", scaled(50_000, scale), 5),
        "lobs" => sql += &large_objects(scaled(20_000, scale)),
        "lobs500k" => sql += &large_objects(scaled(500_000, scale)),
        "toast" => {
            // Half of each value is hexadecimal digits of hashes, half is always the same: 64 bytes per step.
            let value = |length: &str| {
                format!(
                    "(SELECT string_agg(md5(g || '/' || i) || 'what is the same in every record', '' ORDER BY i) \
                     FROM generate_series(1, {length} / 64) i)"
                )
            };
            let (rows, large) = (scaled(300, scale), scaled(3, scale));
            let size = if scale < 0.1 { 4 << 20 } else { 20 << 20 };
            sql += &format!(
                "CREATE TABLE documents AS SELECT g AS id, {} AS body FROM generate_series(1, {rows}) g;
                 INSERT INTO documents SELECT {rows} + g, {} FROM generate_series(1, {large}) g;
                 ALTER TABLE documents ADD PRIMARY KEY (id);\n",
                value("1048576"),
                value(&size.to_string())
            );
        }
        _ => return None,
    }
    Some(sql + "RESET synchronous_commit; VACUUM (ANALYZE); CHECKPOINT;\n")
}

/// The scale of `pgbench -i -s`.
pub fn pgbench_scale(scale: f64) -> u64 {
    scaled(30, scale)
}

/// A database in which one thing is `factor` times as large: `rows`, `tables` or `width` (of a row).
pub fn growth_sql(what: &str, factor: u64, scale: f64) -> String {
    let mut sql = "SET synchronous_commit = off; SET TimeZone = 'UTC';\n".to_owned();
    match what {
        "rows" => {
            sql += &format!("CREATE TABLE events AS {};\n", events(scaled(60_000, scale) * factor));
        }
        "tables" => sql += &small_tables("t_", scaled(60, scale.max(0.05)) * factor, 200),
        _ => {
            // Up to 16 x 100 bytes: a wider row would go to a TOAST table, which is the toast set's matter.
            sql += &format!(
                "CREATE TABLE rows AS SELECT g AS id, \
                 (SELECT string_agg(md5(g || '/' || i), ' ') FROM generate_series(1, {}) i) AS body \
                 FROM generate_series(1, {}) g;\n",
                3 * factor,
                scaled(60_000, scale)
            );
        }
    }
    sql + "RESET synchronous_commit; VACUUM (ANALYZE); CHECKPOINT;\n"
}
