-- +goose Up
CREATE TABLE sluice_meta (
    id        INTEGER PRIMARY KEY,
    revision  BIGINT NOT NULL,
    compacted BIGINT NOT NULL,
    probe     BYTEA
);
INSERT INTO sluice_meta (id, revision, compacted) VALUES (1, 0, 0);
CREATE TABLE sluice_documents (
    collection TEXT   NOT NULL,
    keyhash    BYTEA  NOT NULL,
    revision   BIGINT NOT NULL,
    body       BYTEA  NOT NULL,
    PRIMARY KEY (collection, keyhash)
);
CREATE TABLE sluice_changes (
    revision   BIGINT  NOT NULL,
    ord        INTEGER NOT NULL,
    collection TEXT    NOT NULL,
    keyhash    BYTEA   NOT NULL,
    body       BYTEA   NOT NULL,
    PRIMARY KEY (revision, ord)
);
