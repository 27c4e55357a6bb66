-- +goose Up
CREATE TABLE sluice_meta (
    id        INT PRIMARY KEY,
    revision  BIGINT NOT NULL,
    compacted BIGINT NOT NULL,
    probe     VARBINARY(255)
) ENGINE = InnoDB;
INSERT INTO sluice_meta (id, revision, compacted) VALUES (1, 0, 0);
CREATE TABLE sluice_documents (
    collection VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    keyhash    BINARY(32)  NOT NULL,
    revision   BIGINT      NOT NULL,
    body       LONGBLOB    NOT NULL,
    PRIMARY KEY (collection, keyhash)
) ENGINE = InnoDB;
CREATE TABLE sluice_changes (
    revision   BIGINT      NOT NULL,
    ord        INT         NOT NULL,
    collection VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    keyhash    BINARY(32)  NOT NULL,
    body       LONGBLOB    NOT NULL,
    PRIMARY KEY (revision, ord)
) ENGINE = InnoDB;
