-- +goose Up
-- MySQL commits each statement: what was cut off, or another node does too, is done again.
CREATE TABLE IF NOT EXISTS sluice_nodes (
    name    VARCHAR(190) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL PRIMARY KEY,
    owner   VARCHAR(64)  CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    session VARCHAR(64)  CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    expires BIGINT       NOT NULL,
    body    LONGBLOB     NOT NULL
) ENGINE = InnoDB;
CREATE TABLE IF NOT EXISTS sluice_rows (
    collection VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    keyhash    BINARY(32)  NOT NULL,
    grouphash  BINARY(32)  NOT NULL,
    stamp      BIGINT      NOT NULL,
    version    BIGINT      NOT NULL,
    body       LONGBLOB    NOT NULL,
    PRIMARY KEY (collection, keyhash),
    INDEX sluice_rows_group (collection, grouphash, keyhash),
    INDEX sluice_rows_stamp (collection, stamp)
) ENGINE = InnoDB;
CREATE TABLE IF NOT EXISTS sluice_cluster (
    id       INT PRIMARY KEY,
    instance VARCHAR(64) NOT NULL,
    root     VARBINARY(1024)
) ENGINE = InnoDB;
