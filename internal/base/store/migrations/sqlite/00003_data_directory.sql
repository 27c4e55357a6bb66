-- +goose Up
CREATE TABLE IF NOT EXISTS sluice_directory (
    id        INTEGER PRIMARY KEY,
    directory TEXT NOT NULL
);
