-- +goose Up
CREATE TABLE sluice_nodes (
    name    TEXT    PRIMARY KEY,
    owner   TEXT    NOT NULL,
    session TEXT    NOT NULL,
    expires INTEGER NOT NULL,
    body    BLOB    NOT NULL
) WITHOUT ROWID;
CREATE TABLE sluice_rows (
    collection TEXT    NOT NULL,
    keyhash    BLOB    NOT NULL,
    grouphash  BLOB    NOT NULL,
    stamp      INTEGER NOT NULL,
    version    INTEGER NOT NULL,
    body       BLOB    NOT NULL,
    PRIMARY KEY (collection, keyhash)
) WITHOUT ROWID;
CREATE INDEX sluice_rows_group ON sluice_rows (collection, grouphash, keyhash);
CREATE INDEX sluice_rows_stamp ON sluice_rows (collection, stamp);
CREATE TABLE sluice_cluster (
    id       INTEGER PRIMARY KEY,
    instance TEXT NOT NULL,
    root     BLOB
);
