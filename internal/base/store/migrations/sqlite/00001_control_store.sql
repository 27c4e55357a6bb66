-- +goose Up
CREATE TABLE sluice_meta (
    id        INTEGER PRIMARY KEY,
    revision  INTEGER NOT NULL,
    compacted INTEGER NOT NULL,
    probe     BLOB
);
INSERT INTO sluice_meta (id, revision, compacted) VALUES (1, 0, 0);
CREATE TABLE sluice_documents (
    collection TEXT    NOT NULL,
    keyhash    BLOB    NOT NULL,
    revision   INTEGER NOT NULL,
    body       BLOB    NOT NULL,
    PRIMARY KEY (collection, keyhash)
) WITHOUT ROWID;
CREATE TABLE sluice_changes (
    revision   INTEGER NOT NULL,
    ord        INTEGER NOT NULL,
    collection TEXT    NOT NULL,
    keyhash    BLOB    NOT NULL,
    body       BLOB    NOT NULL,
    PRIMARY KEY (revision, ord)
) WITHOUT ROWID;
