-- +goose Up
CREATE TABLE IF NOT EXISTS sluice_directory (
    id        INT PRIMARY KEY,
    directory VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL
) ENGINE = InnoDB;
