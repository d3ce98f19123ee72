-- +goose Up
-- pgvector gives the vector and halfvec types and the HNSW index.
CREATE EXTENSION IF NOT EXISTS vector;

-- +goose Down
DROP EXTENSION IF EXISTS vector;
