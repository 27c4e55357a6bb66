-- +goose Up
CREATE TABLE sluice_nodes (
    name    TEXT   PRIMARY KEY,
    owner   TEXT   NOT NULL,
    session TEXT   NOT NULL,
    expires BIGINT NOT NULL,
    body    BYTEA  NOT NULL
);
CREATE TABLE sluice_rows (
    collection TEXT   NOT NULL,
    keyhash    BYTEA  NOT NULL,
    grouphash  BYTEA  NOT NULL,
    stamp      BIGINT NOT NULL,
    version    BIGINT NOT NULL,
    body       BYTEA  NOT NULL,
    PRIMARY KEY (collection, keyhash)
);
CREATE INDEX sluice_rows_group ON sluice_rows (collection, grouphash, keyhash);
CREATE INDEX sluice_rows_stamp ON sluice_rows (collection, stamp);
CREATE TABLE sluice_cluster (
    id       INTEGER PRIMARY KEY,
    instance TEXT NOT NULL,
    root     BYTEA
);
