-- +goose Up
-- MySQL commits each statement: what was cut off, or another node does too, is done again.
CREATE TABLE IF NOT EXISTS sluice_meta (
    id        INT PRIMARY KEY,
    revision  BIGINT NOT NULL,
    compacted BIGINT NOT NULL,
    probe     VARBINARY(255)
) ENGINE = InnoDB;
INSERT INTO sluice_meta (id, revision, compacted) VALUES (1, 0, 0) ON DUPLICATE KEY UPDATE id = id;
CREATE TABLE IF NOT EXISTS sluice_documents (
    collection VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    keyhash    BINARY(32)  NOT NULL,
    revision   BIGINT      NOT NULL,
    body       LONGBLOB    NOT NULL,
    PRIMARY KEY (collection, keyhash)
) ENGINE = InnoDB;
CREATE TABLE IF NOT EXISTS sluice_changes (
    revision   BIGINT      NOT NULL,
    ord        INT         NOT NULL,
    collection VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    keyhash    BINARY(32)  NOT NULL,
    body       LONGBLOB    NOT NULL,
    PRIMARY KEY (revision, ord)
) ENGINE = InnoDB;
