//! The candidates with one layout: records under (stream number, sequence); heads in two tables, live and ended.

use std::path::Path;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use redb::{ReadableDatabase, ReadableTable, TableDefinition};
use rusqlite::{Connection, params};

/// One append.
pub struct Put {
    pub id: Vec<u8>,
    pub no: u64,
    pub seq: u64,
    pub live: bool,
    pub record: Vec<u8>,
    pub summary: Vec<u8>,
}

pub trait Engine {
    /// All puts, atomically, on disk when it returns.
    fn commit(&mut self, puts: &[Put]);
    fn list_live(&mut self) -> usize;
    fn read_tail(&mut self, no: u64, count: usize) -> usize;
    fn head(&mut self, id: &[u8]) -> bool;
}

fn key(no: u64, seq: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&no.to_be_bytes());
    key[8..].copy_from_slice(&seq.to_be_bytes());
    key
}

pub struct Fjall {
    db: Database,
    log: Keyspace,
    live: Keyspace,
    ended: Keyspace,
}

impl Fjall {
    pub fn open(dir: &Path) -> Self {
        let db = Database::builder(dir).manual_journal_persist(true).open().expect("open");
        let keyspace = |name| db.keyspace(name, KeyspaceCreateOptions::default).expect("keyspace");
        let (log, live, ended) = (keyspace("log"), keyspace("live"), keyspace("ended"));
        Self { db, log, live, ended }
    }
}

impl Engine for Fjall {
    fn commit(&mut self, puts: &[Put]) {
        let mut batch = self.db.batch().durability(Some(PersistMode::SyncData));
        for put in puts {
            batch.insert(&self.log, key(put.no, put.seq), put.record.as_slice());
            if put.live {
                batch.insert(&self.live, put.id.as_slice(), put.summary.as_slice());
            } else {
                batch.remove(&self.live, put.id.as_slice());
                batch.insert(&self.ended, put.id.as_slice(), put.summary.as_slice());
            }
        }
        batch.commit().expect("commit");
    }

    fn list_live(&mut self) -> usize {
        self.live.iter().map(|guard| guard.into_inner().expect("read").1.len().min(1)).sum()
    }

    fn read_tail(&mut self, no: u64, count: usize) -> usize {
        let records = self.log.range(key(no, 0)..=key(no, u64::MAX)).rev().take(count);
        records.map(|guard| guard.value().expect("read").len().min(1)).sum()
    }

    fn head(&mut self, id: &[u8]) -> bool {
        self.live.get(id).expect("read").is_some() || self.ended.get(id).expect("read").is_some()
    }
}

const LOG: TableDefinition<'_, (u64, u64), &[u8]> = TableDefinition::new("log");
const LIVE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("live");
const ENDED: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("ended");

pub struct Redb {
    db: redb::Database,
}

impl Redb {
    pub fn open(dir: &Path) -> Self {
        let db = redb::Builder::new().set_cache_size(64 << 20).create(dir.join("redb")).expect("open");
        let write = db.begin_write().expect("begin");
        write.open_table(LOG).expect("table");
        write.open_table(LIVE).expect("table");
        write.open_table(ENDED).expect("table");
        write.commit().expect("commit");
        Self { db }
    }
}

impl Engine for Redb {
    fn commit(&mut self, puts: &[Put]) {
        let write = self.db.begin_write().expect("begin");
        {
            let mut log = write.open_table(LOG).expect("table");
            let mut live = write.open_table(LIVE).expect("table");
            let mut ended = write.open_table(ENDED).expect("table");
            for put in puts {
                log.insert((put.no, put.seq), put.record.as_slice()).expect("insert");
                if put.live {
                    live.insert(put.id.as_slice(), put.summary.as_slice()).expect("insert");
                } else {
                    live.remove(put.id.as_slice()).expect("remove");
                    ended.insert(put.id.as_slice(), put.summary.as_slice()).expect("insert");
                }
            }
        }
        write.commit().expect("commit");
    }

    fn list_live(&mut self) -> usize {
        let read = self.db.begin_read().expect("begin");
        let live = read.open_table(LIVE).expect("table");
        live.iter().expect("iter").map(|row| row.expect("read").1.value().len().min(1)).sum()
    }

    fn read_tail(&mut self, no: u64, count: usize) -> usize {
        let read = self.db.begin_read().expect("begin");
        let log = read.open_table(LOG).expect("table");
        let rows = log.range((no, 0)..=(no, u64::MAX)).expect("range").rev().take(count);
        rows.map(|row| row.expect("read").1.value().len().min(1)).sum()
    }

    fn head(&mut self, id: &[u8]) -> bool {
        let read = self.db.begin_read().expect("begin");
        read.open_table(LIVE).expect("table").get(id).expect("read").is_some()
            || read.open_table(ENDED).expect("table").get(id).expect("read").is_some()
    }
}

pub struct Sqlite {
    db: Connection,
}

impl Sqlite {
    pub fn open(dir: &Path) -> Self {
        let db = Connection::open(dir.join("sqlite")).expect("open");
        db.execute_batch(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA locking_mode=EXCLUSIVE;
             PRAGMA cache_size=-65536;
             CREATE TABLE IF NOT EXISTS log (no INTEGER, seq INTEGER, record BLOB, PRIMARY KEY (no, seq)) WITHOUT ROWID;
             CREATE TABLE IF NOT EXISTS live (id BLOB PRIMARY KEY, summary BLOB) WITHOUT ROWID;
             CREATE TABLE IF NOT EXISTS ended (id BLOB PRIMARY KEY, summary BLOB) WITHOUT ROWID;",
        )
        .expect("schema");
        Self { db }
    }
}

impl Engine for Sqlite {
    fn commit(&mut self, puts: &[Put]) {
        let tx = self.db.transaction().expect("begin");
        {
            let mut log = tx.prepare_cached("INSERT INTO log VALUES (?, ?, ?)").expect("prepare");
            let mut live = tx.prepare_cached("REPLACE INTO live VALUES (?, ?)").expect("prepare");
            let mut unlive = tx.prepare_cached("DELETE FROM live WHERE id = ?").expect("prepare");
            let mut ended = tx.prepare_cached("REPLACE INTO ended VALUES (?, ?)").expect("prepare");
            for put in puts {
                log.execute(params![put.no as i64, put.seq as i64, put.record]).expect("insert");
                if put.live {
                    live.execute(params![put.id, put.summary]).expect("insert");
                } else {
                    unlive.execute(params![put.id]).expect("delete");
                    ended.execute(params![put.id, put.summary]).expect("insert");
                }
            }
        }
        tx.commit().expect("commit");
    }

    fn list_live(&mut self) -> usize {
        let mut all = self.db.prepare_cached("SELECT id, summary FROM live ORDER BY id").expect("prepare");
        let rows = all.query_map([], |row| row.get::<_, Vec<u8>>(1)).expect("query");
        rows.map(|row| row.expect("read").len().min(1)).sum()
    }

    fn read_tail(&mut self, no: u64, count: usize) -> usize {
        let sql = "SELECT record FROM log WHERE no = ? ORDER BY seq DESC LIMIT ?";
        let mut tail = self.db.prepare_cached(sql).expect("prepare");
        let rows = tail.query_map(params![no as i64, count as i64], |row| row.get::<_, Vec<u8>>(0));
        rows.expect("query").map(|row| row.expect("read").len().min(1)).sum()
    }

    fn head(&mut self, id: &[u8]) -> bool {
        let sql = "SELECT 1 FROM live WHERE id = ?1 UNION ALL SELECT 1 FROM ended WHERE id = ?1";
        self.db.prepare_cached(sql).expect("prepare").exists(params![id]).expect("read")
    }
}
