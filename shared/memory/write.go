package memory

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/graf-run/graf/shared/embedding"
	"github.com/graf-run/graf/shared/postgres/query"
	"github.com/graf-run/graf/shared/redact"
)

// Kinds of memory: what of a task a text is.
const (
	KindPrompt  = "prompt"
	KindBefore  = "before"
	KindAfter   = "after"
	KindDiff    = "diff"
	KindEvent   = "event"
	KindOutcome = "outcome"
)

// ChunkBytes bounds one memory's text: about a screen, so that a result is
// something to read and a vector is about one thing.
const ChunkBytes = 1600

// MaxChunks bounds what one part of a task adds. The rest of a longer text is
// kept with the task but not remembered.
const MaxChunks = 64

// chunksPerOrdinal leaves room for the chunks of one part between two ordinals.
const chunksPerOrdinal = 1000

// Task is what a task's memories have in common: what to filter them by.
type Task struct {
	ID            uuid.UUID
	Namespaces    []string
	ResourceKinds []string
	Tags          []string
}

// Part is one text of a task to be remembered.
type Part struct {
	Kind string
	// Number tells parts of one kind apart: an event's sequence, an attempt.
	Number int64
	Text   string
	// Metadata is shown with results; nil is none.
	Metadata map[string]any
}

// Write stores parts as memories, cut to chunks. They can be found by full text
// once the transaction of q commits; their vectors come later. Writing the same
// part again changes nothing. Secrets are taken out first: whatever is written
// here is embedded and shown to other tasks.
func Write(ctx context.Context, q *query.Queries, task Task, parts ...Part) error {
	rows := query.InsertMemoriesParams{
		TaskID: task.ID, Namespaces: nonNil(task.Namespaces),
		ResourceKinds: nonNil(task.ResourceKinds), Tags: nonNil(task.Tags),
	}
	for _, part := range parts {
		metadata, err := encodeMetadata(part.Metadata)
		if err != nil {
			return fmt.Errorf("metadata of a %s memory: %w", part.Kind, err)
		}
		for i, chunk := range Chunks(redact.Text(part.Text)) {
			hash := embedding.ContentHash(chunk)
			rows.Ids = append(rows.Ids, uuid.Must(uuid.NewV7()))
			rows.Kinds = append(rows.Kinds, part.Kind)
			rows.Ordinals = append(rows.Ordinals, part.Number*chunksPerOrdinal+int64(i))
			rows.Contents = append(rows.Contents, chunk)
			rows.ContentHashes = append(rows.ContentHashes, hash[:])
			rows.Metadatas = append(rows.Metadatas, metadata)
		}
	}
	if len(rows.Ids) == 0 {
		return nil
	}
	if err := q.InsertMemories(ctx, rows); err != nil {
		return fmt.Errorf("store memories of task %s: %w", task.ID, err)
	}
	return nil
}

// Chunks cuts text at line ends, else at spaces, else between characters, into
// at most MaxChunks pieces of at most ChunkBytes each. Blank text gives none.
func Chunks(text string) []string {
	text = strings.TrimSpace(strings.ToValidUTF8(strings.ReplaceAll(text, "\x00", ""), "\uFFFD"))
	var chunks []string
	for text != "" && len(chunks) < MaxChunks {
		end := chunkEnd(text)
		if chunk := strings.TrimSpace(text[:end]); chunk != "" {
			chunks = append(chunks, chunk)
		}
		text = strings.TrimLeft(text[end:], "\n")
	}
	return chunks
}

func chunkEnd(text string) int {
	if len(text) <= ChunkBytes {
		return len(text)
	}
	for _, separator := range []string{"\n", " "} {
		// A cut in the first half would make chunks too small to mean anything.
		if at := strings.LastIndex(text[:ChunkBytes], separator); at > ChunkBytes/2 {
			return at + 1
		}
	}
	end := ChunkBytes
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return end
}

func encodeMetadata(m map[string]any) (json.RawMessage, error) {
	if m == nil {
		return json.RawMessage("{}"), nil
	}
	return json.Marshal(m)
}

func nonNil(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}
