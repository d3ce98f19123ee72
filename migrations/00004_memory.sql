-- +goose Up
-- Texts by content: what many tasks say alike is stored, indexed and embedded
-- once. A row can be found by full text from the moment it commits.
CREATE TABLE codex_memory_contents (
    content_hash    bytea PRIMARY KEY,
    content         text NOT NULL,
    fts             tsvector GENERATED ALWAYS AS (to_tsvector('english', content)) STORED,
    -- 'model@dimension' of the vector last made for it; NULL: none yet.
    embedded_as     text,
    -- Set once its retries are used up, and cleared by whoever tries again.
    embedding_error text,
    created_at      timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX codex_memory_contents_fts ON codex_memory_contents USING gin (fts);
CREATE INDEX codex_memory_contents_pending ON codex_memory_contents (created_at)
    WHERE embedded_as IS NULL AND embedding_error IS NULL;
CREATE INDEX codex_memory_contents_embedded_as ON codex_memory_contents (embedded_as)
    WHERE embedded_as IS NOT NULL;

-- Vectors by content: the same text is embedded once for each model. The
-- column has no dimension of its own, so that models of different dimensions
-- live side by side; each indexed dimension has a partial index below.
-- halfvec: half the space of vector, and HNSW up to 4,000 dimensions, which
-- text-embedding-3-large (3,072) needs.
CREATE TABLE codex_embeddings (
    content_hash bytea NOT NULL,
    model        text NOT NULL,
    dimension    integer NOT NULL CHECK (dimension BETWEEN 1 AND 4000),
    embedding    halfvec NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (content_hash, model, dimension),
    CHECK (vector_dims(embedding) = dimension)
);

CREATE INDEX codex_embeddings_hnsw_256 ON codex_embeddings
    USING hnsw ((embedding::halfvec(256)) halfvec_cosine_ops) WHERE dimension = 256;
CREATE INDEX codex_embeddings_hnsw_384 ON codex_embeddings
    USING hnsw ((embedding::halfvec(384)) halfvec_cosine_ops) WHERE dimension = 384;
CREATE INDEX codex_embeddings_hnsw_512 ON codex_embeddings
    USING hnsw ((embedding::halfvec(512)) halfvec_cosine_ops) WHERE dimension = 512;
CREATE INDEX codex_embeddings_hnsw_768 ON codex_embeddings
    USING hnsw ((embedding::halfvec(768)) halfvec_cosine_ops) WHERE dimension = 768;
CREATE INDEX codex_embeddings_hnsw_1024 ON codex_embeddings
    USING hnsw ((embedding::halfvec(1024)) halfvec_cosine_ops) WHERE dimension = 1024;
CREATE INDEX codex_embeddings_hnsw_1536 ON codex_embeddings
    USING hnsw ((embedding::halfvec(1536)) halfvec_cosine_ops) WHERE dimension = 1536;
CREATE INDEX codex_embeddings_hnsw_3072 ON codex_embeddings
    USING hnsw ((embedding::halfvec(3072)) halfvec_cosine_ops) WHERE dimension = 3072;

-- Who is embedding which content right now, so that two functions that meet the
-- same text do not both pay for it. A claim that ran out is free to take.
-- Unlogged: after a crash nobody is embedding anything.
CREATE UNLOGGED TABLE codex_embedding_claims (
    content_hash  bytea NOT NULL,
    model         text NOT NULL,
    dimension     integer NOT NULL,
    claimed_until timestamptz NOT NULL,
    PRIMARY KEY (content_hash, model, dimension)
);

-- What later tasks may be given: which task said a text, as what, and what it
-- was about.
CREATE TABLE codex_task_memory_index (
    id                 uuid PRIMARY KEY,
    task_id            uuid NOT NULL REFERENCES codex_tasks,
    kind               text NOT NULL
        CHECK (kind IN ('prompt', 'before', 'after', 'diff', 'event', 'outcome')),
    -- The chunk's number, or for events sequence * 1000 + chunk: together with
    -- task and kind it makes writing idempotent.
    ordinal            bigint NOT NULL,
    -- Written in one statement with its row of codex_memory_contents, which is
    -- never deleted. Not a foreign key: its check would lock that row, and all
    -- tasks that say the same would take turns at it.
    content_hash       bytea NOT NULL,
    namespaces         text[] NOT NULL DEFAULT '{}',
    resource_kinds     text[] NOT NULL DEFAULT '{}',
    tags               text[] NOT NULL DEFAULT '{}',
    metadata           jsonb NOT NULL DEFAULT '{}',
    created_at         timestamptz NOT NULL DEFAULT now(),
    UNIQUE (task_id, kind, ordinal)
);
-- From a text to the newest memory with it.
CREATE INDEX codex_task_memory_index_hash ON codex_task_memory_index (content_hash, id);
-- A search with filters that few memories pass compares exactly those.
CREATE INDEX codex_task_memory_index_filters ON codex_task_memory_index
    USING gin (namespaces, resource_kinds, tags);

-- Which memories an attempt's prompt was given, best first.
CREATE TABLE codex_task_recalls (
    task_id   uuid NOT NULL,
    attempt   smallint NOT NULL,
    rank      smallint NOT NULL,
    memory_id uuid NOT NULL REFERENCES codex_task_memory_index,
    score     real NOT NULL,
    PRIMARY KEY (task_id, attempt, rank),
    FOREIGN KEY (task_id, attempt) REFERENCES codex_task_attempts
);

-- +goose Down
DROP TABLE codex_task_recalls, codex_task_memory_index, codex_embedding_claims, codex_embeddings, codex_memory_contents;
